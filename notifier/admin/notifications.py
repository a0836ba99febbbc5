"""Notifications as operators see them: to read, never to edit; the ledger alone moves them."""

from typing import Any

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _

from notifier.admin.scoped import OrganizationFilter, Scoped
from notifier.models import Attempt, Notification, Organization


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

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Whoever sees the notification."""
        return True


class FirstPages(Paginator):
    """The first 10,000 rows: to count 5,000,000 takes longer than to show a page. Filters and search find others."""

    @cached_property
    def count(self) -> int:
        """At most 10,000."""
        return int(self.object_list[:10_000].count())  # type: ignore[attr-defined]


@admin.register(Notification)
class NotificationAdmin(ReadOnly, Scoped):
    """What was asked for, and what became of it."""

    list_display = ("id", "status", "failure_code", "subject", "organization", "created_at", "due_at", "finished_at")
    list_filter = ("status", ("organization", OrganizationFilter), "test")
    list_select_related = ("organization",)
    sortable_by = ("id",)  # by any other column the whole table would be read and sorted
    search_fields = ("id", "reference")
    search_help_text = _("The id or the reference, exactly.")
    show_full_result_count = False
    paginator = FirstPages
    fields = (
        ("status", "failure_code"),
        ("organization", "recipient"),
        "subject",
        "message",
        "html",
        "steps",
        ("priority", "on_unknown", "own_account", "test"),
        ("reference", "metadata"),
        ("created_at", "send_at", "expires_at"),
        ("due_at", "sent_at", "finished_at"),
    )
    inlines = (AttemptInline,)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """By index: Django's own search compares the id as text and the reference in capitals: it reads every row."""
        term = search_term.strip()
        if not term:
            return queryset, False
        # With every organization named, since the index of the references begins with it.
        found = Q(reference=term, organization__in=list(Organization.objects.values_list("pk", flat=True)))
        if term.isascii() and term.isdigit() and len(term) <= 18:
            found |= Q(pk=int(term))
        return queryset.filter(found), False
