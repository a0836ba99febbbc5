"""People and their due dates, and how each organization is told of them."""

import unicodedata
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxLengthValidator, MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from notifier.models import Organization

LONGEST_PERSON, LONGEST_NOTE = 255, 1000
LONGEST_AHEAD = 3650


def one_spelling(person: str) -> str:
    """The name as it is stored, whichever way it came: one space between words, composed letters (NFC)."""
    return unicodedata.normalize("NFC", " ".join(person.split()))


def tidy_note(note: str) -> str:
    """The note as it is stored, whichever way it came: nothing around it, and line breaks of one kind."""
    return "\n".join(note.strip().splitlines())


class Kind(models.TextChoices):
    """What is due."""

    MEDICAL_EXAM = "medical_exam", _("medical examination")
    PSYCHIATRIC_EXAM = "psychiatric_exam", _("psychiatric examination")
    SAFETY_TRAINING = "safety_training", _("occupational safety training")
    BRIEFING = "briefing", _("safety briefing")
    FIRE_SAFETY = "fire_safety", _("fire safety")
    ELECTRICAL_SAFETY = "electrical_safety", _("electrical safety")
    CERTIFICATE = "certificate", _("certificate")
    PROTECTIVE_EQUIPMENT = "protective_equipment", _("protective equipment")
    VEHICLE = "vehicle", _("vehicle inspection")
    OTHER = "other", _("other deadline")


class Deadline(models.Model):
    """By when somebody has to do something. A person has one of each kind: the next one replaces it."""

    organization = models.ForeignKey(
        Organization, models.CASCADE, related_name="deadlines", db_index=False, verbose_name=_("organization")
    )
    person = models.CharField(
        _("person"),
        max_length=LONGEST_PERSON,
        help_text=_("Two of the same name are told apart by a number behind it."),
    )
    kind = models.CharField(_("kind"), max_length=32, choices=Kind.choices, default=Kind.MEDICAL_EXAM)
    due_date = models.DateField(_("due date"), null=True, blank=True, help_text=_("Empty: it is not known yet."))
    note = models.CharField(_("note"), max_length=LONGEST_NOTE, blank=True)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    updated_at = models.DateTimeField(_("changed"), auto_now=True)

    class Meta:
        verbose_name = _("deadline")
        verbose_name_plural = _("deadlines")
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(condition=models.Q(kind__in=list(Kind.values)), name="deadline_kind"),
        ]
        indexes = [
            models.Index(fields=["organization", "id"], name="deadline_list"),
            models.Index(fields=["organization", "due_date"], name="deadline_digest"),
            models.Index(fields=["organization", "person"], name="deadline_person"),
        ]

    def __str__(self) -> str:
        return f"{self.person}: {self.get_kind_display()}"

    def clean(self) -> None:
        """Name and note in the one spelling, in which a name may be longer."""
        super().clean()
        self.person, self.note = one_spelling(self.person), tidy_note(self.note)
        try:
            MaxLengthValidator(LONGEST_PERSON)(self.person)
        except ValidationError as error:
            raise ValidationError({"person": error}) from None


def default_timezone() -> str:
    """The service's."""
    return settings.TIME_ZONE


def check_timezone(name: str) -> None:
    """ValidationError for a time zone that this machine does not know."""
    if name not in available_timezones():
        raise ValidationError(_("There is no such time zone."), code="invalid")


class DigestSettings(models.Model):
    """When an organization gets its digest, and how far that looks ahead. Without a row the defaults hold."""

    organization = models.OneToOneField(
        Organization, models.CASCADE, related_name="digest_settings", verbose_name=_("organization")
    )
    is_active = models.BooleanField(_("daily digest"), default=True, help_text=_("Switched off: only by the command."))
    hour = models.PositiveSmallIntegerField(
        _("hour"), default=8, validators=[MaxValueValidator(23)], help_text=_("From 0 to 23, in this time zone.")
    )
    timezone = models.CharField(_("time zone"), max_length=64, default=default_timezone, validators=[check_timezone])
    days_ahead = models.PositiveSmallIntegerField(
        _("days ahead"),
        default=30,
        validators=[MinValueValidator(0), MaxValueValidator(LONGEST_AHEAD)],
        help_text=_("So soon a deadline is called upcoming."),
    )

    class Meta:
        verbose_name = _("digest settings")
        verbose_name_plural = _("digest settings")
        ordering = ["organization__slug"]
        constraints = [
            models.CheckConstraint(condition=models.Q(hour__range=(0, 23)), name="digest_hour"),
            models.CheckConstraint(condition=models.Q(days_ahead__range=(0, LONGEST_AHEAD)), name="digest_days_ahead"),
        ]

    def __str__(self) -> str:
        return str(self.organization)

    @classmethod
    def of(cls, organization: Organization) -> "DigestSettings":
        """The organization's, else the defaults."""
        found = cls._default_manager.filter(organization=organization).first()
        return found or cls(organization=organization)

    def local(self, now: datetime) -> datetime:
        """This moment on the organization's clock."""
        return now.astimezone(zone_of(self.timezone))

    def today(self) -> date:
        """The day that it is there."""
        return self.local(timezone.now()).date()

    def horizon(self, day: date) -> date:
        """The last day that is upcoming on that day."""
        return day + min(timedelta(days=self.days_ahead), date.max - day)


def zone_of(name: str) -> ZoneInfo:
    """The time zone of this name; the service's own, where this machine does not know it any more."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return ZoneInfo(settings.TIME_ZONE)


class DigestRun(models.Model):
    """An organization was served on this day: of two who want to do it, one can write the row."""

    organization = models.ForeignKey(
        Organization, models.CASCADE, related_name="digest_runs", db_index=False, verbose_name=_("organization")
    )
    date = models.DateField(_("day"))
    mails = models.PositiveIntegerField(_("mails"), default=0)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False, db_index=True)

    class Meta:
        verbose_name = _("digest that was sent")
        verbose_name_plural = _("digests that were sent")
        ordering = ["-id"]
        constraints = [models.UniqueConstraint(fields=["organization", "date"], name="digest_once_a_day")]

    def __str__(self) -> str:
        return f"{self.organization}, {self.date}"


class ImportDraft(models.Model):
    """A file between its preview and the operator's yes; of no use to anybody else."""

    KEPT = timedelta(days=1)

    organization = models.ForeignKey(Organization, models.CASCADE, related_name="+")
    operator = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    content = models.BinaryField(help_text=_("As it was uploaded, compressed."))
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("file to import")
        verbose_name_plural = _("files to import")

    def __str__(self) -> str:
        return f"#{self.pk}"
