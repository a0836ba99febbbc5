"""API keys as operators handle them: made and shown once, rotated, revoked; never changed, never deleted."""

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.db.models import Case, Model, QuerySet, Value, When
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.formats import localize
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from notifier import api_keys
from notifier.admin import shown_once
from notifier.admin.scoped import OrganizationFilter, Scoped, administered
from notifier.api_keys import Scope
from notifier.models import ApiKey

LONGEST = timedelta(days=36_500)
GOOD, EXPIRED, REVOKED = "good", "expired", "revoked"
STATES = {
    GOOD: gettext_lazy("good"),
    EXPIRED: gettext_lazy("expired"),
    REVOKED: gettext_lazy("revoked"),
}


class ApiKeyForm(forms.ModelForm):
    """A new key, or another name for one."""

    def clean_expires_at(self) -> Any:
        """In the future, and not beyond what a calendar holds once the key is rotated."""
        wanted, now = self.cleaned_data["expires_at"], timezone.now()
        if wanted is not None and not now < wanted <= now + LONGEST:
            raise ValidationError(_("Give a moment in the future, at most 100 years ahead."), code="expires_at")
        return wanted

    def clean(self) -> Any:
        """A key that may do nothing is a mistake."""
        boxes = [f"may_{scope}" for scope in Scope]
        if boxes[0] in self.fields and not any(self.cleaned_data.get(box) for box in boxes):
            raise ValidationError(_("Choose at least one scope."), code="scope")
        return super().clean()


class StateFilter(admin.SimpleListFilter):
    """Good, expired or revoked."""

    title = gettext_lazy("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, Any]]:
        return list(STATES.items())

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(state_now=self.value()) if self.value() in STATES else queryset


@admin.register(ApiKey)
class ApiKeyAdmin(Scoped):
    """Keys of programs."""

    form = ApiKeyForm
    list_display = (
        *("organization", "name", "prefix", "state", "kind", "scopes"),
        *("last_used_at", "expires_at", "created_at"),
    )
    list_display_links = ("prefix",)
    list_filter = (("organization", OrganizationFilter), StateFilter, "kind")
    list_select_related = ("organization",)
    search_fields = ("name", "prefix")
    actions = ("revoke_selected",)
    new_fieldsets = (
        (None, {"fields": ("organization", "name", "kind")}),
        (gettext_lazy("Scopes"), {"fields": ("may_send", "may_read", "may_manage")}),
        (None, {"fields": ("expires_at",)}),
    )
    shown_fields = (
        *("organization", "prefix", "kind", "scopes", "state"),
        *("created_at", "expires_at", "revoked_at", "last_used_at"),
    )

    def get_queryset(self, request: HttpRequest) -> Any:
        """With the state by the database's clock, as those who ask for keys judge it."""
        ended = When(revoked_at__isnull=False, then=Value(REVOKED))
        over = When(expires_at__lte=Now(), then=Value(EXPIRED))
        return super().get_queryset(request).annotate(state_now=Case(ended, over, default=Value(GOOD)))

    def get_fieldsets(self, request: HttpRequest, obj: Model | None = None) -> Any:
        return self.new_fieldsets if obj is None else ((None, {"fields": ("name", *self.shown_fields)}),)

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        """All but the name, once it is made."""
        return () if obj is None else self.shown_fields

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """With the organization of who administers just one."""
        given, his = super().get_changeform_initial_data(request), administered(request)
        return {"organization": min(his), **given} if len(his) == 1 else dict(given)

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        """Not the digest: nobody is to find it out by asking where it lies."""
        return not lookup.startswith("digest") and super().lookup_allowed(lookup, value, request)  # type: ignore[arg-type]

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Never: a revoked key still says who could do what."""
        return False

    @admin.display(description=gettext_lazy("scopes"))
    def scopes(self, key: ApiKey) -> str:
        """What it may do."""
        return ", ".join(scope for scope in Scope if scope in api_keys.scopes_of(key))

    @admin.display(description=gettext_lazy("state"), ordering="state_now")
    def state(self, key: ApiKey) -> str:
        """Whether it lets anybody in."""
        return str(STATES[key.state_now])  # type: ignore[attr-defined]

    def get_urls(self) -> list[URLPattern]:
        own = {"shown": self.shown_view, "rotate": self.rotate_view, "revoke": self.revoke_view}
        pages = [
            path(f"<int:pk>/{name}/", self.admin_site.admin_view(view), name=f"notifier_apikey_{name}")
            for name, view in own.items()
        ]
        return [*pages, *super().get_urls()]

    # --- Made, and shown once ----------------------------------------------------------------------------------------
    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """With one way to save: the next page is the only one that shows the key."""
        one_way = {"show_save_and_add_another": False, "show_save_and_continue": False}
        return super().add_view(request, form_url, {**(extra_context or {}), **one_way})

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        """A new key is made as everywhere; of an old one the name is written and nothing else."""
        if change:
            obj.save(update_fields=["name"])
            return
        made = api_keys.make(
            obj.organization,
            name=obj.name,
            kind=obj.kind,
            scopes=[scope for scope in Scope if getattr(obj, f"may_{scope}")],
            expires_at=obj.expires_at,
        )
        obj.pk, obj.prefix = made.row.pk, made.row.prefix
        shown_once.keep(request, str(obj.pk), made.secret)

    def response_add(self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None) -> HttpResponse:
        """To the page that shows it."""
        return redirect("admin:notifier_apikey_shown", obj.pk)

    def shown_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """The key, to who made it and once."""
        key = self.get_object(request, str(pk))
        secret = shown_once.take(request, str(pk)) if request.method == "GET" else None
        context = {"title": _("The new API key") if secret else _("API key"), "key": key, "secret": secret}
        return self._page(request, "shown", context)

    # --- Rotated, revoked --------------------------------------------------------------------------------------------
    def rotate_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Asks; with POST makes a successor and shows that one."""
        with transaction.atomic():
            list(ApiKey.objects.select_for_update().filter(pk=pk))  # nobody revokes it meanwhile
            key = self._changeable(request, pk)
            if key.state_now != GOOD:  # its successor would bring back what has ended
                return self._back(request, pk)
            if request.method != "POST":
                return self._ask_to_rotate(request, key)
            return self._rotate(request, key)

    def _ask_to_rotate(self, request: HttpRequest, key: Any) -> HttpResponse:
        context = {
            "title": _("Rotate this API key?"),
            "explanation": _(
                "A new key is made that may do the same, and is shown once. This one goes on beside it for a day, so "
                "that programs can change over."
            ),
            "keys": [key],
            "button": _("Rotate"),
            "back": reverse("admin:notifier_apikey_change", args=[key.pk]),
        }
        return self._page(request, "confirm", context)

    def _rotate(self, request: HttpRequest, key: Any) -> HttpResponse:
        made = api_keys.rotate(key)
        self.log_change(request, key, _("Rotated: its successor is %(key)s") % {"key": made.row})
        self.log_addition(request, made.row, _("The successor of %(key)s") % {"key": key})
        key.refresh_from_db(fields=["expires_at"])
        until = localize(timezone.localtime(key.expires_at))
        self.message_user(request, _("The old key, %(key)s, goes on until %(until)s") % {"key": key, "until": until})
        shown_once.keep(request, str(made.row.pk), made.secret)
        return redirect("admin:notifier_apikey_shown", made.row.pk)

    def revoke_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Asks; with POST ends the key."""
        key = self._changeable(request, pk)
        if key.state_now == REVOKED:
            return self._back(request, pk)
        if request.method != "POST":
            return self._ask_to_revoke(request, [key], reverse("admin:notifier_apikey_change", args=[pk]))
        self._revoke(request, [key])
        return redirect("admin:notifier_apikey_change", pk)

    @admin.action(description=gettext_lazy("Revoke selected API keys"), permissions=["change"])
    def revoke_selected(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> HttpResponse | None:
        """Asks; confirmed, ends them."""
        keys = list(queryset)
        if "confirmed" not in request.POST:
            fields = [(ACTION_CHECKBOX_NAME, key.pk) for key in keys] + [("action", "revoke_selected")]
            return self._ask_to_revoke(request, keys, reverse("admin:notifier_apikey_changelist"), fields)
        self._revoke(request, keys)
        return None

    def _ask_to_revoke(
        self, request: HttpRequest, keys: list[ApiKey], back: str, fields: list[tuple[str, Any]] | None = None
    ) -> HttpResponse:
        context = {
            "title": ngettext("Revoke this API key?", "Revoke these API keys?", len(keys)),
            "explanation": _("Programs that show it are refused at once, and for good."),
            "keys": keys,
            "fields": [*(fields or []), ("confirmed", "yes")],
            "button": _("Revoke"),
            "is_an_end": True,
            "back": back,
        }
        return self._page(request, "confirm", context)

    def _revoke(self, request: HttpRequest, keys: list[ApiKey]) -> None:
        with transaction.atomic():
            count = api_keys.revoke(keys)
            for key in keys:
                if key.revoked_at is None:
                    self.log_change(request, key, _("Revoked"))
        said = ngettext("%(count)d API key was revoked.", "%(count)d API keys were revoked.", count)
        self.message_user(request, said % {"count": count})

    # --- What these pages share --------------------------------------------------------------------------------------
    def _changeable(self, request: HttpRequest, pk: int) -> Any:
        key = self.get_object(request, str(pk))
        if not self.has_change_permission(request, key):
            raise PermissionDenied
        return key

    def _back(self, request: HttpRequest, pk: int) -> HttpResponseRedirect:
        self.message_user(request, _("This API key is not good any more."), messages.ERROR)
        return redirect("admin:notifier_apikey_change", pk)

    def _page(self, request: HttpRequest, name: str, context: dict[str, Any]) -> HttpResponse:
        everywhere = {**self.admin_site.each_context(request), "opts": self.opts, "media": self.media}
        return TemplateResponse(request, f"admin/notifier/apikey/{name}.html", {**everywhere, **context})
