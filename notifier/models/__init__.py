"""The tables: fields, constraints, indexes. Nothing is sent here."""

from notifier.models.notification import Attachment, Attempt, Notification
from notifier.models.organization import DEFAULT_SLUG, Membership, Organization
from notifier.models.recipient import Recipient

__all__ = ["DEFAULT_SLUG", "Attachment", "Attempt", "Membership", "Notification", "Organization", "Recipient"]
