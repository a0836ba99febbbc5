"""What an operator sees in the admin: a superuser everything, an administrator of organizations what is theirs.

A membership with the role administrator is all he needs: Django's own permissions open nothing here, and none is
asked for. What belongs to somebody else is not there: no row, no choice, 404.
"""

from collections.abc import Iterable
from operator import attrgetter
from typing import Any

from django.contrib import admin
from django.db.models import ForeignKey, Model, QuerySet
from django.http import Http404, HttpRequest

from notifier.models import Membership

_KEPT = "_administered_organizations"


def administered(request: HttpRequest) -> frozenset[int]:
    """The ids of the organizations that this operator administers by membership; asked for once a request."""
    kept, user = vars(request), request.user
    if _KEPT not in kept:
        his: Iterable[int] = ()  # also of a visitor who has not logged in: the login page asks too
        if user.is_authenticated:
            his = user.memberships.filter(role=Membership.Role.ADMINISTRATOR).values_list("organization_id", flat=True)
        kept[_KEPT] = frozenset(his)
    found: frozenset[int] = kept[_KEPT]
    return found


def is_superuser(request: HttpRequest) -> bool:
    """Whether everything is open to this operator."""
    return bool(request.user.is_active and request.user.is_superuser)


class Scoped(admin.ModelAdmin):
    """Rows of the operator's organizations: in lists, forms' choices, autocompletion, actions, and by their address."""

    organization_path = "organization_id"
    """Leads from a row to its organization's id, as in a query: `notification__organization_id`."""

    def organizations_of(self, request: HttpRequest) -> frozenset[int]:
        """Whose rows an operator who is no superuser sees and changes here."""
        return administered(request)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows = super().get_queryset(request)
        if is_superuser(request):
            return rows
        return rows.filter(**{f"{self.organization_path}__in": self.organizations_of(request)})

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """The row; 404 for one that is not there for this operator. Django would redirect, and repeat the id."""
        found = super().get_object(request, object_id, from_field)
        if found is None:
            raise Http404
        return found

    def formfield_for_foreignkey(self, db_field: ForeignKey[Any, Any], request: HttpRequest, **kwargs: Any) -> Any:
        """A choice among what the operator sees of the related rows."""
        related = db_field.related_model
        if self.admin_site.is_registered(related):
            kwargs.setdefault("queryset", self.admin_site.get_model_admin(related).get_queryset(request))
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self._is_his(request, obj)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self._is_his(request, None)

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self._is_his(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self._is_his(request, obj)

    def _is_his(self, request: HttpRequest, row: Model | None) -> bool:
        """Whether the row is one of his organizations'; without a row, whether he has an organization at all."""
        if is_superuser(request):
            return True
        his = self.organizations_of(request)
        return bool(his) if row is None else attrgetter(self.organization_path.replace("__", "."))(row) in his


class SuperusersOnly:
    """Before one of Django's classes: nobody else sees or changes this, whatever permissions he was given."""

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Superusers only."""
        return is_superuser(request)

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Superusers only."""
        return is_superuser(request)

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Superusers only."""
        return is_superuser(request)

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Superusers only."""
        return is_superuser(request)

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Superusers only."""
        return is_superuser(request)


class OrganizationFilter(admin.RelatedFieldListFilter):
    """`("organization", OrganizationFilter)` in a `list_filter`: offers the operator's own.

    Django's filter of this kind names every organization; its other one reads the whole table to find those in use.
    """

    def field_choices(self, field: Any, request: HttpRequest, model_admin: admin.ModelAdmin) -> Any:
        """Pairs of an id and a name."""
        wanted = {} if is_superuser(request) else {"pk__in": administered(request)}
        ordering = self.field_admin_ordering(field, request, model_admin)
        return field.get_choices(include_blank=False, ordering=ordering, limit_choices_to=wanted)
