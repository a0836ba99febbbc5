"""Who uses the service: organizations, and the operators who look after them."""

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.utils.translation import gettext_lazy as _

from notifier import addresses

DEFAULT_SLUG = "default"


class Organization(models.Model):
    """A tenant: its own users, keys, notifications, provider accounts. There is always one, slug `default`."""

    slug = models.SlugField(_("slug"), max_length=63, unique=True)
    name = models.CharField(_("name"), max_length=255)
    sales_email = models.EmailField(
        _("sales address"), blank=True, help_text=_("Gets orders and calls for a manager; empty: SALES_EMAIL.")
    )
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    webhook_secrets = models.BinaryField(
        null=True, editable=False, help_text=_("Sealed: what signs status callbacks, the newest first.")
    )

    class Meta:
        verbose_name = _("organization")
        verbose_name_plural = _("organizations")
        ordering = ["slug"]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """An address that mail can be sent to: Django's own rules let `sales@localhost` through."""
        try:
            self.sales_email = self.sales_email and addresses.normal(self.sales_email)
        except ValueError:
            raise ValidationError({"sales_email": _("Enter a valid e-mail address.")}) from None


class Membership(models.Model):
    """An operator's place in an organization."""

    class Role(models.TextChoices):
        ADMINISTRATOR = "administrator", _("administrator")  # all scopes, and the admin
        MEMBER = "member", _("member")  # reads

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="memberships", verbose_name=_("operator")
    )
    organization = models.ForeignKey(
        Organization, models.CASCADE, related_name="memberships", verbose_name=_("organization")
    )
    role = models.CharField(_("role"), max_length=16, choices=Role.choices, default=Role.MEMBER)

    class Meta:
        verbose_name = _("membership")
        verbose_name_plural = _("memberships")
        constraints = [
            models.UniqueConstraint(fields=["user", "organization"], name="membership_once"),
            models.CheckConstraint(condition=models.Q(role__in=["administrator", "member"]), name="membership_role"),
        ]

    def __str__(self) -> str:
        return f"{self.user} – {self.organization}"
