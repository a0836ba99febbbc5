"""What providers say later: arrived, came back, or nothing in time."""

from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from channels.base import Receipt as Taken
from channels.errors import PermanentError, TemporaryError
from notifier import erasure, ledger, receipts, tasks
from notifier.chain import AwaitReceipt, Finish
from notifier.delivery import deliver
from notifier.ledger import Claim, Settlement
from notifier.models import Attempt, Notification, Receipt
from notifier.states import Outcome, Status
from tests.conftest import FakeRegistry
from tests.notifier.rows import change, in_state, make_due, person, stored, story

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("watch")]
SECOND, DAY = timedelta(seconds=1), timedelta(days=1)
CAME_BACK = ["bounced", "complained", "blocked"]
ARRIVED = ["delivered", "read"]


def step(channel: str, until: str = "accepted", **more: Any) -> dict[str, Any]:
    return {"channel": channel, "until": until, **more}


def passed(row: Notification) -> Notification:
    """The row after its next pass."""
    deliver([row.pk])
    row.refresh_from_db()
    return row


def sent_along(*steps: dict[str, Any], **fields: Any) -> Notification:
    return passed(stored(steps=list(steps), **fields))


def told(row: Notification, kind: str, channel: str = "email", which: int = -1) -> Notification:
    """The row after its provider said this of what it took through the channel."""
    taken = row.attempts.filter(channel=channel, outcome=Outcome.ACCEPTED)
    receipts.take(channel, list(taken)[which].provider_id, receipts.Kind(kind))
    row.refresh_from_db()
    return row


def past_its_deadline(row: Notification) -> Notification:
    """As if its receipt had had its time."""
    row.attempts.update(started_at=F("started_at") - timedelta(hours=1))
    make_due(row)
    return passed(row)


def in_hands(row: Notification) -> Claim:
    """A worker has it, and has handed its first step over."""
    claim = ledger.claim(limit=1, ids=[row.pk])
    ledger.mark(claim, {0: [row.pk]})
    return claim


def accepted(row: Notification, *, channel: str = "email", step: int = 0) -> Attempt:
    """What the worker writes down when the provider took it."""
    return Attempt(
        notification_id=row.pk,
        step=step,
        round=0,
        channel=channel,
        outcome=Outcome.ACCEPTED,
        provider_id=f"{channel}-of-{row.pk}",
        started_at=timezone.now(),
    )


# --- Bars and deadlines ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("until", ["delivered", "acknowledged"])
@pytest.mark.parametrize(("within", "seconds"), [({}, 300), ({"within": 40}, 40)])
def test_a_higher_bar_waits_for_its_receipt_until_the_deadline(
    until: str, within: dict[str, int], seconds: int, fakes: FakeRegistry
) -> None:
    row = sent_along(step("email", until, **within), step("sms"))
    assert (row.status, story(row)) == (Status.WAITING, [("email", "accepted")])
    assert row.due_at is not None
    assert row.due_at == row.attempts.get().started_at + seconds * SECOND
    assert row.sent_at is not None
    assert row.finished_at is None


@pytest.mark.parametrize("until", ["delivered", "acknowledged"])
def test_a_missed_deadline_spends_the_step_and_the_next_one_is_tried(until: str, fakes: FakeRegistry) -> None:
    row = past_its_deadline(sent_along(step("email", until), step("sms")))
    assert row.status == Status.SENT
    assert story(row) == [("email", "accepted"), ("email", "deadline_missed"), ("sms", "accepted")]
    missed = row.attempts.all()[1]
    assert (missed.outcome, missed.temporary, missed.step) == (Outcome.FAILED, False, 0)
    assert len(fakes["email"].sent) == 1


def test_a_spent_step_is_not_sent_again_in_a_later_round(fakes: FakeRegistry) -> None:
    fakes["sms"].fail_next(TemporaryError("busy"))
    row = past_its_deadline(sent_along(step("email", "delivered"), step("sms")))
    assert (row.status, row.round) == (Status.QUEUED, 1)
    make_due(row)
    assert passed(row).status == Status.SENT
    assert len(fakes["email"].sent) == len(fakes["sms"].sent) == 1


def test_when_the_last_step_missed_its_deadline_it_has_failed(fakes: FakeRegistry) -> None:
    row = past_its_deadline(sent_along(step("email", "delivered")))
    assert (row.status, row.failure_code, row.due_at) == (Status.FAILED, "deadline_missed", None)


def test_a_deadline_that_has_not_come_is_left_alone(fakes: FakeRegistry) -> None:
    row = passed(sent_along(step("email", "delivered"), step("sms")))
    assert (row.status, story(row)) == (Status.WAITING, [("email", "accepted")])


def test_what_waits_is_expired_when_its_life_is_over(fakes: FakeRegistry) -> None:
    row = sent_along(step("email", "delivered", within=7200), step("sms"))
    change(row, expires_at=Now())
    make_due(row)
    assert passed(row).status == Status.EXPIRED


def test_a_waiting_row_that_nobody_can_read_does_not_stand_in_the_others_way(
    fakes: FakeRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    broken = stored(**in_state(Status.WAITING), steps=[step("email", "a bar of its own")])
    dead = stored(**in_state(Status.WAITING), steps=[step("email", "a bar of its own")], expires_at=Now())
    other, row = past_its_deadline(sent_along(step("email", "delivered"))), stored()
    assert (other.status, passed(row).status) == (Status.FAILED, Status.SENT)
    for left in (broken, dead):
        left.refresh_from_db()
    assert (broken.status, dead.status) == (Status.WAITING, Status.EXPIRED)
    assert broken.due_at is not None
    assert broken.due_at > timezone.now() + timedelta(minutes=50)
    assert "deadline" in caplog.text


def test_a_worker_that_never_comes_to_an_end_still_sees_missed_deadlines(fakes: FakeRegistry) -> None:
    row = sent_along(step("email", "delivered"), step("sms"))
    row.attempts.update(started_at=F("started_at") - timedelta(hours=1))
    make_due(row)
    tasks.apply_receipts()
    row.refresh_from_db()
    assert (row.status, story(row)[-1]) == (Status.QUEUED, ("email", "deadline_missed"))


# --- It arrived ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ARRIVED)
@pytest.mark.parametrize("until", ["accepted", "delivered"])
def test_a_receipt_says_that_it_arrived(kind: str, until: str, fakes: FakeRegistry) -> None:
    row = told(sent_along(step("email", until), step("sms")), kind)
    assert (row.status, row.due_at, row.attempts.get().receipt) == (Status.DELIVERED, None, kind)
    assert row.finished_at is not None
    assert not Receipt.objects.exists()


@pytest.mark.parametrize("kind", ARRIVED)
def test_arrived_is_not_yet_acknowledged(kind: str, fakes: FakeRegistry) -> None:
    row = sent_along(step("email", "acknowledged"), step("sms"))
    before = row.due_at
    assert (told(row, kind).status, row.due_at, row.attempts.get().receipt) == (Status.WAITING, before, kind)


def test_a_late_receipt_counts_for_a_row_that_failed(fakes: FakeRegistry) -> None:
    row = told(past_its_deadline(sent_along(step("email", "delivered"))), "delivered")
    assert (row.status, row.failure_code) == (Status.DELIVERED, "")


@pytest.mark.parametrize("has_begun", [False, True])
def test_a_late_receipt_from_before_a_retry_counts_and_nothing_more_leaves(
    has_begun: bool, fakes: FakeRegistry
) -> None:
    row = past_its_deadline(sent_along(step("email", "delivered"), step("sms", "delivered")))
    row = past_its_deadline(row)
    assert row.status == Status.FAILED
    assert ledger.retry(row, None)
    if has_begun:
        assert passed(row).status == Status.WAITING
    told(row, "delivered", which=0)
    assert passed(row).status == Status.DELIVERED
    assert (len(fakes["email"].sent), len(fakes["sms"].sent)) == (1 + has_begun, 1)


def test_a_late_receipt_counts_for_a_queued_row_and_nothing_more_leaves(fakes: FakeRegistry) -> None:
    fakes["sms"].fail_next(TemporaryError("busy"))
    row = past_its_deadline(sent_along(step("email", "delivered"), step("sms")))
    told(row, "delivered")
    assert row.due_at is not None
    assert row.due_at <= timezone.now() + SECOND
    assert passed(row).status == Status.DELIVERED
    assert not fakes["sms"].sent


def test_a_late_receipt_ends_the_waiting_for_another_step(fakes: FakeRegistry) -> None:
    row = past_its_deadline(sent_along(step("email", "delivered"), step("sms", "delivered")))
    assert (row.status, told(row, "delivered").status) == (Status.WAITING, Status.DELIVERED)


@pytest.mark.parametrize("status", [Status.CANCELLED, Status.EXPIRED, Status.ACKNOWLEDGED])
@pytest.mark.parametrize("kind", [*ARRIVED, *CAME_BACK])
def test_what_ended_for_good_stays_so(status: Status, kind: str, fakes: FakeRegistry) -> None:
    row = stored(**in_state(status))
    accepted(row).save()
    assert told(row, kind).status == status
    assert not Receipt.objects.exists()


def test_what_was_read_is_not_merely_delivered_when_the_receipts_come_in_the_wrong_order(fakes: FakeRegistry) -> None:
    row = sent_along(step("email"))
    for kind in ("read", "delivered"):
        told(row, kind)
    assert (row.status, row.attempts.get().receipt) == (Status.DELIVERED, "read")


# --- It came back ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", CAME_BACK)
@pytest.mark.parametrize(("until", "first"), [("accepted", ""), ("delivered", ""), ("accepted", "delivered")])
def test_what_came_back_goes_on_by_the_next_step(kind: str, until: str, first: str, fakes: FakeRegistry) -> None:
    row = sent_along(step("email", until), step("sms"))
    if first:
        told(row, first)
    told(row, kind)
    assert (row.status, row.failure_code, row.finished_at) == (Status.QUEUED, "", None)
    assert passed(row).status == Status.SENT
    assert story(row) == [("email", "accepted"), ("email", kind), ("sms", "accepted")]
    back = row.attempts.all()[1]
    assert (back.outcome, back.temporary, back.step) == (Outcome.FAILED, False, 0)


def test_what_arrived_and_came_back_after_all_is_no_longer_delivered(fakes: FakeRegistry) -> None:
    row = told(sent_along(step("email", "delivered")), "delivered")
    assert told(row, "bounced").status == Status.FAILED
    again = told(sent_along(step("email", "delivered"), step("sms")), "delivered")
    assert told(again, "bounced").status == Status.QUEUED


@pytest.mark.parametrize("kind", CAME_BACK)
@pytest.mark.parametrize(("until", "first"), [("accepted", ""), ("delivered", ""), ("accepted", "delivered")])
def test_what_came_back_with_no_step_left_has_failed(kind: str, until: str, first: str, fakes: FakeRegistry) -> None:
    fakes["sms"].fail_next(PermanentError("no"))
    row = sent_along(step("sms"), step("email", until))
    if first:
        told(row, first)
    assert (told(row, kind).status, row.failure_code, row.due_at) == (Status.FAILED, kind, None)


@pytest.mark.parametrize("status", [Status.SENT, Status.DELIVERED])
def test_what_came_back_after_its_life_has_failed_though_steps_are_left(status: Status, fakes: FakeRegistry) -> None:
    row = sent_along(step("email"), step("sms"))
    if status is Status.DELIVERED:
        told(row, "delivered")
    change(row, expires_at=Now())
    assert (told(row, "bounced").status, row.failure_code) == (Status.FAILED, "bounced")


def test_a_failed_row_says_the_last_thing_that_happened(fakes: FakeRegistry) -> None:
    row = past_its_deadline(sent_along(step("email", "delivered")))
    assert (told(row, "bounced").status, row.failure_code) == (Status.FAILED, "bounced")


def test_what_came_back_of_an_earlier_step_leaves_a_later_one_alone(fakes: FakeRegistry) -> None:
    row = past_its_deadline(sent_along(step("email", "delivered"), step("sms", "delivered")))
    before = Notification.objects.values("status", "due_at", "sent_at").get()
    told(row, "bounced")
    assert Notification.objects.values("status", "due_at", "sent_at").get() == before
    assert (told(row, "delivered", "sms").status, told(row, "blocked").status) == (Status.DELIVERED, Status.DELIVERED)


def test_what_came_back_of_a_later_step_leaves_what_arrived_by_an_earlier_one_alone(fakes: FakeRegistry) -> None:
    row = past_its_deadline(sent_along(step("email", "delivered"), step("sms")))
    assert (row.status, told(row, "delivered").status) == (Status.SENT, Status.DELIVERED)
    before = Notification.objects.values().get()
    told(row, "bounced", "sms")
    assert Notification.objects.values().get() == before


def test_a_step_that_came_back_is_never_tried_again(fakes: FakeRegistry) -> None:
    fakes["sms"].always = TemporaryError("busy")
    row = passed(told(sent_along(step("email"), step("sms")), "bounced"))
    for _ in range(3):
        make_due(row)
        passed(row)
    assert len(fakes["email"].sent) == 1


@pytest.mark.parametrize("kind", [*ARRIVED, *CAME_BACK])
def test_a_provider_that_repeats_itself_is_heard_once(kind: str, fakes: FakeRegistry) -> None:
    row = told(sent_along(step("email"), step("sms")), kind)
    before = Notification.objects.values().get()
    attempts = row.attempts.count()
    told(row, kind)
    assert (row.attempts.count(), Notification.objects.values().get()) == (attempts, before)


# --- Too early, and for nobody ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("kind", "move", "status"),
    [
        ("delivered", Finish(Status.SENT), Status.DELIVERED),
        ("delivered", AwaitReceipt(0, timezone.now() + DAY), Status.DELIVERED),
        ("bounced", Finish(Status.SENT), Status.QUEUED),
        ("bounced", AwaitReceipt(0, timezone.now() + DAY), Status.QUEUED),
        ("delivered", None, Status.SENDING),
    ],
)
@pytest.mark.parametrize("written", [True, False])
def test_a_receipt_that_comes_while_it_is_sent_is_kept_and_applied(
    kind: str, move: Any, status: Status, *, written: bool
) -> None:
    """`written`: the attempt is already in the table, and the worker still has the row."""
    row = stored(steps=[step("email", "delivered"), step("sms")])
    claim, attempt = in_hands(row), accepted(row)
    if written:
        ledger.settle(claim, [Settlement(row.pk, [attempt], None)])
    receipts.take("email", attempt.provider_id, receipts.Kind(kind))
    row.refresh_from_db()
    assert (row.status, Receipt.objects.count()) == (Status.SENDING, 1)

    ledger.settle(claim, [Settlement(row.pk, [] if written else [attempt], move)])
    receipts.apply_kept()
    row.refresh_from_db()
    assert (row.status, Receipt.objects.count()) == (status, 1 if status is Status.SENDING else 0)


def test_a_kept_receipt_is_applied_before_its_deadline_counts_as_missed(fakes: FakeRegistry) -> None:
    row = stored(steps=[step("email", "delivered"), step("sms")])
    claim, attempt = in_hands(row), accepted(row)
    receipts.take("email", attempt.provider_id, receipts.Kind.DELIVERED)
    ledger.settle(claim, [Settlement(row.pk, [attempt], AwaitReceipt(0, timezone.now()))])
    assert past_its_deadline(row).status == Status.DELIVERED
    assert not fakes["sms"].sent


def test_without_a_receipt_no_attempt_is_looked_at(
    fakes: FakeRegistry, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    """However many there are: five million took the workers a fifth of their rate."""
    sent_along(step("email"))
    with django_assert_num_queries(1) as asked:
        receipts.apply_kept()
    assert "attempt" not in asked.captured_queries[0]["sql"]


def test_a_receipt_for_nobodys_message_is_dropped_after_a_day(fakes: FakeRegistry) -> None:
    for kind in receipts.Kind:
        receipts.take("email", "somebody-elses", kind)
    receipts.apply_kept()
    assert Receipt.objects.count() == len(receipts.Kind)
    Receipt.objects.exclude(kind="read").update(received_at=Now() - DAY)
    receipts.apply_kept()
    assert Receipt.objects.get().kind == "read"


def test_many_strangers_do_not_stand_in_the_way_of_a_receipt_of_ours() -> None:
    Receipt.objects.bulk_create(Receipt(channel="email", provider_id=f"x{n}", kind="read") for n in range(150))
    row = stored(steps=[step("email")])
    claim, attempt = in_hands(row), accepted(row)
    receipts.take("email", attempt.provider_id, receipts.Kind.DELIVERED)
    ledger.settle(claim, [Settlement(row.pk, [attempt], Finish(Status.SENT))])
    receipts.apply_kept()
    row.refresh_from_db()
    assert (row.status, Receipt.objects.count()) == (Status.DELIVERED, 150)


@pytest.mark.parametrize(("channel", "provider_id"), [("sms", "email-1"), ("email", ""), ("email", "email-2")])
def test_a_receipt_that_names_another_message_changes_nothing(
    channel: str, provider_id: str, fakes: FakeRegistry
) -> None:
    fakes["email"].answer_next(Taken(provider_id="email-1"), Taken(provider_id=""))
    rows = [sent_along(step("email")), sent_along(step("email"))]
    receipts.take(channel, provider_id, receipts.Kind.BOUNCED)
    for row in rows:
        row.refresh_from_db()
        assert (row.status, row.attempts.count()) == (Status.SENT, 1)


def test_two_channels_may_give_the_same_id(fakes: FakeRegistry) -> None:
    for fake in (fakes["email"], fakes["sms"]):
        fake.answer_next(Taken(provider_id="7"))
    rows = {name: sent_along(step(name)) for name in ("email", "sms")}
    assert told(rows["email"], "delivered").status == Status.DELIVERED
    rows["sms"].refresh_from_db()
    assert rows["sms"].status == Status.SENT


def test_a_receipt_that_cannot_be_applied_does_not_stand_in_the_others_way(
    fakes: FakeRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    broken, row = sent_along(step("email")), sent_along(step("email"))
    change(broken, steps=[step("email", "a bar of its own")])
    told(broken, "bounced")
    assert "cannot be applied" in caplog.text
    Receipt.objects.create(channel="email", provider_id=row.attempts.get().provider_id, kind="delivered")
    receipts.apply_kept()
    row.refresh_from_db()
    assert (row.status, Receipt.objects.get().kind) == (Status.DELIVERED, "bounced")


def test_an_erased_persons_receipts_go_with_them(fakes: FakeRegistry) -> None:
    ann = person()
    for row in (sent_along(step("sms")), sent_along(step("email"), recipient=ann)):
        [attempt] = row.attempts.all()
        kept = {"channel": attempt.channel, "provider_id": attempt.provider_id, "detail": "550 no ann@example.com"}
        Receipt.objects.create(**kept, kind="bounced")
    erasure.erase(ann)
    assert Receipt.objects.get().channel == "sms"
