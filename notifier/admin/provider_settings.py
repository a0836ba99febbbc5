"""Organizations' accounts as operators set them up, and the button that proves them."""

from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.db.models import Model
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from channels.email.presets import of_host
from notifier import smtp_trial
from notifier.admin.provider_forms import EmailSettingsForm, SmsSettingsForm, TelegramSettingsForm
from notifier.admin.scoped import OrganizationFilter, Scoped, administered, is_superuser
from notifier.models import EmailSettings, ProviderSettings, SmsSettings, TelegramSettings


class ProviderSettingsAdmin(Scoped):
    """An account of an organization."""

    list_filter = (("organization", OrganizationFilter), "is_active")
    list_select_related = ("organization",)
    autocomplete_fields = ("organization",)

    def get_form(self, request: HttpRequest, obj: Model | None = None, change: bool = False, **kwargs: Any) -> Any:
        """A form that knows whether a superuser fills it in."""
        form = super().get_form(request, obj, change, **kwargs)
        return type(form.__name__, (form,), {"by_superuser": is_superuser(request)})

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        """An account stays with its organization: its password was entered for that one."""
        return () if obj is None else ("organization",)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """With the organization of who administers just one."""
        given, his = super().get_changeform_initial_data(request), administered(request)
        return {"organization": min(his), **given} if len(his) == 1 else dict(given)

    @admin.display(description=gettext_lazy("status"), ordering="is_active")
    def status(self, row: ProviderSettings) -> str:
        """Whether messages leave through it."""
        return _("✓ active") if row.is_active else _("✗ switched off")


@admin.register(EmailSettings)
class EmailSettingsAdmin(ProviderSettingsAdmin):
    """SMTP accounts."""

    form = EmailSettingsForm
    list_display = ("organization", "host", "port", "user", "status", "recipients_number", "tried", "actions_column")
    search_fields = ("host", "user", "organization__name", "organization__slug")
    fieldsets = (
        (None, {"fields": ("organization", "is_active")}),
        (gettext_lazy("SMTP server"), {"fields": ("preset", "host", "port", "use_tls", "use_ssl")}),
        (gettext_lazy("Login"), {"fields": ("user", "secret_text", "from_email")}),
        (gettext_lazy("Recipients"), {"fields": ("recipients",)}),
    )

    class Media:
        js = ("notifier/smtp_presets.js",)

    def get_urls(self) -> list[URLPattern]:
        test = path("<int:pk>/test/", self.admin_site.admin_view(self.test_view), name="notifier_emailsettings_test")
        return [test, *super().get_urls()]

    @admin.display(description=gettext_lazy("recipients"))
    def recipients_number(self, row: EmailSettings) -> int:
        """How many there are."""
        return len(row.recipient_list())

    @admin.display(description=gettext_lazy("last test"), ordering="tested_at")
    def tried(self, row: EmailSettings) -> str:
        """What came of the last test."""
        if row.tested_at is None:
            return "–"
        return (
            _("✗ {stage}").format(stage=smtp_trial.stage_name(row.test_failure)) if row.test_failure else _("✓ passed")
        )

    @admin.display(description=gettext_lazy("actions"))
    def actions_column(self, row: EmailSettings) -> str:
        """The button. It sends the list's own form, which holds the CSRF token."""
        return format_html(
            '<button type="submit" class="button" formmethod="post" formaction="{}">{}</button>',
            reverse("admin:notifier_emailsettings_test", args=[row.pk]),
            _("Test e-mail"),
        )

    def save_model(self, request: HttpRequest, obj: EmailSettings, form: Any, change: bool) -> None:
        """With a word about what is allowed, and odd."""
        super().save_model(request, obj, form, change)
        for odd in _oddities(obj):
            messages.warning(request, odd)

    def test_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Send a real mail by these settings, and say what came of it."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        row = self.get_object(request, str(pk))
        trial = smtp_trial.of(row, fallback=request.user.email)  # type: ignore[union-attr]
        self.log_change(request, row, _("Tested."))
        tell = partial(messages.success if trial.is_well else messages.error, request)
        tell(format_html("<b>{}</b>: {} {}", row.organization.name, trial.summary, _as_list(trial.remedies)))
        if not row.is_active:
            messages.warning(request, _("These settings are not active: no message leaves through them."))
        return redirect(_back(request, pk))


@admin.register(SmsSettings)
class SmsSettingsAdmin(ProviderSettingsAdmin):
    """SMS accounts."""

    form = SmsSettingsForm
    list_display = ("organization", "provider", "login", "sender", "status")
    search_fields = ("login", "sender", "organization__name", "organization__slug")


@admin.register(TelegramSettings)
class TelegramSettingsAdmin(ProviderSettingsAdmin):
    """Telegram bots."""

    form = TelegramSettingsForm
    list_display = ("organization", "parse_mode", "status")
    search_fields = ("organization__name", "organization__slug")


def _as_list(lines: list[str]) -> str:
    if not lines:
        return ""
    items = format_html("".join("<li>{}</li>" for _line in lines), *lines)
    return format_html("<ul>{}</ul>", items)


def _oddities(row: EmailSettings) -> list[str]:
    """What may be meant, and mostly is not."""
    preset, odd = of_host(row.host), []
    mode = "ssl" if row.use_ssl else "starttls" if row.use_tls else "none"
    if preset is not None and (row.port, mode) != (preset.port, preset.security):
        expected = "SSL" if preset.security == "ssl" else "TLS"
        said = _("{provider} expects port {port} with {mode}.")
        odd.append(said.format(provider=preset.title, port=preset.port, mode=expected))
    elif row.port == 465 and not row.use_ssl:
        odd.append(_("Port 465 expects SSL: switch SSL on and TLS off."))
    elif row.port == 587 and not row.use_tls:
        odd.append(_("Port 587 expects TLS: switch TLS on and SSL off."))
    if mode == "none":
        odd.append(_("Without TLS or SSL anybody on the way can read messages and password."))
    return odd


def _back(request: HttpRequest, pk: int) -> str:
    """To the page whose button was pressed."""
    if request.POST.get("from") == "form":
        return reverse("admin:notifier_emailsettings_change", args=[pk])
    return reverse("admin:notifier_emailsettings_changelist")
