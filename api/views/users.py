"""`/api/users/`: the people who get messages."""

from django.db import IntegrityError, models, transaction
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import status
from rest_framework.exceptions import ValidationError
from rest_framework.generics import GenericAPIView, get_object_or_404
from rest_framework.request import Request
from rest_framework.response import Response

from api.examples import USER, USER_WITH_ALL
from notifier import erasure
from notifier.api_keys import Scope
from notifier.callers import organization_of
from notifier.inputs import RecipientInput
from notifier.inputs.fields import Email, Phone, Text
from notifier.models import Recipient
from notifier.outputs import UserOutput
from notifier.rest import Exact, Query, page_of, problems, row_id


class UserViews(GenericAPIView[Recipient]):
    """What both views share: the caller's own users."""

    serializer_class = UserOutput
    writing_needs = Scope.SEND
    queryset = Recipient.objects.none()  # for the schema; every request has its own

    def get_queryset(self) -> models.QuerySet[Recipient]:
        """The caller's users, and nobody else's."""
        return Recipient.objects.filter(organization=organization_of(self.request))

    def store(self, request: Request, instance: Recipient | None) -> Recipient:
        """Check the body and write it."""
        context = {"organization": organization_of(request)}
        wanted = RecipientInput(instance, data=request.data, context=context, partial=instance is not None)
        wanted.is_valid(raise_exception=True)
        user = instance or Recipient(organization=organization_of(request))
        for name, value in wanted.validated_data.items():
            setattr(user, name, value)
        try:
            with transaction.atomic():
                user.save()
        except IntegrityError:  # another request stored the same external_id since it was looked up
            detail = _("Another user of the organization has this external_id.")
            raise ValidationError({"external_id": [detail]}, code="unique") from None
        return user


class UserQuery(Query):
    """The filters of the list."""

    email = Exact(help_text="This address.")
    phone = Exact(help_text="This number, in E.164 or as it was given.")
    external_id = Exact(help_text="Exactly this id.")

    def validate_email(self, value: str) -> str:
        """As addresses are stored."""
        return _as_stored(Email(), value)

    def validate_phone(self, value: str) -> str:
        """As numbers are stored; with the + that a query string reads as a space where it was not escaped."""
        return _as_stored(Phone(), f"+{value[1:]}" if value.startswith(" ") else value)


def _as_stored(field: Text, value: str) -> str:
    """What the field makes of it. Where it refuses it, nobody has it."""
    try:
        return field.to_internal_value(value)
    except ValidationError:
        return value


@extend_schema_view(
    get=extend_schema(
        summary="List users",
        parameters=[UserQuery],
        responses={**page_of(UserOutput), **problems(400)},
    ),
    post=extend_schema(
        summary="Create a user",
        request=RecipientInput,
        responses={201: UserOutput, **problems(400, 413, 415)},
        examples=[USER, USER_WITH_ALL],
    ),
)
class UsersView(UserViews):
    """All users of the organization."""

    def get(self, request: Request) -> Response:
        """A page of users, newest first."""
        page = self.paginate_queryset(self.get_queryset().filter(**UserQuery.of(request).validated_data))
        return self.get_paginated_response(UserOutput(page, many=True).data)

    def post(self, request: Request) -> Response:
        """Create a user: 201."""
        user = self.store(request, None)
        headers = {"Location": f"/api/users/{user.pk}/"}
        return Response(UserOutput(user).data, status=status.HTTP_201_CREATED, headers=headers)


@extend_schema_view(
    get=extend_schema(summary="Read a user", responses={200: UserOutput, **problems(404)}),
    patch=extend_schema(
        summary="Change a user",
        request=RecipientInput,
        responses={200: UserOutput, **problems(400, 404, 413, 415)},
    ),
    delete=extend_schema(
        summary="Erase a person",
        description="Their data goes everywhere, open notifications end; what was sent stays countable.",
        responses={204: None, **problems(404)},
    ),
)
class UserView(UserViews):
    """One user."""

    def get(self, request: Request, pk: str) -> Response:
        """The user."""
        return Response(UserOutput(self.user(pk)).data)

    def patch(self, request: Request, pk: str) -> Response:
        """Change what is given."""
        with transaction.atomic():
            # Locked: else a change would undo another one, or bring back a person who is erased meanwhile.
            user = get_object_or_404(self.get_queryset().select_for_update(no_key=True), pk=row_id(pk))
            return Response(UserOutput(self.store(request, user)).data)

    def delete(self, request: Request, pk: str) -> Response:
        """Erase the person's data everywhere."""
        erasure.erase(self.user(pk))
        return Response(status=status.HTTP_204_NO_CONTENT)

    def user(self, pk: str) -> Recipient:
        """The caller's own, else 404."""
        return get_object_or_404(self.get_queryset(), pk=row_id(pk))
