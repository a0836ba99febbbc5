"""What the service needs, asked one by one: database, broker, and every account that messages leave through."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import uuid4

import redis
from django.conf import settings
from django.db import DatabaseError, connection
from django.utils.translation import gettext as _
from kombu import Connection

from channels.base import Account, Message
from channels.email import SmtpAccount
from channels.email.check import check
from channels.sms import SmsAccount
from channels.telegram import TelegramAccount
from notifier import diagnosis, organization_accounts, provider_accounts, trials
from notifier.models import EmailSettings, ProviderSettings, SmsSettings, TelegramSettings
from notifier.tables import missing_migrations
from notifier.trials import Trial
from notifier.vault import VaultError

BROKER_SECONDS = 3


class State(StrEnum):
    """How it is with one thing."""

    WELL = "well"
    BROKEN = "broken"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was asked, what came of it, and what to do."""

    name: str
    state: State
    detail: str = ""
    remedies: Sequence[str] = ()


def findings(to: Sequence[str] = ()) -> Iterator[Finding]:
    """Ask everything, one after the other. `to`: who gets a test mail by each SMTP account; nobody, and it ends with
    the login."""
    database = _database()
    yield database
    yield _broker()
    if settings.REDIS_URL and settings.REDIS_URL != settings.CELERY_BROKER_URL:
        yield _redis()
    yield from _channel("email", lambda account: _smtp(account, to))
    unusable = list(_unusable_sms())
    yield from unusable
    if not unusable or provider_accounts.default_account("sms"):
        yield from _channel("sms", _sms)
    yield from _channel("telegram", _telegram)
    if database.state is State.WELL:
        yield from _of_organizations(to)


def _database() -> Finding:
    name = _("database")
    try:
        missing = missing_migrations()
    except DatabaseError as error:
        detail = _("It does not answer ({error}).").format(error=type(error).__name__)
        return Finding(name, State.BROKEN, detail, [_("Check DATABASE_URL, and that the server runs.")])
    if missing:
        detail = _("{count} migrations are missing.").format(count=missing)
        return Finding(name, State.BROKEN, detail, [_("Run: python manage.py migrate")])
    return Finding(name, State.WELL, connection.vendor)


def _broker() -> Finding:
    name = _("broker")
    if settings.EMBEDDED:
        return Finding(name, State.ABSENT, _("None is set: the web process works the ledger itself."))
    scheme = settings.CELERY_BROKER_URL.partition(":")[0]
    try:
        with Connection(
            settings.CELERY_BROKER_URL, connect_timeout=BROKER_SECONDS, ssl=settings.CELERY_BROKER_USE_SSL
        ) as broker:
            broker.ensure_connection(max_retries=1, timeout=BROKER_SECONDS)
    except Exception as error:  # noqa: BLE001 - every transport has errors of its own
        detail = _("It does not answer ({error}).").format(error=type(error).__name__)
        return Finding(name, State.BROKEN, detail, [_("Check REDIS_URL or CELERY_BROKER_URL: does the server run?")])
    return Finding(name, State.WELL, scheme)


def _redis() -> Finding:
    """Where it is not the broker, it still counts what is limited and keeps what is cached."""
    url = settings.REDIS_URL
    try:
        with redis.Redis.from_url(
            url, socket_timeout=BROKER_SECONDS, socket_connect_timeout=BROKER_SECONDS, retry=None
        ) as server:
            server.ping()
    except (redis.RedisError, OSError, ValueError) as error:
        detail = _("It does not answer ({error}).").format(error=type(error).__name__)
        return Finding("Redis", State.BROKEN, detail, [_("Check REDIS_URL: does the server run?")])
    return Finding("Redis", State.WELL, url.partition(":")[0])


def _channel(channel: str, ask: Callable[[Account], Iterator[Finding]]) -> Iterator[Finding]:
    """The environment's account."""
    account = provider_accounts.default_account(channel) if channel in settings.CHANNELS else None
    if account is None:
        yield Finding(channel, State.ABSENT, _("The environment names no account."))
    else:
        yield from ask(account)


def _unusable_sms() -> Iterator[Finding]:
    """Providers that SMS_PROVIDER names in vain."""
    for provider in settings.SMS_PROVIDER:
        if lacking := provider_accounts.unset(provider):
            remedy = _("Set {variables}, or take it out of SMS_PROVIDER.").format(variables=", ".join(lacking))
            yield Finding(f"SMS {provider}", State.BROKEN, _("It has no credentials, and is left out."), [remedy])


def _of_organizations(to: Sequence[str]) -> Iterator[Finding]:
    asked: dict[type[ProviderSettings], Callable[[Any], Iterator[Finding]]] = {
        EmailSettings: lambda row: _smtp(organization_accounts.smtp_account(row), to),
        SmsSettings: lambda row: _sms(organization_accounts.sms_account(row)),
        TelegramSettings: lambda row: _telegram(organization_accounts.telegram_account(row)),
    }
    for model, ask in asked.items():
        rows = model._default_manager.select_related("organization").order_by("organization__slug")
        for row in rows:
            yield from _own(row, ask)


def _own(row: ProviderSettings, ask: Callable[[Any], Iterator[Finding]]) -> Iterator[Finding]:
    """An organization's account, under its name."""
    name = str(row._meta.verbose_name)
    if not row.is_active:
        found = [Finding(name, State.ABSENT, _("These settings are not active: no message leaves through them."))]
    else:
        try:
            found = list(ask(row))
        except VaultError:
            found = [_found(name, trials.unreadable())]
    for one in found:
        yield Finding(f"{row.organization.slug}: {one.name}", one.state, one.detail, one.remedies)


def _smtp(account: Account, to: Sequence[str]) -> Iterator[Finding]:
    assert isinstance(account, SmtpAccount)  # noqa: S101 - for the type
    name = f"SMTP {account.host}:{account.port}"
    messages = [
        Message(to=one, subject=_("Test"), text=_("This is a test. The account works."), reference=f"doctor-{uuid4()}")
        for one in to
    ]
    checked = check(account, messages)
    for failure in checked.failures:
        where = str(diagnosis.STAGES[failure.stage])
        yield Finding(name, State.BROKEN, f"{where}: {failure.detail}", diagnosis.remedies(failure, account))
    if checked.is_well:
        yield Finding(name, State.WELL, " · ".join(f"{stage} {spent} ms" for stage, spent in checked.passed.items()))


def _sms(account: Account) -> Iterator[Finding]:
    assert isinstance(account, SmsAccount)  # noqa: S101 - for the type
    for name, trial in trials.of_sms(account).items():
        yield _found(f"SMS {name}", trial)


def _telegram(account: Account) -> Iterator[Finding]:
    assert isinstance(account, TelegramAccount)  # noqa: S101 - for the type
    yield _found("Telegram", trials.of_telegram(account))


def _found(name: str, trial: Trial) -> Finding:
    state = State.BROKEN if trial.stage else State.WELL
    return Finding(name, state, " ".join([trial.summary, *trial.details]), trial.remedies)
