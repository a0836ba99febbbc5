"""A notification leaves through the request's account, else its organization's active one, else the environment's."""

from typing import Any

import pytest
from pytest_django.fixtures import Settings

from channels.email import SmtpAccount
from channels.sms import SmsAccount
from channels.telegram import TelegramAccount
from notifier import delivery, intake, organization_accounts
from notifier.models import EmailSettings, Notification, Organization, SmsSettings, TelegramSettings
from notifier.organization_accounts import seal_secret
from tests.conftest import FakeRegistry

pytestmark = pytest.mark.django_db

EVERYWHERE = {"email": "user@example.com", "phone": "+12025550123", "telegram_chat_id": "123"}


def email_settings(organization: Organization, **fields: Any) -> EmailSettings:
    wanted = {
        "host": "smtp.acme.example",
        "port": 465,
        "use_tls": False,
        "use_ssl": True,
        "user": "robot@acme.example",
        "secret": seal_secret("abcd efgh ijkl mnop"),
        **fields,
    }
    return EmailSettings.objects.create(organization=organization, **wanted)


def sent(organization: Organization, **body: Any) -> Notification:
    """The notification after its first round."""
    row = intake.accept(organization, {"to": EVERYWHERE, "message": "Hello", **body}, ring=False)
    delivery.deliver([row.pk])
    return Notification.objects.get(pk=row.pk)


def accounts(row: Notification) -> list[tuple[str, str, str]]:
    return [(attempt.channel, attempt.outcome, attempt.account) for attempt in row.attempts.all()]


@pytest.fixture
def acme(db: None) -> Organization:
    return Organization.objects.create(slug="acme", name="Acme")


def test_each_organization_uses_its_own(fakes: FakeRegistry, acme: Organization, organization: Organization) -> None:
    email_settings(acme)
    SmsSettings.objects.create(organization=acme, provider="smsru", secret=seal_secret("api-id"), sender="Acme")
    TelegramSettings.objects.create(organization=acme, secret=seal_secret("2:token"), parse_mode="HTML")
    for channel in ("email", "sms", "telegram"):
        assert accounts(sent(acme, channels=[channel])) == [(channel, "accepted", "organization")]
        assert accounts(sent(organization, channels=[channel])) == [(channel, "accepted", "default")]
    own, others = (fakes["email"].sent[index][1] for index in (0, 1))
    assert isinstance(own, SmtpAccount)
    assert isinstance(others, SmtpAccount)
    assert (own.host, own.port, own.security, own.user) == ("smtp.acme.example", 465, "ssl", "robot@acme.example")
    assert own.password == "abcdefghijklmnop"
    assert own.from_email == "robot@acme.example"
    assert others.host == "mail.example.com"
    sms, telegram = fakes["sms"].sent[0][1], fakes["telegram"].sent[0][1]
    assert isinstance(sms, SmsAccount)
    assert [(provider.name, getattr(provider, "sender", "")) for provider in sms.providers] == [("smsru", "Acme")]
    assert isinstance(telegram, TelegramAccount)
    assert (telegram.token, telegram.parse_mode) == ("2:token", "HTML")


def test_the_requests_account_comes_first(fakes: FakeRegistry, acme: Organization) -> None:
    email_settings(acme)
    row = sent(acme, channels=["email"], smtp_user="me@gmail.com", smtp_password="secret")
    assert accounts(row) == [("email", "accepted", "request")]
    account = fakes["email"].sent[0][1]
    assert isinstance(account, SmtpAccount)
    assert (account.host, account.user) == ("mail.example.com", "me@gmail.com")


def test_an_inactive_one_is_as_good_as_none(fakes: FakeRegistry, acme: Organization, settings: Settings) -> None:
    own = email_settings(acme, is_active=False)
    assert accounts(sent(acme, channels=["email"])) == [("email", "accepted", "default")]
    settings.SMTP_HOST = ""
    row = sent(acme, channels=["email"])
    assert (row.status, row.failure_code) == ("failed", "not_configured")
    assert "not active" in row.attempts.get().detail
    own.is_active = True
    own.save()
    assert accounts(sent(acme, channels=["email"])) == [("email", "accepted", "organization")]
    own.delete()
    assert "No account" in sent(acme, channels=["email"]).attempts.get().detail


def test_a_change_by_another_process_is_known_soon(
    fakes: FakeRegistry, acme: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    email_settings(acme)
    assert accounts(sent(acme, channels=["email"])) == [("email", "accepted", "organization")]
    EmailSettings.objects.update(host="other.acme.example")
    monkeypatch.setattr(organization_accounts, "KEPT_SECONDS", -1.0)
    organization_accounts.forget()
    sent(acme, channels=["email"])
    EmailSettings.objects.update(host="third.acme.example")  # no signal, as from another process
    sent(acme, channels=["email"])
    hosts = [account.host for _message, account in fakes["email"].sent if isinstance(account, SmtpAccount)]
    assert hosts == ["smtp.acme.example", "other.acme.example", "third.acme.example"]


@pytest.mark.parametrize("may_be_inside", [True, False])
def test_only_a_trusted_one_may_stand_inside(acme: Organization, *, may_be_inside: bool) -> None:
    account = organization_accounts.smtp_account(email_settings(acme, may_be_inside=may_be_inside))
    assert account.public_only is not may_be_inside
    assert account.auth_in_clear is may_be_inside


def test_the_database_refuses_both_encryptions(acme: Organization) -> None:
    with pytest.raises(Exception, match="email_settings_tls_or_ssl"):
        email_settings(acme, use_tls=True, use_ssl=True)
