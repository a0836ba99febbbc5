"""Organizations' accounts as operators set them up, and the button that proves them."""

from typing import Any, ClassVar

from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import ForeignKey, Model
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.utils.functional import Promise
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from notifier import diagnosis, trials
from notifier.admin.provider_forms import EmailSettingsForm, SmsSettingsForm, TelegramSettingsForm
from notifier.admin.scoped import Scoped, is_superuser
from notifier.models import (
    DEFAULT_SLUG,
    EmailSettings,
    Organization,
    ProviderSettings,
    SmsSettings,
    TelegramSettings,
)
from notifier.trials import TooSoonError, Trial


class ProviderSettingsAdmin(Scoped):
    """An account of an organization."""

    test_label: str | Promise = gettext_lazy("Test")
    change_form_template = "admin/notifier/provider_settings_form.html"
    list_select_related = ("organization",)
    ordering = ("organization__slug",)
    autocomplete_fields = ("organization",)

    class Media:
        css: ClassVar[dict[str, tuple[str, ...]]] = {"all": ("notifier/test_button.css",)}

    def get_form(self, request: HttpRequest, obj: Model | None = None, change: bool = False, **kwargs: Any) -> Any:
        """A form that knows whether a superuser fills it in."""
        form = super().get_form(request, obj, change, **kwargs)
        return type(form.__name__, (form,), {"by_superuser": is_superuser(request)})

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        """An account stays with its organization: its password was entered for that one."""
        return ("last_test",) if obj is None else ("organization", "last_test")

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """With the organization of who administers just one."""
        given, his = super().get_changeform_initial_data(request), self.organizations_of(request)
        return {"organization": min(his), **given} if len(his) == 1 else dict(given)

    def formfield_for_foreignkey(self, db_field: ForeignKey[Any, Any], request: HttpRequest, **kwargs: Any) -> Any:
        """A choice among the organizations whose accounts he sees here."""
        if not is_superuser(request):
            kwargs["queryset"] = Organization.objects.filter(pk__in=self.organizations_of(request))
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        """Not the sealed secret: nobody is to find it out by asking how it begins."""
        return not lookup.startswith("secret") and super().lookup_allowed(lookup, value, request)  # type: ignore[arg-type]

    # --- Columns -----------------------------------------------------------------------------------------------------
    @admin.display(description=gettext_lazy("status"), ordering="is_active")
    def status(self, row: ProviderSettings) -> str:
        """Whether messages leave through it."""
        return _("✓ active") if row.is_active else _("✗ switched off")

    @admin.display(description=gettext_lazy("last test"))
    def last_test(self, row: ProviderSettings) -> str:
        """What came of it."""
        if row.tested_at is None:
            return "–"
        if row.tested_at < row.changed_at:
            return _("changed since")
        return _("✗ {stage}").format(stage=trials.stage_name(row.test_failure)) if row.test_failure else _("✓ passed")

    @admin.display(description=gettext_lazy("actions"))
    def actions_column(self, row: ProviderSettings) -> SafeString:
        """The button. It sends the list's own form, which holds the CSRF token."""
        return format_html(
            '<button type="submit" class="button" formmethod="post" formaction="{}">{}</button>',
            reverse(self._test_name, args=[row.pk]),
            self.test_label,
        )

    # --- The button --------------------------------------------------------------------------------------------------
    @property
    def _test_name(self) -> str:
        return f"admin:{self.opts.app_label}_{self.opts.model_name}_test"

    def get_urls(self) -> list[URLPattern]:
        name = self._test_name.removeprefix("admin:")
        return [path("<int:pk>/test/", self.admin_site.admin_view(self.test_view), name=name), *super().get_urls()]

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> HttpResponse:
        """With the button."""
        found = self.get_object(request, object_id)
        own = {"test_url": reverse(self._test_name, args=[found.pk]), "test_label": self.test_label}
        kwargs["extra_context"] = {**(kwargs.get("extra_context") or {}), **own}
        return super().change_view(request, object_id, *args, **kwargs)

    def test_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Try these settings out, and say what came of it."""
        row = self.get_object(request, str(pk))
        if not self.has_change_permission(request, row):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        try:
            trial = trials.of(row)
        except TooSoonError:
            messages.warning(request, _("This was tried a moment ago. Wait ten seconds, then press again."))
        else:
            self.log_change(request, row, _("Tested."))
            messages.add_message(request, messages.ERROR if trial.stage else messages.SUCCESS, _told(row, trial))
        if not row.is_active:
            messages.warning(request, _("These settings are not active: no message leaves through them."))
        kind = self._test_name.removesuffix("_test")
        return redirect(f"{kind}_change", pk) if request.POST.get("from") == "form" else redirect(f"{kind}_changelist")


@admin.register(EmailSettings)
class EmailSettingsAdmin(ProviderSettingsAdmin):
    """SMTP accounts."""

    form = EmailSettingsForm
    test_label = gettext_lazy("Test e-mail")
    list_display = ("organization", "host", "port_number", "user_name", "status", "recipients_number", "actions_column")
    search_fields = ("host", "user", "organization__name", "organization__slug")
    fieldsets = (
        (None, {"fields": ("organization", "is_active", "last_test")}),
        (gettext_lazy("SMTP server"), {"fields": ("preset", "host", "port", "use_tls", "use_ssl")}),
        (gettext_lazy("Login"), {"fields": ("user", "secret_text", "from_email")}),
        (gettext_lazy("Recipients"), {"fields": ("recipients",)}),
    )

    class Media:
        js = ("notifier/smtp_presets.js",)

    def organizations_of(self, request: HttpRequest) -> frozenset[int]:
        """Where people have accounts, not the default one: through it leave the links that set their passwords, those
        of superusers too, and whoever leads them to a server of his own could be anybody."""
        his = super().organizations_of(request)
        if not settings.JWT_SECRET_KEY:
            return his
        return his.difference(Organization.objects.filter(slug=DEFAULT_SLUG).values_list("pk", flat=True))

    @admin.display(description=gettext_lazy("port"), ordering="port")
    def port_number(self, row: EmailSettings) -> int:
        """Where the server listens."""
        return row.port

    @admin.display(description=gettext_lazy("e-mail user"), ordering="user")
    def user_name(self, row: EmailSettings) -> str:
        """Who logs in."""
        return row.user

    @admin.display(description=gettext_lazy("recipients"))
    def recipients_number(self, row: EmailSettings) -> int:
        """How many there are."""
        return len(row.recipient_list())

    def save_model(self, request: HttpRequest, obj: EmailSettings, form: Any, change: bool) -> None:
        """With a word about what is allowed, and odd."""
        super().save_model(request, obj, form, change)
        if odd := diagnosis.mismatch(obj.host, obj.port, obj.security):
            messages.warning(request, odd)
        if obj.security == "none":
            messages.warning(request, _("Without TLS or SSL anybody on the way can read messages and password."))


@admin.register(SmsSettings)
class SmsSettingsAdmin(ProviderSettingsAdmin):
    """SMS accounts."""

    form = SmsSettingsForm
    test_label = gettext_lazy("Test SMS account")
    list_display = ("organization", "provider", "login", "sender", "status", "actions_column")
    search_fields = ("login", "sender", "organization__name", "organization__slug")
    fields = ("organization", "is_active", "last_test", "provider", "login", "secret_text", "sender", "url")


@admin.register(TelegramSettings)
class TelegramSettingsAdmin(ProviderSettingsAdmin):
    """Telegram bots."""

    form = TelegramSettingsForm
    test_label = gettext_lazy("Test bot")
    list_display = ("organization", "parse_mode", "status", "actions_column")
    search_fields = ("organization__name", "organization__slug")
    fields = ("organization", "is_active", "last_test", "secret_text", "parse_mode")


def _told(row: ProviderSettings, trial: Trial) -> SafeString:
    """In lines: what came of it, what to do, what the other side said."""
    lines = [*trial.remedies, *(_("Details: {words}").format(words=words) for words in trial.details)]
    below = format_html_join("", "<br>{}", ((line,) for line in lines))
    return format_html("<strong>{}</strong>: {}{}", row.organization.name, trial.summary, below)
