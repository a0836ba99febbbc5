"""Status callbacks are as safe as the messages that they tell of, and lead nowhere inside."""

import socket
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone
from pytest_django.fixtures import Settings

from notifier import callbacks, delivery, erasure, ledger, receipts, tasks, work
from notifier.celery import app
from notifier.chain import Finish
from notifier.models import Callback, Notification
from notifier.states import Status
from tests.channels.http_peer import HttpPeer, hang_after_reading
from tests.conftest import FakeRegistry
from tests.notifier.hooks import ended, make_all_due
from tests.notifier.rows import change, person, stored
from tests.notifier.test_ledger_races import together
from tests.servers.base import wait_until

pytestmark = pytest.mark.django_db
threads = pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite in memory is one thread's alone")


# --- As safe as the messages -----------------------------------------------------------------------------------------
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("way", ["settle", "cancel", "acknowledge"])
def test_a_status_and_its_event_are_written_together_or_not_at_all(
    way: str, fakes: FakeRegistry, peer: HttpPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = stored(callback_url=peer.url)
    claim = ledger.claim(limit=1) if way == "settle" else None
    before = Notification.objects.values().get()

    def no_room(*_: Any, **__: Any) -> None:
        raise RuntimeError("no room")

    monkeypatch.setattr(Callback.objects, "bulk_create", no_room)
    end = ledger.Settlement(row.pk, [], Finish(Status.SENT), calls_back=True)
    deeds: dict[str, Callable[[], object]] = {
        "settle": lambda: claim and ledger.settle(claim, [end]),
        "cancel": lambda: ledger.cancel(row),
        "acknowledge": lambda: receipts.acknowledge(row),
    }
    with pytest.raises(RuntimeError, match="no room"):
        deeds[way]()
    assert Notification.objects.values().get() == before
    assert not Callback.objects.exists()


def test_a_status_that_was_rolled_back_is_not_told(fakes: FakeRegistry, peer: HttpPeer) -> None:
    row = stored(callback_url=peer.url)
    with transaction.atomic():
        ledger.cancel(row)
        transaction.set_rollback(True)
    callbacks.deliver_due()
    assert not peer.requests


def test_whoever_dies_over_it_leaves_it_to_be_found_again(
    fakes: FakeRegistry, peer: HttpPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended(peer)
    with monkeypatch.context() as dying:
        dying.setattr(callbacks, "_tell", lambda _: (_ for _ in ()).throw(SystemExit))
        with pytest.raises(SystemExit):
            callbacks.deliver_due()
    kept = Callback.objects.get()
    assert callbacks.LEASE > 2 * callbacks.TIMEOUT
    assert timezone.now() < kept.due_at <= timezone.now() + callbacks.LEASE
    callbacks.deliver_due()
    assert not peer.requests  # its lease is not over: he might be alive
    make_all_due()
    callbacks.deliver_due()
    assert peer.requests[0].headers["webhook-id"] == str(kept.key)


@threads
@pytest.mark.django_db(transaction=True)
def test_many_workers_tell_each_event_once(fakes: FakeRegistry, peer: HttpPeer) -> None:
    for _ in range(20):
        ended(peer)
    together(*[callbacks.deliver_due] * 8)
    assert len(peer.requests) == len({request.headers["webhook-id"] for request in peer.requests}) == 20


@threads
@pytest.mark.django_db(transaction=True)
def test_a_slow_receiver_keeps_no_message_back(
    fakes: FakeRegistry, peer: HttpPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callbacks, "TIMEOUT", timedelta(seconds=60))
    peer.otherwise = hang_after_reading
    for _ in range(5):
        ended(peer)
    parent = type("Parent", (), {"app": app})()
    assert {task.name for task in (tasks.deliver, tasks.call_back)} <= set(work.LOOKS)
    worker = work.LedgerLoop(parent)
    worker.start(parent)
    try:
        wait_until(lambda: bool(peer.requests), 30, "the receiver hangs")
        row = stored()
        wait_until(
            lambda: Notification.objects.values_list("status", flat=True).get(pk=row.pk) == Status.SENT,
            30,
            "it is sent",
        )
        assert not peer.hung_up.is_set()  # all the while
    finally:
        work.stopping.set()
        peer.end()
        worker.stop(parent)
        work.stopping.clear()


def test_an_erased_persons_events_are_told_to_nobody(fakes: FakeRegistry, peer: HttpPeer) -> None:
    ann = person()
    ended(peer, recipient=ann)
    open_one = stored(recipient=ann, callback_url=peer.url)
    other = ended(peer)
    erasure.erase(ann)
    open_one.refresh_from_db()
    assert open_one.status == Status.CANCELLED
    callbacks.deliver_due()
    assert [request.json["data"]["id"] for request in peer.requests] == [other.pk]
    assert not Callback.objects.exists()


# --- Where to --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("listed", [True, False])
def test_a_name_that_leads_inside_is_called_only_where_it_is_listed(
    fakes: FakeRegistry, peer: HttpPeer, settings: Settings, monkeypatch: pytest.MonkeyPatch, *, listed: bool
) -> None:
    port = int(peer.url.rpartition(":")[2])
    inside = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: inside)
    settings.CALLBACK_HOSTS = [f"Hooks.Example.com:{port}"] if listed else ["hooks.example.com:1", "example.com"]
    row = stored(callback_url=f"http://hooks.example.com:{port}/")
    delivery.deliver([row.pk])
    callbacks.deliver_due()
    assert (peer.connections, Callback.objects.count()) == ((1, 0) if listed else (0, 1))


def test_a_host_that_was_taken_off_the_list_is_called_no_more(
    fakes: FakeRegistry, peer: HttpPeer, settings: Settings
) -> None:
    row = ended(peer)
    change(row, callback_url=peer.url)
    settings.CALLBACK_HOSTS = []
    callbacks.deliver_due()
    assert (peer.connections, Callback.objects.get().tries) == (0, 1)
