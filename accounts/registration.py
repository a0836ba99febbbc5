"""How an account comes to be: somebody registers, a mail asks the address's owner, he activates it."""

from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models.functions import Now

from accounts import mails, pace
from accounts.models import Registration
from accounts.tokens import ActivateToken, WrongTokenError, verify_token


def register(address: str, password: str, name: str = "") -> None:
    """Send the address's owner what he needs; the caller learns nothing, by time either."""
    hashed = make_password(password)
    with pace.same_for_all(), transaction.atomic():
        user, is_new = User.objects.get_or_create(
            username=address,
            defaults={"email": address, "password": hashed, "first_name": name, "is_active": False},
        )
        if is_new:
            Registration.objects.create(user=user)
            mails.send_activation(user)
        else:
            _again(user.pk, hashed, name)


def _again(pk: int, hashed: str, name: str) -> None:
    """The address has a user. One who was never active gets the password that was given last, and only the link of the
    last mail leads to him: whoever activates it has seen that there were several. One whom an operator deactivated
    stays so."""
    user = User.objects.select_for_update().get(pk=pk)
    if user.is_active:
        mails.send_account_exists(user)
    elif Registration.objects.filter(user=user).update(created_at=Now()):
        user.password, user.first_name = hashed, name
        user.save(update_fields=["password", "first_name"])
        mails.send_activation(user)


def activate(text: str) -> User:
    """The user of an ActivateToken is active from now on. WrongTokenError."""
    with transaction.atomic():
        user = verify_token(text, ActivateToken)
        unchanged = User.objects.filter(pk=user.pk, is_active=False, password=user.password)
        if not unchanged.update(is_active=True):
            raise WrongTokenError
        Registration.objects.filter(user=user).delete()
    user.is_active = True
    return user
