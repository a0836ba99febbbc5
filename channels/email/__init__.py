"""The channel `email`."""

from channels.email.account import Security, SmtpAccount
from channels.email.channel import EmailChannel

__all__ = ["EmailChannel", "Security", "SmtpAccount"]
