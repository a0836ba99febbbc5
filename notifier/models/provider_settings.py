"""An organization's own accounts: what its messages leave with, set up by operators."""

from collections.abc import Callable
from typing import Any, ClassVar

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext as now_translated
from django.utils.translation import gettext_lazy as _

from channels import net
from channels.email import addresses as mailboxes
from channels.email.account import Security
from channels.email.presets import HOSTS
from channels.errors import MisconfiguredError
from notifier import addresses
from notifier.models.organization import Organization

MOST_RECIPIENTS = 50


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
        return _lines(self.recipients)

    @property
    def security(self) -> Security:
        """How its connections are encrypted."""
        return "ssl" if self.use_ssl else "starttls" if self.use_tls else "none"

    def clean(self) -> None:
        """Bring host, sender and recipients into their form; what is wrong is named by field, all of it at once."""
        super().clean()
        wrong: dict[str, Any] = {}
        tidied: dict[str, Callable[[str], str]] = {"host": _host, "from_email": _sender, "recipients": _recipients}
        for name, tidy in tidied.items():
            try:
                setattr(self, name, tidy(getattr(self, name)))
            except ValidationError as error:
                wrong[name] = error
        if "host" not in wrong and not self.may_be_inside and self.host not in HOSTS and net.is_inside(self.host):
            message = _("Only a superuser may name a server in a private network.")
            wrong["host"] = ValidationError(message, code="not_allowed")
        if self.use_tls and self.use_ssl:
            message = _("TLS and SSL exclude each other: TLS for port 587, SSL for port 465.")
            wrong["use_ssl"] = ValidationError(message, code="exclusive")
        elif self.user and self.security == "none" and not self.may_be_inside:
            message = _("A login needs TLS or SSL: the password would be readable on the way.")
            wrong["use_tls"] = ValidationError(message, code="missing")
        if not self.from_email and "@" not in self.user:
            message = _("Give the address that messages come from: the user is none.")
            wrong.setdefault("from_email", ValidationError(message, code="missing"))
        if wrong:
            raise ValidationError(wrong)


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

    NEEDED: ClassVar[dict[str, tuple[str, ...]]] = {
        "twilio": ("login", "sender"),
        "smsc": ("login",),
        "http": ("url",),
    }
    """What each provider cannot do without, beside its secret."""

    def clean(self) -> None:
        """What each provider needs; a gateway of one's own may stand anywhere, so not everybody may name one."""
        super().clean()
        wrong: dict[str, Any] = {
            name: ValidationError(_("This provider needs it."), code="missing")
            for name in self.NEEDED.get(self.provider, ())
            if not getattr(self, name)
        }
        if self.provider != self.Provider.HTTP:
            if self.url:
                wrong["url"] = ValidationError(_("Only a gateway of one's own has one."), code="invalid")
        elif not self.may_be_inside:
            message = _("Only a superuser may name a gateway: the service would call any address for it.")
            wrong["provider"] = ValidationError(message, code="not_allowed")
        elif self.url and not self.url.startswith(("http://", "https://")):
            wrong["url"] = ValidationError(_("It begins with https:// or http://."), code="invalid")
        if wrong:
            raise ValidationError(wrong)


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


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _host(given: str) -> str:
    """A name or an address, without anything around it."""
    host = given.strip().lower().rstrip(".")
    if not host:
        raise ValidationError(_("Name the server, or choose a provider."), code="missing")
    if any(sign in "/@?#" or not sign.isprintable() or sign.isspace() for sign in host):
        raise ValidationError(_("Only the server's name, as in smtp.example.com."), code="invalid")
    if host.count(":") == 1:  # an IPv6 address has more of them
        raise ValidationError(_("The port has a field of its own."), code="invalid")
    return host


def _sender(given: str) -> str:
    """An address, or a name and an address."""
    given = given.strip()
    try:
        if given:
            mailboxes.sender(given, "")
    except MisconfiguredError:
        raise ValidationError(_("Give an address, or Name <address>."), code="invalid") from None
    return given


def _recipients(given: str) -> str:
    """One address a line, each checked."""
    if len(_lines(given)) > MOST_RECIPIENTS:
        message = now_translated("At most {most} addresses.").format(most=MOST_RECIPIENTS)
        raise ValidationError(message, code="too_many")
    wrong, found = [], []
    for number, line in enumerate(given.splitlines(), 1):
        try:
            found += [addresses.normal(line.strip())] if line.strip() else []
        except ValueError:
            message = now_translated("Line {number} is no e-mail address: {line}")
            wrong.append(message.format(number=number, line=line.strip()[:100]))
    if len({line.casefold() for line in found}) != len(found):
        wrong.append(now_translated("An address stands there twice."))
    if wrong:
        raise ValidationError([ValidationError(one, code="invalid") for one in wrong])
    return "\n".join(found)
