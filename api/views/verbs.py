"""What a client can still do to a notification: cancel, retry, acknowledge."""

from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.exceptions import PermissionDenied, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from api.problems import Conflict
from api.throttles import SendThrottle
from api.views.notifications import NotificationViews
from notifier import bell, ledger, limits, receipts
from notifier.callers import caller_of, organization_of
from notifier.inputs import SmtpInput
from notifier.models import Notification
from notifier.outputs import NotificationDetail
from notifier.rest import problems, refuse_any_field


class VerbViews(NotificationViews):
    """What changes a notification."""

    def mine(self, pk: str) -> Notification:
        """The caller's own, else 404. What is to leave is none of a test key's business: 403."""
        row = self.notification(pk)
        if caller_of(self.request).sender.is_test and not row.test:
            raise PermissionDenied(_("A test key changes nothing that is to leave the service."), code="test_key")
        return row


class CancelView(VerbViews):
    """Stop a notification."""

    @extend_schema(
        summary="Cancel a notification",
        request=None,
        responses={200: NotificationDetail, **problems(400, 404, 409, 413, 415)},
    )
    def post(self, request: Request, pk: str) -> Response:
        """Cancel what is queued or waiting; else 409."""
        row = self.mine(pk)
        refuse_any_field(request)
        if not ledger.cancel(row):
            raise Conflict(_("Only what is queued or waiting can be cancelled."))
        return Response(self.detail(row.pk))


class RetryView(VerbViews):
    """Try a failed notification again."""

    throttle_classes = [SendThrottle]

    @extend_schema(
        summary="Retry a failed notification",
        description="Every step is alive again. SMTP credentials were wiped when it failed; give them again here.",
        request=SmtpInput,
        responses={202: NotificationDetail, **problems(400, 404, 409, 413, 415, 429)},
    )
    def post(self, request: Request, pk: str) -> Response:
        """Queue a failed one again; else 409."""
        row = self.mine(pk)
        account = SmtpInput(data=request.data)
        account.is_valid(raise_exception=True)
        if account.validated_data and not row.own_account:
            message = _("It came without SMTP credentials, and goes through the service's account.")
            raise ValidationError({"smtp_user": [message]}, code="invalid")
        columns = {"recipient_id": row.recipient_id, "to": row.to, "steps": row.steps}
        with limits.admitted(organization_of(request), caller_of(request).sender, [columns]):
            if not ledger.retry(row, account.validated_data.get("credentials")):
                raise Conflict(_("Only a failed notification can be retried."))
        bell.ring_after_commit([row.pk])
        return Response(self.detail(row.pk), status=status.HTTP_202_ACCEPTED)


class AcknowledgeView(VerbViews):
    """The person confirmed."""

    @extend_schema(
        summary="Acknowledge a notification",
        description="Stops the chain for good. Once more is fine; what was cancelled or has expired cannot be.",
        request=None,
        responses={200: NotificationDetail, **problems(400, 404, 409, 413, 415)},
    )
    def post(self, request: Request, pk: str) -> Response:
        """Acknowledge; 409 for what was cancelled or has expired."""
        row = self.mine(pk)
        refuse_any_field(request)
        if not receipts.acknowledge(row):
            raise Conflict(_("What was cancelled or has expired cannot be acknowledged."))
        return Response(self.detail(row.pk))
