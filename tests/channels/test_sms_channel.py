"""What the SMS channel does around its providers: addresses, lengths, failover."""

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import pytest

from channels.base import Message, Receipt
from channels.errors import (
    ChannelError,
    InvalidRecipientError,
    MisconfiguredError,
    PermanentError,
    RateLimitedError,
    TemporaryError,
    UnknownOutcomeError,
)
from channels.sms import GatewayProvider, SmsAccount, SmsChannel, SmscProvider
from tests.channels import http_peer as peers
from tests.channels.http_peer import Act, HttpPeer, answer, http_peer

NUMBER = "+12015550100"
SHORT, LONG = timedelta(seconds=1), timedelta(seconds=30)

TOOK = answer(200, {"id": 7, "cnt": 1})
BUSY = answer(503, b"")
SLOW_DOWN = answer(429, b"", {"Retry-After": "60"})
SLOW_DOWN_MORE = answer(429, b"", {"Retry-After": "600"})
WRONG_KEY = answer(401, b"")
WRONG_NUMBER = answer(400, {"code": "invalid_address", "error_code": 7})
REFUSED = answer(400, b"")


@pytest.fixture
def pair() -> Iterator[tuple[HttpPeer, HttpPeer]]:
    with ExitStack() as stack:
        yield stack.enter_context(http_peer()), stack.enter_context(http_peer())


@pytest.fixture
def channel() -> Iterator[SmsChannel]:
    made = SmsChannel()
    yield made
    made.close()


def account(pair: tuple[HttpPeer, HttpPeer], timeout: timedelta = LONG, **options: Any) -> SmsAccount:
    first, second = pair
    return SmsAccount(
        providers=(
            GatewayProvider(f"{first.url}/sms", timeout=timeout),
            SmscProvider("me", "secret", api_url=second.url, timeout=LONG),
        ),
        **options,
    )


def send(channel: SmsChannel, pair: tuple[HttpPeer, HttpPeer], first: Act, second: Act, text: str = "Hello") -> Receipt:
    pair[0].plan(first)
    pair[1].plan(second)
    timeout = SHORT if first is peers.hang_after_reading else LONG
    return channel.send(Message(to=NUMBER, text=text, reference="n-1"), account(pair, timeout))


def failure(channel: SmsChannel, pair: tuple[HttpPeer, HttpPeer], first: Act, second: Act) -> Any:
    with pytest.raises((ChannelError, MisconfiguredError)) as caught:
        send(channel, pair, first, second)
    return caught.value


# Failover


def test_the_second_provider_is_not_asked_when_the_first_took_it(
    channel: SmsChannel, pair: tuple[HttpPeer, HttpPeer]
) -> None:
    assert send(channel, pair, TOOK, TOOK) == Receipt("7")
    assert [len(peer.requests) for peer in pair] == [1, 0]


@pytest.mark.parametrize(
    ("first", "words"),
    [
        (BUSY, "http: HTTP 503"),
        (SLOW_DOWN, "http: HTTP 429"),
        (WRONG_KEY, "http: HTTP 401"),
    ],
)
def test_where_a_provider_is_the_trouble_the_next_one_steps_in(
    channel: SmsChannel, pair: tuple[HttpPeer, HttpPeer], first: Act, words: str
) -> None:
    assert send(channel, pair, first, TOOK) == Receipt("7", f"Sent through smsc ({words}).")
    assert [len(peer.requests) for peer in pair] == [1, 1]


def test_a_provider_that_is_not_there_is_stepped_over(channel: SmsChannel, pair: tuple[HttpPeer, HttpPeer]) -> None:
    pair[0].plan(TOOK)
    with peers.closed_port() as port:
        gone = GatewayProvider(f"http://127.0.0.1:{port}")
        receipt = channel.send(
            Message(to=NUMBER, text="Hello", reference="n-1"),
            SmsAccount(providers=(gone, GatewayProvider(pair[0].url))),
        )
    assert receipt.detail.startswith("Sent through http (http: ")


@pytest.mark.parametrize(
    ("first", "expected", "code"),
    [
        (WRONG_NUMBER, InvalidRecipientError, "invalid_address"),
        (REFUSED, PermanentError, "rejected"),
        (peers.drop_after_reading, UnknownOutcomeError, "outcome_unknown"),
        (peers.hang_after_reading, UnknownOutcomeError, "outcome_unknown"),
        (answer(200, b"fine"), UnknownOutcomeError, "outcome_unknown"),
    ],
)
def test_where_the_message_is_the_trouble_or_may_have_arrived_the_try_ends(
    channel: SmsChannel, pair: tuple[HttpPeer, HttpPeer], first: Act, expected: type[Exception], code: str
) -> None:
    error = failure(channel, pair, first, TOOK)
    assert (type(error), error.code) == (expected, code)
    assert pair[1].connections == 0


@pytest.mark.parametrize(
    ("first", "second", "expected", "code", "delay"),
    [
        (BUSY, BUSY, TemporaryError, "provider_error", None),
        (BUSY, WRONG_KEY, TemporaryError, "provider_error", None),
        (WRONG_KEY, BUSY, TemporaryError, "provider_error", None),
        (WRONG_KEY, SLOW_DOWN, RateLimitedError, "rate_limited", timedelta(seconds=60)),
        (WRONG_KEY, answer(404, b""), MisconfiguredError, "authentication_failed", None),
        (SLOW_DOWN, BUSY, TemporaryError, "provider_error", None),  # the soonest of them
        (SLOW_DOWN_MORE, SLOW_DOWN, RateLimitedError, "rate_limited", timedelta(seconds=60)),
        (BUSY, WRONG_NUMBER, InvalidRecipientError, "invalid_address", None),  # said of the number, so it counts
        (WRONG_KEY, REFUSED, PermanentError, "rejected", None),
        (BUSY, peers.drop_after_reading, UnknownOutcomeError, "outcome_unknown", None),
    ],
)
def test_when_nobody_takes_it(
    channel: SmsChannel,
    pair: tuple[HttpPeer, HttpPeer],
    first: Act,
    second: Act,
    expected: type[Exception],
    code: str,
    delay: timedelta | None,
) -> None:
    error = failure(channel, pair, first, second)
    assert (type(error), error.code, getattr(error, "retry_after", None)) == (expected, code, delay)
    assert error.detail.startswith("http: ")
    assert "; smsc: " in error.detail


def test_without_a_provider_nothing_can_be_sent(channel: SmsChannel) -> None:
    with pytest.raises(MisconfiguredError):
        channel.send(Message(to=NUMBER, text="Hello", reference="n-1"), SmsAccount(providers=()))


# Addresses and lengths


@pytest.mark.parametrize(
    "to",
    [
        "",
        "12015550100",
        "+",
        "+0123456789",
        "+1 201 555",
        "+1234567890123456",
        "+123456",
        "+1201555010x",
        "+٣٣٣٣٣٣٣٣",
        "+12015550100\n",
    ],
)
def test_what_is_no_phone_number_is_not_sent(channel: SmsChannel, pair: tuple[HttpPeer, HttpPeer], to: str) -> None:
    with pytest.raises(InvalidRecipientError) as caught:
        channel.send(Message(to=to, text="Hello", reference="n-1"), account(pair))
    assert caught.value.code == "invalid_address"
    assert pair[0].connections == 0


@pytest.mark.parametrize(
    ("text", "max_parts", "sent", "detail"),
    [
        ("a" * 918, 6, "a" * 918, ""),
        ("a" * 919, 6, "a" * 915 + "...", "Shortened to 6 parts."),
        ("й" * 403, 6, "й" * 401 + "…", "Shortened to 6 parts."),
        ("й" * 71, 1, "й" * 69 + "…", "Shortened to 1 part."),
        ("Fine 👍", 1, "Fine 👍", ""),
    ],
)
def test_a_long_text_is_shortened_and_the_receipt_says_so(
    channel: SmsChannel, pair: tuple[HttpPeer, HttpPeer], text: str, max_parts: int, sent: str, detail: str
) -> None:
    pair[0].plan(TOOK)
    receipt = channel.send(Message(to=NUMBER, text=text, reference="n-1"), account(pair, max_parts=max_parts))
    assert receipt.detail == detail
    assert pair[0].requests[0].json["text"] == sent


def test_both_remarks_together(channel: SmsChannel, pair: tuple[HttpPeer, HttpPeer]) -> None:
    receipt = send(channel, pair, BUSY, TOOK, "a" * 1000)
    assert receipt.detail == "Sent through smsc (http: HTTP 503). Shortened to 6 parts."


def test_an_unforeseen_error_is_not_taken_for_a_provider_s_answer(
    channel: SmsChannel, pair: tuple[HttpPeer, HttpPeer], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumble(*args: Any, **kwargs: Any) -> None:
        raise KeyError("bug")

    monkeypatch.setattr(GatewayProvider, "send", stumble)
    with pytest.raises(KeyError):
        send(channel, pair, TOOK, TOOK)
