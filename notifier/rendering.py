"""From a notification to what a channel carries. Text is data: nothing in it is interpreted here."""

from collections.abc import Sequence
from dataclasses import replace

from channels.base import Attachment as File
from channels.base import Message
from notifier.models import Attachment, Notification

SUBJECT_LENGTH = 78  # the line length RFC 5322 §2.1.1 asks for


def default_subject(message: str) -> str:
    """The first line of the message that says something, shortened at a word."""
    first = message.partition("\n")[0].strip()
    if first and len(first) <= SUBJECT_LENGTH and first.isprintable():
        return first  # the same answer as below, in a fifth of the time; a sign that ends a line is not printable
    first = next((line.strip() for line in message.splitlines() if line.strip()), "")
    first = "".join(sign for sign in first if sign.isprintable())
    if len(first) <= SUBJECT_LENGTH:
        return first
    cut = first[: SUBJECT_LENGTH - 1]
    return (cut.rsplit(" ", 1)[0] if " " in cut[SUBJECT_LENGTH // 2 :] else cut).rstrip() + "…"


def message_for(channel: str, notification: Notification, address: str) -> Message:
    """What this channel carries to that address."""
    text, reference = notification.message, notification.key.hex
    if channel != "email":
        return Message(to=address, text=text, reference=reference)
    return Message(to=address, text=text, reference=reference, subject=notification.subject, html=notification.html)


def with_files(message: Message, files: Sequence[Attachment]) -> Message:
    """The same with these files."""
    if not files:
        return message
    carried = (File(file.filename, file.content_type, bytes(file.content)) for file in files)
    return replace(message, attachments=tuple(carried))
