"""What a foreign server answers leads nowhere, costs little, and is told to nobody."""

import json
import time
from datetime import timedelta
from typing import Any

import pytest
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from notifier import callbacks
from notifier.models import Callback, Organization
from tests.channels.http_peer import Act, Connection, HttpPeer, answer, drip, reply_bytes
from tests.channels.smtp_peer import Drip, SmtpPeer
from tests.security.outbound import PASSWORD, URL, by_mail, delivered, told
from tests.security.trap import Line, Trap

pytestmark = pytest.mark.django_db

SECRET = "canary-of-the-inside"


# --- Where an answer sends us ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("header", ["Location", "Refresh", "Alt-Svc", "Content-Location", "Link"])
@pytest.mark.parametrize("status", [300, 301, 302, 303, 305, 307, 308])
def test_no_redirect_leads_to_the_trap(
    organization: Organization,
    inside: Trap,
    client_of_ours: HttpPeer,
    status: int,
    header: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    target = f"http://127.0.0.1:{inside.port}/"
    value = {"Refresh": f"0; url={target}", "Alt-Svc": f'h2=":{inside.port}"', "Link": f"<{target}>; rel=preload"}
    client_of_ours.plan(answer(status, headers={header: value.get(header, target)}))
    told(organization, f"{client_of_ours.url}/hook")
    assert (inside.caught, len(client_of_ours.requests), Callback.objects.get().tries) == (0, 1, 1)


# --- Huge and slow ---------------------------------------------------------------------------------------------------
WRITTEN = [0]


def endless(start: bytes) -> Act:
    """Write for ever."""

    def act(connection: Connection) -> None:
        connection.read()
        connection.write(start)
        WRITTEN[0] = 0
        while not connection.peer.over.is_set():
            connection.write(b"x" * 65536)
            WRITTEN[0] += 65536

    return act


@pytest.mark.parametrize(
    "act",
    [
        endless(b"HTTP/1.1 200 OK\r\n\r\n"),
        endless(b"HTTP/1.1 500 No\r\nContent-Length: 99999999999\r\n\r\n"),
        endless(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFF\r\n"),
        endless(b"HTTP/1.1 200 OK\r\nX-Long: "),
        endless(b""),
        drip(reply_bytes(200, b"x" * 5000), pause=0.02),
        answer(200, headers={f"X-{number}": "x" * 200 for number in range(2000)}),
        answer(500, headers={"Retry-After": "9" * 5000}),
        answer(500, headers={"Retry-After": "-1"}),
        answer(500, headers={"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"}),
    ],
    ids=["body", "length", "chunk", "header", "junk", "slow", "headers", "pause", "past", "future"],
)
def test_an_answer_costs_little_however_it_comes(
    organization: Organization, client_of_ours: HttpPeer, act: Act, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callbacks, "TIMEOUT", timedelta(seconds=0.5))
    client_of_ours.plan(act)
    began = time.monotonic()
    told(organization, client_of_ours.url)
    assert time.monotonic() - began < 30
    assert WRITTEN[0] < 20 * 1024 * 1024, "what the sockets hold between them, and no more"
    for callback in Callback.objects.all():
        assert (callback.due_at - callback.created_at) < timedelta(days=1, minutes=1)


# --- What the caller gets to see -------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("script", "codes"),
    [
        ({"connect": f"554 {SECRET}"}, "554"),
        ({"connect": f"421 4.3.2 {SECRET}"}, "421 4.3.2"),
        ({"connect": f"220-{SECRET}\r\n220 {SECRET}", "MAIL": f"451 {SECRET}"}, "451"),
        ({"connect": f"SSH-2.0-{SECRET}"}, None),
        ({"connect": f"HTTP/1.1 400 {SECRET}\r\nServer: {SECRET}\r\n"}, None),
        ({"connect": f"-ERR {SECRET}"}, None),
        ({"connect": SECRET * 10_000}, None),
        ({"connect": b"\x00\xff" + SECRET.encode() + b"\r\n"}, None),
        ({"connect": Drip(f"220 {SECRET}", 0.5)}, None),
        ({"EHLO": f"550 {SECRET}", "HELO": f"550 {SECRET}"}, "550"),
        (
            {
                "EHLO": f"250-peer\r\n250-X-{SECRET}\r\n250-AUTH PLAIN\r\n250 SIZE {SECRET}",
                "MAIL": f"550 5.7.1 {SECRET}",
            },
            "550 5.7.1",
        ),
        ({"AUTH": f"535 5.7.8 {SECRET}"}, "535 5.7.8"),
        ({"AUTH": [f"334 {SECRET}"] * 5}, None),
        ({"MAIL": f"550 {SECRET}"}, "550"),
        ({"RCPT": f"550 5.1.1 {SECRET} user@example.com"}, "550 5.1.1"),
        ({"RCPT": f"451 4.7.1 {SECRET}"}, "451 4.7.1"),
        ({"DATA": f"554 {SECRET}"}, "554"),
        ({"END": f"550-{SECRET}\r\n550 5.6.0 {SECRET}"}, "550 5.6.0"),
        ({"END": f"250 2.0.0 queued as {SECRET}"}, ""),
        ({"STARTTLS": f"454 {SECRET}"}, ""),
    ],
)
def test_the_caller_sees_a_servers_numbers_and_never_its_words(
    api: APIClient,
    organization: Organization,
    line: Line,
    script: dict[str, Any],
    codes: str | None,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
) -> None:
    seconds = 1 if codes is None else 30  # some of these never come to an end
    settings.SMTP_TIMEOUT = settings.SMTP_REPLY_TIMEOUT = timedelta(seconds=seconds)
    with SmtpPeer(script, user="me@example.com", password=PASSWORD) as peer:
        settings.SMTP_OVERRIDE_HOSTS = (f"127.0.0.1:{peer.port}",)
        shown = delivered(by_mail(api, "127.0.0.1", peer.port, smtp_use_tls=False))
        assert peer.connections >= 1
    attempt = shown["attempts"][0]
    if codes:
        assert f"({codes})" in attempt["detail"]
    elif codes is None:
        assert attempt["code"] in {"misconfigured", "unreachable", "timeout", "provider_error", "authentication_failed"}
    everything = json.dumps([shown, api.get(URL).json(), api.get("/health/ready").json()])
    for word in (SECRET, PASSWORD):
        assert word not in everything


@pytest.mark.parametrize("status", [200, 302, 400, 401, 410, 500, 503])
def test_the_caller_sees_nothing_of_a_callbacks_answer(
    api: APIClient,
    organization: Organization,
    client_of_ours: HttpPeer,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG")
    client_of_ours.plan(answer(status, {"error": SECRET}, headers={"Server": SECRET, "Set-Cookie": f"a={SECRET}"}))
    row = told(organization, client_of_ours.url)
    assert len(client_of_ours.requests) == 1
    shown = [api.get(f"{URL}{row.pk}/").json(), api.get(URL).json(), list(Callback.objects.values())]
    assert SECRET not in json.dumps(shown, default=str)
    assert SECRET not in caplog.text
