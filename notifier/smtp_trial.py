"""An organization's SMTP settings tried out with a real mail, and what came of it in plain words."""

import secrets
from dataclasses import dataclass

from django.db.models.functions import Now
from django.utils.html import escape
from django.utils.translation import gettext as _

from channels.base import Message
from channels.email.check import Stage, check
from notifier import diagnosis
from notifier.models import EmailSettings, Membership
from notifier.organization_accounts import smtp_account
from notifier.vault import VaultError


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of it: a sentence, and what to do."""

    is_well: bool
    summary: str
    remedies: list[str]


def stage_name(stage: str) -> str:
    """A stage as people read it."""
    return str(diagnosis.STAGES[Stage(stage)]) if stage in set(Stage) else stage


def of(row: EmailSettings, *, fallback: str = "") -> Trial:
    """Send a test mail to the settings' recipients, else to the organization's administrators, else to `fallback`."""
    to = recipients_of(row) or ([fallback] if fallback else [])
    if not to:
        return Trial(False, _("There is nobody to send to."), [_("Enter recipients, or an administrator's address.")])
    try:
        account = smtp_account(row)
    except VaultError:
        return Trial(False, _("The stored password cannot be read any more."), [_("Enter it again.")])
    checked = check(account, [_message(row, address) for address in to])
    failed = checked.failures[0] if checked.failures else None
    EmailSettings.objects.filter(pk=row.pk).update(tested_at=Now(), test_failure=failed.stage if failed else "")
    if failed is None:
        sent = ", ".join(checked.sent)
        return Trial(True, _("The test e-mail was sent to {to}.").format(to=sent), [diagnosis.spam_hint()])
    whom = f" ({', '.join(failure.to for failure in checked.failures)})" if failed.to else ""
    said = _("Failed at the stage: {stage}{whom}. {detail}")
    summary = said.format(stage=stage_name(failed.stage), whom=whom, detail=failed.detail)
    if checked.sent:
        summary += " " + _("Sent to {to}.").format(to=", ".join(checked.sent))
    return Trial(False, summary, diagnosis.remedies(failed, account))


def recipients_of(row: EmailSettings) -> list[str]:
    """Who gets digests and test mails by these settings: those named there, else the organization's administrators."""
    named = row.recipient_list()
    if named:
        return named
    administrators = Membership.objects.filter(
        organization_id=row.organization_id, role=Membership.Role.ADMINISTRATOR, user__is_active=True
    )
    found = administrators.exclude(user__email="").order_by("user__email").values_list("user__email", flat=True)
    return list(dict.fromkeys(found))


def _message(row: EmailSettings, to: str) -> Message:
    text = _("This is a test. The e-mail settings of {organization} work: server {host}, port {port}.").format(
        organization=row.organization.name, host=row.host, port=row.port
    )
    return Message(
        to=to,
        subject=_("Test of the e-mail settings of {organization}").format(organization=row.organization.name),
        text=text,
        html=f"<p>{escape(text)}</p>",
        reference=f"test-{secrets.token_hex(8)}",
    )
