"""What programs show to be let in."""

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from notifier.models.organization import Organization


class ApiKey(models.Model):
    """A key of an organization. Only its digest is stored: the key itself is shown once, when it is made."""

    class Kind(models.TextChoices):
        """What becomes of messages sent with it."""

        LIVE = "live", _("live")  # they leave
        TEST = "test", _("test")  # the full life cycle, and nothing leaves the service

    organization = models.ForeignKey(
        Organization, models.CASCADE, related_name="api_keys", verbose_name=_("organization")
    )
    name = models.CharField(_("name"), max_length=255, blank=True, help_text=_("Who uses it."))
    kind = models.CharField(
        _("kind"),
        max_length=4,
        choices=Kind.choices,
        default=Kind.LIVE,
        help_text=_("With a test key nothing leaves the service."),
    )
    may_send = models.BooleanField(_("send"), default=True, help_text=_("Writes users and notifications."))
    may_read = models.BooleanField(_("read"), default=True, help_text=_("Reads them."))
    may_manage = models.BooleanField(_("manage"), default=False, help_text=_("Everything."))
    prefix = models.CharField(
        _("prefix"), max_length=32, editable=False, help_text=_("How the key begins: what it is known by.")
    )
    digest = models.BinaryField(max_length=32, unique=True, editable=False, help_text=_("SHA-256 of the whole key."))
    created_at = models.DateTimeField(_("created"), db_default=Now(), editable=False)
    expires_at = models.DateTimeField(_("expires"), null=True, blank=True)
    revoked_at = models.DateTimeField(_("revoked"), null=True, blank=True, editable=False)
    last_used_at = models.DateTimeField(
        _("last used"), null=True, blank=True, editable=False, help_text=_("To the minute.")
    )

    class Meta:
        verbose_name = _("API key")
        verbose_name_plural = _("API keys")
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(condition=models.Q(kind__in=["live", "test"]), name="api_key_kind"),
        ]
        # Not unique: what tells keys apart is the digest, and a prefix that comes twice must lock nobody out.
        indexes = [models.Index(fields=["prefix"], name="api_key_prefix")]

    def __str__(self) -> str:
        return f"{self.prefix}…"
