"""An e-mail as it came over the wire, turned into an entry of the inbox."""

import email
import email.policy
import itertools
from email.message import EmailMessage

from sandbox.inbox import Entry, Inbox, InboxAttachment

_numbers = itertools.count(1)


def deliver(inbox: Inbox, to: str, sender: str, raw: bytes) -> Entry:
    """Put a message into the inbox as its reader sees it.

    `sender` is the envelope's and stands where the message has no From of its own. A message that cannot be read is
    kept all the same, with its bytes as its text.
    """
    provider_id = f"sandbox-mail-{next(_numbers)}"
    try:
        message = email.message_from_bytes(raw, policy=email.policy.default)
        return inbox.add(
            "email",
            to,
            sender=str(message.get("From", "") or sender),
            subject=str(message.get("Subject", "")),
            text=_body(message, "plain"),
            html=_body(message, "html"),
            reference=str(message.get("Message-ID", "")).strip(),
            attachments=tuple(_attachment(part) for part in message.iter_attachments()),
            provider_id=provider_id,
            raw=raw,
        )
    except (LookupError, ValueError, AttributeError, TypeError):  # what the parser throws at broken messages
        text = raw.decode("utf-8", errors="replace")
        return inbox.add("email", to, sender=sender, text=text, provider_id=provider_id, raw=raw)


def _body(message: EmailMessage, kind: str) -> str:
    part = message.get_body(preferencelist=(kind,))
    if part is None:
        return ""
    # The last line break is the envelope's: a mail ends with one, whatever its author wrote.
    return str(part.get_content()).replace("\r\n", "\n").removesuffix("\n")


def _attachment(part: EmailMessage) -> InboxAttachment:
    payload = part.get_payload(decode=True)
    size = len(payload) if isinstance(payload, bytes) else len(part.as_bytes())
    return InboxAttachment(part.get_filename() or "", part.get_content_type(), size)
