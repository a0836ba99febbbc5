"""From a notification to what a channel carries. Text is data: nothing in it is interpreted here."""

import re
from collections.abc import Sequence
from dataclasses import replace

from channels.base import Attachment as File
from channels.base import Message
from notifier import vault
from notifier.markers import filled, marker
from notifier.models import AttachedFile, Notification

SUBJECT_LENGTH = 78  # the line length RFC 5322 §2.1.1 asks for

SECRETS = "secrets"
"""In `Notification.forms`, which has a channel's text by the channel's name: the variables that are kept sealed."""

SEALED_VALUES = "values"
"""In what is sealed as `Notification.credentials`: theirs."""

_JOINERS = "\u200c\u200d"
_LONG_WORD = re.compile(r"[\w.~-]{12,}")


def default_subject(message: str) -> str:
    """The first line of the message that says something, shortened at a word."""
    first = message.partition("\n")[0].strip()
    if first and len(first) <= SUBJECT_LENGTH and first.isprintable():
        return first  # the same answer as below, in a fifth of the time; a sign that ends a line is not printable
    first = next((shown for line in message.splitlines() if (shown := _on_one_line(line))), "")
    if len(first) <= SUBJECT_LENGTH:
        return first
    cut = first[: SUBJECT_LENGTH - 1]
    return (cut.rsplit(" ", 1)[0] if " " in cut[SUBJECT_LENGTH // 2 :] else cut).rstrip() + "…"


def _on_one_line(text: str) -> str:
    """Without what cannot be shown, and every kind of space as a plain one. What joins letters and emoji stays."""
    shown = (sign if sign.isprintable() or sign in _JOINERS else " " * sign.isspace() for sign in text)
    return "".join(shown).strip(f" {_JOINERS}")


def message_for(channel: str, notification: Notification, address: str) -> Message:
    """What this channel carries to that address."""
    text, reference = notification.message, notification.key.hex
    if notification.template:
        return _of_template(channel, notification, address)
    if channel != "email":
        return Message(to=address, text=text, reference=reference)
    return Message(to=address, text=text, reference=reference, subject=notification.subject, html=notification.html)


def _of_template(channel: str, notification: Notification, address: str) -> Message:
    """With the secret values in their places. Literal: whoever wrote a value must not write markup."""
    text, values = (notification.forms or {}).get(channel, notification.message), _secret_values(notification)
    reference = notification.key.hex
    message = Message(to=address, text=filled(text, values), reference=reference, literal=True)
    if channel != "email":
        return message
    html = filled(notification.html, values, html=True)
    return replace(message, subject=filled(notification.subject, values), html=html)


def lacks_secrets(notification: Notification) -> bool:
    """Whether its text has holes: values that a template keeps to itself were wiped. `vault.VaultError`."""
    return bool(_secret_names(notification) - _secret_values(notification).keys())


def without_secrets(text: str, notification: Notification) -> str:
    """A provider's words, who may repeat what he was given: markers in the place of this message's secret values, and
    of each long word of theirs, as a link's token is one."""
    for name, value in _secret_values(notification).items():
        for part in filter(None, (value, *_LONG_WORD.findall(value))):
            text = text.replace(part, marker(name))
    return text


def _secret_names(notification: Notification) -> set[str]:
    return set(notification.forms.get(SECRETS, ())) if notification.forms else set()


def _secret_values(notification: Notification) -> dict[str, str]:
    if not notification.credentials or not _secret_names(notification):
        return {}
    values: dict[str, str] = vault.unseal(notification.credentials).get(SEALED_VALUES, {})
    return values


def with_files(message: Message, files: Sequence[AttachedFile]) -> Message:
    """The same with these files."""
    if not files:
        return message
    carried = (File(file.filename, file.content_type, bytes(file.content)) for file in files)
    return replace(message, attachments=tuple(carried))
