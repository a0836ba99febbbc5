"""What may come in, by whichever door: strict, and refused with an error that names the field."""

from notifier.inputs.notification import NotificationInput, SmtpInput, Wanted
from notifier.inputs.recipient import RecipientInput

__all__ = ["NotificationInput", "RecipientInput", "SmtpInput", "Wanted"]
