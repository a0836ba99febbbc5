"""`/api/auth/`: register, activate, log in and out, change a forgotten password, open a stream."""

from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.contrib.auth import authenticate
from django.contrib.auth.models import User
from django.contrib.auth.password_validation import validate_password
from django.contrib.auth.signals import user_logged_in
from django.core.exceptions import ValidationError as WeakPasswordError
from django.db import transaction
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.exceptions import APIException, ErrorDetail, NotFound, ValidationError
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.views import APIView

from accounts import inputs, limits, passwords, registration, tokens
from accounts.authentication import CHALLENGE, Members
from accounts.tokens import AccessToken, RefreshToken, SocketToken, WrongTokenError
from notifier.api_keys import Scope
from notifier.callers import organization_of
from notifier.limits import HOUR
from notifier.rest import problems, refuse_any_field

REGISTER = OpenApiExample(
    "Somebody registers",
    {"email": "ann@example.com", "password": "a long sentence is a good one", "name": "Ann"},
    request_only=True,
)
FORGOT = OpenApiExample("A forgotten password", {"email": "ann@example.com"}, request_only=True)
LOGIN = OpenApiExample(
    "An account that is active",
    {"email": "ann@example.com", "password": "a long sentence is a good one"},
    request_only=True,
)


MINUTE = 60


class SwitchedOff(NotFound):
    """There are no accounts here."""

    default_code = "accounts_off"


class Refused(APIException):
    """401. REST framework makes 403 of its own where a view asks for no credentials in a header."""

    status_code = HTTPStatus.UNAUTHORIZED
    auth_header = CHALLENGE


class AccountsView(APIView):
    """What all share: open to everybody, so often a minute from one address; 404 without `JWT_SECRET_KEY`."""

    authentication_classes: Any = ()
    permission_classes: Any = (AllowAny,)
    throttle_classes: Any = (limits.ClientThrottle,)
    most, seconds = 60, MINUTE

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Before anything else."""
        if not settings.JWT_SECRET_KEY:
            raise SwitchedOff(_("Accounts are switched off here: JWT_SECRET_KEY is not set."))
        super().initial(request, *args, **kwargs)

    def finalize_response(self, request: Request, response: Response, *args: Any, **kwargs: Any) -> Any:
        """Nothing of it is kept on the way: most answers are secrets."""
        response.headers["Cache-Control"] = "no-store"
        return super().finalize_response(request, response, *args, **kwargs)

    def given(self, form: type[BaseSerializer[Any]]) -> dict[str, Any]:
        """The body, checked."""
        wanted = form(data=self.request.data)
        wanted.is_valid(raise_exception=True)
        found: dict[str, Any] = wanted.validated_data
        return found


class RegisterView(AccountsView):
    """An account of one's own."""

    most, seconds = 30, HOUR

    @extend_schema(
        summary="Register",
        description=(
            "A link to activate the account is mailed to the address. The answer is the same where the address has an "
            "account already; its owner is told by mail. An account may do nothing until an administrator gives it a "
            "place in an organization."
        ),
        auth=[],
        request=inputs.RegisterInput,
        responses={202: inputs.MailedOutput, **problems(400, 413, 415, 429)},
        examples=[REGISTER],
    )
    def post(self, request: Request) -> Response:
        """202."""
        given = self.given(inputs.RegisterInput)
        address, password, name = given["email"], given["password"], given.get("name", "")
        _check(password, User(username=address, email=address, first_name=name))
        limits.admit_mail(address, "register")
        registration.register(address, password, name)
        return _mailed()


class ActivateView(AccountsView):
    """The link of the mail."""

    @extend_schema(
        summary="Activate an account",
        auth=[],
        request=inputs.ActionTokenInput,
        responses={200: inputs.AccountOutput, **problems(400, 413, 415, 429)},
    )
    def post(self, request: Request) -> Response:
        """200 with the address, once."""
        try:
            user = registration.activate(self.given(inputs.ActionTokenInput)["token"])
        except WrongTokenError:
            raise _wrong_link() from None
        return Response(inputs.AccountOutput(user).data)


class TokenView(AccountsView):
    """Logging in."""

    @extend_schema(
        summary="Log in",
        description=(
            "The access token opens the API for 60 minutes (`Authorization: Bearer …`), the refresh token is exchanged "
            "for the next pair within 7 days. Who fails too often has to wait."
        ),
        auth=[],
        request=inputs.LoginInput,
        responses={200: inputs.TokensOutput, **problems(400, 413, 415, 429)},
        examples=[LOGIN],
    )
    def post(self, request: Request) -> Response:
        """200; 401 for whatever is wrong."""
        given = self.given(inputs.LoginInput)
        user = authenticate(request, username=given["email"], password=given["password"])
        if user is None:
            raise Refused(_("The address or the password is wrong, or the account is not active."), "wrong_login")
        user_logged_in.send(sender=type(user), request=request, user=user)
        return Response(_pair(user))


class TokenRefreshView(AccountsView):
    """The next pair."""

    @extend_schema(
        summary="Exchange a refresh token",
        description="It works once: its successor is in the answer.",
        auth=[],
        request=inputs.RefreshInput,
        responses={200: inputs.TokensOutput, **problems(400, 413, 415, 429)},
    )
    def post(self, request: Request) -> Response:
        """200; 401 for a token that is not valid any more."""
        text = self.given(inputs.RefreshInput)["refresh"]
        try:
            with transaction.atomic():
                pair = _pair(tokens.verify_token(text, RefreshToken))
        except WrongTokenError:
            raise _wrong_refresh() from None
        return Response(pair)


class LogoutView(AccountsView):
    """The end of a session."""

    @extend_schema(
        summary="Log out",
        description="The refresh token is not taken any more. Access tokens end by themselves, within 60 minutes.",
        auth=[],
        request=inputs.RefreshInput,
        responses={204: None, **problems(400, 413, 415, 429)},
    )
    def post(self, request: Request) -> Response:
        """204; 401 for a token that is not valid any more."""
        try:
            tokens.verify_token(self.given(inputs.RefreshInput)["refresh"], RefreshToken)
        except WrongTokenError:
            raise _wrong_refresh() from None
        return Response(status=HTTPStatus.NO_CONTENT)


class ForgotView(AccountsView):
    """A forgotten password."""

    most, seconds = 30, HOUR

    @extend_schema(
        summary="Ask for a new password",
        description="A link is mailed to the address if it has an active account. The answer is always the same.",
        auth=[],
        request=inputs.ForgotInput,
        responses={202: inputs.MailedOutput, **problems(400, 413, 415, 429)},
        examples=[FORGOT],
    )
    def post(self, request: Request) -> Response:
        """202."""
        address = self.given(inputs.ForgotInput)["email"]
        limits.admit_mail(address, "forgot")
        passwords.forgot(address)
        return _mailed()


class ChangePasswordView(AccountsView):
    """The link of that mail."""

    @extend_schema(
        summary="Set a new password",
        description="By the token of the mail. All other tokens of the account end.",
        auth=[],
        request=inputs.ChangePasswordInput,
        responses={200: inputs.AccountOutput, **problems(400, 413, 415, 429)},
    )
    def post(self, request: Request) -> Response:
        """200 with the address, once."""
        given = self.given(inputs.ChangePasswordInput)
        try:
            user = passwords.change(given["token"], given["password"])
        except WrongTokenError:
            raise _wrong_link() from None
        except WeakPasswordError as error:
            raise _weak(error) from None
        return Response(inputs.AccountOutput(user).data)


class SocketTokenView(AccountsView):
    """A ticket for a stream."""

    authentication_classes = (Members,)
    permission_classes = APIView.permission_classes
    writing_needs = Scope.READ

    @extend_schema(
        summary="Get a socket token",
        description="It opens one stream of the organization (`?token=…`) within 60 seconds. Needs an access token.",
        request=None,
        responses={200: inputs.SocketTokenOutput, **problems(400, 413, 415, 429)},
    )
    def post(self, request: Request) -> Response:
        """200."""
        refuse_any_field(request)
        access: Any = request.auth
        user = User.objects.get(pk=int(access["user_id"]))
        token = SocketToken.for_user(user)
        token["organization"] = organization_of(request).pk
        return Response(inputs.SocketTokenOutput({"token": str(token), "expires_at": token.expires_at}).data)


def _pair(user: Any) -> dict[str, str]:
    return {"access": str(AccessToken.for_user(user)), "refresh": str(RefreshToken.for_user(user))}


def _mailed() -> Response:
    detail = _("If the address can be used for that, a mail is on its way to it.")
    return Response({"detail": detail}, status=HTTPStatus.ACCEPTED)


def _check(password: str, user: User) -> None:
    try:
        validate_password(password, user)
    except WeakPasswordError as error:
        raise _weak(error) from None


def _weak(error: WeakPasswordError) -> ValidationError:
    return ValidationError(
        {"password": [ErrorDetail(" ".join(one.messages), code=one.code or "invalid") for one in error.error_list]}
    )


def _wrong_link() -> ValidationError:
    detail = _("The link is not valid any more. Ask for a new one.")
    return ValidationError({"token": [ErrorDetail(detail, code="invalid_token")]})


def _wrong_refresh() -> Refused:
    return Refused(_("The refresh token is not valid any more. Log in again."), "invalid_token")
