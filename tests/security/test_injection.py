"""Text of a client stays text: in a mail's headers, in every channel's message, in the operators' pages."""

from collections.abc import Iterator
from email import message_from_bytes, policy
from html.parser import HTMLParser
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.db.models import Model
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from notifier import delivery
from notifier.models import Attempt, Notification, Organization, Recipient
from tests.api.checks import assert_problem
from tests.channels.smtp_peer import SmtpPeer
from tests.conftest import FakeRegistry

pytestmark = pytest.mark.django_db

URL = "/api/notifications/"
HEADERS = {
    *("From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted"),
    *("MIME-Version", "Content-Type", "Content-Transfer-Encoding"),
}
INJECTED = "\r\nBcc: victim@example.com\r\nX-Injected: yes\r\n\r\n<b>body</b>"


# --- Headers ---------------------------------------------------------------------------------------------------------
@pytest.fixture
def sink(settings: Settings) -> Iterator[SmtpPeer]:
    """A mail server that keeps what it is given, byte by byte."""
    with SmtpPeer() as peer:
        settings.SMTP_HOST, settings.SMTP_PORT = "127.0.0.1", peer.port
        settings.SMTP_USE_TLS = settings.SMTP_USE_SSL = False
        settings.DEFAULT_FROM_EMAIL = "Notifier <notifier@example.com>"
        settings.SMTP_DEFAULT_USER = settings.SMTP_DEFAULT_PASSWORD = ""
        yield peer


def body(**fields: Any) -> dict[str, Any]:
    """A notification by e-mail."""
    return {"to": {"email": "user@example.com"}, "message": "Hello", "channels": ["email"], **fields}


@pytest.mark.parametrize("line_end", ["\r\n", "\n", "\r", "\x0b", "\x0c", "\x85", "\u2028", "\u2029", "\x00"])
@pytest.mark.parametrize(
    "field", ["subject", "reference", "from_email", "smtp_user", "filename", "content_type", "email"]
)
def test_no_line_end_gets_into_what_becomes_a_header(
    api: APIClient, organization: Organization, field: str, line_end: str
) -> None:
    text = f"a{line_end}Bcc: victim@example.com"
    account = {"smtp_user": "me@example.com", "smtp_password": "x"}
    file = {"filename": "a.txt", "content_type": "text/plain", "content": "YQ=="}
    bodies = {
        "email": body(to={"email": text}),
        "filename": body(attachments=[{**file, "filename": text}]),
        "content_type": body(attachments=[{**file, "content_type": text}]),
    }
    response = api.post(URL, bodies.get(field) or body(**{**account, field: text}))
    assert_problem(response, 400)
    assert response.json()["errors"][0]["attr"].endswith(field)
    assert not Notification.objects.exists()


@pytest.mark.parametrize(
    "subject",
    [
        "=?utf-8?q?a=0D=0ABcc:_victim@example.com?=",
        "=?utf-8?b?YQ0KQmNjOiB2aWN0aW1AZXhhbXBsZS5jb20=?=",
        "%0d%0aBcc: victim@example.com",
        "\\r\\nBcc: victim@example.com",
        "a" * 70 + " Bcc: victim@example.com " + "ж" * 100,
        "Bcc: victim@example.com",
        "<script>alert(1)</script>",
    ],
)
def test_no_way_to_write_a_line_end_adds_a_header(
    api: APIClient, organization: Organization, sink: SmtpPeer, subject: str
) -> None:
    file = {"filename": f"{subject[:60]}.txt", "content_type": "text/plain", "content": "YQ=="}
    response = api.post(URL, body(subject=subject, reference=subject, attachments=[file], metadata={"a": INJECTED}))
    assert response.status_code == 202, response.content
    delivery.deliver([response.json()["id"]])
    [taken] = sink.taken
    assert (taken.sender, taken.recipient) == ("notifier@example.com", "user@example.com")
    mail = message_from_bytes(taken.content, policy=policy.default)
    assert set(mail.keys()) == HEADERS - {"Content-Transfer-Encoding"}
    assert mail["Subject"] == subject
    assert mail["To"] == "user@example.com"
    assert len(sink.taken) == 1
    head = taken.raw.partition(b"\r\n\r\n")[0]
    assert not any(line.lower().startswith((b"bcc:", b"x-injected:")) for line in head.split(b"\r\n"))
    assert all(len(line) <= 998 for line in taken.raw.split(b"\r\n"))


def test_a_first_line_that_becomes_the_subject_is_one_line(
    api: APIClient, organization: Organization, sink: SmtpPeer
) -> None:
    response = api.post(URL, body(message=f"Hello{INJECTED}\r\n.\r\nMAIL FROM:<evil@example.com>"))
    delivery.deliver([response.json()["id"]])
    [taken] = sink.taken
    mail = message_from_bytes(taken.content, policy=policy.default)
    assert (set(mail.keys()), mail["Subject"]) == (HEADERS, "Hello")
    assert not any("evil" in command for command in sink.commands)


# --- Templates -------------------------------------------------------------------------------------------------------
LITERAL = [
    *("{{ 7*7 }}", "{% debug %}", "{% include '/etc/passwd' %}", "{{ settings.SECRET_KEY }}", "{# a #}", "${7*7}"),
    *("%s %d %(message)s %n", "{0.__class__.__mro__}", "{message}", "#{7*7}", "<%= 7*7 %>", "$user $$ ${user}"),
    *(
        "<b>bold</b> <script>alert(1)</script>",
        "&lt;&amp;&#39;",
        "*bold* _it_ `code` [a](http://b)",
        "\\n \\x00 \\u0041",
    ),
    *("' OR 1=1; DROP TABLE notifier_notification; --", "$(id) `id` | id ; id", "../../etc/passwd", "${jndi:ldap://a}"),
]


@pytest.mark.parametrize("text", LITERAL)
@pytest.mark.parametrize("channel", ["email", "sms", "telegram"])
def test_templates_formats_and_markup_are_delivered_as_they_are_written(
    api: APIClient, organization: Organization, fakes: FakeRegistry, channel: str, text: str
) -> None:
    person = {"email": "user@example.com", "phone": "+12025550123", "telegram_chat_id": "4711", "name": text}
    user = api.post("/api/users/", person).json()
    wanted = {"user_id": user["id"], "subject": text, "message": text, "channels": [channel], "metadata": {text: text}}
    made = api.post(URL, wanted).json()
    delivery.deliver([made["id"]])
    [(message, _)] = fakes[channel].sent
    assert message.text == text
    assert message.subject == (text if channel == "email" else "")
    shown = api.get(f"{URL}{made['id']}/").json()
    assert (shown["subject"], shown["message"], shown["metadata"]) == (text, text, {text: text})


# --- Pages -----------------------------------------------------------------------------------------------------------
HOSTILE = "<x-canary>'\"><x-canary onxcanary=1 a='onxcanary=1' b=\"javascript:xcanary\">{{7*7}}</script><x-canary>"


class Reader(HTMLParser):
    """Finds what a browser would take for an element, an attribute or a script of the canary's."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []
        self.shown = ""
        self._script = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._script = tag in {"script", "style"}
        if tag == "x-canary" or any(name == "onxcanary" for name, _ in attrs):
            self.found.append(tag)
        links = [value or "" for name, value in attrs if name in {"href", "src", "action"} or name.startswith("on")]
        self.found += [value for value in links if value.strip().startswith("javascript:")]

    def handle_data(self, data: str) -> None:
        self.shown += data
        if self._script and "x-canary" in data:
            self.found.append("in a script")

    def handle_endtag(self, tag: str) -> None:
        self._script = False


@pytest.fixture
def hostile_rows(organization: Organization) -> list[Model]:
    """A row of each kind that has the canary in whatever a client or a provider can write."""
    other = Organization.objects.create(slug="hostile", name=HOSTILE)
    user = Recipient.objects.create(
        organization=other, email=f"{HOSTILE}@example.com", telegram_chat_id=HOSTILE[:60], name=HOSTILE,
        external_id=HOSTILE, timezone=HOSTILE[:60], channels=[HOSTILE],
    )  # fmt: skip
    row = Notification.objects.create(
        organization=other, recipient=user, subject=HOSTILE, message=HOSTILE, html=HOSTILE, reference=HOSTILE,
        metadata={HOSTILE: HOSTILE}, callback_url=HOSTILE, status="failed", failure_code=HOSTILE[:30],
        due_at=None, finished_at=timezone.now(), expires_at=timezone.now(), steps=[{"channel": HOSTILE}],
    )  # fmt: skip
    attempt = Attempt.objects.create(
        notification=row, step=0, round=0, channel=HOSTILE[:60], outcome="failed", temporary=False,
        code=HOSTILE[:30], detail=HOSTILE, provider_id=HOSTILE, account=HOSTILE[:16], started_at=timezone.now(),
    )  # fmt: skip
    return [other, user, row, attempt]


def test_no_page_of_the_admin_runs_what_a_client_wrote(hostile_rows: list[Model], admin_client: Client) -> None:
    """Lists, searches, forms, histories and the page before a deletion, of every model that the admin has."""
    seen = ""
    for model in apps.get_models():
        if not admin.site.is_registered(model):
            continue
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        pages = [reverse(f"{name}_changelist"), f"{reverse(f'{name}_changelist')}?q={HOSTILE[:20]}"]
        for row in hostile_rows:
            if isinstance(row, model):
                pages += [reverse(f"{name}_{kind}", args=[row.pk]) for kind in ("change", "history", "delete")]
        for page in pages:
            response = admin_client.get(page)
            assert response.status_code in {200, 302, 403}, page
            reader = Reader()
            reader.feed(response.content.decode())
            assert reader.found == [], page
            seen += reader.shown
    assert seen.count("<x-canary>") > 20, "the canary is shown, as text"


def test_a_deletion_in_the_admin_shows_text_too(hostile_rows: list[Model], admin_client: Client) -> None:
    """The message after it, and the list of recent actions."""
    user = hostile_rows[1]
    page = admin_client.post(
        reverse("admin:notifier_recipient_delete", args=[user.pk]), {"post": "yes"}, follow=True
    ).content.decode()
    for content in (page, admin_client.get(reverse("admin:index")).content.decode()):
        reader = Reader()
        reader.feed(content)
        assert reader.found == []


def test_the_reader_finds_what_it_is_for() -> None:
    """Otherwise the tests above would prove nothing."""
    for page in (HOSTILE, f'<a title="{HOSTILE}">', f"<script>var a = '{HOSTILE}'</script>", "<a href='javascript:x'>"):
        reader = Reader()
        reader.feed(page)
        assert reader.found
