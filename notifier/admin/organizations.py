"""Organizations, their operators, and the people who get messages."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from notifier import ledger
from notifier.models import Membership, Organization, Recipient


class MembershipInline(admin.TabularInline):
    """An organization's operators."""

    model = Membership
    extra = 0
    autocomplete_fields = ("user",)


@admin.register(Organization)
class OrganizationAdmin(admin.ModelAdmin):
    """Organizations."""

    list_display = ("name", "slug", "created_at")
    search_fields = ("name", "slug")
    readonly_fields = ("created_at",)
    inlines = (MembershipInline,)


@admin.register(Recipient)
class RecipientAdmin(admin.ModelAdmin):
    """Users: the people who get messages."""

    list_display = ("__str__", "email", "phone", "telegram_chat_id", "organization")
    list_filter = ("organization",)
    list_select_related = ("organization",)
    search_fields = ("=email", "=phone", "=external_id", "name")
    readonly_fields = ("created_at", "updated_at")
    show_full_result_count = False

    def delete_model(self, request: HttpRequest, obj: Recipient) -> None:
        """Erase the person everywhere, as the API does."""
        ledger.erase(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Recipient]) -> None:
        """Erase each of them."""
        for recipient in queryset:
            ledger.erase(recipient)
