"""A forgotten password: a mail with a link, and the new one that it sets."""

from axes.models import AccessAttempt
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from django.contrib.auth.password_validation import validate_password
from django.db import transaction

from accounts import mails, pace
from accounts.models import spend_all
from accounts.tokens import ChangePasswordToken, WrongTokenError, read, verify_token


def forgot(address: str) -> None:
    """Mail a link to the owner of an active account; the caller learns nothing, by time either."""
    with pace.same_for_all(), transaction.atomic():
        user = User.objects.filter(username=address, is_active=True).first()
        if user is not None and user.has_usable_password():
            mails.send_password_change(user)


def change(text: str, password: str) -> User:
    """The user of a ChangePasswordToken has this password from now on, and no other token of his is good any more.

    WrongTokenError; or a ValidationError of Django where the password is too weak, which leaves the token as it was.
    """
    _token, user = read(text, ChangePasswordToken)
    validate_password(password, user)
    hashed = make_password(password)  # before the transaction: it takes long
    with transaction.atomic():
        verify_token(text, ChangePasswordToken)
        if not User.objects.filter(pk=user.pk, is_active=True, password=user.password).update(password=hashed):
            raise WrongTokenError
        spend_all(user)
        # Who forgot his password has tried others, and is locked out by now.
        AccessAttempt.objects.filter(username=user.username).delete()
    return user
