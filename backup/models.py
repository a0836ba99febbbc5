"""Each try to make a backup, and what came of it."""

import socket
from datetime import timedelta

from django.db import models
from django.utils.translation import gettext_lazy as _

from notifier.models import Notification


class Status(models.TextChoices):
    """Of a try."""

    RUNNING = "running", _("running")
    OK = "ok", _("made")
    FAILED = "failed", _("failed")


class Trigger(models.TextChoices):
    """Who asked for it."""

    COMMAND = "command", _("command")
    SCHEDULE = "schedule", _("schedule")
    ADMIN = "admin", _("administrator")


class Proof(models.TextChoices):
    """Whether the file was restored and compared."""

    NONE = "", _("not verified")
    RUNNING = "running", _("being verified")
    OK = "ok", _("restores")
    FAILED = "failed", _("does not restore")


class Backup(models.Model):
    """One try. The file of a made one lies there until the next is made."""

    KEPT = timedelta(days=90)
    MOST = 1000

    started_at = models.DateTimeField(_("started"), db_index=True)
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)
    status = models.CharField(_("status"), max_length=8, choices=Status, default=Status.RUNNING)
    trigger = models.CharField(_("asked for by"), max_length=8, choices=Trigger)
    slot = models.DateTimeField(
        _("scheduled for"),
        null=True,
        blank=True,
        unique=True,
        help_text=_("Of two who want to do it, one can write this."),
    )
    host = models.CharField(_("machine"), max_length=255, blank=True)
    path = models.CharField(_("file"), max_length=4096, blank=True)
    size = models.BigIntegerField(_("size"), null=True, blank=True)
    sql_size = models.BigIntegerField(
        _("size of its SQL"), default=0, help_text=_("Before it was packed; grows while the backup is being made.")
    )
    sha256 = models.CharField(_("SHA-256"), max_length=64, blank=True, db_index=True)
    database = models.CharField(_("database"), max_length=16, blank=True)
    server = models.CharField(_("server version"), max_length=64, blank=True)
    tool = models.CharField(_("made with"), max_length=64, blank=True)
    tables = models.JSONField(_("rows by table"), default=dict, blank=True)
    migrations = models.JSONField(_("migrations"), default=list, blank=True)
    error_code = models.CharField(_("error code"), max_length=32, blank=True)
    error = models.TextField(_("error"), blank=True)
    notification = models.ForeignKey(
        Notification, models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("mail")
    )
    attached = models.BooleanField(_("attached to its mail"), default=False)
    encrypted = models.BooleanField(_("encrypted in its mail"), default=False)
    proof = models.CharField(_("proof"), max_length=8, choices=Proof, default=Proof.NONE, blank=True)
    proof_detail = models.TextField(_("detail of the proof"), blank=True)
    verified_at = models.DateTimeField(_("verified"), null=True, blank=True)

    webhook_event = models.CharField(max_length=32, blank=True, editable=False)
    webhook_due_at = models.DateTimeField(
        null=True, editable=False, help_text=_("When BACKUP_WEBHOOK_URL is told, or told again; empty: it knows.")
    )
    webhook_tries = models.PositiveSmallIntegerField(default=0, editable=False)

    class Meta:
        verbose_name = _("backup")
        verbose_name_plural = _("backups")
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(condition=models.Q(status__in=list(Status.values)), name="backup_status"),
            models.CheckConstraint(
                condition=models.Q(status=Status.RUNNING, finished_at=None)
                | (~models.Q(status=Status.RUNNING) & models.Q(finished_at__isnull=False)),
                name="backup_finished_when_not_running",
            ),
            models.CheckConstraint(
                condition=(models.Q(status=Status.FAILED) & ~models.Q(error_code=""))
                | (~models.Q(status=Status.FAILED) & models.Q(error_code="")),
                name="backup_failed_says_why",
            ),
            models.CheckConstraint(
                condition=~models.Q(status=Status.OK) | (models.Q(size__isnull=False) & ~models.Q(sha256="")),
                name="backup_made_has_a_file",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.started_at:%Y-%m-%d %H:%M}"

    @property
    def duration(self) -> timedelta | None:
        """None: not finished."""
        return self.finished_at - self.started_at if self.finished_at else None

    @property
    def rows(self) -> int:
        """Of all tables."""
        return sum(self.tables.values())

    @property
    def mail_status(self) -> str:
        """The status of its mail's notification; "" where there is none, or it is deleted by now."""
        return self.notification.status if self.notification else ""


def this_host() -> str:
    """This machine's name."""
    return socket.gethostname()[:255]
