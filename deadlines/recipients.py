"""Who gets an organization's digest."""

from django.contrib.auth import get_user_model
from django.utils.translation import gettext as _

from notifier.models import EmailSettings, Membership, Organization


class NoRecipientsError(Exception):
    """Nobody is there to be told."""

    def __init__(self) -> None:
        super().__init__(
            _("No recipients: enter them in the organization's e-mail settings, or give an administrator an address.")
        )


def recipients_of(organization: Organization) -> list[str]:
    """Those of its active e-mail settings, else its administrators, else the superusers; NoRecipientsError."""
    settings = EmailSettings.objects.filter(organization=organization, is_active=True).first()
    operators = get_user_model()._default_manager.filter(is_active=True).exclude(email="").order_by("pk")
    administrators = operators.filter(
        memberships__organization=organization, memberships__role=Membership.Role.ADMINISTRATOR
    )
    found = (
        (settings.recipient_list() if settings else [])
        or list(administrators.values_list("email", flat=True))
        or list(operators.filter(is_superuser=True).values_list("email", flat=True))
    )
    if not found:
        raise NoRecipientsError
    return list({address.casefold(): address for address in reversed(found)}.values())[::-1]
