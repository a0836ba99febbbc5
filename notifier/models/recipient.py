"""The people who get messages (`/api/users/`)."""

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from notifier.models.organization import Organization


class Recipient(models.Model):
    """A person with at least one address. Django's own users are the operators; in the API a recipient is a user."""

    ADDRESS_FIELDS: ClassVar[dict[str, str]] = {"email": "email", "sms": "phone", "telegram": "telegram_chat_id"}
    """Which field holds a channel's address."""

    organization = models.ForeignKey(
        Organization, models.CASCADE, related_name="recipients", verbose_name=_("organization")
    )
    email = models.CharField(_("e-mail"), max_length=320, blank=True)
    phone = models.CharField(_("phone"), max_length=16, blank=True, help_text=_("E.164, as in +12025550123"))
    telegram_chat_id = models.CharField(_("Telegram chat"), max_length=64, blank=True)
    external_id = models.CharField(_("external id"), max_length=255, null=True, blank=True)  # noqa: DJ001 - unique, so none is NULL
    name = models.CharField(_("name"), max_length=255, blank=True)
    language = models.CharField(_("language"), max_length=16, blank=True)
    timezone = models.CharField(_("time zone"), max_length=64, blank=True)
    channels = models.JSONField(_("channels"), default=list, blank=True, help_text=_("The person's own chain."))
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    updated_at = models.DateTimeField(_("changed"), auto_now=True)

    class Meta:
        verbose_name = _("user")
        verbose_name_plural = _("users")
        constraints = [
            models.UniqueConstraint(fields=["organization", "external_id"], name="recipient_external_id"),
            models.CheckConstraint(
                condition=~Q(email="") | ~Q(phone="") | ~Q(telegram_chat_id=""), name="recipient_has_an_address"
            ),
        ]
        indexes = [
            models.Index(fields=["organization", "email"], name="recipient_email", condition=~Q(email="")),
            models.Index(fields=["organization", "phone"], name="recipient_phone", condition=~Q(phone="")),
        ]

    def __str__(self) -> str:
        return self.name or self.external_id or f"#{self.pk}"
