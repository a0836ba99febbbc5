"""The statuses and their moves, word for word as they are promised."""

import pytest

from notifier.models import Notification
from notifier.states import CODES, DUE, FINAL, MOVES, OPEN, Status

PROMISED = {
    "queued": "sending acknowledged cancelled expired",
    "sending": "sent waiting delivered acknowledged queued failed expired",
    "waiting": "delivered acknowledged queued failed cancelled expired",
    "sent": "delivered acknowledged queued failed",  # queued or failed: a late bounce
    "delivered": "acknowledged queued failed",  # the same
    "acknowledged": "",
    "failed": "queued delivered acknowledged",  # a manual retry; late receipts
    "cancelled": "",
    "expired": "",
}
SKIPS = "no_address not_configured circuit_open address_suppressed"
FAILURES = (
    "invalid_address rejected blocked authentication_failed unreachable timeout tls_failed rate_limited mailbox_full "
    "message_too_large provider_error misconfigured deadline_missed bounced complained outcome_unknown internal_error"
)


def test_the_moves_are_those_that_were_promised() -> None:
    assert {str(source): {str(target) for target in targets} for source, targets in MOVES.items()} == {
        source: set(targets.split()) for source, targets in PROMISED.items()
    }


def test_the_codes_are_those_that_were_promised() -> None:
    assert set(SKIPS.split()) | set(FAILURES.split()) == CODES


def test_a_status_is_either_open_or_final() -> None:
    assert set(map(str, OPEN)) == {"queued", "sending", "waiting"}
    assert set(Status) == OPEN | FINAL
    assert not OPEN & FINAL
    assert OPEN - {Status.SENDING} == DUE


@pytest.mark.parametrize("status", sorted(FINAL))
def test_no_final_status_goes_back_to_a_worker_without_being_queued(status: Status) -> None:
    assert not MOVES[status] & {Status.SENDING, Status.WAITING}


def test_every_word_fits_its_column() -> None:
    for name, words in {"status": map(str, Status), "failure_code": CODES}.items():
        column = Notification._meta.get_field(name)
        assert max(len(word) for word in words) <= getattr(column, "max_length", 0)
