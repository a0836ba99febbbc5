"""A message as bytes for the wire (RFC 5322, RFC 2045-2047).

A fixed list of headers, and bodies of 7 bits: any server can take them, with or without 8BITMIME.
"""

import re
import secrets
import textwrap
import time
from base64 import b64encode, encodebytes
from dataclasses import dataclass, field
from email import policy
from email.message import EmailMessage
from email.utils import formatdate
from functools import lru_cache

from channels.base import Attachment, Message
from channels.email import addresses
from channels.email.addresses import Mailbox

_POLICY = policy.SMTP.clone(cte_type="7bit")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")  # with everything that some reader takes for a line's end
_BINARY = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_PLAIN_HEADER = re.compile(
    r"(?!.*=\?)[!-~]+(?: [!-~]+)*"
)  # what a header can carry as it is: no word that looks encoded
_TOKEN = r"[A-Za-z0-9!#$&^_.+\-]+"  # noqa: S105  # RFC 6838, section 4.2
_CONTENT_TYPE = re.compile(rf'({_TOKEN})/({_TOKEN})(?:\s*;\s*charset="?({_TOKEN})"?)?\s*', re.IGNORECASE)
_WORD_OCTETS = 39  # with base64, frame and `Subject: ` before it the line stays within 76 (RFC 2047, section 2)
_NOT_IN_ID = re.compile("[^A-Za-z0-9-]")
_PART = b'Content-Type: text/%b; charset="utf-8"\r\nContent-Transfer-Encoding: %b\r\n'
_VERSION = b"MIME-Version: 1.0\r\n"
_ALTERNATIVES = b'Content-Type: multipart/alternative; boundary="%b"\r\n'
_LINE_END = re.compile(rb"\r\n?|\n")
_SEVEN_BIT = bytes([*b"\t\n\r", *range(0x20, 0x7F)])
_LONGEST_LINE = 998  # RFC 5322, section 2.1.1
_FOLD = "\r\n "
_LINE = 68  # the same for plain text, which should stay within 78 (RFC 5322, section 2.1.1)


@dataclass(frozen=True, slots=True)
class Mail:
    """An envelope with one recipient, and the message's bytes: CRLF at each line's end, no line over 998 octets."""

    sender: Mailbox
    recipient: Mailbox
    message_id: str
    content: bytes = field(repr=False)

    @property
    def needs_utf8(self) -> bool:
        """Whether the server must offer SMTPUTF8 (RFC 6531)."""
        return self.sender.needs_utf8 or self.recipient.needs_utf8


def compose(message: Message, *, from_email: str, user: str = "") -> Mail:
    """The mail of a message. The Message-ID is the same on every try of the same notification.

    InvalidRecipientError, MisconfiguredError: the recipient's or the sender's address is none.
    """
    recipient = addresses.recipient(message.to)
    from_line, sender = _sender(from_email, user)
    message_id = f"{_NOT_IN_ID.sub('-', message.reference)}@{sender.domain}"
    head = (
        f"{from_line}To: {recipient.spec}\r\nSubject: {_header_text(message.subject)}\r\n"
        f"Date: {_date(int(time.time()))}\r\nMessage-ID: <{message_id}>\r\n"
        "Auto-Submitted: auto-generated\r\n"  # RFC 3834: no out-of-office answers, please
    )
    return Mail(sender, recipient, message_id, head.encode() + _body(message))


def _body(message: Message) -> bytes:
    if message.attachments:
        return _LINE_END.sub(b"\r\n", _with_files(message))
    head, octets = _part(b"plain", message.text)
    if not message.html:
        return head + _VERSION + b"\r\n" + octets
    return _alternatives(head + b"\r\n" + octets, b"\r\n".join(_part(b"html", message.html)))


@lru_cache(maxsize=256)
def _sender(from_email: str, user: str) -> tuple[str, Mailbox]:
    """The header `From`, whole, and the mailbox: a few senders write nearly all mails."""
    name, sender = addresses.sender(from_email, user)
    return f"From: {_with_name(name, sender.spec)}\r\n", sender


@lru_cache(maxsize=1)
def _date(second: int) -> str:
    return formatdate(second).replace("-0000", "+0000")


def _with_name(name: str, spec: str) -> str:
    if not name:
        return spec
    text = _header_text(name)
    if text == name:
        text = '"{}"'.format(re.sub(r'(["\\])', r"\\\1", name))
    fits = len(text) + len(spec) < _LINE - len("From:  <>")
    return f"{text}{' ' if fits else _FOLD}<{spec}>"


def _header_text(text: str) -> str:
    """Text as a header's value: as it is where that is safe, else in encoded words; a space for control characters."""
    if len(text) <= _LINE and _PLAIN_HEADER.fullmatch(text):
        return text
    text = _CONTROLS.sub(" ", text)
    lines = textwrap.wrap(text, _LINE, break_long_words=False, break_on_hyphens=False)
    if _PLAIN_HEADER.fullmatch(text) and all(len(line) <= _LINE for line in lines):
        return _FOLD.join(lines)
    return _FOLD.join(f"=?utf-8?b?{b64encode(piece).decode()}?=" for piece in _pieces(text))


def _pieces(text: str) -> list[bytes]:
    """The text's UTF-8 in pieces for one encoded word each; no character is cut in two (RFC 2047, section 5)."""
    pieces = [b""] if text else []
    for character in text:
        octets = character.encode(errors="replace")
        if len(pieces[-1]) + len(octets) > _WORD_OCTETS:
            pieces.append(b"")
        pieces[-1] += octets
    return pieces


def _part(subtype: bytes, text: str) -> tuple[bytes, bytes]:
    """Headers and body of a text, without the library's help, which would take longer than the rest of the way to the
    server."""
    octets = text.encode(errors="replace")
    octets = _LINE_END.sub(b"\r\n", octets) if b"\r" in octets else octets.replace(b"\n", b"\r\n")
    if not octets.endswith(b"\r\n"):
        octets += b"\r\n"
    if octets.translate(None, _SEVEN_BIT) or _has_long_line(octets):
        return _PART % (subtype, b"base64"), encodebytes(octets).replace(b"\n", b"\r\n")
    return _PART % (subtype, b"7bit"), octets


def _has_long_line(octets: bytes) -> bool:
    return len(octets) > _LONGEST_LINE and max(map(len, octets.split(b"\r\n"))) > _LONGEST_LINE


def _alternatives(plain: bytes, html: bytes) -> bytes:
    """Both as multipart/alternative (RFC 2046, section 5.1.4): readers take the last form that they know."""
    boundary = b"=_part"
    while boundary in plain or boundary in html:
        boundary = b"=_" + secrets.token_hex(16).encode()
    frame = b"\r\n--" + boundary
    parts = frame[2:] + b"\r\n" + plain + frame + b"\r\n" + html + frame + b"--\r\n"
    return _ALTERNATIVES % boundary + _VERSION + b"\r\n" + parts


def _with_files(message: Message) -> bytes:
    body = EmailMessage(policy=_POLICY)
    body.set_content(_encodable(message.text), charset="utf-8", cte=_transfer_encoding(message.text))
    if message.html:
        cte = _transfer_encoding(message.html)
        body.add_alternative(_encodable(message.html), subtype="html", charset="utf-8", cte=cte)
    for attachment in message.attachments:
        _attach(body, attachment)
    return body.as_bytes(policy=_POLICY)


def _encodable(text: str) -> str:
    """The text with lone surrogates, which no encoding knows, as question marks."""
    return text.encode(errors="replace").decode()


def _transfer_encoding(text: str) -> str | None:
    """None lets the library choose between 7bit, quoted-printable and base64, by size."""
    return "base64" if _BINARY.search(text) else None


def _attach(body: EmailMessage, attachment: Attachment) -> None:
    """Add a file with the content type it was given; one that a mail cannot carry safely becomes a plain binary."""
    given = _CONTENT_TYPE.fullmatch(attachment.content_type)
    maintype, subtype, charset = given.groups() if given else ("application", "octet-stream", None)
    if maintype.lower() in {"message", "multipart"}:  # RFC 2045, section 6.4: these may not be base64
        maintype, subtype, charset = "application", "octet-stream", None
    filename = _encodable(_CONTROLS.sub(" ", attachment.filename))
    body.add_attachment(
        attachment.content,
        maintype=maintype,
        subtype=subtype,
        filename=filename,
        params={"charset": charset} if charset else None,
    )
