"""What the API's tests ask again and again."""

import json
from datetime import datetime
from http import HTTPStatus
from typing import Any

from django.db.models.functions import Now

from notifier import intake
from notifier.models import Attachment, Attempt, Notification, Organization, Recipient

ANY: Any = object()
JSON = "application/json"

USER_FIELDS = {
    *("id", "email", "phone", "telegram_chat_id", "external_id", "name", "language", "timezone", "channels"),
    *("created_at", "updated_at"),
}
NOTIFICATION_FIELDS = {
    *("id", "status", "failure_code", "user_id", "to", "subject", "message", "template", "channels", "priority"),
    *("on_unknown", "reference", "metadata", "created_at", "due_at", "send_at", "expires_at", "sent_at"),
    "finished_at",
}
ATTEMPT_FIELDS = {
    *("channel", "round", "outcome", "temporary", "code", "detail", "provider_id", "account", "started_at"),
    "duration_ms",
    "receipt",
}


def assert_problem(response: Any, status: int, attr: Any = ANY, code: Any = ANY) -> None:
    """The answer is an error in the contract's one shape; one of its errors has this `attr` and this `code`."""
    assert response.status_code == status, response.content
    assert response.headers["Content-Type"] == "application/problem+json"
    body = json.loads(response.content)
    assert set(body) == {"type", "title", "status", "errors"}
    assert (body["type"], body["title"], body["status"]) == ("about:blank", HTTPStatus(status).phrase, status)
    assert body["errors"]
    for error in body["errors"]:
        assert set(error) == {"code", "detail", "attr"}
        for text in (error["code"], error["detail"], error["attr"] or "null is the whole request"):
            assert isinstance(text, str)
            assert text
        assert error["attr"] != ""
    found = [(error["attr"], error["code"]) for error in body["errors"]]
    assert any(attr in (ANY, one) and code in (ANY, other) for one, other in found), found


def raw(api: Any, method: str, path: str, body: bytes | str, content_type: str = JSON, **extra: Any) -> Any:
    """The answer to a body as it is, byte by byte."""
    return api.generic(method, path, body, content_type, **extra)


def counts() -> tuple[int, ...]:
    """How many rows there are of everything that a client can store."""
    return tuple(model._default_manager.count() for model in (Recipient, Notification, Attempt, Attachment))


def stored(organization: Organization, **body: Any) -> Notification:
    """A notification as the API stores it; to user@example.com and "Hello" unless said otherwise."""
    if "user_id" not in body:
        body.setdefault("to", {"email": "user@example.com"})
    body.setdefault("message", "Hello")
    return intake.accept(organization, body, ring=False)


def ended(row: Notification, status: str, code: str = "") -> Notification:
    """That notification in a final status."""
    values: dict[str, Any] = {"status": status, "failure_code": code, "due_at": None, "credentials": None}
    Notification.objects.filter(pk=row.pk).update(**values, finished_at=Now())
    row.refresh_from_db()
    return row


def moment(text: str) -> datetime:
    """A time of the API: ISO 8601, in UTC, and said so by its Z."""
    assert text.endswith("Z"), text
    return datetime.fromisoformat(text)
