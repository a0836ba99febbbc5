"""Which account a channel sends with: the request's own, else the organization's, else the environment's.

A request's account is never mixed with another, and nothing falls back from it: its notification goes through it, or
its e-mail step is skipped.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.conf import settings
from django.core.signals import setting_changed
from django.dispatch import receiver

from channels.base import Account
from channels.email import SmtpAccount, presets
from channels.net import is_inside
from channels.simulated import SimulatedAccount
from channels.sms import GatewayProvider, Provider, SmsAccount, SmscProvider, SmsRuProvider, TwilioProvider
from channels.telegram import TelegramAccount
from notifier import vault
from notifier.models import Notification
from notifier.organization_accounts import account_of

SMTP_PORTS = (25, 465, 587, 2525)


@dataclass(frozen=True, slots=True)
class HostRule:
    """What `SMTP_OVERRIDE_HOSTS` says of a server. `by_name`: it may have a private address, and go unencrypted."""

    by_name: bool


def host_rule(host: str, port: int) -> HostRule | None:
    """The rule for this server, None where a request must not name it."""
    host = host.lower().rstrip(".")
    if settings.SMTP_HOST and (host, port) == (settings.SMTP_HOST.lower(), settings.SMTP_PORT):
        return HostRule(by_name=True)
    listed = settings.SMTP_OVERRIDE_HOSTS or (*presets.HOSTS, settings.SMTP_HOST)
    for entry in (entry.lower() for entry in listed if entry):
        if entry == f"{host}:{port}" or (entry == host and port in SMTP_PORTS):
            return HostRule(by_name=True)
    return HostRule(by_name=False) if "*" in listed and port in SMTP_PORTS and not is_inside(host) else None


def account_for(channel: str, notification: Notification) -> Account | None:
    """The account for this channel of this notification. None: not configured, the step is skipped.

    Of a test it holds nothing that could let anything leave, whether the real one is configured or not.
    `vault.VaultError` where the request's credentials can no longer be read.
    """
    is_own = channel == "email" and notification.own_account
    if notification.test:
        return _simulated(notification, is_own=is_own)
    if is_own:
        return _request_smtp(vault.unseal(notification.credentials)) if notification.credentials else None
    return account_of(notification.organization_id, channel) or default_account(channel)


def _simulated(notification: Notification, *, is_own: bool) -> SimulatedAccount | None:
    """Its credentials are wiped when it fails, as a real one's: then its own account is gone."""
    if not is_own:
        return SimulatedAccount()
    return SimulatedAccount(origin="request") if notification.credentials else None


def _request_smtp(secret: dict[str, Any]) -> SmtpAccount | None:
    if "user" not in secret:
        return None  # there are a template's values in it, and no account
    host = secret.get("host") or settings.SMTP_HOST
    port = secret.get("port") or (settings.SMTP_PORT if not secret.get("host") else 587)
    rule = host_rule(host, port) if host else None
    if rule is None:
        return None  # no server is configured, or the host was taken off the list since
    user = secret["user"]
    return SmtpAccount(
        origin="request",
        host=host,
        port=port,
        security=secret.get("security") or _default_security(),
        user=user,
        password=presets.without_spaces(secret["password"]),
        from_email=secret.get("from_email") or (user if "@" in user else settings.DEFAULT_FROM_EMAIL),
        timeout=settings.SMTP_TIMEOUT,
        reply_timeout=settings.SMTP_REPLY_TIMEOUT,
        public_only=not rule.by_name,
        auth_in_clear=rule.by_name,
    )


def _default_smtp() -> SmtpAccount | None:
    if not settings.SMTP_HOST:
        return None
    return SmtpAccount(
        host=settings.SMTP_HOST,
        port=settings.SMTP_PORT,
        security=_default_security(),
        user=settings.SMTP_DEFAULT_USER,
        password=presets.without_spaces(settings.SMTP_DEFAULT_PASSWORD),
        from_email=settings.DEFAULT_FROM_EMAIL,
        timeout=settings.SMTP_TIMEOUT,
        reply_timeout=settings.SMTP_REPLY_TIMEOUT,
        auth_in_clear=True,
    )


def _default_security() -> Any:
    if settings.SMTP_USE_SSL:
        return "ssl"
    return "starttls" if settings.SMTP_USE_TLS else "none"


SMS_NEEDS = {
    "twilio": ("TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN"),
    "smsru": ("SMSRU_API_ID",),
    "smsc": ("SMSC_LOGIN", "SMSC_PASSWORD"),
    "http": ("SMS_HTTP_URL",),
}
"""The settings without which a provider that SMS_PROVIDER names is left out."""


def unset(provider: str) -> list[str]:
    """Those of them that are empty."""
    return [name for name in SMS_NEEDS[provider] if not getattr(settings, name)]


def _default_sms() -> SmsAccount | None:
    made: dict[str, Callable[[], Provider]] = {
        "twilio": lambda: TwilioProvider(
            sid=settings.TWILIO_ACCOUNT_SID,
            token=settings.TWILIO_AUTH_TOKEN,
            sender=settings.TWILIO_FROM or settings.SMS_SENDER,
            **_api_url(settings.TWILIO_API_URL),
        ),
        "smsru": lambda: SmsRuProvider(
            api_id=settings.SMSRU_API_ID, sender=settings.SMS_SENDER, **_api_url(settings.SMSRU_API_URL)
        ),
        "smsc": lambda: SmscProvider(
            login=settings.SMSC_LOGIN,
            password=settings.SMSC_PASSWORD,
            sender=settings.SMS_SENDER,
            **_api_url(settings.SMSC_API_URL),
        ),
        "http": lambda: GatewayProvider(
            url=settings.SMS_HTTP_URL, token=settings.SMS_HTTP_TOKEN, sender=settings.SMS_SENDER
        ),
    }
    chosen = tuple(made[name]() for name in settings.SMS_PROVIDER if not unset(name))
    return SmsAccount(providers=chosen, max_parts=settings.SMS_MAX_PARTS) if chosen else None


def _default_telegram() -> TelegramAccount | None:
    if not settings.TELEGRAM_BOT_TOKEN:
        return None
    return TelegramAccount(
        token=settings.TELEGRAM_BOT_TOKEN,
        parse_mode=settings.TELEGRAM_PARSE_MODE,
        disable_preview=settings.TELEGRAM_DISABLE_WPP,
        timeout=settings.TELEGRAM_TIMEOUT,
        **_api_url(settings.TELEGRAM_API_URL),
    )


def _api_url(url: str) -> dict[str, Any]:
    return {"api_url": url} if url else {}


_DEFAULTS = {"email": _default_smtp, "sms": _default_sms, "telegram": _default_telegram}


@cache
def default_account(channel: str) -> Account | None:
    """The environment's, None for none. Made once: every message asks for it."""
    made = _DEFAULTS.get(channel)
    return made() if made else Account()


@receiver(setting_changed)
def _forget(**_: Any) -> None:
    default_account.cache_clear()
