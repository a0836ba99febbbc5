"""Telegram, over the wire, against replies as the Bot API server words them."""

from collections.abc import Iterator
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
from channels.telegram import MAX_PARTS, TelegramAccount, TelegramChannel
from tests.channels import http_peer as peers
from tests.channels.http_peer import Act, Connection, HttpPeer, answer, http_peer
from tests.channels.patience import Patience

TOKEN = "123456:AAH-very-secret"
SHORT, LONG = timedelta(seconds=1), timedelta(seconds=30)

# sendMessage and LinkPreviewOptions of Bot API 10.1: the fields that exist, with their types in JSON.
SEND_MESSAGE: dict[str, tuple[type, ...]] = {
    "business_connection_id": (str,),
    "chat_id": (int, str),
    "message_thread_id": (int,),
    "direct_messages_topic_id": (int,),
    "text": (str,),
    "parse_mode": (str,),
    "entities": (list,),
    "link_preview_options": (dict,),
    "disable_notification": (bool,),
    "protect_content": (bool,),
    "allow_paid_broadcast": (bool,),
    "message_effect_id": (str,),
    "suggested_post_parameters": (dict,),
    "reply_parameters": (dict,),
    "reply_markup": (dict,),
}
LINK_PREVIEW_OPTIONS = {"is_disabled", "url", "prefer_small_media", "prefer_large_media", "show_above_text"}

CANT_PARSE = "Bad Request: can't parse entities: Can't find end tag corresponding to start tag \"b\""


def took(message_id: int) -> Act:
    return answer(200, {"ok": True, "result": {"message_id": message_id, "date": 1, "chat": {"id": 7}, "text": "…"}})


def refused(status: int, description: str, **parameters: int) -> Act:
    body: dict[str, Any] = {"ok": False, "error_code": status, "description": description}
    return answer(status, body | ({"parameters": parameters} if parameters else {}))


@pytest.fixture
def peer() -> Iterator[HttpPeer]:
    with http_peer() as made:
        yield made


@pytest.fixture
def channel() -> Iterator[TelegramChannel]:
    made = TelegramChannel(pause=0)
    yield made
    made.close()


def send(channel: TelegramChannel, peer: HttpPeer, text: str = "Hello", *, to: str = "7", **options: Any) -> Receipt:
    account = TelegramAccount(token=TOKEN, api_url=peer.url, **{"timeout": LONG, **options})
    return channel.send(Message(to=to, text=text, reference="r-1", subject="A subject"), account)


def failure(channel: TelegramChannel, peer: HttpPeer, text: str = "Hello", **options: Any) -> Any:
    with pytest.raises((ChannelError, MisconfiguredError)) as caught:
        send(channel, peer, text, **options)
    return caught.value


def texts(peer: HttpPeer) -> list[str]:
    return [request.json["text"] for request in peer.requests]


# What is sent


def test_a_message_is_sent_as_the_bot_api_wants_it(channel: TelegramChannel, peer: HttpPeer) -> None:
    peer.plan(took(12))
    assert send(channel, peer, "*Hello* {{ you }} <b>") == Receipt("12")
    [request] = peer.requests
    assert (request.method, request.path) == ("POST", f"/bot{TOKEN}/sendMessage")
    assert request.headers["content-type"] == "application/json"
    assert request.json == {
        "chat_id": 7,
        "text": "*Hello* {{ you }} <b>",
        "link_preview_options": {"is_disabled": True},
    }


@pytest.mark.parametrize("options", [{}, {"parse_mode": "HTML", "disable_preview": False}])
def test_only_fields_that_exist_are_sent(channel: TelegramChannel, peer: HttpPeer, options: dict[str, Any]) -> None:
    peer.plan(took(1))
    send(channel, peer, **options)
    sent = peer.requests[0].json
    assert all(isinstance(value, SEND_MESSAGE[name]) for name, value in sent.items())
    assert sent.get("link_preview_options", {}).keys() <= LINK_PREVIEW_OPTIONS


@pytest.mark.parametrize(
    ("to", "chat_id"), [("7", 7), ("-1001234567890", -1001234567890), ("@my_channel", "@my_channel")]
)
def test_chats(channel: TelegramChannel, peer: HttpPeer, to: str, chat_id: int | str) -> None:
    peer.plan(took(1))
    send(channel, peer, to=to)
    assert peer.requests[0].json["chat_id"] == chat_id


@pytest.mark.parametrize("to", ["", "@", "me", "7.5", "+7", "t.me/me", "٧", "7\n", "@a b"])
def test_what_is_no_chat_is_not_sent(channel: TelegramChannel, peer: HttpPeer, to: str) -> None:
    error = failure(channel, peer, to=to)
    assert (type(error), error.code, peer.connections) == (InvalidRecipientError, "invalid_address", 0)


def test_an_account_shows_no_token() -> None:
    assert "secret" not in repr(TelegramAccount(token=TOKEN))


# What Telegram answers

REFUSALS: list[tuple[int, str, type[Exception], str]] = [
    # Everybody in this chat, or this chat to us, for ever
    (400, "Bad Request: chat not found", InvalidRecipientError, "invalid_address"),
    (400, "Bad Request: user not found", InvalidRecipientError, "invalid_address"),
    (400, "Bad Request: PEER_ID_INVALID", InvalidRecipientError, "invalid_address"),
    (400, "Bad Request: not enough rights to send text messages to the chat", InvalidRecipientError, "blocked"),
    (400, "Bad Request: have no rights to send a message", InvalidRecipientError, "blocked"),
    (400, "Bad Request: need administrator rights in the channel chat", InvalidRecipientError, "blocked"),
    (400, "Bad Request: CHAT_WRITE_FORBIDDEN", InvalidRecipientError, "blocked"),
    (403, "Forbidden: bot was blocked by the user", InvalidRecipientError, "blocked"),
    (403, "Forbidden: user is deactivated", InvalidRecipientError, "blocked"),
    (403, "Forbidden: bot was kicked from the supergroup chat", InvalidRecipientError, "blocked"),
    (403, "Forbidden: bot is not a member of the channel chat", InvalidRecipientError, "blocked"),
    (403, "Forbidden: bot can't initiate conversation with a user", InvalidRecipientError, "blocked"),
    # This message
    (400, "Bad Request: message text is empty", PermanentError, "rejected"),
    (400, "Bad Request: message is too long", PermanentError, "message_too_large"),
    (400, CANT_PARSE, PermanentError, "rejected"),  # without a parse_mode there is nothing to leave out
    (400, "Bad Request: something new", PermanentError, "rejected"),
    (413, "Request Entity Too Large", PermanentError, "message_too_large"),
    # Our account
    (400, "Bad Request: unsupported parse_mode", MisconfiguredError, "misconfigured"),
    (401, "Unauthorized", MisconfiguredError, "authentication_failed"),
    (404, "Not Found", MisconfiguredError, "authentication_failed"),
    # Telegram
    (429, "Too Many Requests", RateLimitedError, "rate_limited"),
    (500, "Internal Server Error", TemporaryError, "provider_error"),
    (502, "Bad Gateway", TemporaryError, "provider_error"),
]


@pytest.mark.parametrize(("status", "description", "expected", "code"), REFUSALS)
def test_a_refusal_becomes_our_error(
    channel: TelegramChannel, peer: HttpPeer, status: int, description: str, expected: type[Exception], code: str
) -> None:
    peer.plan(refused(status, description))
    error = failure(channel, peer)
    assert (type(error), error.code) == (expected, code)
    assert str(status) in error.detail
    assert len(peer.requests) == 1


@pytest.mark.parametrize(
    ("act", "expected", "code"),
    [
        (answer(200, {"ok": False, "description": "?"}), TemporaryError, "provider_error"),
        (answer(200, b"<html>Sign in to this network</html>"), TemporaryError, "provider_error"),
        (answer(200, b""), TemporaryError, "provider_error"),
        (answer(200, []), TemporaryError, "provider_error"),
        (answer(503, b"<html>"), TemporaryError, "provider_error"),
        (answer(302, b"", {"Location": "/"}), MisconfiguredError, "misconfigured"),
        (peers.drop_after_reading, UnknownOutcomeError, "outcome_unknown"),
        (peers.hang_after_reading, UnknownOutcomeError, "outcome_unknown"),
    ],
)
def test_other_replies(
    channel: TelegramChannel, peer: HttpPeer, act: Act, expected: type[Exception], code: str
) -> None:
    peer.plan(act)
    error = failure(channel, peer, timeout=SHORT if act is peers.hang_after_reading else LONG)
    assert (type(error), error.code) == (expected, code)
    assert peer.came(1)


def test_nobody_listens(channel: TelegramChannel) -> None:
    with peers.closed_port() as port:
        account = TelegramAccount(token=TOKEN, api_url=f"http://127.0.0.1:{port}")
        with pytest.raises(TemporaryError) as caught:
            channel.send(Message(to="7", text="Hello", reference="r-1"), account)
    assert caught.value.code == "unreachable"


@pytest.mark.parametrize(
    ("act", "delay"),
    [
        (refused(429, "Too Many Requests: retry after 17", retry_after=17), timedelta(seconds=17)),
        (refused(429, "Too Many Requests", retry_after=10**12), timedelta(days=1)),
        (answer(429, b"", {"Retry-After": "5"}), timedelta(seconds=5)),
        (refused(429, "Too Many Requests"), None),
    ],
)
def test_telegram_says_how_long_to_wait(
    channel: TelegramChannel, peer: HttpPeer, act: Act, delay: timedelta | None
) -> None:
    peer.plan(act)
    assert failure(channel, peer).retry_after == delay


def test_a_group_that_moved_is_followed_at_once(channel: TelegramChannel, peer: HttpPeer) -> None:
    peer.plan(
        refused(400, "Bad Request: group chat was upgraded to a supergroup chat", migrate_to_chat_id=-1009),
        took(5),
    )
    assert send(channel, peer, to="-9") == Receipt("5", new_address="-1009")
    assert [request.json["chat_id"] for request in peer.requests] == [-9, -1009]


def test_a_group_that_moves_for_ever_is_not(channel: TelegramChannel, peer: HttpPeer) -> None:
    peer.otherwise = refused(400, "Bad Request: group chat was upgraded", migrate_to_chat_id=-1009)
    assert failure(channel, peer).code == "rejected"
    assert len(peer.requests) == 2


def test_an_echoed_token_is_taken_out(channel: TelegramChannel, peer: HttpPeer) -> None:
    peer.plan(refused(400, f"Bad Request: no method {TOKEN}/sendMessage\n" + "x" * 500))
    detail = failure(channel, peer).detail
    assert TOKEN not in detail
    assert len(detail) < 300
    assert "\n" not in detail


# Markup


def test_markup_is_sent_as_markup(channel: TelegramChannel, peer: HttpPeer) -> None:
    peer.plan(took(1))
    assert send(channel, peer, "<b>Hello</b>", parse_mode="HTML").detail == ""
    assert peer.requests[0].json["parse_mode"] == "HTML"


@pytest.mark.parametrize("parse_mode", ["HTML", "MarkdownV2", "Markdown", ""])
def test_a_literal_text_is_never_read_as_markup(channel: TelegramChannel, peer: HttpPeer, parse_mode: str) -> None:
    peer.plan(took(1), took(2))
    account = TelegramAccount(token=TOKEN, api_url=peer.url, parse_mode=parse_mode)
    text = '<a href="https://evil.example">*[Hello](https://evil.example)_' + "x" * 5000
    channel.send(Message(to="7", text=text, reference="r-1", literal=True), account)
    assert [request.json.get("parse_mode") for request in peer.requests] == [None, None]


def test_unreadable_markup_is_sent_once_more_as_plain_text(channel: TelegramChannel, peer: HttpPeer) -> None:
    peer.plan(refused(400, CANT_PARSE), took(2))
    receipt = send(channel, peer, "<b>Hello", parse_mode="HTML")
    assert receipt == Receipt("2", "Telegram could not read the markup: sent as plain text.")
    assert texts(peer) == ["<b>Hello", "<b>Hello"]
    assert [request.json.get("parse_mode") for request in peer.requests] == ["HTML", None]


def test_plain_text_that_is_refused_as_well_is_refused(channel: TelegramChannel, peer: HttpPeer) -> None:
    peer.otherwise = refused(400, CANT_PARSE)
    assert failure(channel, peer, "<b>", parse_mode="HTML").code == "rejected"
    assert len(peer.requests) == 2


def test_a_moved_group_and_unreadable_markup_together(channel: TelegramChannel, peer: HttpPeer) -> None:
    peer.plan(refused(400, "Bad Request: upgraded", migrate_to_chat_id=-1009), refused(400, CANT_PARSE), took(3))
    receipt = send(channel, peer, "<b>", to="-9", parse_mode="HTML")
    assert (receipt.provider_id, receipt.new_address) == ("3", "-1009")


def test_after_unreadable_markup_the_rest_is_plain_too(channel: TelegramChannel, peer: HttpPeer) -> None:
    """The second part closes what the first one opens: read alone, its markup would mean something else."""
    peer.plan(took(1), refused(400, CANT_PARSE), took(2), took(3))
    receipt = send(
        channel, peer, "\n\n".join(["a" * 4000, "*" + "b" * 3999, "c* d" + "c" * 3900]), parse_mode="Markdown"
    )
    assert [request.json.get("parse_mode") for request in peer.requests] == ["Markdown", "Markdown", None, None]
    assert receipt.detail == (
        "Sent in 3 messages. Telegram could not read the markup: sent as plain text from message 2 on."
    )


# Long texts


def test_a_long_text_goes_in_order_in_several_messages(channel: TelegramChannel, peer: HttpPeer) -> None:
    peer.plan(took(12), took(13), took(14))
    parts = ["a" * 4000, "b" * 4000, "c" * 100]
    assert send(channel, peer, "\n\n".join(parts)) == Receipt("12,13,14", "Sent in 3 messages.")
    assert texts(peer) == parts


def test_the_end_of_a_far_too_long_text_is_left_out(channel: TelegramChannel, peer: HttpPeer) -> None:
    for message_id in range(MAX_PARTS):
        peer.plan(took(message_id))
    receipt = send(channel, peer, "word " * 20_000)
    assert receipt.detail == "Sent in 10 messages, the last one shortened."
    assert texts(peer)[-1].endswith("word…")
    assert not any(text.endswith("…") for text in texts(peer)[:-1])


@pytest.mark.parametrize(
    "act",
    [
        refused(403, "Forbidden: bot was blocked by the user"),
        refused(400, "Bad Request: message is too long"),
        refused(401, "Unauthorized"),
        refused(429, "Too Many Requests", retry_after=3600),
        answer(500, b""),
        peers.drop_after_reading,
        peers.hang_after_reading,
    ],
)
def test_a_break_between_two_parts_is_unknown(channel: TelegramChannel, peer: HttpPeer, act: Act) -> None:
    patience = Patience()

    def first(connection: Connection) -> None:
        if act is peers.hang_after_reading:
            patience.span = 1  # from the second message on
        took(1)(connection)

    peer.plan(first, act)
    error = failure(channel, peer, "a" * 9000, timeout=patience)
    assert (type(error), error.code) == (UnknownOutcomeError, "outcome_unknown")
    assert error.detail.startswith("Broken off after 1 of 3 messages. Telegram: ")
    assert peer.came(2)


@pytest.mark.parametrize(
    ("act", "expected"), [(answer(500, b""), TemporaryError), (peers.drop_after_reading, UnknownOutcomeError)]
)
def test_a_break_before_the_first_part_is_what_it_is(
    channel: TelegramChannel, peer: HttpPeer, act: Act, expected: type[Exception]
) -> None:
    peer.plan(act)
    assert type(failure(channel, peer, "a" * 9000)) is expected
    assert len(peer.requests) == 1


def test_a_short_pause_that_telegram_wants_between_two_parts_is_made(channel: TelegramChannel, peer: HttpPeer) -> None:
    peer.plan(took(1), refused(429, "Too Many Requests", retry_after=0), took(2))
    assert send(channel, peer, "a" * 5000).provider_id == "1,2"


def test_no_part_is_begun_after_the_last_moment(peer: HttpPeer) -> None:
    peer.otherwise = took(1)
    error = failure(TelegramChannel(pause=0, patience=0), peer, "a" * 5000)
    assert (type(error), len(peer.requests)) == (UnknownOutcomeError, 1)
