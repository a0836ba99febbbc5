"""The forms of an organization's accounts. A password is written and never shown: empty means that it stays."""

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from channels.email.presets import PRESETS, Preset, of_host
from notifier.models import EmailSettings, SmsSettings, TelegramSettings
from notifier.organization_accounts import seal_secret


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

    needs_secret = True
    """Whether no account of this kind works without one."""

    secret_text = SecretField(label=gettext_lazy("Password"))

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.secret:
            self.fields["secret_text"].help_text = _("One is stored. Leave this empty to keep it.")

    def clean(self) -> dict[str, Any]:
        """The stored secret goes only where it was entered for: else who may not read it could have it sent to him."""
        cleaned = super().clean() or {}
        given = cleaned.get("secret_text")
        moved = any(cleaned.get(name) != self.initial.get(name) for name in self.leads_to if name in cleaned)
        if moved and self.instance.secret and not given and self.uses_secret(cleaned):
            self.add_error(
                "secret_text", ValidationError(_("Enter it again: where it goes has changed."), code="again")
            )
        elif not given and not self.instance.secret and self.needs_secret:
            self.add_error("secret_text", ValidationError(_("It cannot be empty."), code="required"))
        if self.by_superuser and (self.instance.pk is None or moved or given):
            self.instance.may_be_inside = True
        elif not self.by_superuser and (self.instance.pk is None or moved):
            self.instance.may_be_inside = False
        return cleaned

    def uses_secret(self, cleaned: dict[str, Any]) -> bool:
        """Whether what is wanted now goes with a secret at all; if not, the stored one is dropped."""
        return True

    def save(self, commit: bool = True) -> Any:
        """With the secret sealed. A private address stays allowed as long as nobody else says where messages go."""
        if self.cleaned_data.get("secret_text"):
            self.instance.secret = seal_secret(self.cleaned_data["secret_text"])
        elif not self.uses_secret(self.cleaned_data):
            self.instance.secret = None
        return super().save(commit)


class PresetSelect(forms.Select):
    """Each option knows what it fills in; the page's script reads that."""

    def create_option(self, name: str, value: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        option = super().create_option(name, value, *args, **kwargs)
        preset = _preset(value)
        if preset is not None:
            known = {"data-host": preset.host, "data-port": preset.port, "data-security": preset.security}
            option["attrs"] |= known
        return option


def _preset(key: object) -> Preset | None:
    return next((preset for preset in PRESETS if preset.key == key), None)


class EmailSettingsForm(ProviderForm):
    """The SMTP account, from a preset or by hand."""

    leads_to = ("host", "port", "use_tls", "use_ssl")
    needs_secret = False

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
        labels = {
            "user": gettext_lazy("E-mail user"),
            "from_email": gettext_lazy("Sender's e-mail"),
            "recipients": gettext_lazy("Recipients' e-mails"),
        }
        help_texts = {
            "from_email": gettext_lazy(
                "An address, also with a name: Acme &lt;robot@acme.example&gt;. "
                "Empty: the user, where that is an address."
            ),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["host"].required = False  # a preset fills it in, where the page's script did not
        known = of_host(self.instance.host)
        self.initial.setdefault("preset", known.key if known else "")

    def clean(self) -> dict[str, Any]:
        """What the fields mean together; the model itself looks at each."""
        self._follow_preset(self.cleaned_data)
        cleaned = super().clean()
        user, has_secret = cleaned.get("user"), cleaned.get("secret_text") or self.instance.secret
        if user and not has_secret:
            self.add_error("secret_text", ValidationError(_("A user needs a password."), code="required"))
        if cleaned.get("secret_text") and not user and "user" in cleaned:
            self.add_error("user", ValidationError(_("A password needs a user."), code="required"))
        return cleaned

    def uses_secret(self, cleaned: dict[str, Any]) -> bool:
        """A relay that knows us by our address asks for none."""
        return bool(cleaned.get("user"))

    def _follow_preset(self, cleaned: dict[str, Any]) -> None:
        """A provider that was chosen now fills in what the page's script did not; with another server it is a riddle.

        One that was chosen before says nothing about a server that was typed since.
        """
        preset, host = _preset(cleaned.get("preset")), cleaned.get("host", "")
        if preset is None or of_host(host) == preset:
            return
        is_chosen_now = preset.key != self.initial.get("preset")
        if not host or (is_chosen_now and host == self.initial.get("host")):
            cleaned |= {
                "host": preset.host,
                "port": preset.port,
                "use_tls": preset.security == "starttls",
                "use_ssl": preset.security == "ssl",
            }
        elif is_chosen_now:
            message = _("{provider} has the server {host}: leave the field empty, or choose a server of your own.")
            said = message.format(provider=preset.title, host=preset.host)
            self.add_error("preset", ValidationError(said, code="invalid"))


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
        """A gateway may do without a token."""
        self.needs_secret = self.cleaned_data.get("provider") != SmsSettings.Provider.HTTP
        return super().clean()


class TelegramSettingsForm(ProviderForm):
    """The bot."""

    secret_text = SecretField(
        label=gettext_lazy("Bot token"), help_text=gettext_lazy("From @BotFather, as in 123456:ABC-DEF…")
    )

    class Meta:
        model = TelegramSettings
        fields = ("organization", "secret_text", "parse_mode", "is_active")
