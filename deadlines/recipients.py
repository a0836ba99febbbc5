"""Who gets an organization's digest."""

from django.utils.translation import gettext as _

from notifier import recipients
from notifier.models import Organization


class NoRecipientsError(Exception):
    """Nobody is there to be told."""

    def __init__(self) -> None:
        super().__init__(
            _("No recipients: enter them in the organization's e-mail settings, or give an administrator an address.")
        )


def recipients_of(organization: Organization) -> list[str]:
    """As `notifier.recipients` finds them; NoRecipientsError where it finds nobody."""
    found = recipients.recipients_of(organization)
    if not found:
        raise NoRecipientsError
    return found
