"""How notifications and people are forgotten: at a person's wish, and when their time is over."""

from datetime import timedelta

from django.db import transaction
from django.db.models.functions import Now

from notifier import events, ledger, retention
from notifier.models import Attachment, Attempt, Callback, Notification, Receipt, Recipient, TransientAttachment
from notifier.states import FINAL, OPEN, Outcome, Status


def erase(recipient: Recipient) -> None:
    """Forget a person: their row, and of their notifications every address, text and file. Open ones end.

    The notifications stay countable. A worker that has one in its hands loses it: it was ended under its lease. What
    it was handing over may still arrive, and that stays on record.
    """
    with transaction.atomic():
        # Locked, so that whoever accepts one for this person at this moment comes before, or finds nobody.
        Recipient.objects.select_for_update().filter(pk=recipient.pk).first()
        theirs = Notification.objects.filter(recipient=recipient)
        # First, so that no worker can settle one any more and add an attempt after the others lost their words.
        ended = list(theirs.filter(status__in=OPEN).select_for_update().only("round", "steps", "handover_step"))
        Attempt.objects.bulk_create(_handed_over(row, step) for row in ended if (step := row.handover_step) is not None)
        theirs.filter(status__in=OPEN).update(**ledger.ENDED, status=Status.CANCELLED)
        events.record([row.pk for row in ended])
        Attachment.objects.filter(notification__in=theirs).delete()
        Callback.objects.filter(notification__in=theirs).delete()
        tried = Attempt.objects.filter(notification__in=theirs)
        Receipt.objects.filter(provider_id__in=tried.exclude(provider_id="").values("provider_id")).delete()
        tried.update(detail="", provider_id="")
        theirs.update(subject="", message="", html="", forms=None, metadata={}, reference="", callback_url="")
        retention.forget(recipient)
        recipient.delete()


def _handed_over(row: Notification, step: int) -> Attempt:
    """The try whose end nobody will be told."""
    return Attempt(
        notification=row,
        step=step,
        round=row.round,
        channel=row.chain[step].channel,
        outcome=Outcome.UNKNOWN,
        code="outcome_unknown",
        started_at=Now(),
    )


def purge(before: timedelta, *, batch: int = 1000) -> int:
    """Delete notifications that finished longer than `before` ago, with their attempts, a batch a transaction."""
    deleted = 0
    while True:
        with transaction.atomic():
            # The oldest end of `ledger_purge`: by id each batch would read and sort all that is left to delete.
            old = Notification.objects.filter(status__in=FINAL, finished_at__lte=Now() - before).order_by("finished_at")
            ids = ledger.locked_ids(old, batch)  # locked: one that is retried at this moment must not vanish
            for model in (Attempt, *ledger.FILES, Callback):
                ledger.children_of(model, ids).delete()
            Notification.objects.filter(pk__among=ids).delete()
        deleted += len(ids)
        if len(ids) < batch:
            return deleted


def forget_transient() -> None:
    """Delete the service's own files whose notifications are final."""
    TransientAttachment.objects.filter(notification__status__in=FINAL).delete()
