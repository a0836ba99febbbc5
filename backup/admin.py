"""Backups as superusers see them: what was made, make one now, fetch the file. Nobody else learns of any."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.models import ADDITION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model, QuerySet
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from kombu.exceptions import OperationalError
from rich.filesize import decimal

from backup import making, tasks
from backup.models import Backup, Proof, Status
from notifier.admin.scoped import is_superuser

_SIGNS = {Status.OK: "✓", Status.FAILED: "✗", Status.RUNNING: "…", Proof.OK: "✓", Proof.FAILED: "✗", Proof.RUNNING: "…"}


@admin.register(Backup)
class BackupAdmin(admin.ModelAdmin):
    """Every try, the newest first."""

    list_display = (
        "started_at",
        "shown_status",
        "trigger",
        "shown_size",
        "shown_duration",
        "shown_mail",
        "shown_proof",
    )
    list_filter = ("status", "trigger", "proof")
    list_select_related = ("notification",)
    date_hierarchy = "started_at"
    ordering = ("-id",)
    actions = None
    change_list_template = "admin/backups/backup/change_list.html"
    fields = (
        *("started_at", "finished_at", "shown_duration", "shown_status", "error", "trigger", "slot"),
        *("host", "path", "shown_file", "shown_size", "sha256", "database", "server", "tool", "shown_tables"),
        *("shown_mail", "attached", "encrypted", "shown_proof", "verified_at", "proof_detail"),
    )

    class Media:
        css = {"all": ["backups/admin.css"]}
        js = ["backups/progress.js"]

    # --- Who may what ------------------------------------------------------------------------------------------------
    def has_module_permission(self, request: HttpRequest) -> bool:
        return is_superuser(request)

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return is_superuser(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    # --- What is shown -----------------------------------------------------------------------------------------------
    @admin.display(description=gettext_lazy("status"), ordering="status")
    def shown_status(self, row: Backup) -> str:
        """With the reason where it failed."""
        why = f" ({row.error_code})" if row.error_code else ""
        return format_html(
            '<span class="backup-{}">{} {}{}</span>', row.status, _sign(row.status), row.get_status_display(), why
        )

    @admin.display(description=gettext_lazy("size"), ordering="size")
    def shown_size(self, row: Backup) -> str:
        """In words."""
        return "" if row.size is None else decimal(row.size)

    @admin.display(description=gettext_lazy("duration"))
    def shown_duration(self, row: Backup) -> str:
        """In seconds."""
        return making.shown(row.duration)

    @admin.display(description=gettext_lazy("mail"))
    def shown_mail(self, row: Backup) -> str:
        """Its status, which leads to the notification."""
        if row.notification is None:
            return ""
        page = reverse("admin:notifier_notification_change", args=[row.notification.pk])
        return format_html('<a href="{}">{}</a>', page, row.mail_status)

    @admin.display(description=gettext_lazy("proof"), ordering="proof")
    def shown_proof(self, row: Backup) -> str:
        """Whether it restores."""
        if row.proof == Proof.NONE:
            return ""
        return format_html('<span class="backup-{}">{} {}</span>', row.proof, _sign(row.proof), row.get_proof_display())

    @admin.display(description=gettext_lazy("rows by table"))
    def shown_tables(self, row: Backup) -> str:
        """One line each."""
        return "\n".join(f"{name}: {count}" for name, count in sorted(row.tables.items()))

    @admin.display(description=gettext_lazy("download"))
    def shown_file(self, row: Backup) -> str:
        """A link, where the file lies on this machine still."""
        if not _is_here(row):
            return _("It does not lie on this machine, or a newer one has taken its place.")
        page = reverse("admin:backups_backup_download", args=[row.pk])
        return format_html('<a href="{}">{}</a>', page, Path(row.path).name)

    # --- Pages -------------------------------------------------------------------------------------------------------
    def get_urls(self) -> list[URLPattern]:
        own: dict[str, tuple[str, Callable[..., HttpResponseBase]]] = {
            "make": ("make/", self.make_view),
            "progress": ("progress/", self.progress_view),
            "download": ("<int:pk>/download/", self.download_view),
        }
        pages = [
            path(route, self.admin_site.admin_view(view), name=f"backups_backup_{name}")
            for name, (route, view) in own.items()
        ]
        return [*pages, *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """With how far the one is that is being made."""
        shown = {"title": _("Backups"), "progress": _progress()}  # Django's own title is no Russian
        return super().changelist_view(request, {**(extra_context or {}), **shown})

    def make_view(self, request: HttpRequest) -> HttpResponse:
        """Have a worker make one now."""
        self._only_superusers(request)
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        try:
            tasks.make.delay()
        except OperationalError:
            self.message_user(request, _("No worker could be told: the broker does not answer."), messages.ERROR)
        else:
            LogEntry.objects.create(
                user=request.user,  # type: ignore[misc]  # nobody else comes here
                content_type=ContentType.objects.get_for_model(Backup),
                object_repr=str(_("A new backup")),
                action_flag=ADDITION,
                change_message=_("Asked for."),
            )
            self.message_user(request, _("A worker makes the backup as soon as one is free."), messages.SUCCESS)
        return redirect("admin:backups_backup_changelist")

    def progress_view(self, request: HttpRequest) -> HttpResponse:
        """The latest try, as the page's script asks for it."""
        self._only_superusers(request)
        return JsonResponse(_progress())

    def download_view(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        """The file; that somebody took it stays on record."""
        self._only_superusers(request)
        row = Backup.objects.filter(pk=pk).first()
        if row is None or not _is_here(row):
            raise Http404
        self.log_change(request, row, _("Downloaded."))
        name = f"{row.started_at:%Y-%m-%d-%H%M}-{Path(row.path).name}"
        file = Path(row.path).open("rb")  # noqa: SIM115 - the answer closes it
        return FileResponse(file, as_attachment=True, filename=name, content_type="application/gzip")

    def _only_superusers(self, request: HttpRequest) -> None:
        if not is_superuser(request):
            raise Http404

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Under a title that needs no case of its noun."""
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), "title": _("Backups")})

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """The row; 404 for one that is not there. Django would redirect, and repeat the id."""
        found = super().get_object(request, object_id, from_field)
        if found is None:
            raise Http404
        return found

    def get_queryset(self, request: HttpRequest) -> QuerySet[Backup]:
        return super().get_queryset(request) if is_superuser(request) else Backup.objects.none()


def _sign(word: str) -> str:
    return next((sign for known, sign in _SIGNS.items() if known == word), "")


def _is_here(row: Backup) -> bool:
    """Whether the file of this row lies where it was written, and no newer one has taken its place."""
    newest = Backup.objects.filter(status=Status.OK, path=row.path, host=row.host).order_by("-pk").first()
    try:
        return newest == row and Path(row.path).stat().st_size == row.size
    except OSError:
        return False


def _progress() -> dict[str, Any]:
    """The try that runs, else the latest: `expected` is the size of the one before it, 0 where there is none.

    One that runs for too long is dead; one that found another at it is not what anybody waits for.
    """
    alive = timezone.now() - settings.DB_BACKUP_TIMEOUT
    newest = Backup.objects.order_by("-pk")
    latest = newest.filter(status=Status.RUNNING, started_at__gt=alive).first()
    latest = latest or newest.exclude(status=Status.RUNNING).first()
    if latest is None:
        return {"id": 0, "status": "", "written": 0, "expected": 0, "text": ""}
    before = Backup.objects.filter(status=Status.OK, pk__lt=latest.pk).order_by("-pk").first()
    return {
        "id": latest.pk,
        "status": latest.status,
        "written": latest.sql_size,
        "expected": before.sql_size if before else 0,
        "text": _("{size} of SQL so far").format(size=decimal(latest.sql_size)),
    }
