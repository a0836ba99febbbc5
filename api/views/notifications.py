"""`/api/notifications/`: what clients ask for, and what became of it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from django.conf import settings
from django.db import connection, models
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers, status
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.generics import GenericAPIView, get_object_or_404
from rest_framework.request import Request
from rest_framework.response import Response

from api import examples
from api.idempotency import HEADER, once
from api.pagination import NewestFirst
from api.queries import ids_between
from api.throttles import SendThrottle
from notifier import intake, ledger
from notifier.api_keys import Scope
from notifier.callers import Caller, caller_of, organization_of
from notifier.inputs import NotificationInput
from notifier.models import Notification, Organization, Recipient
from notifier.outputs import BulkOutput, NotificationDetail, NotificationOutput, PlanOutput, as_accepted
from notifier.rest import Exact, Query, QueryMoment, RowId, page_of, problems, row_id
from notifier.states import Status

FAILURE = "notifier.failure"
"""In the META of a request that failed on the short way (`plain.py`): something of it may be stored."""


class NotificationViews(GenericAPIView[Notification]):
    """What all share: the caller's own notifications."""

    serializer_class = NotificationOutput
    writing_needs = Scope.SEND
    queryset = Notification.objects.none()  # for the schema; every request has its own

    def get_queryset(self) -> models.QuerySet[Notification]:
        """The caller's notifications, and nobody else's."""
        return ledger.of(organization_of(self.request)).select_related("recipient")

    def notification(self, pk: str) -> Notification:
        """The caller's own, else 404."""
        return get_object_or_404(self.get_queryset(), pk=row_id(pk))

    def detail(self, pk: int) -> dict[str, Any]:
        """The notification as it is now, with its attempts."""
        row = self.get_queryset().prefetch_related("attempts").get(pk=pk)
        return NotificationDetail.shown(row)


def shown_as_accepted(row: Notification) -> tuple[dict[str, Any], str]:
    """What a client is told of one that was just accepted, and its address."""
    return NotificationOutput.shown(as_accepted(row)), f"/api/notifications/{row.pk}/"


class ListQuery(Query):
    """The filters of the list."""

    status = serializers.ChoiceField(choices=[str(word) for word in Status], required=False)
    channel = Exact(
        help_text="With this channel in its chain. A page may then be shorter, or empty, while `next` still leads on."
    )
    user_id = RowId()
    reference = Exact()
    created_after = QueryMoment(required=False)
    created_before = QueryMoment(required=False)

    def validate_channel(self, value: str) -> str:
        """A channel of this service."""
        if value not in settings.CHANNELS:
            raise serializers.ValidationError(_("There is no such channel."), code="unknown_channel")
        return value

    def of_organization(self, organization: Organization) -> models.QuerySet[Notification]:
        """Its rows that match all that was asked but the channel."""
        wanted = self.validated_data
        lookups = {
            "status": "status",
            "user_id": "recipient_id",
            "reference": "reference",
            "created_after": "created_at__gt",
            "created_before": "created_at__lt",
        }
        rows = ledger.of(organization).select_related("recipient")
        rows = rows.filter(**{lookup: wanted[name] for name, lookup in lookups.items() if name in wanted})
        if "user_id" in wanted:
            # Decided before the first row is read: another organization's user may have a million of them.
            rows = rows.filter(models.Exists(Recipient.objects.filter(pk=wanted["user_id"], organization=organization)))
        return rows.filter(**ids_between(wanted.get("created_after"), wanted.get("created_before")))

    def sieve(self) -> models.Q | None:
        """The channel: no index knows it, since only one of its own for each channel could be read in order."""
        if "channel" not in self.validated_data:
            return None
        step = {"channel": self.validated_data["channel"]}
        if connection.vendor == "postgresql":
            return models.Q(steps__contains=[step])
        return models.Q(steps__icontains=json.dumps(step)[1:-1])  # as text: SQLite has no containment


@extend_schema_view(
    get=extend_schema(
        summary="List notifications",
        parameters=[ListQuery],
        responses={**page_of(NotificationOutput), **problems(400)},
    ),
    post=extend_schema(
        summary="Send a notification",
        description=(
            "202 means that it is stored for good. Workers carry it along its chain until a provider takes it; "
            "`GET` the `Location` to see every attempt."
        ),
        parameters=[HEADER],
        request=NotificationInput,
        responses={202: NotificationOutput, **problems(400, 413, 415, 422, 429)},
        examples=[
            examples.NOTIFICATION,
            examples.NOTIFICATION_TO,
            examples.NOTIFICATION_SMTP,
            examples.NOTIFICATION_LATER,
            examples.NOTIFICATION_TEMPLATE,
            examples.NOTIFICATION_ORDER,
            examples.ACCEPTED,
        ],
    ),
)
class NotificationsView(NotificationViews):
    """All notifications of the organization."""

    throttle_classes = [SendThrottle]

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Before the view. What failed on the short way is not tried once more."""
        if FAILURE in request.META:
            raise request.META[FAILURE]
        super().initial(request, *args, **kwargs)

    def get(self, request: Request) -> Response:
        """A page of notifications, newest first."""
        query, pages = ListQuery.of(request), NewestFirst()
        pages.sieve = query.sieve()
        page = pages.paginate_queryset(query.of_organization(organization_of(request)), request, self)
        return pages.get_paginated_response(NotificationOutput(page, many=True).data)

    def post(self, request: Request) -> Response:
        """Accept a notification: 202, stored for good."""
        caller = caller_of(request)
        rows, told = once(request, lambda: [intake.accept(caller.organization, request.data, sender=caller.sender)])
        if not rows:
            raise NotFound(_("The notification of this key was deleted."))
        shown, location = shown_as_accepted(rows[0])
        return Response(shown, status=status.HTTP_202_ACCEPTED, headers={"Location": location, **told})


class BulkInput(NotificationInput):
    """Either `notifications`, each a body of its own, or one content with `user_ids`."""

    notifications = NotificationInput(many=True, required=False)
    user_ids = serializers.ListField(child=serializers.IntegerField(min_value=1), required=False)


class BulkView(NotificationViews):
    """Many at once."""

    throttle_classes = [SendThrottle]

    @extend_schema(
        summary="Send many notifications",
        description=f"All or nothing, at most {intake.MOST}; errors name the index, as in `notifications.3.user_id`.",
        parameters=[HEADER],
        request=BulkInput,
        responses={202: BulkOutput, **problems(400, 413, 415, 422, 429)},
        examples=[examples.BULK, examples.BULK_EACH],
    )
    def post(self, request: Request) -> Response:
        """Accept all of them or none: 202."""
        caller = caller_of(request)
        rows, told = once(request, lambda: store_bulk(caller, request.data))
        ids = [row.pk for row in rows]
        return Response({"count": len(ids), "ids": ids}, status=status.HTTP_202_ACCEPTED, headers=told)


def store_bulk(caller: Caller, data: Any) -> Sequence[Any]:
    """Store what a bulk asks for. ValidationError where it is neither of the two forms, too."""
    if not isinstance(data, Mapping):
        raise ValidationError(_("Expected an object."), code="invalid")
    lists = {name: data[name] for name in ("notifications", "user_ids") if name in data}
    if len(lists) != 1:
        raise ValidationError(_("Give either notifications, or one content with user_ids."), code="required")
    name, entries = lists.popitem()
    if not isinstance(entries, list) or not entries:
        raise ValidationError({name: [_("Expected a list that is not empty.")]}, code="invalid")
    if len(entries) > intake.MOST:
        message = _("At most {most} notifications at once.").format(most=intake.MOST)
        raise ValidationError({name: [message]}, code="too_many")
    content = {key: value for key, value in data.items() if key != name}
    if name == "user_ids" and "user_id" not in content:
        if len({str(entry) for entry in entries}) != len(entries):
            raise ValidationError({name: [_("A user stands in it twice.")]}, code="repeated")
        return intake.accept_for_each(caller.organization, content, entries, sender=caller.sender)
    stray = ["user_id"] if name == "user_ids" else list(content)
    if stray:
        raise ValidationError({key: [_("There is no such field.")] for key in stray}, code="unknown_field")
    return intake.accept_many(caller.organization, entries, sender=caller.sender)


class NotificationView(NotificationViews):
    """One notification."""

    serializer_class = NotificationDetail

    @extend_schema(summary="Read a notification", responses={200: NotificationDetail, **problems(404)})
    def get(self, request: Request, pk: str) -> Response:
        """The notification with its attempts."""
        return Response(self.detail(self.notification(pk).pk))


class PlanView(NotificationViews):
    """What would become of a notification."""

    @extend_schema(
        summary="Foretell a notification",
        description="Which steps would run, where to, through which account, and why others not. Stores nothing.",
        request=NotificationInput,
        responses={200: PlanOutput, **problems(400, 413, 415)},
    )
    def post(self, request: Request) -> Response:
        """The chain as it would be walked now."""
        caller = caller_of(request)
        return Response({"steps": intake.plan(caller.organization, request.data, sender=caller.sender)})
