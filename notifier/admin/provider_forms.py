"""The forms of an organization's accounts. A password is written and never shown: empty means that it stays."""

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from rest_framework import serializers

from channels import net
from channels.email import addresses
from channels.email.presets import HOSTS, PRESETS, Preset
from channels.errors import MisconfiguredError
from notifier.inputs.fields import Email
from notifier.models import EmailSettings, SmsSettings, TelegramSettings
from notifier.organization_accounts import seal_secret

MOST_RECIPIENTS = 50


class SecretField(forms.CharField):
    """A password or token: write-only."""

    def __init__(self, **kwargs: Any) -> None:
        widget = forms.PasswordInput(render_value=False, attrs={"autocomplete": "new-password", "class": "vTextField"})
        super().__init__(required=False, strip=True, max_length=1024, widget=widget, **kwargs)


class ProviderForm(forms.ModelForm):
    """What all accounts share: a secret, and whether whoever saves it may lead messages into our own network."""

    by_superuser = True
    """Set by the admin for each request."""

    leads_to: tuple[str, ...] = ()
    """The fields that say where the secret goes."""

    secret_text = SecretField(label=gettext_lazy("Password"))

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.secret:
            self.fields["secret_text"].help_text = _("One is stored. Leave this empty to keep it.")

    def clean(self) -> dict[str, Any]:
        """The stored secret goes only where it was entered for: else who may not read it could have it sent to him."""
        cleaned = super().clean() or {}
        moved = [name for name in self.leads_to if name in self.changed_data]
        if moved and self.instance.secret and not cleaned.get("secret_text"):
            self.add_error(
                "secret_text", ValidationError(_("Enter it again: where it goes has changed."), code="again")
            )
        return cleaned

    def save(self, commit: bool = True) -> Any:
        """With the secret sealed. A private address stays allowed as long as nobody else says where messages go."""
        if self.cleaned_data.get("secret_text"):
            self.instance.secret = seal_secret(self.cleaned_data["secret_text"])
        if self.by_superuser:
            self.instance.may_be_inside = True
        elif self.instance.pk is None or set(self.leads_to) & set(self.changed_data):
            self.instance.may_be_inside = False
        return super().save(commit)


class PresetSelect(forms.Select):
    """Each option knows what it fills in; the page's script reads that."""

    def create_option(self, name: str, value: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        option = super().create_option(name, value, *args, **kwargs)
        preset = _preset(str(value))
        if preset is not None:
            known = {"data-host": preset.host, "data-port": preset.port, "data-security": preset.security}
            option["attrs"] |= known
        return option


def _preset(key: str) -> Preset | None:
    return next((preset for preset in PRESETS if preset.key == key), None)


class EmailSettingsForm(ProviderForm):
    """The SMTP account, from a preset or by hand."""

    leads_to = ("host", "port", "use_tls", "use_ssl")

    preset = forms.ChoiceField(
        label=gettext_lazy("Provider"),
        required=False,
        widget=PresetSelect,
        choices=[
            ("", gettext_lazy("a server of one's own")),
            *((preset.key, preset.title) for preset in PRESETS),
        ],
        help_text=gettext_lazy("Fills in server, port and encryption."),
    )

    class Meta:
        model = EmailSettings
        fields = (
            *("organization", "preset", "host", "port", "use_tls", "use_ssl"),
            *("user", "secret_text", "from_email", "recipients", "is_active"),
        )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "host" in self.fields:
            self.fields["host"].required = False  # a preset fills it in, where the page's script did not
        if "preset" in self.fields and self.instance.pk is not None:
            known = next((preset for preset in PRESETS if preset.host == self.instance.host), None)
            self.initial["preset"] = known.key if known else ""

    def clean_host(self) -> str:
        """A name or an address, without anything around it."""
        host = str(self.cleaned_data.get("host") or "").strip().lower().rstrip(".")
        preset = _preset(self.data.get(self.add_prefix("preset"), ""))
        if not host and preset is not None:
            return preset.host
        if not host:
            raise ValidationError(_("Name the server, or choose a provider."), code="required")
        if "://" in host or "/" in host or "@" in host or any(sign.isspace() for sign in host):
            raise ValidationError(_("Only the server's name, as in smtp.example.com."), code="invalid")
        if ":" in host and not _is_ipv6(host):
            raise ValidationError(_("The port has a field of its own."), code="invalid")
        if not self.by_superuser and host not in HOSTS and net.is_inside(host):
            raise ValidationError(_("Only a superuser may name a server in a private network."), code="not_allowed")
        return host

    def clean_recipients(self) -> str:
        """One address a line, each checked."""
        lines = [line.strip() for line in self.cleaned_data["recipients"].splitlines() if line.strip()]
        if len(lines) > MOST_RECIPIENTS:
            raise ValidationError(_("At most {most} addresses.").format(most=MOST_RECIPIENTS), code="too_many")
        wrong = []
        for number, line in enumerate(lines, 1):
            try:
                Email().run_validation(line)
            except serializers.ValidationError:
                wrong.append(_("Line {number} is no e-mail address: {line}").format(number=number, line=line[:100]))
        if len({line.lower() for line in lines}) != len(lines):
            wrong.append(_("An address stands there twice."))
        if wrong:
            raise ValidationError(wrong)
        return "\n".join(lines)

    def clean_from_email(self) -> str:
        """An address, or a name and an address."""
        given = str(self.cleaned_data["from_email"]).strip()
        if given:
            try:
                addresses.sender(given, "")
            except MisconfiguredError:
                raise ValidationError(_("Give an address, or Name <address>."), code="invalid") from None
        return given

    def clean(self) -> dict[str, Any]:
        """What the fields mean together."""
        cleaned = super().clean()
        preset = _preset(self.data.get(self.add_prefix("preset"), ""))
        if preset is not None and not self.data.get(self.add_prefix("host"), "").strip():  # no script filled it in
            cleaned |= {
                "port": preset.port,
                "use_tls": preset.security == "starttls",
                "use_ssl": preset.security == "ssl",
            }
        user, has_secret = cleaned.get("user"), cleaned.get("secret_text") or self.instance.secret
        if user and not has_secret:
            self.add_error("secret_text", ValidationError(_("A user needs a password."), code="required"))
        if cleaned.get("secret_text") and not user:
            self.add_error("user", ValidationError(_("A password needs a user."), code="required"))
        if not user:
            self.instance.secret = None
        if not cleaned.get("from_email") and "@" not in (user or "") and "from_email" in cleaned:
            message = _("Give the address that messages come from: the user is none.")
            self.add_error("from_email", ValidationError(message, code="required"))
        return cleaned


class SmsSettingsForm(ProviderForm):
    """The SMS account."""

    leads_to = ("provider", "login", "url")

    secret_text = SecretField(
        label=gettext_lazy("Token or password"),
        help_text=gettext_lazy("Twilio: the auth token; SMS.ru: the api_id; SMSC.ru: the password."),
    )

    class Meta:
        model = SmsSettings
        fields = ("organization", "provider", "login", "secret_text", "sender", "url", "is_active")

    def clean(self) -> dict[str, Any]:
        """What each provider needs."""
        cleaned = super().clean()
        provider = cleaned.get("provider")
        needed = {"twilio": ("login", "sender"), "smsc": ("login",), "http": ("url",)}.get(str(provider), ())
        for name in needed:
            if not cleaned.get(name):
                self.add_error(name, ValidationError(_("This provider needs it."), code="required"))
        if provider and provider != "http" and not (cleaned.get("secret_text") or self.instance.secret):
            self.add_error("secret_text", ValidationError(_("This provider needs it."), code="required"))
        if provider == "http":
            self._check_gateway(str(cleaned.get("url") or ""))
        elif cleaned.get("url"):
            self.add_error("url", ValidationError(_("Only a gateway of one's own has one."), code="invalid"))
        return cleaned

    def _check_gateway(self, url: str) -> None:
        if not self.by_superuser:
            message = _("Only a superuser may name a gateway: the service would call any address for it.")
            self.add_error("provider", ValidationError(message, code="not_allowed"))
        if url and not url.startswith(("http://", "https://")):
            self.add_error("url", ValidationError(_("It begins with https:// or http://."), code="invalid"))


class TelegramSettingsForm(ProviderForm):
    """The bot."""

    secret_text = SecretField(
        label=gettext_lazy("Bot token"), help_text=gettext_lazy("From @BotFather, as in 123456:ABC-DEF…")
    )

    class Meta:
        model = TelegramSettings
        fields = ("organization", "secret_text", "parse_mode", "is_active")

    def clean(self) -> dict[str, Any]:
        """A bot has a token."""
        cleaned = super().clean()
        if not (cleaned.get("secret_text") or self.instance.secret):
            self.add_error("secret_text", ValidationError(_("A bot needs its token."), code="required"))
        return cleaned


def _is_ipv6(host: str) -> bool:
    return host.count(":") >= 2
