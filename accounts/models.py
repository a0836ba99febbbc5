"""What is known of an account beside Django's user, whose name is its e-mail address."""

from typing import Any

from django.conf import settings
from django.db import models
from django.db.models.functions import Now
from django.db.models.signals import post_save
from django.dispatch import receiver
from django.utils.translation import gettext_lazy as _

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
def forget_registration(instance: Any, update_fields: frozenset[str] | None = None, **_: Any) -> None:
    """An operator activated the user by himself."""
    if instance.is_active and (update_fields is None or "is_active" in update_fields):
        Registration.objects.filter(user=instance).delete()
