"""The accounts that organizations set up for themselves, as channels take them."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db.models.signals import post_delete, post_migrate, post_save

from channels.base import Account
from channels.email import SmtpAccount
from channels.email.presets import without_spaces
from channels.sms import GatewayProvider, Provider, SmsAccount, SmscProvider, SmsRuProvider, TwilioProvider
from channels.telegram import TelegramAccount
from notifier import vault
from notifier.models import EmailSettings, ProviderSettings, SmsSettings, TelegramSettings

KEPT_SECONDS = 2.0
"""How long what was read is believed: so late every worker knows of a change."""

MOST = 10_000
"""Accounts that are kept."""


def seal_secret(secret: str) -> bytes:
    """The form in which a password or token is stored."""
    return vault.seal({"secret": secret})


def secret_of(row: ProviderSettings) -> str:
    """The password or token, "" for none. `vault.VaultError` where it cannot be read."""
    return str(vault.unseal(row.secret)["secret"]) if row.secret else ""


def smtp_account(row: EmailSettings) -> SmtpAccount:
    """What e-mail leaves with by these settings."""
    return SmtpAccount(
        origin="organization",
        host=row.host,
        port=row.port,
        security=row.security,
        user=row.user,
        password=without_spaces(secret_of(row)),
        from_email=row.from_email or (row.user if "@" in row.user else settings.DEFAULT_FROM_EMAIL),
        timeout=settings.SMTP_TIMEOUT,
        reply_timeout=settings.SMTP_REPLY_TIMEOUT,
        public_only=not row.may_be_inside,
        auth_in_clear=row.may_be_inside,
    )


def sms_account(row: SmsSettings) -> SmsAccount:
    """What SMS leave with by these settings."""
    secret = secret_of(row)
    made: dict[str, Callable[[], Provider]] = {
        "twilio": lambda: TwilioProvider(
            sid=row.login, token=secret, sender=row.sender, **_url(settings.TWILIO_API_URL)
        ),
        "smsru": lambda: SmsRuProvider(api_id=secret, sender=row.sender, **_url(settings.SMSRU_API_URL)),
        "smsc": lambda: SmscProvider(
            login=row.login, password=secret, sender=row.sender, **_url(settings.SMSC_API_URL)
        ),
        "http": lambda: GatewayProvider(url=row.url, token=secret, sender=row.sender),
    }
    return SmsAccount(origin="organization", providers=(made[row.provider](),), max_parts=settings.SMS_MAX_PARTS)


def telegram_account(row: TelegramSettings) -> TelegramAccount:
    """The bot of these settings."""
    return TelegramAccount(
        origin="organization",
        token=secret_of(row),
        parse_mode=row.parse_mode,
        disable_preview=settings.TELEGRAM_DISABLE_WPP,
        timeout=settings.TELEGRAM_TIMEOUT,
        **_url(settings.TELEGRAM_API_URL),
    )


@dataclass(frozen=True, slots=True)
class _Known:
    """What stands in the table of one account, and until when that is believed."""

    until: float
    account: Account | None = None
    is_switched_off: bool = False


def account_of(organization_id: int, channel: str) -> Account | None:
    """The organization's active account for this channel, None where it has none. At most some seconds old."""
    return _known(organization_id, channel).account


def is_switched_off(organization_id: int, channel: str) -> bool:
    """Whether there is one, and it is not active."""
    return _known(organization_id, channel).is_switched_off


_MADE: dict[str, tuple[type[ProviderSettings], Callable[[Any], Account]]] = {
    "email": (EmailSettings, smtp_account),
    "sms": (SmsSettings, sms_account),
    "telegram": (TelegramSettings, telegram_account),
}

_kept: dict[tuple[int, str], _Known] = {}


def _known(organization_id: int, channel: str) -> _Known:
    key = (organization_id, channel)
    known = _kept.get(key)
    if known is None or time.monotonic() > known.until:
        if len(_kept) >= MOST:
            _kept.clear()
        known = _kept[key] = _read(organization_id, channel)
    return known


def _read(organization_id: int, channel: str) -> _Known:
    until = time.monotonic() + KEPT_SECONDS
    if channel not in _MADE:
        return _Known(until)
    model, made = _MADE[channel]
    row = model._default_manager.filter(organization_id=organization_id).first()
    if row is None or not row.is_active:
        return _Known(until, is_switched_off=row is not None)
    return _Known(until, made(row))


def forget(**_: Any) -> None:
    """Something changed in this process."""
    _kept.clear()


for _model, _made in _MADE.values():
    post_save.connect(forget, sender=_model)
    post_delete.connect(forget, sender=_model)
post_migrate.connect(forget)  # and after a flush


def _url(api_url: str) -> dict[str, Any]:
    return {"api_url": api_url} if api_url else {}
