"""The inbox: order, numbers, limits and waiting."""

import threading
import time

import pytest

from sandbox.inbox import KEPT, Inbox


def test_messages_keep_the_order_of_their_arrival() -> None:
    inbox = Inbox()
    for number in range(5):
        inbox.add("sms", f"+{number}")
    assert [(entry.seq, entry.to) for entry in inbox.messages()] == [(n + 1, f"+{n}") for n in range(5)]
    assert [entry.seq for entry in inbox.messages(after=3)] == [4, 5]


def test_many_threads_get_different_numbers_in_order() -> None:
    inbox = Inbox()
    writers = [threading.Thread(target=lambda: [inbox.add("sms", "+1") for _ in range(100)]) for _ in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [entry.seq for entry in inbox.messages()] == list(range(1, 801))


def test_only_the_last_messages_are_kept() -> None:
    inbox = Inbox()
    for _ in range(KEPT + 5):
        inbox.add("telegram", "1")
    kept = inbox.messages()
    assert (len(kept), kept[0].seq, kept[-1].seq) == (KEPT, 6, KEPT + 5)


def test_numbers_go_on_after_clear() -> None:
    inbox = Inbox()
    inbox.add("sms", "+1")
    inbox.clear()
    assert inbox.messages() == []
    assert inbox.add("sms", "+1").seq == 2


def test_wait_for_wakes_up_when_the_message_arrives() -> None:
    inbox = Inbox()
    inbox.add("sms", "+1")
    late = threading.Timer(0.05, inbox.add, ("sms", "+2"))
    late.start()
    began = time.monotonic()
    assert inbox.wait_for(lambda entry: entry.to == "+2", timeout=90).seq == 2
    assert time.monotonic() - began < 30  # woken up, not found when the time was over
    late.join()


def test_wait_for_gives_up() -> None:
    with pytest.raises(TimeoutError):
        Inbox().wait_for(lambda _entry: True, timeout=0.01)


def test_a_repr_does_not_hold_the_raw_message() -> None:
    entry = Inbox().add("email", "a@b.test", raw=b"the whole message")
    assert "whole" not in repr(entry)
    assert entry.received_at.tzinfo is not None
