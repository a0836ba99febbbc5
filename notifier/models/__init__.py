"""The tables: fields, constraints, indexes. Nothing is sent here."""

from notifier.models.api_key import ApiKey
from notifier.models.callback import Callback
from notifier.models.circuit import Circuit
from notifier.models.event import Event
from notifier.models.idempotency import IdempotencyKey
from notifier.models.lookups import Among
from notifier.models.notification import (
    SUBMISSIONS,
    AttachedFile,
    Attachment,
    Attempt,
    Notification,
    Submission,
    TransientAttachment,
)
from notifier.models.organization import DEFAULT_SLUG, Membership, Organization
from notifier.models.provider_settings import EmailSettings, ProviderSettings, SmsSettings, TelegramSettings
from notifier.models.receipt import Receipt
from notifier.models.recipient import Recipient

__all__ = [
    "DEFAULT_SLUG",
    "SUBMISSIONS",
    "Among",
    "ApiKey",
    "AttachedFile",
    "Attachment",
    "Attempt",
    "Callback",
    "Circuit",
    "EmailSettings",
    "Event",
    "IdempotencyKey",
    "Membership",
    "Notification",
    "Organization",
    "ProviderSettings",
    "Receipt",
    "Recipient",
    "SmsSettings",
    "Submission",
    "TelegramSettings",
    "TransientAttachment",
]
