"""Many messages at once through one thread: envelopes that ride behind contents, connections that are few."""

import asyncio
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest
import trustme

from channels.base import Attachment, Message, Receipt
from channels.email import EmailChannel, SmtpAccount, office
from channels.errors import (
    InvalidRecipientError,
    PermanentError,
    TemporaryError,
    UnknownOutcomeError,
)
from tests.channels.patience import Patience
from tests.channels.smtp_peer import Action, Drip, Drop, Hang, Held, Reset, SmtpPeer
from tests.servers.base import wait_until

HELLO = Message(to="user@example.com", subject="Hello", text="Hello!", reference="ref")
LONG, SHORT = timedelta(seconds=30), timedelta(seconds=0.8)
Landing = Receipt | Exception


def account(port: int, **options: Any) -> SmtpAccount:
    options = {"host": "127.0.0.1", "security": "none", "from_email": "sender@example.org", "timeout": LONG, **options}
    return SmtpAccount(port=port, **options)


@pytest.fixture
def narrow() -> Iterator[EmailChannel]:
    """A channel with one connection for each account: the second message rides behind the first."""
    with closing(EmailChannel(connections=1)) as channel:
        yield channel


class Landings:
    """What came of each message, by its place in the order in which they were started.

    `peer`, where given, holds its greeting back until all of them wait. `then` is called when the first has landed.
    """

    def __init__(
        self,
        channel: EmailChannel,
        messages: Sequence[Message],
        mine: SmtpAccount,
        peer: SmtpPeer | None = None,
        then: Callable[[], None] = lambda: None,
    ) -> None:
        self._then = then
        self._came: dict[int, Landing] = {}
        self._times = 0
        self._all = threading.Event()
        self._count = len(messages)
        for number, message in enumerate(messages):
            channel.start(message, mine, self._listener(number))
        if peer is not None:
            peer.go_on.set()

    def _listener(self, number: int) -> Callable[[Landing], None]:
        def landed(came: Landing) -> None:
            self._came[number] = came
            if len(self._came) == 1:
                self._then()
            self._times += 1
            if len(self._came) == self._count:
                self._all.set()

        return landed

    def wait(self) -> list[str]:
        """A word for each: `sent`, or the code of its error. Fails where one was told twice or never."""
        assert self._all.wait(60), f"{self._count - len(self._came)} never landed"
        assert self._times == self._count
        return [getattr(self._came[number], "code", "sent") for number in range(self._count)]

    @property
    def count(self) -> int:
        """How many have landed so far."""
        return len(self._came)

    def error(self, number: int) -> Landing:
        """What came of one of them."""
        return self._came[number]


def messages(count: int) -> list[Message]:
    return [replace(HELLO, reference=f"ref-{number}", to=f"user{number}@example.com") for number in range(count)]


def references(peer: SmtpPeer) -> list[str]:
    found = [str(message_from_bytes(mail.content)["Message-ID"]) for mail in peer.taken]
    return [reference.strip("<>").partition("@")[0] for reference in found]


# Envelopes that ride


def test_an_envelope_rides_behind_the_content_before_it(narrow: EmailChannel) -> None:
    with SmtpPeer({"connect": Held}) as peer:
        assert Landings(narrow, messages(3), account(peer.port), peer).wait() == ["sent"] * 3
        assert references(peer) == ["ref-0", "ref-1", "ref-2"]
        assert [mail.recipient for mail in peer.taken] == [f"user{number}@example.com" for number in range(3)]
        flights = [mail.behind.split(b"\r\n") for mail in peer.taken]
        assert [[line.split(b" ")[0] for line in flight] for flight in flights] == [
            [b"MAIL", b"RCPT", b"DATA", b""],
            [b"MAIL", b"RCPT", b"DATA", b""],
            [b""],
        ]


def test_without_pipelining_nothing_rides(narrow: EmailChannel) -> None:
    with SmtpPeer({"connect": Held}, extensions=["8BITMIME"]) as peer:
        assert Landings(narrow, messages(3), account(peer.port), peer).wait() == ["sent"] * 3
        assert [mail.behind for mail in peer.taken] == [b""] * 3
        assert peer.connections == 1


@pytest.mark.parametrize("ending", [Drop, Reset, Hang, "354 more?", b"\xff eh?\r\n"])
def test_the_message_behind_one_of_unknown_outcome_is_sent_once(narrow: EmailChannel, ending: Action) -> None:
    with SmtpPeer({"connect": Held, "END": ending}) as peer:
        patience = Patience()
        patience.span = 0.8 if ending is Hang else 30
        mine = account(peer.port, reply_timeout=patience)
        landings = Landings(narrow, messages(2), mine, peer, then=lambda: setattr(patience, "span", 30))
        assert landings.wait() == ["outcome_unknown", "sent"]
        assert isinstance(landings.error(0), UnknownOutcomeError)
        assert b"MAIL" in peer.taken[0].behind
        assert references(peer) == ["ref-0", "ref-1"]
        assert [mail.connection for mail in peer.taken] == [1, 2]


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ({"END": "421 4.3.0 going down"}, ["unreachable", "sent"]),  # after the first: the second goes elsewhere
        ({"MAIL": ["250 ok", "421 4.7.0 enough"]}, ["sent", "sent"]),  # at the second: the same, once
        ({"MAIL": ["250 ok", Drop]}, ["sent", "sent"]),
        ({"MAIL": ["250 ok", Drop, Drop]}, ["sent", "unreachable"]),
        ({"RCPT": ["250 ok", Drop]}, ["sent", "unreachable"]),
    ],
)
def test_a_server_that_gives_the_connection_up(
    narrow: EmailChannel, script: dict[str, Any], expected: list[str]
) -> None:
    with SmtpPeer({"connect": Held, **script}) as peer:
        assert Landings(narrow, messages(2), account(peer.port), peer).wait() == expected
        assert peer.connections == (1 if script.keys() == {"RCPT"} else 2)
        assert references(peer) == ["ref-0", "ref-1"][: len(peer.taken)]


def test_a_refused_envelope_concerns_its_own_message_only(narrow: EmailChannel) -> None:
    script = {"RCPT": ["250 ok", "550 5.1.1 no"], "DATA": ["354 go", "503 5.5.1 for whom?"]}
    with SmtpPeer({"connect": Held, **script}) as peer:
        landings = Landings(narrow, messages(3), account(peer.port), peer)
        assert landings.wait() == ["sent", "invalid_address", "sent"]
        assert isinstance(landings.error(1), InvalidRecipientError)
        assert references(peer) == ["ref-0", "ref-2"]
        assert peer.connections == 1


def test_a_refused_rider_whose_content_is_wanted_all_the_same_gets_none(narrow: EmailChannel) -> None:
    with SmtpPeer({"connect": Held, "RCPT": ["250 ok", "550 5.1.1 no"]}) as peer:
        assert Landings(narrow, messages(3), account(peer.port), peer).wait() == ["sent", "invalid_address", "sent"]
        assert references(peer) == ["ref-0", "ref-2"]
        assert [mail.connection for mail in peer.taken] == [1, 2]


def test_a_refused_content_does_not_take_its_rider_along(narrow: EmailChannel) -> None:
    with SmtpPeer({"connect": Held, "END": "554 5.7.1 spam"}) as peer:
        landings = Landings(narrow, messages(2), account(peer.port), peer)
        assert landings.wait() == ["rejected", "sent"]
        assert isinstance(landings.error(0), PermanentError)
        assert [mail.connection for mail in peer.taken] == [1, 1]


def test_a_message_that_the_server_cannot_take_never_rides(narrow: EmailChannel) -> None:
    with SmtpPeer({"connect": Held}, extensions=["PIPELINING", "SIZE 2000"]) as peer:
        first, large, last = messages(3)
        large = replace(large, text="too much\n" * 500)
        landings = Landings(narrow, [first, large, last], account(peer.port), peer)
        assert landings.wait() == ["sent", "message_too_large", "sent"]
        assert references(peer) == ["ref-0", "ref-2"]
        assert not any("<user1@" in command for command in peer.commands)
        assert peer.connections == 1


def test_an_acceptance_before_the_message_is_not_believed(narrow: EmailChannel) -> None:
    with SmtpPeer({"DATA": b"354 go ahead\r\n250 taken\r\n"}) as peer:
        with pytest.raises(TemporaryError) as raised:
            narrow.send(HELLO, account(peer.port))
        assert raised.value.code == "provider_error"
        assert not peer.taken


# Few connections


def test_an_account_has_only_so_many_connections_and_they_are_worn_out_in_turn() -> None:
    with SmtpPeer() as peer, closing(EmailChannel(connections=3, most_messages=4)) as channel:
        assert channel.width == 3
        assert Landings(channel, messages(30), account(peer.port)).wait() == ["sent"] * 30
        assert sorted(references(peer)) == sorted(f"ref-{number}" for number in range(30))
        carried = [mail.connection for mail in peer.taken]
        assert max(carried.count(number) for number in carried) == 4
        channel.close()
        wait_until(lambda: peer.commands.count("QUIT") == peer.connections, 30, "it says goodbye on all of them")


def test_no_more_connections_are_opened_than_there_are_messages() -> None:
    with SmtpPeer({"connect": [Held] * 9}) as peer, closing(EmailChannel(connections=9)) as channel:
        Landings(channel, messages(3), account(peer.port), peer).wait()
        for _ in range(5):
            channel.send(HELLO, account(peer.port))
        assert peer.connections == 3


def test_a_silent_server_costs_its_timeout_once_for_all_that_find_a_connection() -> None:
    with SmtpPeer({"connect": [Hang] * 99}) as peer, closing(EmailChannel(connections=40)) as channel:
        started = time.monotonic()
        assert Landings(channel, messages(80), account(peer.port, timeout=SHORT)).wait() == ["timeout"] * 80
        assert 1.5 < time.monotonic() - started < 20  # two rounds of 40, and not one after the other


def test_one_accounts_slowness_does_not_hold_up_another(narrow: EmailChannel) -> None:
    with SmtpPeer({"connect": Hang}) as silent, SmtpPeer() as quick:
        stuck = Landings(narrow, messages(1), account(silent.port, timeout=timedelta(seconds=90)))
        assert Landings(narrow, messages(50), account(quick.port)).wait() == ["sent"] * 50
        assert stuck.count == 0
        silent.close()
        assert stuck.wait() == ["unreachable"]


def test_a_server_with_too_many_connections_gets_the_messages_over_the_open_ones() -> None:
    with SmtpPeer(most_connections=2) as peer, closing(EmailChannel(connections=6)) as channel:
        assert Landings(channel, messages(60), account(peer.port)).wait() == ["sent"] * 60
        assert len(set(references(peer))) == len(peer.taken) == 60
        assert len({mail.connection for mail in peer.taken}) == 2
        before = peer.connections
        assert Landings(channel, messages(20), account(peer.port)).wait() == ["sent"] * 20
        assert peer.connections == before  # it remembers


def test_a_server_that_takes_no_connection_at_all_is_asked_twice_at_most_for_each_message() -> None:
    with SmtpPeer({"connect": ["421 4.3.2 not now"] * 99}) as peer, closing(EmailChannel(connections=5)) as channel:
        assert Landings(channel, messages(12), account(peer.port)).wait() == ["unreachable"] * 12
        assert peer.connections <= 24


# One thread


def test_a_connection_that_the_server_closes_is_noticed_while_it_is_idle(narrow: EmailChannel) -> None:
    with SmtpPeer() as peer:
        narrow.send(HELLO, account(peer.port))
        assert narrow._office is not None
        assert narrow._office._lanes
        peer.drop_connections()
        wait_until(lambda: not (narrow._office and narrow._office._lanes), 30, "it lets go of it")
        narrow.send(HELLO, account(peer.port))
        assert [mail.connection for mail in peer.taken] == [1, 2]


def test_a_short_deadline_holds_after_a_long_one(narrow: EmailChannel) -> None:
    patience = Patience()
    with SmtpPeer({"END": Drip("250 ok", every=0.05), "MAIL": ["250 ok", Hang]}) as peer:
        mine = account(peer.port, timeout=patience, reply_timeout=timedelta(seconds=60))
        narrow.send(HELLO, mine)
        patience.span = 0.3
        started = time.monotonic()
        with pytest.raises(TemporaryError, match="in time"):
            narrow.send(HELLO, mine)
        assert time.monotonic() - started < 15


def test_messages_from_many_threads_wake_the_loop_once(monkeypatch: pytest.MonkeyPatch) -> None:
    woken = []

    class Loop(asyncio.SelectorEventLoop):
        def call_soon_threadsafe(  # type: ignore[override]
            self, callback: Any, *args: Any, context: Any = None
        ) -> asyncio.Handle:
            woken.append(callback)
            return super().call_soon_threadsafe(callback, *args, context=context)

    monkeypatch.setattr(office, "_new_loop", Loop)
    is_held_up, go_on = threading.Event(), threading.Event()

    def hold_up(_: Landing) -> None:
        is_held_up.set()
        go_on.wait(60)

    with SmtpPeer() as peer, closing(EmailChannel()) as channel:
        channel.start(replace(HELLO, to="nobody"), account(peer.port), hold_up)
        assert is_held_up.wait(30)
        woken.clear()
        with ThreadPoolExecutor(8) as threads:
            landings = list(
                threads.map(lambda _: Landings(channel, messages(50), account(peer.port)), range(8), timeout=50)
            )
        assert len(woken) == 1
        go_on.set()
        assert [landing.wait() for landing in landings] == [["sent"] * 50] * 8
        assert len(peer.taken) == 400


def test_what_must_not_leave_lands_too(narrow: EmailChannel) -> None:
    file = Attachment("a.bin", "", b"x")
    with SmtpPeer() as peer:
        wrong = [replace(HELLO, to="nobody"), replace(HELLO, to="nobody", attachments=(file,))]
        assert Landings(narrow, wrong, account(peer.port)).wait() == ["invalid_address"] * 2
        assert Landings(narrow, [HELLO], account(peer.port, user="u")).wait() == ["misconfigured"]
        assert peer.connections == 0


def test_a_listener_that_fails_harms_nobody_else(narrow: EmailChannel, caplog: pytest.LogCaptureFixture) -> None:
    def broken(_: Landing) -> None:
        raise RuntimeError("a bug")

    with SmtpPeer() as peer:
        narrow.start(HELLO, account(peer.port), broken)
        narrow.send(HELLO, account(peer.port))
        assert [mail.connection for mail in peer.taken] == [1, 1]
        assert "could be told" in caplog.text


def test_closing_finishes_what_is_under_way(narrow: EmailChannel) -> None:
    with SmtpPeer({"END": [Drip("250 ok", every=0.02)] * 3}) as peer:
        before = threading.active_count()
        landings = Landings(narrow, messages(3), account(peer.port))
        narrow.close()
        assert landings.wait() == ["sent"] * 3
        wait_until(lambda: peer.commands[-1] == "QUIT", 30, "it says goodbye")
        wait_until(lambda: threading.active_count() <= before + 1, 30, "its thread ends")  # the peer has one more


# Large messages


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


LARGE = replace(HELLO, text="a long line of text\n" * 400_000)
WAYS = pytest.mark.parametrize("security", ["none", "starttls", "ssl"])


@WAYS
def test_a_large_message_arrives_whole_and_others_ride(
    narrow: EmailChannel, tls: ssl.SSLContext, security: str
) -> None:
    with SmtpPeer({"connect": Held}, tls=tls, implicit_tls=security == "ssl") as peer:
        # The small one overtakes while the large one is being composed, or it rides: both is right.
        large = replace(HELLO, text="a long line of text\n" * 50_000)
        landings = Landings(narrow, [large, HELLO, large, HELLO], account(peer.port, security=security), peer)
        assert landings.wait() == ["sent"] * 4
        assert sorted(len(mail.content) for mail in peer.taken)[2:] == [len(peer.taken[-1].content)] * 2
        assert sorted(mail.content.count(b"a long line of text\r\n") for mail in peer.taken) == [0, 0, 50_000, 50_000]


@WAYS
@pytest.mark.parametrize(("action", "code"), [(Reset, "unreachable"), (Drop, "unreachable"), (Hang, "timeout")])
def test_a_message_whose_end_has_not_left_did_not_arrive(
    narrow: EmailChannel, tls: ssl.SSLContext, security: str, action: Action, code: str
) -> None:
    reply_timeout = SHORT if action is Hang else LONG
    with SmtpPeer({"body": action}, tls=tls, implicit_tls=security == "ssl") as peer:
        with pytest.raises(TemporaryError) as raised:
            narrow.send(LARGE, account(peer.port, security=security, reply_timeout=reply_timeout))
        assert raised.value.code == code
        assert not peer.taken
