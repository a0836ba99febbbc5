"""An organization's own accounts: what its messages leave with, set up by operators."""

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from notifier.models.organization import Organization


class ProviderSettings(models.Model):
    """What all of an organization's accounts have. One that is not active is as good as none."""

    organization = models.OneToOneField(
        Organization, models.CASCADE, related_name="%(class)s", verbose_name=_("organization")
    )
    secret = models.BinaryField(null=True, editable=False, help_text=_("Sealed: the password or token."))
    is_active = models.BooleanField(_("active"), default=True, help_text=_("Switched off, it is as good as none."))
    may_be_inside = models.BooleanField(
        _("private address allowed"),
        default=True,
        editable=False,
        help_text=_("Whether the server may stand in our own network: decided by who saved this."),
    )
    changed_at = models.DateTimeField(_("changed"), auto_now=True)
    tested_at = models.DateTimeField(_("tested"), null=True, blank=True, editable=False)
    test_failure = models.CharField(
        _("what failed"),
        max_length=16,
        blank=True,
        editable=False,
        help_text=_("The stage; empty: all is well."),
    )

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return str(self.organization)


class EmailSettings(ProviderSettings):
    """The SMTP account of an organization, and who gets its digests and test mails."""

    host = models.CharField(_("SMTP server"), max_length=253, help_text=_("As in smtp.example.com"))
    port = models.PositiveIntegerField(
        _("SMTP port"),
        default=587,
        validators=[MinValueValidator(1), MaxValueValidator(65535)],
        help_text=_("587 with TLS, 465 with SSL."),
    )
    use_tls = models.BooleanField(_("use TLS"), default=True, help_text=_("STARTTLS, usually on port 587."))
    use_ssl = models.BooleanField(_("use SSL"), default=False, help_text=_("From the first byte, usually on port 465."))
    user = models.CharField(_("user"), max_length=255, blank=True, help_text=_("Mostly the whole e-mail address."))
    from_email = models.CharField(
        _("from address"),
        max_length=320,
        blank=True,
        help_text=_("An address, or Name <address>. Empty: the user, where that is an address."),
    )
    recipients = models.TextField(
        _("recipients"),
        blank=True,
        help_text=_("Who gets digests and test mails, one address a line. Empty: the organization's administrators."),
    )

    class Meta:
        verbose_name = _("e-mail settings (SMTP)")
        verbose_name_plural = _("e-mail settings (SMTP)")
        constraints = [
            models.CheckConstraint(
                condition=~Q(use_tls=True, use_ssl=True),
                name="email_settings_tls_or_ssl",
                violation_error_message=_("TLS and SSL exclude each other: TLS for port 587, SSL for port 465."),
            ),
            models.CheckConstraint(condition=Q(port__range=(1, 65535)), name="email_settings_port"),
        ]

    def recipient_list(self) -> list[str]:
        """The addresses, in order."""
        return [line.strip() for line in self.recipients.splitlines() if line.strip()]

    def clean(self) -> None:
        """What the fields mean together."""
        super().clean()
        if self.use_tls and self.use_ssl:
            raise ValidationError(
                {"use_ssl": _("TLS and SSL exclude each other: TLS for port 587, SSL for port 465.")}, code="exclusive"
            )


class SmsSettings(ProviderSettings):
    """The SMS account of an organization."""

    class Provider(models.TextChoices):
        """Whose account it is."""

        TWILIO = "twilio", "Twilio"
        SMSRU = "smsru", "SMS.ru"
        SMSC = "smsc", "SMSC.ru"
        HTTP = "http", _("a gateway of one's own")

    provider = models.CharField(_("provider"), max_length=16, choices=Provider.choices)
    login = models.CharField(
        _("login"), max_length=255, blank=True, help_text=_("Twilio: the account SID; SMSC.ru: the login.")
    )
    sender = models.CharField(_("sender"), max_length=64, blank=True, help_text=_("The number or name that is shown."))
    url = models.CharField(
        _("URL"), max_length=2048, blank=True, help_text=_("Of a gateway of one's own; empty for the others.")
    )

    class Meta:
        verbose_name = _("SMS settings")
        verbose_name_plural = _("SMS settings")
        constraints = [
            models.CheckConstraint(
                condition=Q(provider__in=["twilio", "smsru", "smsc", "http"]), name="sms_settings_provider"
            ),
        ]


class TelegramSettings(ProviderSettings):
    """The Telegram bot of an organization."""

    class ParseMode(models.TextChoices):
        """How Telegram reads the text."""

        HTML = "HTML", "HTML"
        MARKDOWN_V2 = "MarkdownV2", "MarkdownV2"
        MARKDOWN = "Markdown", "Markdown"

    parse_mode = models.CharField(
        _("markup"),
        max_length=16,
        choices=ParseMode.choices,
        blank=True,
        help_text=_("Empty: the text is shown as it is."),
    )

    class Meta:
        verbose_name = _("Telegram settings")
        verbose_name_plural = _("Telegram settings")
