"""What a caller's scopes allow: `read` all that is only looked at, `send` what the view says, `manage` everything."""

from typing import Any

from django.utils.translation import gettext as _
from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from notifier.api_keys import Scope


class MayDoThis(BasePermission):
    """The caller is known, and has the scope for this.

    A view says what its writing needs by `writing_needs`, and its reading by `reading_needs`. One that says nothing
    is written to with `manage` only.
    """

    def has_permission(self, request: Request, view: Any) -> bool:
        caller: Any = request.user
        if caller is None:
            return False
        needed = needed_scope(request.method or "", view)
        if needed not in caller.scopes:
            raise PermissionDenied(_("This needs the scope %(scope)s.") % {"scope": needed}, code="scope")
        return True


def needed_scope(method: str, view: Any) -> Scope:
    """The scope that this method of this view asks for."""
    if method in SAFE_METHODS:
        return Scope(getattr(view, "reading_needs", Scope.READ))
    return Scope(getattr(view, "writing_needs", Scope.MANAGE))
