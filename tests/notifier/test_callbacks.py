"""Clients hear what became of their notifications: signed, again and again for a day, and never in a message's way."""

import base64
import hashlib
import hmac
import json
import time
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from channels.errors import PermanentError
from notifier import callbacks, delivery, ledger, receipts, vault, webhook_secrets
from notifier.models import Callback
from notifier.outputs import NotificationDetail
from tests.channels.http_peer import (
    Act,
    HttpPeer,
    Request,
    answer,
    answer_partly,
    drip,
    drop_after_reading,
    hang_after_reading,
    reply_bytes,
)
from tests.conftest import FakeRegistry
from tests.notifier.hooks import ended, make_all_due
from tests.notifier.lawful import watched
from tests.notifier.rows import organization, stored
from tests.notifier.test_ledger_races import together
from tests.servers.base import wait_until

pytestmark = pytest.mark.django_db
threads = pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite in memory is one thread's alone")
HOUR = timedelta(hours=1)
TAKEN = answer(204)


def events(peer: HttpPeer) -> list[str]:
    return [request.json["type"] for request in peer.requests]


def signed_by(secret: str, request: Request) -> list[bool]:
    """Which of its signatures this secret made: as the specification says it, without our code."""
    key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    headers = request.headers
    content = b".".join([headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), request.body])
    expected = "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    return [signature == expected for signature in headers["webhook-signature"].split(" ")]


# --- What is told ----------------------------------------------------------------------------------------------------
def test_every_end_and_every_step_on_the_way_is_told(fakes: FakeRegistry, peer: HttpPeer) -> None:
    url = f"{peer.url}/hook"
    delivered_bar = [{"channel": "email", "until": "delivered"}]
    with watched():
        row = ended(peer, steps=delivered_bar)
        receipts.take("email", row.attempts.get().provider_id, receipts.Kind.DELIVERED)
        receipts.acknowledge(row)
        receipts.acknowledge(row)  # changes nothing, and so says nothing
        ended(peer)
        fakes["email"].fail_next(PermanentError("no"))
        ended(peer, steps=[{"channel": "email"}])
        ledger.cancel(stored(callback_url=url))
        ended(peer, expires_at=Now())
        bounced = ended(peer, steps=delivered_bar)
        receipts.take("email", bounced.attempts.get().provider_id, receipts.Kind.BOUNCED)
    callbacks.deliver_due()
    statuses = ["waiting", "delivered", "acknowledged", "sent", "failed", "cancelled", "expired", "waiting", "failed"]
    assert events(peer) == [f"notification.{status}" for status in statuses]
    assert [request.json["data"]["status"] for request in peer.requests] == statuses
    assert not Callback.objects.exists()


def test_the_body_is_the_notification_as_it_was_then(fakes: FakeRegistry, peer: HttpPeer) -> None:
    fakes["email"].fail_next(PermanentError("no"))
    row = ended(peer, metadata={"order": "№ 7"}, reference="r-1", message="Привет")
    shown = json.loads(json.dumps(NotificationDetail(row).data))
    receipts.acknowledge(row)
    callbacks.deliver_due()
    request = peer.requests[0]
    assert (request.method, request.path) == ("POST", "/hook?a=1")
    assert request.headers["content-type"] == "application/json"
    body = request.json
    assert set(body) == {"type", "timestamp", "data"}
    assert body["type"] == "notification.sent"
    assert body["data"] == shown
    assert [attempt["code"] for attempt in body["data"]["attempts"]] == ["rejected", None]
    told_at = datetime.fromisoformat(body["timestamp"])
    assert told_at.utcoffset() == timedelta(0)
    assert abs(timezone.now() - told_at) < timedelta(minutes=1)


def test_nothing_is_told_where_nobody_wants_to_hear(fakes: FakeRegistry) -> None:
    row = stored()
    delivery.deliver([row.pk])
    receipts.acknowledge(row)
    ledger.cancel(stored())
    assert not Callback.objects.exists()


def test_nothing_secret_is_told(fakes: FakeRegistry, peer: HttpPeer) -> None:
    own = {"user": "me@example.com", "password": "canary-1", "host": None, "port": None, "security": None}
    ended(peer, credentials=vault.seal(own), own_account=True)
    stored_payload = repr(list(Callback.objects.values()))
    callbacks.deliver_due()
    [request] = peer.requests
    seen = f"{request.headers} {request.body!r} {stored_payload}"
    secret = webhook_secrets.current(organization())
    for trace in ("canary-1", "me@example.com", "ann@example.com", "+12025550123", "4711", secret, secret[6:]):
        assert trace not in seen


# --- Signatures ------------------------------------------------------------------------------------------------------
def test_a_signature_is_that_of_the_specifications_example() -> None:
    """The example of Standard Webhooks."""
    made = callbacks.signature(
        base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
    )
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_organizations_secret_signs(fakes: FakeRegistry, peer: HttpPeer) -> None:
    ended(peer)
    callbacks.deliver_due()
    [request] = peer.requests
    assert signed_by(webhook_secrets.current(organization()), request) == [True]
    assert signed_by("whsec_" + base64.b64encode(b"another").decode(), request) == [False]
    assert abs(int(request.headers["webhook-timestamp"]) - time.time()) < 60


def test_replaced_secrets_sign_beside_the_new_one_each_for_a_day(
    fakes: FakeRegistry, peer: HttpPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, now = organization(), timezone.now()
    made: list[str] = []

    def at(hours: int) -> list[str]:
        """Who signs so many hours later, by the order of their making."""
        monkeypatch.setattr(timezone, "now", lambda: now + hours * HOUR)
        ended(peer)
        callbacks.deliver_due()
        request = peer.requests[-1]
        found = [[number for number, one in enumerate(made) if signed_by(one, request)[place]] for place in range(9)
                 if place < len(request.headers["webhook-signature"].split(" "))]  # fmt: skip
        return [str(number) for [number] in found]

    made.append(webhook_secrets.current(owner))
    assert at(0) == ["0"]
    made.append(webhook_secrets.rotate(owner))
    assert at(1) == ["1", "0"]
    monkeypatch.setattr(timezone, "now", lambda: now + 10 * HOUR)
    made.append(webhook_secrets.rotate(owner))
    assert at(23) == ["2", "1", "0"]
    assert at(25) == ["2", "1"]
    assert at(35) == ["2"]
    assert webhook_secrets.current(owner) == made[2]
    assert len({*made}) == 3
    assert all(len(base64.b64decode(one.removeprefix("whsec_"))) >= 24 for one in made)


def test_a_secret_stands_nowhere_in_plain(peer: HttpPeer) -> None:
    secret = webhook_secrets.rotate(organization())
    kept = bytes(organization().webhook_secrets or b"")
    assert kept
    assert secret.encode() not in kept
    assert base64.b64decode(secret[6:]) not in kept


@threads
@pytest.mark.django_db(transaction=True)
def test_many_who_ask_for_the_first_secret_get_the_same() -> None:
    owner = organization()
    for _ in range(5):
        owner.webhook_secrets = None
        owner.save()
        assert len(set(together(*[lambda: webhook_secrets.current(owner)] * 8))) == 1


# --- Until it is taken -----------------------------------------------------------------------------------------------
NOT_TAKEN: dict[str, Act] = {
    "500": answer(500),
    "400": answer(400, {"error": "no"}),
    "404": answer(404),
    "301": answer(301, headers={"Location": "/moved"}),
    "304": answer(304),
    "hangs up": drop_after_reading,
    "half an answer": answer_partly(reply_bytes(200, b"x" * 100)[:-1]),
    "silent": hang_after_reading,
    "drips": drip(reply_bytes(200, b"x" * 1000), pause=0.02),
}
ENDLESS = ("silent", "drips")


@pytest.mark.parametrize("name", NOT_TAKEN)
def test_what_was_not_taken_is_told_again_with_the_same_id(
    name: str, fakes: FakeRegistry, peer: HttpPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer.plan(NOT_TAKEN[name])
    ended(peer)
    with monkeypatch.context() as hasty:
        if name in ENDLESS:
            hasty.setattr(callbacks, "TIMEOUT", timedelta(seconds=0.3))
        callbacks.deliver_due()
    wait_until(lambda: bool(peer.requests), 30, "the receiver has read it")
    assert len(peer.requests) == 1  # and no redirect was followed
    callback = Callback.objects.get()
    assert (callback.tries, callback.due_at > timezone.now()) == (1, True)
    callbacks.deliver_due()
    assert len(peer.requests) == 1  # its time has not come

    webhook_secrets.rotate(organization())
    make_all_due()
    callbacks.deliver_due()
    first, second = peer.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == str(callback.key)
    assert first.body == second.body
    assert signed_by(webhook_secrets.current(organization()), second) == [True, False]
    assert not Callback.objects.exists()


def test_each_event_has_an_id_of_its_own(fakes: FakeRegistry, peer: HttpPeer) -> None:
    receipts.acknowledge(ended(peer))
    ended(peer)
    callbacks.deliver_due()
    assert len({request.headers["webhook-id"] for request in peer.requests}) == 3


def test_the_pauses_grow(fakes: FakeRegistry, peer: HttpPeer) -> None:
    peer.otherwise = answer(500)
    ended(peer)
    for least, most in [(4, 6), (48, 72), (240, 360), (1440, 2160), (5760, 8640), (5760, 8640)]:
        make_all_due()
        before = timezone.now()
        callbacks.deliver_due()
        pause = (Callback.objects.get().due_at - before).total_seconds()
        assert least <= pause <= most + 5


def test_a_receiver_that_names_a_pause_gets_it(fakes: FakeRegistry, peer: HttpPeer) -> None:
    peer.plan(answer(503, headers={"Retry-After": "600"}))
    ended(peer)
    callbacks.deliver_due()
    assert Callback.objects.get().due_at > timezone.now() + timedelta(seconds=590)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299, 410])
def test_a_good_answer_or_gone_ends_it(status: int, fakes: FakeRegistry, peer: HttpPeer) -> None:
    peer.plan(answer(status, b"x" * (100_000 if status == 200 else 0)))
    ended(peer)
    callbacks.deliver_due()
    assert (len(peer.requests), Callback.objects.count()) == (1, 0)


@pytest.mark.parametrize(("age", "given_up"), [(23 * HOUR, False), (25 * HOUR, True)])
def test_after_a_day_it_is_given_up(
    age: timedelta, fakes: FakeRegistry, peer: HttpPeer, caplog: pytest.LogCaptureFixture, *, given_up: bool
) -> None:
    peer.otherwise = answer(500)
    ended(peer)
    Callback.objects.update(created_at=F("created_at") - age)
    callbacks.deliver_due()
    assert (len(peer.requests), Callback.objects.exists()) == (1, not given_up)
    assert ("given up after a day" in caplog.text) is given_up
    assert peer.url not in caplog.text


def test_one_that_cannot_be_made_stands_in_nobodys_way(
    fakes: FakeRegistry, peer: HttpPeer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken, _ = ended(peer), ended(peer)
    tell = webhook_secrets.signing
    calls = iter([vault.VaultError("unreadable")])

    def signing(owner: Any) -> list[bytes]:
        for error in calls:
            raise error
        return tell(owner)

    monkeypatch.setattr(webhook_secrets, "signing", signing)
    callbacks.deliver_due()
    assert len(peer.requests) == 1
    assert Callback.objects.get().notification_id == broken.pk
    assert "cannot be made" in caplog.text
