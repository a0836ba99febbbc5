"""What strangers can write into, and read out of, what the service says of itself."""

import logging
import re
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any

import django
import pytest
import uvicorn
from rest_framework.test import APIClient

from notifier.inputs import NotificationInput, RecipientInput
from notifier.logs import OneLineFormatter
from notifier.models import Notification, Recipient
from notifier.outputs import NotificationDetail, UserOutput
from tests.api.checks import assert_problem
from tests.channels.smtp_peer import SmtpPeer
from tests.commands.conftest import Web, started
from tests.notifier.rows import organization, person, stored
from tests.servers.migrated import migrated_file

ENTRY = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (DEBUG|INFO|WARNING|ERROR|CRITICAL) [\w.]+ ")
FORGED = "2026-11-20T12:00:00.000Z ERROR notifier.delivery FORGED"
# What ends a line somewhere, moves the cursor, or turns the reading direction.
BREAKS = ("\n", "\r", "\r\n", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029",
          "\x1b[2K\x1b[1G", "\x9b2K", "\x08" * 90, "\x00", "\x7f", "\u202e", "\u2066")  # fmt: skip


# --- Log entries -----------------------------------------------------------------------------------------------------
def lines_of(text: str) -> list[str]:
    """The lines as any reader might see them; those of a traceback belong to their entry."""
    return [line for line in text.splitlines() if not line.startswith("  ")]


def formatted(message: str, *arguments: Any, error: BaseException | None = None, **extra: Any) -> str:
    record = logging.getLogger("x").makeRecord(
        "notifier.x", 40, "f", 1, message, arguments, (type(error), error, None) if error else None, extra=extra
    )
    return OneLineFormatter().format(record)


@pytest.mark.parametrize("end", BREAKS, ids=ascii)
def test_no_text_makes_a_second_entry_or_moves_the_cursor(end: str) -> None:
    text = f"Hello{end}{FORGED}"
    for line in (
        formatted("A provider said %s.", text),
        formatted(text),
        formatted("Sentence.", notification_id=text),
        formatted("Sentence.", error=ValueError(text)),
        formatted("Sentence.", error=KeyError(text)),
    ):
        assert len(lines_of(line)) == 1
        assert not any(sign in line.replace("\n  ", "") for sign in end if not sign.isprintable())
        assert not any(other.startswith(FORGED[:20]) for other in line.splitlines()[1:])


def _raw(port: int, head: bytes, body: bytes = b"", *, broken: bool = False) -> bytes:
    """The answer to these very bytes. `broken`: nobody could tell that they are all."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(head + b"\r\n\r\n" + body)
        if broken:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
        return answer


@pytest.fixture(scope="module")
def mail() -> Iterator[SmtpPeer]:
    """A mail server that forges entries in its refusals."""
    refusal = f"550-5.1.1 no\x85{FORGED}\r\n550 5.1.1 \x1b[2K{FORGED}\u2028{FORGED}".encode()
    with SmtpPeer({"RCPT": [refusal + b"\r\n"] * 50}) as peer:
        yield peer


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory, mail: SmtpPeer) -> Iterator[Web]:
    """A real process that logs all it can, with no reverse proxy before it."""
    directory = tmp_path_factory.mktemp("exposed")
    running = started(
        migrated_file(directory / "db.sqlite3"), directory, LOG_LEVEL="DEBUG", LOG_FILE=str(directory / "service.log"),
        SMTP_HOST="127.0.0.1", SMTP_PORT=str(mail.port), SMTP_USE_TLS="0", DEFAULT_FROM_EMAIL="a@example.com",
    )  # fmt: skip
    yield running
    running.process.kill()


def _post(body: bytes, *headers: bytes) -> tuple[bytes, bytes]:
    lines = [b"POST /api/notifications/ HTTP/1.1", b"Content-Type: application/json", *headers, b"Connection: close"]
    host = [] if any(line.startswith(b"Host:") for line in headers) else [b"Host: localhost"]
    return b"\r\n".join([*lines, *host, b"Content-Length: %d" % len(body)]), body


FAKE = FORGED.encode()
WRONG: list[tuple[bytes, bytes]] = [
    _post(b'{"to": {"email": "ann@example.com"}, "message": "x", "subject": "a\\n%s"}' % FAKE),
    _post(b'{"to": {"email": "a\\r\\n%s@example.com"}, "message": "x"}' % FAKE),
    _post(b'{"to": {"email": "ann@example.com"}, "message": "a\\n%s\\u2028%s", "channels": ["email"]}' % (FAKE, FAKE)),
    _post(b'{"to": {"email": "ann@example.com"}, "message": "x", "reference": "a\\u0085%s"}' % FAKE),
    _post(b'{"a\\n%s": 1}' % FAKE),
    _post(b"{}", b"Host: evil\x85" + FAKE),
    _post(b"{}", b"Host: evil\x0b" + FAKE),
    _post(b"{}", b"User-Agent: a\xe2\x80\xa8" + FAKE),
    _post(b"{}", b"User-Agent: a\r" + FAKE),
    _post(b"{}", b"Referer: http://a/\x85" + FAKE),
    _post(b"{}", b"Idempotency-Key: a\x85" + FAKE),
    _post(b"{}", b"Authorization: Bearer a\x85" + FAKE),
    _post(b"{}", b"X-Request-Id: a\x1b[2K" + FAKE),
    _post(b"{}", b"X-Forwarded-For: 1.1.1.1\x85" + FAKE),
    (b"GET /a%0d%0a" + FAKE.replace(b" ", b"%20") + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close", b""),
    (b"GET /api/users/?email=a%0A" + FAKE.replace(b" ", b"%20") + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close",
     b""),
    (b"GET /%c2%85" + FAKE.replace(b" ", b"%20") + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close", b""),
    (b"GET /admin/login/?next=%0a" + FAKE.replace(b" ", b"+") + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close",
     b""),
    (b"B\x85AD / HTTP/1.1\r\nHost: localhost\r\nConnection: close", b""),
    (b"\x16\x03\x01\x02" + FAKE, b""),
]  # fmt: skip


@pytest.mark.skipif(sys.platform == "win32", reason="a process that is ended by signals")
def test_whatever_strangers_write_each_line_of_a_real_log_is_an_entry_of_ours(web: Web, mail: SmtpPeer) -> None:
    accepted = 0
    for head, body in WRONG:
        accepted += b" 202 " in _raw(web.port, head, body).partition(b"\r\n")[0]
    assert accepted >= 1
    until = time.monotonic() + 60
    while sum(command.startswith("RCPT") for command in mail.commands) < accepted and time.monotonic() < until:
        time.sleep(0.02)
    assert any(command.startswith("RCPT") for command in mail.commands)
    log = (web.process.log.parent / "service.log").read_bytes().decode("utf-8", "replace")
    assert lines_of(log)
    for line in lines_of(log):
        assert ENTRY.match(line), line
        assert not line.startswith(FORGED), line
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", log)


# --- Methods and versions --------------------------------------------------------------------------------------------
ROUTES = ("/api/notifications/", "/api/users/", "/api/users/1/", "/health/live", "/admin/login/")


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("method", ["TRACE", "TRACK", "CONNECT", "PROPFIND", "DEBUG", "PATCHY"])
def test_a_method_that_is_none_of_ours_is_refused_and_echoes_nothing(web: Web, method: str, path: str) -> None:
    secret = b"X-Secret: canary-in-a-header"
    answer = _raw(web.port, f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n".encode() + secret)
    status = int(answer.split(b" ", 2)[1])
    assert status in {400, 403, 404, 405}
    assert b"canary-in-a-header" not in answer


@pytest.mark.parametrize("path", [*ROUTES, "/", "/nothing/here", "/static/nothing.css", "/api/schema/", "/api/docs/"])
def test_no_answer_tells_what_the_service_is_made_of(web: Web, path: str) -> None:
    for method in ("GET", "OPTIONS", "HEAD"):
        answer = _raw(web.port, f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close".encode())
        head = answer.partition(b"\r\n\r\n")[0].decode("latin-1").lower()
        assert not re.search(r"^(server|x-powered-by|via|x-version|x-runtime|x-aspnet\S*):", head, flags=re.MULTILINE)
        for word in ("uvicorn", "django", "python", "celery", django.__version__, uvicorn.__version__):
            assert word not in head.partition("\r\n")[2], word


def test_a_broken_request_tells_nothing_either(web: Web) -> None:
    for head in (b"GET", b"GET / HTTP/9.9", b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x", b"\x00\x01"):
        answer = _raw(web.port, head, broken=True).lower()
        assert not any(word in answer for word in (b"uvicorn", b"django", b"python", b"traceback"))


# --- Fields that are not for clients ---------------------------------------------------------------------------------
INTERNAL = ("organization", "organization_id", "pk", "key", "test", "own_account", "credentials", "claim_token",
            "lease_until", "handover_step", "round", "first_round", "acknowledged_at", "recipient", "recipient_id",
            "steps", "due_at", "is_test", "account", "__class__")  # fmt: skip


def not_for_clients(output: Any, given: Any, model: Any) -> list[str]:
    """What is shown or stored, and is nobody's to set."""
    columns = [field.name for field in model._meta.get_fields()]
    return sorted({*output.Meta.fields, *columns, *INTERNAL} - set(given().fields))


@pytest.mark.django_db
@pytest.mark.parametrize("name", not_for_clients(NotificationDetail, NotificationInput, Notification))
def test_no_client_sets_a_notifications_own_fields(api: APIClient, name: str) -> None:
    body = {"to": {"email": "ann@example.com"}, "message": "Hello", name: 1}
    organization()
    assert_problem(api.post("/api/notifications/", body), 400, name, "unknown_field")
    assert_problem(api.post("/api/notifications/plan/", body), 400, name, "unknown_field")
    in_bulk = api.post("/api/notifications/bulk/", {"notifications": [body]})
    assert_problem(in_bulk, 400, f"notifications.0.{name}", "unknown_field")
    assert not Notification.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("verb", ["cancel", "retry", "acknowledge"])
@pytest.mark.parametrize("name", ["status", "organization", "id"])
def test_no_verb_sets_a_field(api: APIClient, verb: str, name: str) -> None:
    row = stored()
    answer = api.post(f"/api/notifications/{row.pk}/{verb}/", {name: 999})
    assert answer.status_code in {200, 400, 409}
    [now] = Notification.objects.all()
    assert (now.pk, now.organization_id) == (row.pk, row.organization_id)
    assert now.status in {"queued", {"cancel": "cancelled", "acknowledge": "acknowledged"}.get(verb)}


@pytest.mark.django_db
@pytest.mark.parametrize("name", not_for_clients(UserOutput, RecipientInput, Recipient))
def test_no_client_sets_a_users_own_fields(api: APIClient, name: str) -> None:
    ann = person()
    before = Recipient.objects.values().get(pk=ann.pk)
    assert_problem(api.post("/api/users/", {"email": "b@example.com", name: 1}), 400, name, "unknown_field")
    assert_problem(api.patch(f"/api/users/{ann.pk}/", {"name": "Other", name: 1}), 400, name, "unknown_field")
    assert list(Recipient.objects.values()) == [before]
