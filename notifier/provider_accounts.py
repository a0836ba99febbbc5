"""Which account a channel sends with: the request's own, else the environment's.

A request's account is never mixed with another, and nothing falls back from it: its notification goes through it, or
its e-mail step is skipped.
"""

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.conf import settings
from django.core.signals import setting_changed
from django.dispatch import receiver

from channels.base import Account
from channels.email import SmtpAccount
from channels.net import is_inside
from channels.sms import GatewayProvider, Provider, SmsAccount, SmscProvider, SmsRuProvider, TwilioProvider
from channels.telegram import TelegramAccount
from notifier import vault
from notifier.models import Notification

SMTP_PORTS = (25, 465, 587, 2525)
PRESET_HOSTS = (
    "smtp.gmail.com",
    "smtp.yandex.ru",
    "smtp.yandex.com",
    "smtp.mail.ru",
    "smtp.office365.com",
    "smtp-mail.outlook.com",
    "smtp.sendgrid.net",
    "smtp.mailgun.org",
    "smtp.eu.mailgun.org",
)
# Gmail shows an app password as four groups of four letters; the spaces are not part of it.
_GMAIL_APP_PASSWORD = re.compile(r"[a-z]{4}( [a-z]{4}){3}")


@dataclass(frozen=True, slots=True)
class HostRule:
    """What `SMTP_OVERRIDE_HOSTS` says of a server. `by_name`: it may have a private address, and go unencrypted."""

    by_name: bool


def host_rule(host: str, port: int) -> HostRule | None:
    """The rule for this server, None where a request must not name it."""
    host = host.lower().rstrip(".")
    if settings.SMTP_HOST and (host, port) == (settings.SMTP_HOST.lower(), settings.SMTP_PORT):
        return HostRule(by_name=True)
    listed = settings.SMTP_OVERRIDE_HOSTS or (*PRESET_HOSTS, settings.SMTP_HOST)
    for entry in (entry.lower() for entry in listed if entry):
        if entry == f"{host}:{port}" or (entry == host and port in SMTP_PORTS):
            return HostRule(by_name=True)
    return HostRule(by_name=False) if "*" in listed and port in SMTP_PORTS and not is_inside(host) else None


def account_for(channel: str, notification: Notification) -> Account | None:
    """The account for this channel of this notification. None: not configured, the step is skipped.

    `vault.VaultError` where the request's credentials can no longer be read.
    """
    if channel == "email" and notification.own_account:
        return _request_smtp(vault.unseal(notification.credentials)) if notification.credentials else None
    return _default(channel)


def _request_smtp(secret: dict[str, Any]) -> SmtpAccount | None:
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
        password=_app_password(secret["password"]),
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
        password=_app_password(settings.SMTP_DEFAULT_PASSWORD),
        from_email=settings.DEFAULT_FROM_EMAIL,
        timeout=settings.SMTP_TIMEOUT,
        reply_timeout=settings.SMTP_REPLY_TIMEOUT,
        auth_in_clear=True,
    )


def _default_security() -> Any:
    if settings.SMTP_USE_SSL:
        return "ssl"
    return "starttls" if settings.SMTP_USE_TLS else "none"


def _app_password(password: str) -> str:
    return password.replace(" ", "") if _GMAIL_APP_PASSWORD.fullmatch(password) else password


def _default_sms() -> SmsAccount | None:
    made: dict[str, Provider | None] = {
        "twilio": TwilioProvider(
            sid=settings.TWILIO_ACCOUNT_SID,
            token=settings.TWILIO_AUTH_TOKEN,
            sender=settings.TWILIO_FROM or settings.SMS_SENDER,
            **_api_url(settings.TWILIO_API_URL),
        )
        if settings.TWILIO_ACCOUNT_SID and settings.TWILIO_AUTH_TOKEN
        else None,
        "smsru": SmsRuProvider(
            api_id=settings.SMSRU_API_ID, sender=settings.SMS_SENDER, **_api_url(settings.SMSRU_API_URL)
        )
        if settings.SMSRU_API_ID
        else None,
        "smsc": SmscProvider(
            login=settings.SMSC_LOGIN,
            password=settings.SMSC_PASSWORD,
            sender=settings.SMS_SENDER,
            **_api_url(settings.SMSC_API_URL),
        )
        if settings.SMSC_LOGIN and settings.SMSC_PASSWORD
        else None,
        "http": GatewayProvider(url=settings.SMS_HTTP_URL, token=settings.SMS_HTTP_TOKEN, sender=settings.SMS_SENDER)
        if settings.SMS_HTTP_URL
        else None,
    }
    chosen = tuple(provider for name in settings.SMS_PROVIDER if (provider := made[name]))
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
def _default(channel: str) -> Account | None:
    """The environment's, made once: every message asks for it."""
    made = _DEFAULTS.get(channel)
    return made() if made else Account()


@receiver(setting_changed)
def _forget(**_: Any) -> None:
    _default.cache_clear()
