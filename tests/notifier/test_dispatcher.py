"""What a dispatcher promises of lanes, pace, order and odd channels: a message leaves when its turn has come, once."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import count
from threading import Lock, Thread
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.db.models.functions import Now
from django.utils import timezone
from pytest_django.fixtures import Settings

from channels.base import Account, Landed, Message, Receipt
from channels.errors import TemporaryError, UnknownOutcomeError
from channels.fake import FakeChannel
from notifier import delivery, dispatcher, ledger, vault
from notifier.breaker import Breaker
from notifier.chain import Finish, Wait
from notifier.ledger import Settlement
from notifier.models import Attempt, Notification
from notifier.states import Status
from tests.conftest import FakeRegistry
from tests.notifier.rows import let_lease_lapse, stored, story
from tests.notifier.test_delivery_crowd import meanwhile, status_of
from tests.servers.base import wait_until

threads = [
    pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite in memory is one thread's alone"),
    pytest.mark.django_db(transaction=True),
]
LOW, HIGH = Notification.Rank.LOW, Notification.Rank.HIGH
DOWN = TemporaryError("The server does not answer.", code="unreachable")
OWN = {"password": "secret", "host": None, "port": None, "security": None, "from_email": None}


class HeldChannel(FakeChannel):
    """Keeps each message until the test says what came of it. `begun`: the texts, in the order in which they came."""

    def __init__(self, *, width: int = 1, behind: int = 0) -> None:
        super().__init__("email")
        self.width, self.behind = width, behind
        self.begun: list[str] = []
        self._held: list[tuple[str, Landed]] = []
        self._is_open = False
        self._guard = Lock()

    def start(self, message: Message, account: Account, landed: Landed) -> None:
        with self._guard:
            self.begun.append(message.text)
            self._held.append((message.text, landed))
        if self._is_open:
            self.let_all_go()

    def land(self, text: str, came: Receipt | Exception | None = None) -> None:
        """The oldest with this text comes back; accepted, if nothing else is said."""
        with self._guard:
            found = next(one for one in self._held if one[0] == text)
            self._held.remove(found)
        found[1](came or Receipt())

    def let_all_go(self) -> None:
        """All that is here comes back, and so does what comes from now on."""
        self._is_open = True
        with self._guard:
            held, self._held = self._held, []
        for _, landed in held:
            landed(Receipt())

    def wait_for(self, many: int) -> None:
        wait_until(lambda: len(self.begun) >= many, 30, f"{many} have left")


class OddChannel(FakeChannel):
    """A channel of somebody else's, that does `start` in its own way."""

    def __init__(self, start: Callable[[Landed], Any]) -> None:
        super().__init__("email")
        self._start = start

    def start(self, message: Message, account: Account, landed: Landed) -> None:
        self.sent.append((message, account))
        self._start(landed)


@contextmanager
def working(channel: HeldChannel) -> Iterator[None]:
    """A dispatcher in a thread of its own; at the end everything comes back."""
    with meanwhile(delivery.deliver_due):
        try:
            yield
        finally:
            channel.let_all_go()


def own_account(user: str, **fields: Any) -> Notification:
    return stored("email", own_account=True, credentials=vault.seal({**OWN, "user": user}), **fields)


def wait_for_status(row: Notification, status: Status) -> None:
    wait_until(lambda: status_of(row) == status, 30, f"it is {status}")


# --- Lanes -----------------------------------------------------------------------------------------------------------
class TestLanes:
    pytestmark = threads

    def test_a_slow_account_holds_up_only_its_own_lane(self, fakes: FakeRegistry) -> None:
        fakes["email"] = channel = HeldChannel(width=2)
        for number in range(5):
            own_account("slow@example.com", message=f"slow {number}")
        quick = [own_account("quick@example.com", message=f"quick {number}") for number in range(4)]
        with working(channel):
            for number, row in enumerate(quick):
                wait_until(lambda number=number: f"quick {number}" in channel.begun, 30, "it leaves")  # type: ignore[misc]
                channel.land(f"quick {number}")
                wait_for_status(row, Status.SENT)
            assert [text for text in channel.begun if "slow" in text] == ["slow 0", "slow 1"]
        assert set(Notification.objects.values_list("status", flat=True)) == {Status.SENT}

    @pytest.mark.parametrize(
        ("came", "pace", "follow"),
        [
            (Receipt(), 100, 4),  # one for the one that came back, and as many behind as the channel takes
            (Receipt(), 2, 3),  # no more than come back in a moment
            (Receipt(), 0, 1),
            (TemporaryError("No.", code="mailbox_full"), 100, 4),  # an answer, too
            (DOWN, 100, 1),
            (UnknownOutcomeError("No answer came."), 100, 1),
        ],
    )
    def test_behind_others_leaves_only_what_an_answering_provider_takes_at_its_pace(
        self, came: Any, pace: int, follow: int, fakes: FakeRegistry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(dispatcher._Pace, "within", lambda *_: pace)
        fakes["email"] = channel = HeldChannel(width=2, behind=3)
        first, *_ = [stored("email", message=str(number)) for number in range(9)]
        with working(channel):
            channel.wait_for(2)
            assert channel.begun == ["0", "1"]  # before any answer nothing stands behind
            channel.land("0", came)
            wait_until(lambda: status_of(first) != Status.SENDING, 30, "what came of it is written")
            assert len(channel.begun) == 2 + follow

    def test_the_urgent_one_is_the_next_to_leave(self, fakes: FakeRegistry) -> None:
        fakes["email"] = channel = HeldChannel()
        for number in range(9):
            stored("email", priority=LOW, message=f"low {number}")
        with working(channel):
            channel.wait_for(1)
            urgent = stored("email", priority=HIGH, message="urgent")
            delivery.deliver_due()  # the ring
            wait_for_status(urgent, Status.SENDING)
            channel.land("low 0")
            channel.wait_for(2)
            assert channel.begun == ["low 0", "urgent"]

    def test_the_urgent_fill_no_more_than_the_hands(self, fakes: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(dispatcher, "LEAST", 4)
        monkeypatch.setattr(dispatcher, "MOST", 8)
        monkeypatch.setattr(dispatcher, "LOOK", 0.01)
        looks: list[int] = []
        real = dispatcher.Dispatcher._claim_more

        def look(self: dispatcher.Dispatcher) -> bool:
            looks.append(1)
            return real(self)

        monkeypatch.setattr(dispatcher.Dispatcher, "_claim_more", look)
        fakes["email"] = channel = HeldChannel()
        for _ in range(3):
            stored("email", priority=LOW)
        with working(channel):
            channel.wait_for(1)
            for _ in range(20):
                stored("email", priority=HIGH)
            enough = len(looks) + 20
            wait_until(lambda: len(looks) > enough, 30, "it looks again and again")
            in_hand = Notification.objects.filter(status=Status.SENDING).count()
            assert in_hand <= dispatcher.MOST + channel.width

    def test_many_accounts_together_have_only_so_many_in_flight(
        self, fakes: FakeRegistry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(dispatcher, "IN_FLIGHT", 8)
        monkeypatch.setattr(dispatcher, "LEAST", 4)
        monkeypatch.setattr(dispatcher, "MOST", 4)
        fakes["email"] = channel = HeldChannel(width=2)
        for number in range(40):
            own_account(f"user-{number}", message=str(number))
        most = 0
        with working(channel):
            for landed in range(32):
                channel.wait_for(landed + 8)
                most = max(most, len(channel.begun) - landed)
                channel.land(channel.begun[landed])
        assert 8 <= most <= 8 + 4  # what is at hand leaves too
        assert len(channel.begun) == 40


@pytest.mark.django_db
def test_a_lane_is_recalled_when_its_circuit_opens(fakes: FakeRegistry, settings: Settings) -> None:
    settings.CIRCUIT_FAILURES = 1
    fakes["email"] = channel = OddChannel(lambda landed: landed(DOWN))
    channel.width = 1
    first, *others = [stored("email", "sms") for _ in range(5)]
    delivery.deliver_due()
    assert story(first) == [("email", "unreachable"), ("sms", "accepted")]
    assert [story(row) for row in others] == [[("email", "circuit_open"), ("sms", "accepted")]] * 4
    assert len(channel.sent) == 1


@pytest.mark.django_db
def test_what_expires_in_line_does_not_leave(fakes: FakeRegistry) -> None:
    second = timedelta(seconds=1)
    rows = [stored("email", expires_at=Now() + 3600 * second), stored("email", expires_at=Now() + 1.5 * second)]

    def take_long(landed: Landed) -> None:
        wait_until(lambda: timezone.now() > rows[1].expires_at + second / 20, 30, "the other's time is over")
        landed(Receipt())

    fakes["email"] = channel = OddChannel(take_long)
    channel.width = 1
    delivery.deliver_due()
    assert [status_of(row) for row in rows] == [Status.SENT, Status.EXPIRED]
    assert (len(channel.sent), story(rows[1])) == (1, [])


@pytest.mark.django_db
def test_answers_are_written_while_a_backlog_ends_without_leaving(fakes: FakeRegistry) -> None:
    fakes["email"] = OddChannel(lambda landed: landed(Receipt()))
    answered = stored("email", priority=HIGH)
    for _ in range(4 * dispatcher.LEAST):
        stored("email", to={"phone": "+12025550123"})
    delivery.deliver_due()
    answered.refresh_from_db()
    assert Notification.objects.filter(finished_at__gt=answered.finished_at).exists()


# --- A row that somebody else had meanwhile --------------------------------------------------------------------------
@pytest.mark.parametrize("back", [False, True], ids=["ended by the other", "back in our hands"])
class TestStale:
    pytestmark = threads

    def test_what_an_old_errand_brings_counts_no_more(self, back: bool, fakes: FakeRegistry) -> None:
        fakes["email"] = channel = HeldChannel(width=4)
        row = stored("email", message="it")
        with working(channel):
            channel.wait_for(1)
            let_lease_lapse(row)
            other = ledger.claim(limit=1)
            lost = Attempt(
                notification=row, step=0, round=0, channel="email", outcome="failed", code="timeout", temporary=True,
                started_at=timezone.now(),
            )  # fmt: skip
            move = Wait(other.now(), 1) if back else Finish(Status.FAILED, "timeout")
            assert ledger.settle(other, [Settlement(row.pk, [lost], move)]) == {row.pk}
            if back:
                channel.wait_for(2)
            channel.land("it", Receipt(provider_id="old"))
            delivery.deliver_due()
            marker = stored("email", message="marker")
            wait_until(lambda: "marker" in channel.begun, 30, "the dispatcher has gone on")
            assert status_of(row) == (Status.SENDING if back else Status.FAILED)
            if back:
                channel.land("it", Receipt(provider_id="new"))
                wait_for_status(row, Status.SENT)
        ids = list(row.attempts.values_list("provider_id", flat=True))
        assert ids == (["", "new"] if back else [""])
        assert status_of(marker) == Status.SENT


# --- Channels that do it in their own way ----------------------------------------------------------------------------
def twice(landed: Landed) -> None:
    landed(DOWN)
    landed(Receipt(provider_id="second"))


def told_and_broken(landed: Landed) -> None:
    landed(DOWN)
    raise ZeroDivisionError("a bug after the end")


@pytest.mark.django_db
@pytest.mark.parametrize("start", [twice, told_and_broken])
def test_only_the_first_word_of_a_message_counts(start: Callable[[Landed], None], fakes: FakeRegistry) -> None:
    fakes["email"] = OddChannel(start)
    rows = [stored("email", "sms") for _ in range(3)]
    delivery.deliver_due()
    assert [story(row) for row in rows] == [[("email", "unreachable"), ("sms", "accepted")]] * 3
    assert len(fakes["sms"].sent) == 3


@pytest.mark.django_db
def test_answers_may_come_from_many_threads_at_once(fakes: FakeRegistry) -> None:
    fakes["email"] = channel = OddChannel(lambda landed: Thread(target=landed, args=[Receipt()]).start())
    channel.width = 32
    keys = {stored("email").key.hex for _ in range(150)}
    delivery.deliver_due()
    assert set(Notification.objects.values_list("status", flat=True)) == {Status.SENT}
    assert Counter(message.reference for message, _ in channel.sent) == dict.fromkeys(keys, 1)
    assert Attempt.objects.count() == len(keys)


ODD: dict[str, Any] = {
    "an id that is a number": Receipt(provider_id=7),  # type: ignore[arg-type]
    "a pause that is a number": TemporaryError("busy", retry_after=5),  # type: ignore[arg-type]
    "nothing": None,
}


@pytest.mark.django_db
@pytest.mark.parametrize("came", ODD.values(), ids=ODD)
def test_an_odd_answer_may_have_been_sent_and_is_not_waited_for(came: Any, fakes: FakeRegistry) -> None:
    fakes["email"] = OddChannel(lambda landed: landed(came))
    row = stored("email", "sms")
    delivery.deliver_due()
    assert story(row) == [("email", "internal_error"), ("sms", "accepted")]
    assert row.attempts.all()[0].outcome == "unknown"


@pytest.mark.django_db
def test_a_channel_that_cannot_be_loaded_is_its_own_messages_trouble(
    fakes: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(FakeRegistry):
        def __getitem__(self, name: str) -> FakeChannel:
            if name == "email":
                raise ImportError("CHANNELS['email']: no such class.")
            return super().__getitem__(name)

    monkeypatch.setattr("notifier.errands.channels", lambda: Broken(fakes))
    rows = [stored("email", "sms"), stored("sms")]
    delivery.deliver_due()
    assert story(rows[0]) == [("email", "internal_error"), ("sms", "accepted")]
    assert story(rows[1]) == [("sms", "accepted")]


@pytest.mark.django_db
def test_one_that_cannot_be_written_holds_up_no_other(fakes: FakeRegistry) -> None:
    bad = stored(steps=7, callback_url="https://example.com/hook", expires_at=Now(), priority=HIGH)
    good = [stored("email", "sms") for _ in range(3)]
    fakes["email"].always = DOWN
    delivery.deliver_due()
    assert [story(row) for row in good] == [[("email", "unreachable"), ("sms", "accepted")]] * 3
    assert (status_of(bad), story(bad)) == (Status.SENDING, [])


# --- The database ----------------------------------------------------------------------------------------------------
def lose_answers(monkeypatch: pytest.MonkeyPatch, statement: str, *, times: int = 1) -> None:
    """So many times it is done and its answer lost on its way; each repetition is answered."""
    real, calls = getattr(ledger, statement), count()

    def unsteady(*arguments: Any, **named: Any) -> Any:
        answer, nth = real(*arguments, **named), next(calls)
        if nth % 2 == 0 and nth < 2 * times:
            raise OperationalError("gone")
        return answer

    monkeypatch.setattr(ledger, statement, unsteady)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("statement", ["mark", "settle"])
def test_what_was_written_and_is_written_again_stands_there_once(
    statement: str, fakes: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_answers(monkeypatch, statement, times=9)
    monkeypatch.setattr("notifier.dispatcher.time.sleep", lambda _seconds: None)
    fakes["email"].always = DOWN
    row = stored(callback_url="https://example.com/hook", to={"email": "ann@example.com", "telegram_chat_id": "4711"})
    delivery.deliver_due()
    assert story(row) == [("email", "unreachable"), ("sms", "no_address"), ("telegram", "accepted")]
    assert (status_of(row), row.callbacks.count()) == (Status.SENT, 1)


@pytest.mark.django_db(transaction=True)
def test_circuits_that_cannot_be_read_for_a_moment_cost_nothing(
    fakes: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, failures = Breaker.is_open, [OperationalError("gone"), OperationalError("gone")]

    def unsteady(self: Breaker, key: str) -> bool:
        if failures:
            raise failures.pop()
        return real(self, key)

    monkeypatch.setattr(Breaker, "is_open", unsteady)
    monkeypatch.setattr("notifier.dispatcher.time.sleep", lambda _seconds: None)
    fakes["email"].width = 1
    rows = [stored("email") for _ in range(3)]
    delivery.deliver_due()
    assert [story(row) for row in rows] == [[("email", "accepted")]] * 3
    assert not failures


class TestLostClaim:
    pytestmark = threads

    def test_rows_of_a_claim_whose_answer_was_lost_are_found_again_by_the_same_dispatcher(
        self, fakes: FakeRegistry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("notifier.ledger.LEASE", timedelta(seconds=0.9))
        fakes["email"] = channel = HeldChannel(width=4)
        stored("email", message="slow")
        with working(channel):
            channel.wait_for(1)
            stored("email", message="lost")
            lose_answers(monkeypatch, "claim")
            channel.wait_for(2)
        assert channel.begun == ["slow", "lost"]
