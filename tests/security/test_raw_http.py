"""Requests that no library would write, byte by byte, to the server as it is deployed: refused, and it goes on."""

import json
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import requests

from tests.servers.migrated import migrate
from tests.servers.processes import ProjectProcess, web

pytestmark = pytest.mark.real_server

BODY = b'{"to":{"email":"user@example.com"},"message":"Hello"}'
TEXT = BODY.decode()
POST = "POST /api/notifications/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nConnection: close\r\n"
GET = "GET /api/notifications/ HTTP/1.1\r\n"
SOCKET = "/ws/notifications/ HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
HANDSHAKE = f"GET {SOCKET}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProjectProcess]:
    """The web process, open to anybody on loopback."""
    directory: Path = tmp_path_factory.mktemp("raw")
    environment = {"DATABASE_URL": f"sqlite:///{directory / 'db.sqlite3'}", "API_THROTTLE_SEND": ""}
    migrate(environment)
    with web(environment, directory) as running:
        running.wait_for_line("listens on", 60)
        yield running


def port(site: ProjectProcess) -> int:
    """Where it listens."""
    return int(site.environment["PORT"])


def said(site: ProjectProcess, *pieces: str | bytes, seconds: float = 1, more: float = 0.2) -> bytes:
    """All that it answers to these bytes until it hangs up, or is silent for so long; `more`: once it has begun."""
    received = b""
    with socket.create_connection(("127.0.0.1", port(site)), timeout=seconds) as connection, suppress(OSError):
        for piece in pieces:
            connection.sendall(piece if isinstance(piece, bytes) else piece.encode("latin-1"))
        while piece := connection.recv(65536):
            received += piece
            connection.settimeout(more)  # the rest of an answer comes with it
    return received


def stored(site: ProjectProcess) -> int:
    """How many notifications there are; it answers, so it lives."""
    page = requests.get(f"http://127.0.0.1:{port(site)}/api/notifications/?page_size=100", timeout=30)
    assert page.status_code == 200
    return len(page.json()["results"])


HOSTILE: dict[str, tuple[str | bytes, ...]] = {
    "shorter than announced": (POST, f"Content-Length: {len(BODY) + 50}\r\n\r\n", BODY),
    "length that is no number": (POST, "Content-Length: abc\r\n\r\n", BODY),
    "negative length": (POST, "Content-Length: -5\r\n\r\n", BODY),
    "length with a sign": (POST, f"Content-Length: +{len(BODY)}\r\n\r\n", BODY),
    "length in hexadecimal": (POST, "Content-Length: 0x30\r\n\r\n", BODY),
    "huge length": (POST, f"Content-Length: {'9' * 400}\r\n\r\n", BODY),
    "length of 11 MB": (POST, "Content-Length: 11534336\r\n\r\n", b'"', b"x" * 11534334, b'"'),
    "two lengths": (POST, f"Content-Length: {len(BODY)}\r\nContent-Length: 5\r\n\r\n", BODY),
    "a list of lengths": (POST, f"Content-Length: {len(BODY)}, 5\r\n\r\n", BODY),
    "no length": (POST, "\r\n", BODY),
    "chunks of another size": (POST, "Transfer-Encoding: chunked\r\n\r\n5\r\n", BODY, "\r\n0\r\n\r\n"),
    "chunks without an end": (POST, f"Transfer-Encoding: chunked\r\n\r\n{len(BODY):x}\r\n", BODY, "\r\n"),
    "a chunk of a negative size": (POST, "Transfer-Encoding: chunked\r\n\r\n-1\r\n", BODY, "\r\n0\r\n\r\n"),
    "a chunk of endless size": (POST, "Transfer-Encoding: chunked\r\n\r\n", "F" * 5000, "\r\n", BODY),
    "an unknown coding": (POST, "Transfer-Encoding: xchunked\r\n\r\n", f"{len(BODY):x}\r\n{TEXT}\r\n0\r\n\r\n"),
    "a header without a colon": (GET, "Host: 127.0.0.1\r\nnonsense\r\n\r\n"),
    "a space before the colon": (GET, "Host : 127.0.0.1\r\n\r\n"),
    "a folded header": (GET, "Host: 127.0.0.1\r\nX-A: b\r\n c\r\n\r\n"),
    "NUL in a header": (GET, "Host: 127.0.0.1\r\nX-A: b\x00c\r\n\r\n"),
    "a bare CR in a header": (GET, "Host: 127.0.0.1\r\nX-A: b\rX-B: c\r\n\r\n"),
    "a header of 1 MB": (GET, "Host: 127.0.0.1\r\nX-A: ", b"x" * 1_000_000, "\r\n\r\n"),
    "100,000 headers": (GET, "Host: 127.0.0.1\r\n", "X-A: b\r\n" * 100_000, "\r\n"),
    "no host": (GET, "\r\n"),
    "two hosts": (GET, "Host: 127.0.0.1\r\nHost: evil.example.com\r\n\r\n"),
    "another host": (GET, "Host: evil.example.com\r\n\r\n"),
    "another host in the address": (
        "GET http://evil.example.com/api/users/ HTTP/1.1\r\nHost: evil.example.com\r\n\r\n",
    ),
    "an address of 1 MB": ("GET /", b"a" * 1_000_000, " HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"),
    "an address with a line break": ("GET /api/users/%0d%0aSet-Cookie:%20a=b HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",),
    "an address with raw bytes": (b"GET /api/\xff\xfe HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",),
    "two dots": ("GET /api/../../../etc/passwd HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",),
    "two dots among the static files": ("GET /static/../../../../etc/passwd HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",),
    "two escaped dots": ("GET /static/%2e%2e/%2e%2e/manage.py HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",),
    "a proxy's request": ("CONNECT 127.0.0.1:25 HTTP/1.1\r\nHost: 127.0.0.1:25\r\n\r\n",),
    "TRACE": ("TRACE /api/users/ HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Secret: canary\r\n\r\n",),
    "a method that is none": ("G\x00T / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",),
    "an old version": ("GET /api/users/\r\n",),
    "a future version": ("GET /api/users/ HTTP/9.9\r\nHost: 127.0.0.1\r\n\r\n",),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 500,),
    "SMTP": ("EHLO me\r\nMAIL FROM:<a@b.c>\r\n",),
    "a handshake without a key": (f"GET {SOCKET}Sec-WebSocket-Version: 13\r\n\r\n",),
    "a handshake with a wrong key": (f"GET {SOCKET}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: abc\r\n\r\n",),
    "a handshake with two keys": (HANDSHAKE, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"),
    "a handshake of an old version": (HANDSHAKE.replace(": 13", ": 8"), "\r\n"),
    "a handshake that posts": (HANDSHAKE.replace("GET", "POST"), f"Content-Length: {len(BODY)}\r\n\r\n", BODY),
    "a handshake with a body": (HANDSHAKE, f"Content-Length: {len(BODY)}\r\n\r\n", BODY),
    "a handshake in chunks": (HANDSHAKE, "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    "a handshake of an old HTTP": (HANDSHAKE.replace("HTTP/1.1", "HTTP/1.0"), "\r\n"),
    "a handshake without a host": (HANDSHAKE.replace("Host: 127.0.0.1\r\n", ""), "\r\n"),
    "a handshake for another host": (HANDSHAKE.replace("127.0.0.1", "evil.example.com"), "\r\n"),
    "a handshake elsewhere": (HANDSHAKE.replace("/ws/notifications/", "/api/notifications/"), "\r\n"),
    "a handshake at an odd address": (HANDSHAKE.replace("/ws/notifications/", "/ws/%ff%00\xff?%ff=\xff"), "\r\n"),
    "a handshake with raw bytes": (HANDSHAKE, b"X-A: \xff\xfe\r\nOrigin: \xff\r\n\r\n"),
    "a handshake with an extension": (HANDSHAKE, 'Sec-WebSocket-Extensions: permessage-deflate; x="\r\n\r\n'),
    "a handshake with 1,000 headers": (HANDSHAKE, "X-A: b\r\n" * 1000, "\r\n"),
    "a handshake with a long header": (HANDSHAKE, f"X-A: {'b' * 40_000}\r\n\r\n"),
    "an unmasked frame": (HANDSHAKE, "\r\n", b"\x81\x05hello"),
    "a frame of endless size": (HANDSHAKE, "\r\n", b"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0", b"x" * 9000),
    "a frame of no known kind": (HANDSHAKE, "\r\n", b"\x8f\x80\0\0\0\0"),
    "a frame that is no text": (HANDSHAKE, "\r\n", b"\x81\x82\0\0\0\0\xff\xfe"),
    "a frame that goes on with none": (HANDSHAKE, "\r\n", b"\x80\x80\0\0\0\0"),
    "a frame within a frame": (HANDSHAKE, "\r\n", b"\x01\x80\0\0\0\0\x01\x80\0\0\0\0"),
    "a message without an end": (HANDSHAKE, "\r\n", b"\x01\x80\0\0\0\0", b"\x00\x80\0\0\0\0" * 20_000),
    "a close with an odd code": (HANDSHAKE, "\r\n", b"\x88\x82\0\0\0\0\x00\x01"),
    "10,000 pings": (HANDSHAKE, "\r\n", b"\x89\x80\0\0\0\0" * 10_000),
    "nothing": ("",),
    "line breaks": ("\r\n" * 1000,),
    "junk": (bytes(range(256)) * 100,),
}


@pytest.mark.parametrize("pieces", HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_proper_request_is_refused_and_does_no_harm(
    site: ProjectProcess, pieces: tuple[str | bytes, ...]
) -> None:
    before, log = stored(site), len(site.output)
    answer = said(site, *pieces)
    head, _, body = answer.partition(b"\r\n\r\n")
    if answer:
        status = int(head.split(b" ", 2)[1])
        assert status < 500, head
        assert status not in range(300, 400), head
        assert b"html" not in head.lower() or b"/static" in repr(pieces).encode(), head
        assert b"root:" not in body
        assert b"canary" not in answer
        assert b"evil" not in answer
        assert b"set-cookie" not in head.lower()
    assert stored(site) == before
    assert "Traceback" not in site.output[log:]


def test_one_request_cannot_be_two(site: ProjectProcess) -> None:
    """Where a server before this one believes the length and this one the chunks, or the other way round, the rest
    of a body would be the next caller's request."""
    before = stored(site)
    line = "POST /api/{}/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    hidden = f"{line.format('notifications')}Content-Length: {len(BODY)}\r\n\r\n{TEXT}"
    start = line.format("users")
    body = f"0\r\n\r\n{hidden}"
    for headers in (
        f"Content-Length: {len(body)}\r\nTransfer-Encoding: chunked\r\n",
        f"Transfer-Encoding: chunked\r\nContent-Length: {len(body)}\r\n",
        f"Content-Length: {len(body)}\r\nTransfer-Encoding : chunked\r\n",
        f"Content-Length: {len(body)}\r\nTransfer-Encoding: identity, chunked\r\n",
        f"Content-Length: {len(body)}\r\nTransfer-Encoding:\x0bchunked\r\n",
    ):
        assert stored(site) == before
        answer = said(site, start, headers, "\r\n", body)
        assert b" 202 " not in answer, headers
    assert stored(site) == before


def test_a_proper_request_is_taken(site: ProjectProcess) -> None:
    """Also in chunks, and in pieces."""
    before = stored(site)
    for pieces in (
        [f"{POST}Content-Length: {len(BODY)}\r\n\r\n", BODY],
        [POST, "Transfer-Encoding: chunked\r\n\r\n", f"{len(BODY):x}\r\n{TEXT}\r\n0\r\n\r\n"],
        [letter.encode() for letter in f"{POST}Content-Length: {len(BODY)}\r\n\r\n{TEXT}"],
    ):
        answer = said(site, *pieces, seconds=30, more=30)  # until it hangs up
        assert answer.startswith(b"HTTP/1.1 202 ")
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["status"] == "queued"
    assert stored(site) == before + 3


def test_no_answer_tells_what_runs_here(site: ProjectProcess) -> None:
    for path in ("/api/users/", "/api/nothing/", "/health/live", "/nothing", "/admin/login/"):
        found = requests.get(f"http://127.0.0.1:{port(site)}{path}", timeout=30)
        shown = " ".join(f"{name}: {value}" for name, value in found.headers.items()).lower()
        for word in ("uvicorn", "python", "django", "x-powered-by", "version"):
            assert word not in shown
