"""Settings of accounts, and forms filled in as a browser sends them."""

from typing import Any

from notifier.models import EmailSettings, Organization, SmsSettings, TelegramSettings
from notifier.organization_accounts import seal_secret

CANARY = "canary-of-a-secret"

EMAIL = {
    "preset": "",
    "host": "smtp.acme.example",
    "port": "465",
    "use_ssl": "on",
    "user": "robot@acme.example",
    "secret_text": "",
    "from_email": "",
    "recipients": "first@acme.example",
    "is_active": "on",
}
SMS = {"provider": "twilio", "login": "AC1", "secret_text": "", "sender": "+15005550006", "url": "", "is_active": "on"}
TELEGRAM = {"secret_text": "", "parse_mode": "HTML", "is_active": "on"}


def changed(body: dict[str, str], **fields: Any) -> dict[str, str]:
    """The body with other values; None leaves a field out, as an unticked box is."""
    return {name: value for name, value in {**body, **fields}.items() if value is not None}


def email_row(organization: Organization, **fields: Any) -> EmailSettings:
    wanted = {
        "host": "smtp.acme.example",
        "port": 465,
        "use_tls": False,
        "use_ssl": True,
        "user": "robot@acme.example",
        "secret": seal_secret(CANARY),
        "recipients": "first@acme.example",
        "may_be_inside": False,
    }
    return EmailSettings.objects.create(organization=organization, **{**wanted, **fields})


def sms_row(organization: Organization, **fields: Any) -> SmsSettings:
    wanted = {"provider": "twilio", "login": "AC1", "secret": seal_secret(CANARY), "sender": "+15005550006"}
    return SmsSettings.objects.create(organization=organization, **{**wanted, "may_be_inside": False, **fields})


def telegram_row(organization: Organization, **fields: Any) -> TelegramSettings:
    wanted = {"secret": seal_secret(CANARY), "parse_mode": "HTML", **fields}
    return TelegramSettings.objects.create(organization=organization, **wanted)
