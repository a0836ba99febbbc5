"""What is known of an account beside Django's user, whose name is its e-mail address."""

from typing import Any

from django.conf import settings
from django.db import models
from django.db.models.functions import Now
from django.db.models.signals import post_save
from django.dispatch import receiver
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken

from notifier.models import Membership


class Registration(models.Model):
    """Somebody registered, and has not proven the address yet.

    It tells a user who was never active from one whom an operator deactivated: this one no link activates again.
    """

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, models.CASCADE, primary_key=True, related_name="registration", verbose_name=_("user")
    )
    created_at = models.DateTimeField(_("created"), db_default=Now(), editable=False)

    class Meta:
        verbose_name = _("registration")
        verbose_name_plural = _("registrations")

    def __str__(self) -> str:
        return str(self.user)


@receiver(post_save, sender=Membership)
def open_admin(instance: Membership, **_: Any) -> None:
    """Who administers an organization may enter the admin. Without a place there he sees nothing in it."""
    if instance.role == Membership.Role.ADMINISTRATOR and not instance.user.is_staff:
        instance.user.is_staff = True
        instance.user.save(update_fields=["is_staff"])


@receiver(post_save, sender=settings.AUTH_USER_MODEL)
def follow(instance: Any, created: bool, update_fields: frozenset[str] | None = None, **_: Any) -> None:
    """An operator activated the user by himself, or deactivated him: his tokens must not come back when he does."""
    if created or (update_fields is not None and "is_active" not in update_fields):
        return
    registered = Registration.objects.filter(user=instance)
    if instance.is_active:
        registered.delete()
    elif not registered.exists():
        spend_all(instance)


def spend_all(user: Any) -> None:
    """Every token of this user that works once: none of them will."""
    live = OutstandingToken.objects.filter(user=user, blacklistedtoken=None, expires_at__gt=timezone.now())
    BlacklistedToken.objects.bulk_create((BlacklistedToken(token=row) for row in live), ignore_conflicts=True)
