"""Notifications as operators see them: to read, never to edit; the ledger alone moves them."""

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest

from notifier.models import Attempt, Notification


class ReadOnly:
    """Shown, and nothing else."""

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Never."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Never."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Never."""
        return False


class AttemptInline(ReadOnly, admin.TabularInline):
    """Every try and every skip, in order."""

    model = Attempt
    fields = ("round", "channel", "outcome", "code", "detail", "account", "started_at", "duration_ms", "provider_id")
    extra = 0


@admin.register(Notification)
class NotificationAdmin(ReadOnly, admin.ModelAdmin):
    """What was asked for, and what became of it."""

    list_display = ("id", "status", "failure_code", "subject", "organization", "created_at", "due_at", "finished_at")
    list_filter = ("status", "priority", "organization")
    list_select_related = ("organization",)
    search_fields = ("=id", "=reference")
    show_full_result_count = False
    fields = (
        ("status", "failure_code"),
        ("organization", "recipient"),
        "subject",
        "message",
        "html",
        "steps",
        ("priority", "on_unknown", "own_account"),
        ("reference", "metadata"),
        ("created_at", "send_at", "expires_at"),
        ("due_at", "sent_at", "finished_at"),
    )
    inlines = (AttemptInline,)
