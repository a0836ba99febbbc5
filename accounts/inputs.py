"""What the routes of accounts take and answer."""

from typing import Any

from django.contrib.auth.models import User
from rest_framework import serializers

from accounts.tokens import LONGEST
from notifier.inputs.fields import Email, StrictSerializer, Text

LONGEST_ADDRESS = 150
"""Signs: what the name of one of Django's users may have."""
LONGEST_PASSWORD = 128
"""Signs: hashing a password is meant to be dear, and a long one would be dearer."""


class Address(Email):
    """An e-mail address in lower case: the name of an account."""

    def to_internal_value(self, data: Any) -> str:
        # Lowered before it is looked at: of some letters that makes two, and a good address too long.
        address = super().to_internal_value(data.lower() if isinstance(data, str) else data)
        if len(address) > LONGEST_ADDRESS:
            self.fail("max_length", max_length=LONGEST_ADDRESS)
        return address


class Password(Text):
    """A password as it was typed."""

    def __init__(self) -> None:
        super().__init__(max_length=LONGEST_PASSWORD, write_only=True, style={"input_type": "password"})


class TokenText(Text):
    """A token."""

    def __init__(self) -> None:
        super().__init__(max_length=LONGEST, one_line=True)


class RegisterInput(StrictSerializer):
    """Who registers."""

    email = Address()
    password = Password()
    name = Text(required=False, allow_blank=True, max_length=150, one_line=True)


class LoginInput(StrictSerializer):
    """Who logs in."""

    email = Address()
    password = Password()


class ForgotInput(StrictSerializer):
    """Whose password was forgotten."""

    email = Address()


class ActionTokenInput(StrictSerializer):
    """The token of a mail."""

    token = TokenText()


class ChangePasswordInput(StrictSerializer):
    """The token of a mail, and the new password."""

    token = TokenText()
    password = Password()


class RefreshInput(StrictSerializer):
    """A refresh token."""

    refresh = TokenText()


class MailedOutput(serializers.Serializer[Any]):
    """The same, whoever has the address."""

    detail = serializers.CharField()


class AccountOutput(serializers.Serializer[User]):
    """Whose account it was."""

    email = serializers.CharField(source="username")


class TokensOutput(serializers.Serializer[Any]):
    """For the header `Authorization`, and what is exchanged for the next two."""

    access = serializers.CharField()
    refresh = serializers.CharField()


class SocketTokenOutput(serializers.Serializer[Any]):
    """For a stream's `?token=`."""

    token = serializers.CharField()
    expires_at = serializers.DateTimeField()
