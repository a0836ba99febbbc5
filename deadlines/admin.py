"""Deadlines as operators handle them: lists, one by one, and whole files in and out."""

import zlib
from collections.abc import Callable
from typing import Any
from zoneinfo import available_timezones

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.widgets import AdminTextareaWidget
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from deadlines import csv_files, imports
from deadlines.models import Deadline, DigestRun, DigestSettings, ImportDraft
from deadlines.states import State, matching_everywhere, state_of
from notifier.admin.scoped import OrganizationFilter, Scoped, administered, is_superuser
from notifier.models import Organization

SHOWN = 20
"""Lines of a file in its preview, and five times as many errors."""


class DeadlineForm(forms.ModelForm):
    """A deadline."""

    class Meta:
        model = Deadline
        fields = ("organization", "person", "kind", "due_date", "note")
        widgets = {"note": AdminTextareaWidget(attrs={"rows": 3})}

    def _get_validation_exclusions(self) -> Any:
        """The organization cannot be changed and yet counts: with it there is one deadline of a kind."""
        excluded = super()._get_validation_exclusions()  # type: ignore[misc]  # Django's, unpublished
        return excluded if "organization" in self.fields else excluded - {"organization"}


class StateFilter(admin.SimpleListFilter):
    """Each organization's by its own calendar."""

    title = gettext_lazy("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, Any]]:
        return [(str(value), label) for value, label in State.choices]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        return queryset.filter(matching_everywhere(value)) if value in State.values else queryset


class UploadForm(forms.Form):
    """A file, and whose deadlines it holds."""

    organization = forms.ModelChoiceField(Organization.objects.none(), label=gettext_lazy("Organization"))
    file = forms.FileField(
        label=gettext_lazy("CSV file"),
        help_text=gettext_lazy("The first line names the columns: person, kind, due_date, note. At most 5 MB."),
        widget=forms.FileInput(attrs={"accept": ".csv,.txt,text/csv"}),
    )

    def __init__(self, request: HttpRequest, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        choices = Organization.objects.order_by("name")
        his = administered(request)
        choices = choices if is_superuser(request) else choices.filter(pk__in=his)
        field = self.fields["organization"]
        field.queryset = choices  # type: ignore[attr-defined]
        if (only := choices[:2]) and len(only) == 1:
            field.initial = only[0]

    def clean_file(self) -> bytes:
        """What is in it."""
        file = self.cleaned_data["file"]
        if file.size > csv_files.MOST_BYTES:
            raise forms.ValidationError(_("The file may have at most 5 MB."), code="too_large")
        content: bytes = file.read()
        return content


@admin.register(Deadline)
class DeadlineAdmin(Scoped):
    """People and their due dates."""

    form = DeadlineForm
    list_display = ("person", "kind", "due_date", "state", "organization")
    list_filter = (StateFilter, "kind", ("organization", OrganizationFilter))
    list_select_related = ("organization__digest_settings",)
    date_hierarchy = "due_date"
    search_fields = ("person",)
    readonly_fields = ("created_at", "updated_at")
    actions = ("export_selected",)

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        """The organization too: nobody's data moves to another one."""
        return self.readonly_fields if obj is None else ("organization", *self.readonly_fields)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """With the organization of who administers just one."""
        given, his = super().get_changeform_initial_data(request), administered(request)
        return {"organization": min(his), **given} if len(his) == 1 else dict(given)

    @admin.display(description=gettext_lazy("state"), ordering="due_date")
    def state(self, row: Deadline) -> str:
        """On the organization's calendar, today."""
        calendar = getattr(row.organization, "digest_settings", None) or DigestSettings()
        today = calendar.today()
        return str(state_of(row.due_date, today, calendar.horizon(today)).label)

    def get_urls(self) -> list[URLPattern]:
        own: dict[str, tuple[str, Callable[..., HttpResponse]]] = {
            "import": ("import/", self.import_view),
            "preview": ("import/<int:pk>/", self.preview_view),
            "export": ("export/", self.export_view),
        }
        pages = [
            path(route, self.admin_site.admin_view(view), name=f"deadlines_deadline_{name}")
            for name, (route, view) in own.items()
        ]
        return [*pages, *super().get_urls()]

    # --- In ----------------------------------------------------------------------------------------------------------
    def import_view(self, request: HttpRequest) -> HttpResponse:
        """Takes a file; it is kept until its preview is answered, a day at most."""
        self._only_for_those_who_may_add(request)
        form = UploadForm(request)
        if request.method == "POST":
            form = UploadForm(request, data=request.POST, files=request.FILES)
            if form.is_valid():
                ImportDraft.objects.filter(operator_id=request.user.pk).delete()
                ImportDraft.objects.filter(created_at__lt=timezone.now() - ImportDraft.KEPT).delete()
                draft = ImportDraft.objects.create(
                    organization=form.cleaned_data["organization"],
                    operator=request.user,  # type: ignore[misc]  # nobody else comes here
                    content=zlib.compress(form.cleaned_data["file"]),
                )
                return redirect("admin:deadlines_deadline_preview", draft.pk)
        context = {"title": _("Import deadlines"), "form": form, "kinds": Deadline._meta.get_field("kind").choices}
        return self._page(request, "import", context)

    def preview_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Shows what the file would do, or what is wrong with it; with POST does it, all or nothing."""
        self._only_for_those_who_may_add(request)
        draft = ImportDraft.objects.select_related("organization").filter(pk=pk, operator_id=request.user.pk).first()
        if draft is None or not (is_superuser(request) or draft.organization_id in administered(request)):
            raise Http404
        reading = csv_files.read(zlib.decompress(bytes(draft.content)))
        if request.method == "POST" and not reading.problems:
            return self._import(request, draft, reading)
        dry = self._tried(draft, reading)
        context = {
            "title": _("Import deadlines"),
            "organization": draft.organization,
            "counts": dry,
            "lines": [_shown(line) for line in reading.lines[:SHOWN]],
            "total": len(reading.lines),
            "problems": [(one, _label(one.column)) for one in reading.problems[: SHOWN * 5]],
            "problem_count": len(reading.problems),
        }
        return self._page(request, "preview", context)

    def _tried(self, draft: ImportDraft, reading: csv_files.Reading) -> imports.Counts | None:
        """What it would do; None where something is wrong with it."""
        try:
            return None if reading.problems else imports.store(draft.organization, reading.lines, dry_run=True)
        except imports.NamesakesError as error:
            reading.problems.extend(error.problems)
            return None

    def _import(self, request: HttpRequest, draft: ImportDraft, reading: csv_files.Reading) -> HttpResponse:
        try:
            counts = imports.store(draft.organization, reading.lines)
        except imports.NamesakesError:  # one was made meanwhile: the preview names the lines
            return redirect(request.path)
        draft.delete()
        said = _("Deadlines imported: %(created)d created, %(changed)d changed, %(unchanged)d unchanged.")
        self.log_change(request, draft.organization, said % counts.as_dict())
        self.message_user(request, said % counts.as_dict(), messages.SUCCESS)
        return redirect("admin:deadlines_deadline_changelist")

    def _only_for_those_who_may_add(self, request: HttpRequest) -> None:
        if not self.has_add_permission(request):
            raise Http404

    # --- Out ---------------------------------------------------------------------------------------------------------
    def export_view(self, request: HttpRequest) -> HttpResponse:
        """All that the list shows with these filters, on all of its pages."""
        if not self.has_view_permission(request):
            raise Http404
        try:
            return _file(self.get_changelist_instance(request).get_queryset(request))
        except IncorrectLookupParameters:
            return redirect("admin:deadlines_deadline_changelist")

    @admin.action(description=gettext_lazy("Export selected deadlines as CSV"), permissions=["view"])
    def export_selected(self, request: HttpRequest, queryset: QuerySet[Deadline]) -> HttpResponse:
        """The same of some."""
        return _file(queryset)

    def _page(self, request: HttpRequest, name: str, context: dict[str, Any]) -> HttpResponse:
        everywhere = {**self.admin_site.each_context(request), "opts": self.opts, "media": self.media}
        return TemplateResponse(request, f"admin/deadlines/deadline/{name}.html", {**everywhere, **context})


def _shown(line: csv_files.Line) -> dict[str, Any]:
    """A line in the preview's words."""
    row = Deadline(**line.values)
    told = {"person": row.person, "kind": row.get_kind_display(), "due_date": row.due_date, "note": row.note}
    return {"number": line.number, **told}


def _label(column: str) -> str:
    """What people call it."""
    return str(getattr(Deadline._meta.get_field(column), "verbose_name", column)) if column else ""


def _file(rows: QuerySet[Deadline]) -> HttpResponse:
    name = f"deadlines-{timezone.localdate().isoformat()}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return HttpResponse(csv_files.write(rows), "text/csv; charset=utf-8", headers=headers)


class DigestSettingsForm(forms.ModelForm):
    """With the time zones to choose from."""

    class Meta:
        model = DigestSettings
        fields = ("organization", "is_active", "hour", "timezone", "days_ahead")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        names = sorted(available_timezones())
        self.fields["timezone"].widget = forms.Select(choices=[(name, name) for name in names])


@admin.register(DigestSettings)
class DigestSettingsAdmin(Scoped):
    """When digests are sent, and how far they look ahead."""

    form = DigestSettingsForm
    list_display = ("organization", "is_active", "hour", "timezone", "days_ahead")
    list_filter = ("is_active",)
    list_select_related = ("organization",)
    search_fields = ("organization__name", "organization__slug")

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        """Once they are made they stay that organization's."""
        return () if obj is None else ("organization",)


@admin.register(DigestRun)
class DigestRunAdmin(Scoped):
    """Who was told on which day. Deleted, the day's digest is sent once more."""

    list_display = ("organization", "date", "mails", "created_at")
    list_filter = (("organization", OrganizationFilter),)
    list_select_related = ("organization",)
    date_hierarchy = "date"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False
