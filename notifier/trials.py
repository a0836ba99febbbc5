"""An organization's accounts tried out for real, and what came of it in plain words."""

import secrets
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any

from django.db.models import Q
from django.db.models.functions import Now
from django.utils.html import escape
from django.utils.translation import gettext as _

from channels.base import Message
from channels.email.check import Checked, Failure, check
from channels.errors import ChannelError, MisconfiguredError
from channels.sms import Provider, SmsAccount, SmsChannel
from channels.telegram import TelegramAccount, TelegramChannel
from notifier import diagnosis
from notifier.models import EmailSettings, ProviderSettings, SmsSettings, TelegramSettings
from notifier.organization_accounts import sms_account, smtp_account, telegram_account
from notifier.recipients import recipients_of
from notifier.vault import VaultError

PATIENCE = timedelta(seconds=25)
"""A trial ends by then, whatever the other side does: somebody looks at a page that loads."""

PAUSE = timedelta(seconds=10)
"""Between two trials of the same settings: each may send a mail to many people."""


class TooSoonError(Exception):
    """The last trial of these settings has only just begun."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of it: the stage that failed, "" for none; a sentence; what to do; what the other side said."""

    stage: str
    summary: str
    remedies: Sequence[str] = ()
    details: Sequence[str] = ()


def of(row: ProviderSettings) -> Trial:
    """Try these settings out as they are stored, whether they are active or not. TooSoonError."""
    model = type(row)
    rested = Q(tested_at=None) | Q(tested_at__lt=Now() - PAUSE)
    if not model._default_manager.filter(rested, pk=row.pk).update(tested_at=Now()):
        raise TooSoonError
    try:
        trial = _TRIALS[model](row)
    except VaultError:
        trial = unreadable()
    model._default_manager.filter(pk=row.pk).update(test_failure=trial.stage)
    return trial


def unreadable() -> Trial:
    """The sealed secret is of no use any more."""
    return Trial(
        diagnosis.ACCOUNT,
        _("The stored password or token cannot be read any more."),
        [_("Enter it again, or give ENCRYPTION_KEYS its old key back.")],
    )


def stage_name(stage: str) -> str:
    """A stage as people read it."""
    return str(diagnosis.STAGES.get(stage, stage))


# --- E-mail -----------------------------------------------------------------------------------------------------------
def _email(row: EmailSettings) -> Trial:
    """Send a real mail to everybody who gets the organization's digests."""
    to = recipients_of(row.organization, row)
    if not to:
        remedy = _("Enter recipients, or give the organization's administrators an e-mail address.")
        return Trial("recipient", _("There is nobody to send to."), [remedy])
    account = smtp_account(row)
    checked = check(account, [_mail(row, address) for address in to], within=PATIENCE)
    sent = _("Sent to {to}.").format(to=", ".join(checked.sent)) if checked.sent else ""
    if checked.is_well:
        return Trial("", sent, [diagnosis.spam_hint()])
    groups = _groups(checked)
    said = " ".join(_said(failure, whom) for failure, whom in groups)
    advice = [remedy for failure, _whom in groups for remedy in diagnosis.remedies(failure, account)]
    details = [failure.detail for failure, _whom in groups]
    return Trial(groups[0][0].stage, f"{said} {sent}".strip(), list(dict.fromkeys(advice)), details)


def _groups(checked: Checked) -> list[tuple[Failure, list[str]]]:
    """Failures that are alike but for the address, each with its addresses."""
    groups: dict[Failure, list[str]] = {}
    for failure in checked.failures:
        groups.setdefault(replace(failure, to=""), []).extend([failure.to] if failure.to else [])
    return list(groups.items())


def _said(failure: Failure, whom: list[str]) -> str:
    named = f" ({', '.join(whom)})" if whom else ""
    return _("Failed at the stage: {stage}{whom}.").format(stage=stage_name(failure.stage), whom=named)


def _mail(row: EmailSettings, to: str) -> Message:
    name = row.organization.name
    text = _("This is a test. The e-mail settings of {organization} work: server {host}, port {port}.").format(
        organization=name, host=row.host, port=row.port
    )
    return Message(
        to=to,
        subject=_("Test of the e-mail settings of {organization}").format(organization=name),
        text=text,
        html=f"<p>{escape(text)}</p>",
        reference=f"test-{secrets.token_hex(8)}",
    )


# --- SMS, Telegram ----------------------------------------------------------------------------------------------------
def of_sms(account: SmsAccount) -> dict[str, Trial]:
    """What each of its providers says of itself."""
    with closing(SmsChannel()) as channel:
        return {provider.name: _asked(partial(_standing, channel, provider)) for provider in account.providers}


def of_telegram(account: TelegramAccount) -> Trial:
    """Which bot it is."""
    brief = replace(account, timeout=min(account.timeout, PATIENCE))
    with closing(TelegramChannel()) as channel:
        return _asked(lambda: _let_in(channel.check(brief)))


def _asked(ask: Callable[[], Trial]) -> Trial:
    """What it says, or what its error means."""
    try:
        return ask()
    except (ChannelError, MisconfiguredError) as error:
        stage, advice = diagnosis.of_provider(error.code)
        said = _("Failed at the stage: {stage}{whom}.").format(stage=stage_name(stage), whom="")
        return Trial(stage, said, advice, [error.detail])


def _standing(channel: SmsChannel, provider: Provider) -> Trial:
    standing = channel.check(provider)
    balance = _("balance {amount}").format(amount=standing.balance) if standing.balance else ""
    return _let_in(", ".join(filter(None, (standing.name, balance))))


def _let_in(known: str) -> Trial:
    return Trial("", _("The provider lets us in: {known}.").format(known=known or "✓"))


_TRIALS: dict[type[ProviderSettings], Callable[[Any], Trial]] = {
    EmailSettings: _email,
    SmsSettings: lambda row: next(iter(of_sms(sms_account(row)).values())),
    TelegramSettings: lambda row: of_telegram(telegram_account(row)),
}
