"""Orders and calls for a manager: looked through, searched, sent again."""

import re
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from notifier import submissions
from notifier.admin.message_templates import TemplatePages
from notifier.admin.notifications import AttemptInline, FirstPages, ReadOnly
from notifier.admin.scoped import OrganizationFilter, Scoped
from notifier.models import SUBMISSIONS, Notification, Submission
from notifier.submissions import STATUSES, NotAgainError, State

MOST_AT_ONCE = 100
"""Sent again by the list's action: as many as a page shows."""

_ASKED = re.compile(r"[0-9a-f]{32}", re.ASCII)
KINDS = {"manager_call": gettext_lazy("call for a manager"), "order_request": gettext_lazy("order")}


class StateFilter(admin.SimpleListFilter):
    """Sent, failed, or on its way."""

    title = gettext_lazy("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        """All three."""
        return [(str(state), str(state)) for state in State]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Those in it."""
        chosen = [state for state in State if state == self.value()]
        return queryset.filter(status__in=STATUSES[chosen[0]]) if chosen else queryset


class KindFilter(admin.SimpleListFilter):
    """Orders or calls."""

    title = gettext_lazy("kind")
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        """Both."""
        return [(name, str(KINDS.get(name, name))) for name in SUBMISSIONS]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Those of it."""
        return queryset.filter(template=self.value()) if self.value() in SUBMISSIONS else queryset


@admin.register(Submission)
class SubmissionAdmin(ReadOnly, Scoped):
    """To read and to send again, never to edit."""

    list_display = ("id", "created_at", "kind", "subject", "state", "error", "organization")
    list_display_links = ("id", "subject")
    list_filter = (StateFilter, KindFilter, ("organization", OrganizationFilter), "created_at")
    list_select_related = ("organization",)
    sortable_by = ("id",)
    search_fields = ("id", "reference", "message")
    search_help_text = gettext_lazy(
        "The id, the reference, or words of the text: a name, a phone number, a product code."
    )
    show_full_result_count = False
    paginator = FirstPages
    actions = ("send_again_selected",)
    fields = (
        ("kind", "state"),
        "error",
        ("organization", "recipient"),
        "to",
        "subject",
        "message",
        ("reference", "metadata"),
        ("created_at", "sent_at", "finished_at"),
    )
    inlines = (AttemptInline,)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Of all notifications these alone: an index holds them, however many others there are."""
        return super().get_queryset(request).filter(template__in=SUBMISSIONS).prefetch_related("attempts")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """All words must stand in the text."""
        term = search_term.strip()
        if not term:
            return queryset, False
        in_text = Q()
        for word in term.split()[:10]:
            in_text &= Q(message__icontains=word) | Q(subject__icontains=word)
        found = in_text | Q(reference=term)
        if term.isascii() and term.isdigit() and len(term) <= 18:
            found |= Q(pk=int(term))
        return queryset.filter(found), False

    @admin.display(description=gettext_lazy("kind"), ordering="template")
    def kind(self, row: Submission) -> str:
        """An order or a call."""
        return str(KINDS.get(row.template, row.template))

    @admin.display(description=gettext_lazy("state"))
    def state(self, row: Submission) -> str:
        """What became of it."""
        return str(submissions.state_of(row))

    @admin.display(description=gettext_lazy("error"), empty_value="–")
    def error(self, row: Submission) -> str | None:
        """What went wrong at last."""
        return submissions.error_of(row, row.attempts.all()) or None

    def get_urls(self) -> list[URLPattern]:
        again = path("<int:pk>/again/", self.admin_site.admin_view(self.again_view), name="notifier_submission_again")
        return [again, *TemplatePages(self).urls(), *super().get_urls()]

    # --- Again -------------------------------------------------------------------------------------------------------
    def again_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Asks; with POST sends it again."""
        row = self.get_object(request, str(pk))
        if request.method != "POST":
            return self._ask(request, [row], reverse("admin:notifier_submission_change", args=[pk]))
        made = self._send(request, [row])
        return redirect("admin:notifier_submission_change", made[0] if made else pk)

    @admin.action(description=gettext_lazy("Send selected submissions again"), permissions=["view"])
    def send_again_selected(self, request: HttpRequest, queryset: QuerySet[Submission]) -> HttpResponse | None:
        """Asks; confirmed, sends them."""
        rows = list(queryset[: MOST_AT_ONCE + 1])
        if len(rows) > MOST_AT_ONCE:
            self.message_user(request, _("At most %(most)d at once.") % {"most": MOST_AT_ONCE}, messages.ERROR)
            return None
        if "confirmed" not in request.POST:
            fields = [(ACTION_CHECKBOX_NAME, row.pk) for row in rows] + [("action", "send_again_selected")]
            return self._ask(request, rows, reverse("admin:notifier_submission_changelist"), fields)
        self._send(request, rows)
        return None

    def _ask(
        self, request: HttpRequest, rows: Sequence[Any], back: str, fields: Sequence[tuple[str, Any]] = ()
    ) -> HttpResponse:
        told = [(row, *_fate(row)) for row in rows]
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "title": _("Send again?"),
            "rows": told,
            "possible": any(is_possible for _row, is_possible, _text in told),
            "fields": [*fields, ("confirmed", "yes"), ("asked", uuid4().hex)],
            "back": back,
        }
        return TemplateResponse(request, "admin/notifier/submission/confirm.html", context)

    def _send(self, request: HttpRequest, rows: Sequence[Notification]) -> list[int]:
        made, asked = [], request.POST.get("asked", "")
        if not _ASKED.fullmatch(asked):
            asked = uuid4().hex
        for row in rows:
            try:
                made.append(submissions.send_again(row, asked))
            except NotAgainError as error:
                self.message_user(request, f"{row}: {error}", messages.ERROR)
                continue
            said = _("Sent again as %(id)d") % {"id": made[-1]} if made[-1] != row.pk else _("Sent again")
            self.log_change(request, row, said)
        if made:
            said = _("Submissions on their way: %(count)d") % {"count": len(made)}
            self.message_user(request, said, messages.SUCCESS)
        return made


def _fate(row: Notification) -> tuple[bool, str]:
    """Whether it can be sent again, and what that means."""
    try:
        submissions.check(row)
    except NotAgainError as error:
        return False, str(error)
    if submissions.is_sent_anew(row):
        return True, _("A new notification with the same content is sent to the same address.")
    return True, _("It failed: every step is tried again.")
