"""Requests that name servers and URLs, and what became of them."""

from typing import Any

from rest_framework.test import APIClient

from notifier import callbacks, delivery
from notifier.models import Callback, Notification, Organization
from tests.api.checks import stored

URL = "/api/notifications/"
PASSWORD = "canary-pa55word"


def by_mail(api: APIClient, host: str, port: int, **fields: Any) -> Any:
    """The answer to a request that names this server."""
    body = {
        "to": {"email": "user@example.com"}, "message": "Hello", "channels": ["email"],
        "smtp_user": "me@example.com", "smtp_password": PASSWORD, "smtp_host": host, "smtp_port": port, **fields,
    }  # fmt: skip
    return api.post(URL, body)


def delivered(response: Any) -> dict[str, Any]:
    """The last attempt's outcome, after a round of a notification that was taken."""
    assert response.status_code == 202, response.content
    delivery.deliver([response.json()["id"]])
    shown: dict[str, Any] = APIClient().get(f"{URL}{response.json()['id']}/").json()
    return shown


def told(organization: Organization, url: str) -> Notification:
    """A notification that has ended, whose end was to be told to this URL; stored behind the API's back."""
    row = stored(organization, channels=["email"])
    Notification.objects.filter(pk=row.pk).update(callback_url=url)
    Callback.objects.create(notification=row, event="notification.sent", payload={"id": row.pk})
    callbacks.deliver_due()
    return row
