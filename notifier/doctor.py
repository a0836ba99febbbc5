"""What the service needs, asked one by one: database, broker, and every account that messages leave through."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connection, connections
from django.db.migrations.executor import MigrationExecutor
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop
from kombu import Connection

from channels.base import Account, Message
from channels.email import SmtpAccount
from channels.email.check import check
from channels.errors import ChannelError, MisconfiguredError
from channels.sms import SmsAccount, SmsChannel
from channels.telegram import TelegramAccount, TelegramChannel
from notifier import diagnosis, organization_accounts, provider_accounts
from notifier.models import EmailSettings, SmsSettings, TelegramSettings
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
    yield from _channel("email", lambda account: _smtp(account, to))
    yield from _channel("sms", _sms)
    yield from _channel("telegram", _telegram)
    if database.state is State.WELL:
        yield from _of_organizations(to)


def _database() -> Finding:
    name = _("database")
    try:
        executor = MigrationExecutor(connections[DEFAULT_DB_ALIAS])
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError as error:
        detail = _("It does not answer ({error}).").format(error=type(error).__name__)
        return Finding(name, State.BROKEN, detail, [_("Check DATABASE_URL, and that the server runs.")])
    if missing:
        detail = _("{count} migrations are missing.").format(count=len(missing))
        return Finding(name, State.BROKEN, detail, [_("Run: python manage.py migrate")])
    return Finding(name, State.WELL, connection.vendor)


def _broker() -> Finding:
    name = _("broker")
    if settings.EMBEDDED:
        return Finding(name, State.ABSENT, _("None is set: the web process works the ledger itself."))
    scheme = settings.CELERY_BROKER_URL.partition(":")[0]
    try:
        with Connection(settings.CELERY_BROKER_URL, connect_timeout=BROKER_SECONDS) as broker:
            broker.ensure_connection(max_retries=1, timeout=BROKER_SECONDS)
    except Exception as error:  # noqa: BLE001 - every transport has errors of its own
        detail = _("It does not answer ({error}).").format(error=type(error).__name__)
        return Finding(name, State.BROKEN, detail, [_("Check REDIS_URL or CELERY_BROKER_URL: does the server run?")])
    return Finding(name, State.WELL, scheme)


def _channel(channel: str, ask: Callable[[Account], Iterator[Finding]]) -> Iterator[Finding]:
    """The environment's account."""
    account = provider_accounts.default_account(channel) if channel in settings.CHANNELS else None
    if account is None:
        yield Finding(channel, State.ABSENT, _("The environment names no account."))
    else:
        yield from ask(account)


def _of_organizations(to: Sequence[str]) -> Iterator[Finding]:
    for row in EmailSettings.objects.filter(is_active=True).select_related("organization"):
        yield from _own(row, lambda row=row: _smtp(organization_accounts.smtp_account(row), to))  # type: ignore[misc]
    for sms in SmsSettings.objects.filter(is_active=True).select_related("organization"):
        yield from _own(sms, lambda row=sms: _sms(organization_accounts.sms_account(row)))  # type: ignore[misc]
    for bot in TelegramSettings.objects.filter(is_active=True).select_related("organization"):
        yield from _own(bot, lambda row=bot: _telegram(organization_accounts.telegram_account(row)))  # type: ignore[misc]


def _own(
    row: EmailSettings | SmsSettings | TelegramSettings, ask: Callable[[], Iterator[Finding]]
) -> Iterator[Finding]:
    """An organization's account, under its name."""
    try:
        found = list(ask())
    except VaultError:
        found = [Finding(str(row._meta.verbose_name), State.BROKEN, _("The stored password cannot be read any more."))]
    for one in found:
        yield Finding(f"{row.organization.slug}: {one.name}", one.state, one.detail, one.remedies)


def _smtp(account: Account, to: Sequence[str]) -> Iterator[Finding]:
    assert isinstance(account, SmtpAccount)  # noqa: S101 - for the type
    name = f"SMTP {account.host}:{account.port}"
    messages = [
        Message(to=one, subject=_("Test"), text=_("This is a test. The account works."), reference=f"doctor-{number}")
        for number, one in enumerate(to)
    ]
    checked = check(account, messages)
    for failure in checked.failures:
        where = str(diagnosis.STAGES[failure.stage])
        yield Finding(name, State.BROKEN, f"{where}: {failure.detail}", diagnosis.remedies(failure, account))
    if checked.is_well:
        yield Finding(name, State.WELL, " · ".join(f"{stage} {spent} ms" for stage, spent in checked.passed.items()))


def _sms(account: Account) -> Iterator[Finding]:
    assert isinstance(account, SmsAccount)  # noqa: S101 - for the type
    channel = SmsChannel()
    for provider in account.providers:
        yield _asked(f"SMS {provider.name}", lambda provider=provider: channel.check(provider))  # type: ignore[misc]
    channel.close()


def _telegram(account: Account) -> Iterator[Finding]:
    assert isinstance(account, TelegramAccount)  # noqa: S101 - for the type
    channel = TelegramChannel()
    yield _asked("Telegram", lambda: channel.check(account))
    channel.close()


def _asked(name: str, ask: Callable[[], str]) -> Finding:
    try:
        return Finding(name, State.WELL, ask())
    except (ChannelError, MisconfiguredError) as error:
        return Finding(name, State.BROKEN, error.detail, [_(remedy) for remedy in _REMEDIES.get(error.code, ())])


_REMEDIES = {
    "authentication_failed": (gettext_noop("Check the token or password: the provider does not let us in."),),
    "unreachable": (gettext_noop("A firewall may be in the way, or the address is wrong."),),
    "timeout": (gettext_noop("A firewall may be in the way, or the address is wrong."),),
    "tls_failed": (gettext_noop("The certificate is not valid for this address."),),
    "misconfigured": (gettext_noop("Check the account at the provider: money, approval, sender."),),
}
