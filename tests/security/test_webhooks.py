"""Status callbacks as a receiver checks them: by an independent library, and by the code of our own documentation."""

import base64
import re
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from notifier import callbacks, vault, webhook_secrets
from tests.channels.http_peer import HttpPeer, Request, answer, http_peer
from tests.notifier.rows import organization, stored

pytestmark = pytest.mark.django_db
Genuine = Callable[[str, dict[str, str], bytes], bool]
DOCUMENT = Path(__file__).resolve().parent.parent.parent / "docs" / "callbacks.md"
CREDENTIALS = {"user": "me@example.com", "password": "canary-1", "host": None, "port": None, "security": None}


def by_the_library(secret: str, headers: dict[str, str], body: bytes) -> bool:
    try:
        Webhook(secret).verify(body, headers)
    except WebhookVerificationError:
        return False
    return True


def by_the_documentation(secret: str, headers: dict[str, str], body: bytes) -> bool:
    [code] = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code, str(DOCUMENT), "exec"), names)  # noqa: S102 - our own
    genuine: Genuine = names["genuine"]
    return genuine(secret, headers, body)


RECEIVERS = pytest.mark.parametrize("genuine", [by_the_library, by_the_documentation])


@pytest.fixture
def peer(settings: Settings) -> Iterator[HttpPeer]:
    """A client's server."""
    settings.CALLBACK_HOSTS = ["127.0.0.1"]
    with http_peer(otherwise=answer(204)) as made:
        yield made
        for public_only in (True, False):
            callbacks._client(public_only).close()


def told(peer: HttpPeer) -> Request:
    """One callback as it came over the wire; its text goes beyond ASCII."""
    row = stored(message="Привет, Анна — «да» ✓", callback_url=f"{peer.url}/hook", credentials=vault.seal(CREDENTIALS))
    callbacks.announce([row.pk])
    callbacks.deliver_due()
    return peer.requests[-1]


@RECEIVERS
def test_a_receiver_finds_it_genuine(genuine: Genuine, peer: HttpPeer) -> None:
    request = told(peer)
    assert genuine(webhook_secrets.current(organization()), request.headers, request.body)


@RECEIVERS
def test_while_secrets_change_either_of_them_is_good(
    genuine: Genuine, peer: HttpPeer, api: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = webhook_secrets.current(organization())
    new = api.post("/api/organizations/me/rotate-webhook-secret/").json()["webhook_secret"]
    request = told(peer)
    assert old != new
    assert genuine(old, request.headers, request.body)
    assert genuine(new, request.headers, request.body)
    later = timezone.now() + timedelta(hours=25)
    monkeypatch.setattr(timezone, "now", lambda: later)
    request = told(peer)
    assert not genuine(old, request.headers, request.body)
    assert genuine(new, request.headers, request.body)


def moved(seconds: int) -> Callable[[Request], tuple[dict[str, str], bytes]]:
    """Sent again with another time."""
    return lambda request: (
        {**request.headers, "webhook-timestamp": str(int(request.headers["webhook-timestamp"]) + seconds)},
        request.body,
    )


def header(name: str, value: str) -> Callable[[Request], tuple[dict[str, str], bytes]]:
    return lambda request: ({**request.headers, name: value}, request.body)


def without(name: str) -> Callable[[Request], tuple[dict[str, str], bytes]]:
    return lambda request: ({key: one for key, one in request.headers.items() if key != name}, request.body)


FORGED: dict[str, Callable[[Request], tuple[dict[str, str], bytes]]] = {
    "an altered body": lambda request: (request.headers, request.body.replace(b'"queued"', b'"failed"')),
    "a longer body": lambda request: (request.headers, request.body + b" "),
    "an empty body": lambda request: (request.headers, b"{}"),
    "another id": header("webhook-id", "00000000-0000-0000-0000-000000000000"),
    "a fresher time": moved(1),
    "an older time": moved(-600),
    "a time that is none": header("webhook-timestamp", "now"),
    "no number": header("webhook-timestamp", "٣"),
    "a signature of another kind": lambda request: (
        {**request.headers, "webhook-signature": request.headers["webhook-signature"].replace("v1,", "v2,")},
        request.body,
    ),
    "no signature": header("webhook-signature", ""),
    "no header of the signature": without("webhook-signature"),
    "no header of the time": without("webhook-timestamp"),
    "no header of the id": without("webhook-id"),
}


@RECEIVERS
@pytest.mark.parametrize("name", FORGED)
def test_what_is_not_as_it_was_sent_is_refused(genuine: Genuine, name: str, peer: HttpPeer) -> None:
    request = told(peer)
    headers, body = FORGED[name](request)
    assert not genuine(webhook_secrets.current(organization()), headers, body)


@RECEIVERS
def test_anothers_secret_is_refused(genuine: Genuine, peer: HttpPeer) -> None:
    request = told(peer)
    assert not genuine("whsec_" + base64.b64encode(b"x" * 32).decode(), request.headers, request.body)


@RECEIVERS
@pytest.mark.parametrize("minutes", [6, -6])
def test_what_was_overheard_is_good_for_minutes_only(
    genuine: Genuine, peer: HttpPeer, monkeypatch: pytest.MonkeyPatch, minutes: int
) -> None:
    # Signed by us, at a time when our clock stood elsewhere.
    elsewhere = time.time() - minutes * 60
    with monkeypatch.context() as patched:
        patched.setattr("notifier.callbacks.time.time", lambda: elsewhere)
        request = told(peer)
    assert not genuine(webhook_secrets.current(organization()), request.headers, request.body)


def test_the_documented_code_survives_a_signature_beyond_ascii(peer: HttpPeer) -> None:
    request = told(peer)
    headers = {**request.headers, "webhook-signature": "v1,é"}
    assert not by_the_documentation(webhook_secrets.current(organization()), headers, request.body)


def test_a_callback_carries_no_header_but_these(peer: HttpPeer) -> None:
    request = told(peer)
    assert set(request.headers) == {
        "host", "user-agent", "accept", "accept-encoding", "connection", "content-type", "content-length",
        "webhook-id", "webhook-timestamp", "webhook-signature",
    }  # fmt: skip
    assert request.headers["user-agent"] == "notifier"
    secret = webhook_secrets.current(organization())
    everything = f"{request.headers} {request.body.decode()}"
    for trace in ("canary-1", "me@example.com", secret, secret.removeprefix("whsec_")):
        assert trace not in everything
