"""`/api/organizations/me/`: the caller's own organization."""

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from notifier import webhook_secrets
from notifier.api_keys import Scope
from notifier.callers import caller_of
from notifier.models import Organization
from notifier.outputs import OrganizationOutput
from notifier.rest import problems, refuse_any_field


class OrganizationView(APIView):
    """The organization and what signs its callbacks."""

    @extend_schema(summary="Your organization", responses={200: OrganizationOutput, **problems()})
    def get(self, request: Request) -> Response:
        """Name; with the scope `manage` also the secret."""
        caller = caller_of(request)
        secret = webhook_secrets.current(caller.organization) if Scope.MANAGE in caller.scopes else None
        return Response(_shown(caller.organization, secret))


class RotateWebhookSecretView(APIView):
    """A new secret for callbacks."""

    @extend_schema(
        summary="Rotate the webhook secret",
        description="The old one signs beside the new one for a day.",
        request=None,
        responses={200: OrganizationOutput, **problems(400, 413, 415)},
    )
    def post(self, request: Request) -> Response:
        """Make a new one."""
        refuse_any_field(request)
        organization = caller_of(request).organization
        return Response(_shown(organization, webhook_secrets.rotate(organization)))


def _shown(organization: Organization, secret: str | None) -> dict[str, str]:
    shown = {"slug": organization.slug, "name": organization.name}
    return shown if secret is None else {**shown, "webhook_secret": secret}
