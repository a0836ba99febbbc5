"""Organizations, their operators, and the people who get messages."""

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.db.models import Model, QuerySet
from django.http import HttpRequest

from notifier import erasure
from notifier.admin.scoped import OrganizationFilter, Scoped, SuperusersOnly, is_superuser
from notifier.models import DEFAULT_SLUG, ApiKey, Membership, Organization, Recipient

admin.site.unregister([User, Group])


@admin.register(User)
class OperatorAdmin(SuperusersOnly, UserAdmin):
    """Those who log in here. Whoever may change one of them could make himself a superuser."""


@admin.register(Group)
class OperatorGroupAdmin(SuperusersOnly, GroupAdmin):
    """Groups of them."""


class MembershipInline(SuperusersOnly, admin.TabularInline):
    """An organization's operators. Whoever may write here could join any organization."""

    model = Membership
    extra = 0
    autocomplete_fields = ("user",)


@admin.register(Organization)
class OrganizationAdmin(Scoped):
    """Organizations. An administrator gives his another name; they come and go by superusers."""

    organization_path = "pk"
    list_display = ("name", "slug", "created_at")
    search_fields = ("name", "slug")
    readonly_fields = ("created_at",)
    inlines = (MembershipInline,)

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        """The slug too, once programs and settings may name it."""
        return self.readonly_fields if obj is None else ("slug", *self.readonly_fields)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return is_superuser(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Superusers; nobody the default one, which there always is."""
        return is_superuser(request) and (obj is None or obj.slug != DEFAULT_SLUG)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Its keys go with it, although nobody deletes one by itself."""
        found, counts, lacking, protected = super().get_deleted_objects(objs, request)
        kept = [str(one) for one in objs if one.slug == DEFAULT_SLUG]
        return found, counts, set(lacking) - {ApiKey._meta.verbose_name}, [*protected, *kept]


@admin.register(Recipient)
class RecipientAdmin(Scoped):
    """Users: the people who get messages."""

    ordering = ("-id",)
    list_display = ("__str__", "email", "phone", "telegram_chat_id", "organization")
    list_filter = (("organization", OrganizationFilter),)
    list_select_related = ("organization",)
    search_fields = ("=email", "=phone", "=external_id", "name")
    readonly_fields = ("created_at", "updated_at")
    show_full_result_count = False

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        """The organization too: a person who moved would take along what the old one knows of him."""
        return self.readonly_fields if obj is None else ("organization", *self.readonly_fields)

    def delete_model(self, request: HttpRequest, obj: Recipient) -> None:
        """Erase the person everywhere, as the API does."""
        erasure.erase(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Recipient]) -> None:
        """Erase each of them."""
        for recipient in queryset:
            erasure.erase(recipient)
