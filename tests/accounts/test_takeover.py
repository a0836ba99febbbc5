"""The links pass through the default organization: its own people must not get at them."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from notifier import api_keys
from notifier.models import EmailSettings, Membership, Notification, Organization
from tests.accounts.conftest import PASSWORD, Mailbox, account, member
from tests.notifier.provider_rows import EMAIL, email_row

pytestmark = pytest.mark.django_db
FORGOT, ADD, LIST = (
    "/api/auth/password/forgot/",
    *(reverse(f"admin:notifier_emailsettings_{name}") for name in ("add", "changelist")),
)
FORM = {**EMAIL, "secret_text": "secret"}
OWN_SERVER = {**FORM, "host": "smtp.evil.example.com"}


@pytest.fixture
def page(organization: Organization, client: Client) -> Client:
    """The admin as an administrator of the default organization sees it."""
    client.force_login(member(organization, "administrator"))
    return client


def change(row: EmailSettings, name: str = "change") -> str:
    return reverse(f"admin:notifier_emailsettings_{name}", args=[row.pk])


def test_its_administrator_does_not_lead_them_to_a_server_of_his_own(page: Client, organization: Organization) -> None:
    page.post(ADD, {**OWN_SERVER, "organization": organization.pk})
    assert not EmailSettings.objects.exists()
    row = email_row(organization)
    before = EmailSettings.objects.values().get()
    page.post(change(row), {**OWN_SERVER, "organization": organization.pk})
    page.post(change(row, "delete"), {"post": "yes"})
    page.post(LIST, {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"})
    assert EmailSettings.objects.values().get() == before
    for path in (change(row), LIST, ADD):
        assert page.get(path).status_code in (403, 404)


def test_of_another_organization_he_sets_the_account_up(page: Client, organization: Organization) -> None:
    other = Organization.objects.create(slug="other", name="Other")
    Membership.objects.create(user=User.objects.get(), organization=other, role="administrator")
    for one in (organization, other):
        page.post(ADD, {**FORM, "organization": one.pk})
    row = EmailSettings.objects.get()
    assert page.post(change(row), {**FORM, "host": "smtp.example.org"}).status_code == 302
    row.refresh_from_db()
    assert (row.organization, row.host) == (other, "smtp.example.org")


def test_a_superuser_sets_it_up_and_where_there_are_no_accounts_its_administrator_too(
    page: Client, organization: Organization, settings: Settings
) -> None:
    root = Client()
    root.force_login(User.objects.create_superuser("root@example.com", "root@example.com", PASSWORD))
    assert root.post(ADD, {**FORM, "organization": organization.pk}).status_code == 302
    settings.JWT_SECRET_KEY = ""
    row = EmailSettings.objects.get()
    assert page.post(change(row), {**FORM, "host": "smtp.example.org"}).status_code == 302
    assert page.post(change(row, "delete"), {"post": "yes"}).status_code == 302
    assert page.post(ADD, {**FORM, "organization": organization.pk}).status_code == 302


def test_a_key_that_may_do_everything_there_reads_no_link(
    api: APIClient, page: Client, mailbox: Mailbox, organization: Organization
) -> None:
    account("root@example.com")
    api.post(FORGOT, {"email": "root@example.com"})
    row = Notification.objects.get()
    headers = {"X-API-Key": api_keys.make(organization).secret}
    one = f"/api/notifications/{row.pk}/"
    paths = ["/api/notifications/", one, f"{one}events/", "/api/events/?last_event_id=0"]

    def seen() -> str:
        told = [_text(api.get(path, headers=headers)) for path in paths]
        return "".join([*told, _text(page.get(reverse("admin:notifier_notification_change", args=[row.pk])))])

    waiting, token = seen(), mailbox.token()
    assert "password" in waiting
    assert not any(part in waiting + seen() for part in ("#token=", token, token.rsplit(".", 1)[1]))


def _text(answer: Any) -> str:
    assert answer.status_code == 200
    content = b"".join(answer.streaming_content) if answer.streaming else answer.content
    return str(content.decode())
