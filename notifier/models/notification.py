"""The ledger's rows: what was asked for, and every try to do it."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _

from notifier.chain import Step
from notifier.models.organization import Organization
from notifier.models.recipient import Recipient
from notifier.states import DUE, FINAL, Bar, OnUnknown, Outcome, Status

SUBMISSIONS = ("manager_call", "order_request")
"""Templates whose notifications go to the organization's sales address."""


def choices(words: Any) -> list[tuple[str, str]]:
    """Django's choices from an enumeration of words; the words themselves are what people see in the API."""
    return [(str(word), str(word)) for word in words]


class Notification(models.Model):
    """One message to one person. The row is the promise: while it is open, a worker will come back to it."""

    class Rank(models.IntegerChoices):
        """Priorities as the claim sorts them: the highest first."""

        LOW = 0, "low"
        NORMAL = 1, "normal"
        HIGH = 2, "high"

    organization = models.ForeignKey(
        Organization, models.PROTECT, related_name="notifications", db_index=False, verbose_name=_("organization")
    )
    recipient = models.ForeignKey(
        Recipient,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="notifications",
        db_index=False,
        verbose_name=_("user"),
    )
    to = models.JSONField(_("address"), null=True, blank=True, help_text=_("For a person who is not stored."))
    key = models.UUIDField(
        default=uuid4, editable=False, help_text=_("In the Message-ID and in providers' references; never changes.")
    )

    subject = models.CharField(_("subject"), max_length=255, blank=True)
    message = models.TextField(_("message"), blank=True)
    html = models.TextField(_("HTML part"), blank=True)
    template = models.CharField(_("template"), max_length=63, blank=True)
    forms = models.JSONField(
        null=True, editable=False, help_text=_("What a template made for channels other than e-mail.")
    )

    steps = models.JSONField(_("chain"))
    priority = models.SmallIntegerField(_("priority"), choices=Rank.choices, default=Rank.NORMAL)
    on_unknown = models.CharField(_("on unknown"), max_length=8, choices=choices(OnUnknown), default=OnUnknown.NEXT)
    callback_url = models.CharField(_("callback URL"), max_length=2048, blank=True)
    reference = models.CharField(_("reference"), max_length=255, blank=True)
    metadata = models.JSONField(_("metadata"), default=dict, blank=True)
    own_account = models.BooleanField(
        _("own SMTP account"), default=False, help_text=_("Came with SMTP credentials: never sent through others.")
    )
    credentials = models.BinaryField(
        null=True, editable=False, help_text=_("Sealed: the request's SMTP account; what a template keeps to itself.")
    )

    test = models.BooleanField(
        _("test"),
        default=False,
        db_default=False,
        help_text=_("Came with a test key: its providers are simulated, and nothing leaves."),
    )

    status = models.CharField(_("status"), max_length=16, choices=choices(Status), default=Status.QUEUED)
    failure_code = models.CharField(_("failure code"), max_length=32, blank=True)
    created_at = models.DateTimeField(_("created"), db_default=Now(), editable=False)
    due_at = models.DateTimeField(_("due"), null=True, blank=True, db_default=Now())
    send_at = models.DateTimeField(_("not before"), null=True, blank=True)
    expires_at = models.DateTimeField(_("expires"))
    sent_at = models.DateTimeField(_("sent"), null=True, blank=True)
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)
    acknowledged_at = models.DateTimeField(_("acknowledged"), null=True, blank=True)

    round = models.IntegerField(_("round"), default=0)
    first_round = models.IntegerField(default=0, help_text=_("Where the last manual retry began."))
    claim_token = models.UUIDField(null=True, editable=False)
    lease_until = models.DateTimeField(null=True, editable=False)
    handover_step = models.SmallIntegerField(
        null=True, editable=False, help_text=_("The step whose message was being handed over.")
    )

    class Meta:
        verbose_name = _("notification")
        verbose_name_plural = _("notifications")
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(condition=Q(status__in=list(Status)), name="notification_status"),
            models.CheckConstraint(
                condition=Q(status__in=sorted(DUE), due_at__isnull=False)
                | (~Q(status__in=sorted(DUE)) & Q(due_at=None)),
                name="notification_due_when_in_nobodys_hands",
            ),
            models.CheckConstraint(
                condition=Q(status=Status.SENDING, claim_token__isnull=False, lease_until__isnull=False)
                | (~Q(status=Status.SENDING) & Q(claim_token=None, lease_until=None, handover_step=None)),
                name="notification_claimed_while_sending",
            ),
            models.CheckConstraint(
                condition=Q(status__in=sorted(FINAL), finished_at__isnull=False, credentials=None)
                | (~Q(status__in=sorted(FINAL)) & Q(finished_at=None)),
                name="notification_final_keeps_no_credentials",
            ),
            models.CheckConstraint(
                condition=(Q(status=Status.FAILED) & ~Q(failure_code=""))
                | (~Q(status=Status.FAILED) & Q(failure_code="")),
                name="notification_failed_says_why",
            ),
            models.CheckConstraint(
                condition=Q(first_round__gte=0, round__gte=F("first_round")), name="notification_round"
            ),
            models.CheckConstraint(condition=Q(recipient=None) | Q(to=None), name="notification_one_addressee"),
        ]
        indexes = [
            # The ledger's own: small however long the history grows, since they hold open rows only.
            models.Index(
                F("priority").desc(), F("due_at"), name="ledger_due", condition=Q(status__in=["queued", "waiting"])
            ),
            models.Index(fields=["lease_until"], name="ledger_leases", condition=Q(status="sending")),
            models.Index(fields=["finished_at"], name="ledger_purge", condition=Q(finished_at__isnull=False)),
            # The lists, newest first: read backwards, since new rows at the end of an index leave its pages full.
            models.Index(fields=["organization", "id"], name="notification_list"),
            models.Index(fields=["recipient", "id"], name="notification_of_recipient"),
            models.Index(fields=["organization", "status", "id"], name="notification_by_status"),
            models.Index(
                fields=["organization", "reference", "id"],
                name="notification_by_reference",
                condition=~Q(reference=""),
            ),
            models.Index(
                fields=["organization", "id"], name="notification_submissions", condition=Q(template__in=SUBMISSIONS)
            ),
        ]

    def __str__(self) -> str:
        return f"#{self.pk}"

    @cached_property
    def chain(self) -> list[Step]:
        """The steps as `chain.py` reads them. They never change."""
        return [
            Step(
                entry["channel"],
                Bar(entry.get("until", Bar.ACCEPTED)),
                None if entry.get("within") is None else timedelta(seconds=entry["within"]),
            )
            for entry in self.steps
        ]

    def address(self, channel: str) -> str:
        """Where this channel reaches the person, "" where it does not."""
        field = Recipient.ADDRESS_FIELDS.get(channel, channel)
        if self.recipient is not None:
            return str(getattr(self.recipient, field, ""))
        return str((self.to or {}).get(field) or "")


class Submission(Notification):
    """An order, or a call for a manager: a notification by another name."""

    class Meta:
        proxy = True
        verbose_name = _("submission")
        verbose_name_plural = _("submissions")

    def __str__(self) -> str:
        return self.subject


class Attempt(models.Model):
    """One try of one step, or the reason why it was skipped. Kept in order as long as its notification."""

    notification = models.ForeignKey(
        Notification, models.CASCADE, related_name="attempts", verbose_name=_("notification")
    )
    step = models.SmallIntegerField(_("step"))
    round = models.IntegerField(_("round"))
    channel = models.CharField(_("channel"), max_length=63)
    outcome = models.CharField(_("outcome"), max_length=8, choices=choices(Outcome))
    temporary = models.BooleanField(_("temporary"), null=True, help_text=_("May be tried again; failures and skips."))
    code = models.CharField(_("code"), max_length=32, blank=True)
    detail = models.TextField(_("detail"), blank=True)
    provider_id = models.CharField(_("provider id"), max_length=255, blank=True)
    account = models.CharField(_("account"), max_length=16, blank=True)
    started_at = models.DateTimeField(_("started"))
    duration_ms = models.PositiveIntegerField(_("duration, ms"), default=0)
    retry_after = models.DurationField(null=True, editable=False)
    receipt = models.CharField(_("receipt"), max_length=16, blank=True, help_text=_("What the provider said later."))

    class Meta:
        verbose_name = _("attempt")
        verbose_name_plural = _("attempts")
        ordering = ["id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(outcome__in=[Outcome.FAILED, Outcome.SKIPPED], temporary__isnull=False)
                | Q(outcome__in=[Outcome.ACCEPTED, Outcome.UNKNOWN], temporary=None),
                name="attempt_outcome",
            ),
            models.CheckConstraint(
                condition=Q(outcome=Outcome.ACCEPTED, code="") | (~Q(outcome=Outcome.ACCEPTED) & ~Q(code="")),
                name="attempt_says_why",
            ),
        ]
        indexes = [
            models.Index(fields=["provider_id"], name="attempt_provider_id", condition=~Q(provider_id="")),
        ]

    def __str__(self) -> str:
        return f"{self.channel}: {self.code or self.outcome}"


class AttachedFile(models.Model):
    """A file that goes with a notification's e-mail; outside its row, so that the ledger stays narrow."""

    filename = models.CharField(_("file name"), max_length=255)
    content_type = models.CharField(_("content type"), max_length=127)
    content = models.BinaryField()

    class Meta:
        abstract = True
        ordering = ["id"]

    def __str__(self) -> str:
        return self.filename


class Attachment(AttachedFile):
    """A client's file: kept as long as its notification."""

    notification = models.ForeignKey(
        Notification, models.CASCADE, related_name="attachments", verbose_name=_("notification")
    )

    class Meta(AttachedFile.Meta):
        verbose_name = _("attachment")
        verbose_name_plural = _("attachments")


class TransientAttachment(AttachedFile):
    """A file of the service's own, as a backup is: in no backup, and deleted when its notification is final."""

    notification = models.ForeignKey(
        Notification, models.CASCADE, related_name="transient_attachments", verbose_name=_("notification")
    )

    class Meta(AttachedFile.Meta):
        verbose_name = _("transient attachment")
        verbose_name_plural = _("transient attachments")
