"""What arrives: the bytes that a server received, parsed again."""

import re
from collections.abc import Iterator
from dataclasses import replace
from email import message_from_bytes, policy
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from channels.base import Attachment, Message
from channels.email import EmailChannel, SmtpAccount
from channels.email.compose import compose
from channels.errors import InvalidRecipientError, MisconfiguredError
from tests.channels.smtp_peer import SmtpPeer

HELLO = Message(to="user@example.com", subject="Hello", text="Hello!", reference="ref-1")
HEADERS = ["From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted"]
MIME_HEADERS = ["Content-Type", "Content-Transfer-Encoding", "MIME-Version"]


@pytest.fixture
def peer() -> Iterator[SmtpPeer]:
    with SmtpPeer() as peer:
        yield peer


def sent(peer: SmtpPeer, message: Message, **options: Any) -> EmailMessage:
    """The message as the server got it."""
    channel = EmailChannel()
    options = {"from_email": "sender@example.org", **options}
    channel.send(message, SmtpAccount(host="127.0.0.1", port=peer.port, security="none", **options))
    channel.close()
    return parsed(peer.taken[-1].content)


def parsed(content: bytes) -> EmailMessage:
    found = message_from_bytes(content, policy=policy.default)
    assert isinstance(found, EmailMessage)
    return found


def text_of(part: Any) -> str:
    return str(part.get_content()).replace("\r\n", "\n")


def composed(message: Message, from_email: str = "sender@example.org") -> bytes:
    return compose(message, from_email=from_email).content


def test_a_plain_message(peer: SmtpPeer) -> None:
    mail = sent(peer, HELLO, from_email="Notifier <sender@example.org>")
    assert sorted(mail.keys()) == sorted(HEADERS + MIME_HEADERS)
    assert mail["From"] == "Notifier <sender@example.org>"
    assert (mail["To"], mail["Subject"]) == ("user@example.com", "Hello")
    assert (mail["Message-ID"], mail["Auto-Submitted"]) == ("<ref-1@example.org>", "auto-generated")
    assert parsedate_to_datetime(mail["Date"]).tzinfo is not None
    assert (mail.get_content_type(), text_of(mail)) == ("text/plain", "Hello!\n")
    assert (peer.taken[0].sender, peer.taken[0].recipient) == ("sender@example.org", "user@example.com")


def test_the_message_id_is_the_receipt_and_stays_over_tries(peer: SmtpPeer) -> None:
    channel = EmailChannel()
    account = SmtpAccount(host="127.0.0.1", port=peer.port, security="none", from_email="sender@example.org")
    assert channel.send(HELLO, account) == channel.send(HELLO, account)
    channel.close()
    assert [parsed(mail.content)["Message-ID"] for mail in peer.taken] == ["<ref-1@example.org>"] * 2


def test_text_and_html_and_files(peer: SmtpPeer) -> None:
    files = (
        Attachment("report.pdf", "application/pdf", b"%PDF\0\xff\r\n.\r\n"),
        Attachment("Отчёт за июль.csv", "text/csv; charset=utf-8", "имя;дата\n".encode()),
    )
    mail = sent(peer, replace(HELLO, text="Привет", html="<p>Привет</p>", attachments=files))
    assert mail.get_content_type() == "multipart/mixed"
    alternatives, pdf, csv = mail.iter_parts()
    assert [part.get_content_type() for part in alternatives.iter_parts()] == ["text/plain", "text/html"]
    assert [text_of(part).strip() for part in alternatives.iter_parts()] == ["Привет", "<p>Привет</p>"]
    assert (pdf.get_content_type(), pdf.get_filename(), pdf.get_content()) == (
        "application/pdf",
        "report.pdf",
        b"%PDF\0\xff\r\n.\r\n",
    )
    assert (csv.get_content_type(), csv.get_content_charset()) == ("text/csv", "utf-8")
    assert (csv.get_filename(), csv.get_content()) == ("Отчёт за июль.csv", "имя;дата\n")
    assert "multipart/alternative" in sent(peer, replace(HELLO, html="<p>Hi</p>"))["Content-Type"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("application/vnd.oasis.opendocument.text", "application/vnd.oasis.opendocument.text"),
        ("image/svg+xml", "image/svg+xml"),
        ("", "application/octet-stream"),
        ("nonsense", "application/octet-stream"),
        ("text/plain\r\nBcc: x@example.com", "application/octet-stream"),
        ('text/plain; name="x"; x=y', "application/octet-stream"),
        ("message/rfc822", "application/octet-stream"),  # may not be base64
        ("multipart/mixed; boundary=x", "application/octet-stream"),
    ],
)
def test_a_files_content_type_is_kept_where_a_mail_can_carry_it(given: str, expected: str) -> None:
    content = composed(replace(HELLO, attachments=(Attachment("a.bin", given, b"--x\r\n\r\nhello"),)))
    assert b"Bcc" not in content
    (file,) = parsed(content).iter_attachments()
    assert (file.get_content_type(), file.get_payload(decode=True)) == (expected, b"--x\r\n\r\nhello")


@pytest.mark.parametrize(
    "filename", ["../../etc/passwd", 'a"b\\c;d=e.txt', "line\r\nBcc: x.txt", "я" * 250, "\ud800", ""]
)
def test_any_file_name_stays_one_header(filename: str) -> None:
    mail = parsed(composed(replace(HELLO, attachments=(Attachment(filename, "text/plain", b"x"),))))
    assert sorted(set(mail.keys())) == sorted([*HEADERS, "Content-Type", "MIME-Version"])
    (file,) = mail.iter_attachments()
    assert set(file.keys()) <= {"Content-Type", "Content-Transfer-Encoding", "Content-Disposition", "MIME-Version"}


@pytest.mark.parametrize("server", ["8BITMIME", "SIZE"])
def test_eight_bit_text_travels_in_seven_bits(server: str) -> None:
    with SmtpPeer(extensions=[server]) as peer:
        mail = sent(peer, replace(HELLO, subject="Привет, мир", text="Привет, мир\n" * 50, html="<b>Привет</b>" * 500))
        assert peer.taken[0].content.isascii()
        assert mail["Subject"] == "Привет, мир"
        assert text_of(mail.get_body(("plain",))) == "Привет, мир\n" * 50


@pytest.mark.parametrize(
    "text",
    [
        "{{ name }} %s {0} <b>&amp;</b> =C3=A4 ${x}",
        ".\n..\n.hidden\n\n.\nQUIT\n",
        "From the start\n>From here\n",
        "no line end " * 5000,
        "длинная строка без конца " * 3000,
        "tab\tand trailing spaces   \n\n\n   indented\n",
        "emoji 👩‍👩‍👧 and 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 \x85 \u2028 end",
        "control \0\x01\x0b\x0c\x1b[31m\x7f end",
    ],
)
def test_text_arrives_literally(peer: SmtpPeer, text: str) -> None:
    alone, beside = sent(peer, replace(HELLO, text=text)), sent(peer, replace(HELLO, text=text, html=text))
    for part in (alone, beside.get_body(("plain",)), beside.get_body(("html",))):
        assert text_of(part).rstrip("\n") == text.rstrip("\n")
    for raw in (taken.raw for taken in peer.taken):
        lines = raw.split(b"\r\n")
        assert max(map(len, lines)) <= 998
        assert not re.search(rb"[\x00\x80-\xff]|(?<!\r)\n|\r(?!\n)", raw)
        assert b"." not in lines


def test_every_kind_of_line_end_becomes_the_same(peer: SmtpPeer) -> None:
    mail = sent(peer, replace(HELLO, text="a\rb\nc\r\nd\n.\r.\n"))
    assert text_of(mail) == "a\nb\nc\nd\n.\n.\n"


# Headers


def _unfolded(content: bytes, name: str) -> str:
    head = content.partition(b"\r\n\r\n")[0].decode()
    (value,) = re.findall(rf"^{name}: ?([^\r\n]*(?:\r\n[ \t][^\r\n]*)*)", head, re.MULTILINE)
    return str(value).replace("\r\n", "")


LAWFUL = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=255)


@given(subject=LAWFUL)
@example("=?utf-8?q?looks_encoded?=")
@example("  spaces  around and  between  ")
@example("x" * 255)
@example("word " * 50 + "end")
@example("я" * 255)
@example('"quoted", <tag>; (comment) \\ @')
def test_any_subject_is_read_back_as_it_was(subject: str) -> None:
    content = composed(replace(HELLO, subject=subject))
    assert str(make_header(decode_header(_unfolded(content, "Subject")))) == subject
    assert sorted(parsed(content).keys()) == sorted(HEADERS + MIME_HEADERS)
    assert max(map(len, content.split(b"\r\n"))) <= 76


@given(subject=st.text(max_size=255), name=st.text(max_size=80), reference=st.text(max_size=64))
@example("a\r\nBcc: x@example.com", "b\r\nBcc: x@example.com", "c\r\nBcc: x@example.com")
@example("a\n\nbody", "b\0c", "d>@x")
def test_nothing_gets_out_of_its_header(subject: str, name: str, reference: str) -> None:
    from_email = f'"{name}" <sender@example.org>'
    try:
        content = composed(replace(HELLO, subject=subject, reference=reference), from_email)
    except MisconfiguredError:  # quotes and brackets in a name may make it more than one address
        content = composed(replace(HELLO, subject=subject, reference=reference))
    mail = parsed(content)
    assert sorted(mail.keys()) == sorted(HEADERS + MIME_HEADERS)
    assert text_of(mail) == "Hello!\n"
    assert b"\0" not in content
    assert not re.search(r"[\0\r\n]", str(make_header(decode_header(_unfolded(content, "Subject")))))
    assert content.partition(b"\r\n\r\n")[0].isascii()


@given(name=st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"], exclude_characters='"\\<>'), min_size=1))
def test_any_name_of_the_sender_is_read_back(name: str) -> None:
    name = name.strip()
    content = composed(HELLO, f'"{name}" <sender@example.org>')
    (address,) = parsed(content)["From"].addresses
    assert address.addr_spec == "sender@example.org"
    words = _unfolded(content, "From").rpartition(" <")[0]
    read = str(make_header(decode_header(words))) if "=?" in words else words
    assert name in {read, read.strip('"')}


# Addresses


def test_domains_beyond_ascii_travel_as_a_labels(peer: SmtpPeer) -> None:
    mail = sent(peer, replace(HELLO, to="user@bücher.example"), from_email="Имя <sender@пример.example>")
    assert mail["To"] == "user@xn--bcher-kva.example"
    assert mail["From"].addresses[0].addr_spec == "sender@xn--e1afmkfd.example"
    assert mail["Message-ID"] == "<ref-1@xn--e1afmkfd.example>"
    assert peer.taken[0].recipient == "user@xn--bcher-kva.example"
    assert peer.taken[0].sender == "sender@xn--e1afmkfd.example"


def test_a_local_part_beyond_ascii_needs_smtputf8(peer: SmtpPeer) -> None:
    with pytest.raises(InvalidRecipientError) as raised:
        sent(peer, replace(HELLO, to="почта@example.com"))
    assert raised.value.code == "invalid_address"
    with pytest.raises(MisconfiguredError):
        sent(peer, HELLO, from_email="почта@example.org")
    assert not any(command.startswith("MAIL") for command in peer.commands)
    with SmtpPeer(extensions=["SMTPUTF8", "8BITMIME"]) as modern:
        mail = sent(modern, replace(HELLO, to="почта@пример.example"))
        assert modern.taken[0].recipient == "почта@xn--e1afmkfd.example"
        assert any(command.endswith(" SMTPUTF8") for command in modern.commands)
        assert mail["To"] == "почта@xn--e1afmkfd.example"


@pytest.mark.parametrize(
    "to", ["user+tag@example.com", "o'brien@example.com", '"two words"@example.com', "a@[192.0.2.1]"]
)
def test_an_unusual_address_is_taken(peer: SmtpPeer, to: str) -> None:
    assert sent(peer, replace(HELLO, to=to))["To"] == to
    assert peer.taken[0].recipient == to


@pytest.mark.parametrize(
    "to",
    [
        *("", "user", "@example.com", "user@", "a b@example.com", "a@b@example.com", "user@exa mple.com"),
        *("user@example.com\r\nRCPT TO:<other@example.com>", "user@example.com> SIZE=1", "<user@example.com>"),
        *("user@example.com,other@example.com", "user\0@example.com", "user@example.com\n", "user\u0085@example.com"),
        *("Name <user@example.com>", f"{'x' * 65}@example.com", f"user@{'x' * 64}ö.example", "user@-example.com"),
        *("user@exam\u2028ple.com", "us\ud800er@example.com"),
    ],
)
def test_what_is_no_address_never_reaches_a_server(peer: SmtpPeer, to: str) -> None:
    with pytest.raises(InvalidRecipientError):
        sent(peer, replace(HELLO, to=to))
    assert peer.connections == 0


@pytest.mark.parametrize(
    "from_email", ["a@example.org, b@example.org", "no address", "<>", "x <a@b@c>", "<a@example.org"]
)
def test_a_sender_that_is_not_one_address_is_our_fault(peer: SmtpPeer, from_email: str) -> None:
    with pytest.raises(MisconfiguredError):
        sent(peer, HELLO, from_email=from_email)


def test_without_a_sender_the_user_is_it() -> None:
    with SmtpPeer(user="me@example.org", password="p") as peer:
        mail = sent(peer, HELLO, from_email="", user="me@example.org", password="p", auth_in_clear=True)
        assert mail["From"] == "me@example.org"
