"""The sandbox as a whole: ports, outages, and an end that waits for nobody."""

import smtplib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from sandbox import servers
from sandbox.servers import Sandbox
from tests.sandbox.conftest import mail_to
from tests.servers.base import free_port

DOORS = pytest.mark.parametrize("channel", ["email", "sms", "telegram"])
PROMPT = 15.0  # seconds; who hangs there hangs for ever


def port_of(sandbox: Sandbox, channel: str) -> int:
    return {"email": sandbox.smtp_port, "sms": sandbox.http_port, "telegram": sandbox.telegram_port}[channel]


def knock(port: int) -> None:
    socket.create_connection(("127.0.0.1", port), timeout=30).close()


@DOORS
def test_refused_really_refuses_and_comes_back_on_the_same_port(sandbox: Sandbox, channel: str) -> None:
    port = port_of(sandbox, channel)
    for _ in range(3):
        knock(port)
        sandbox.switches.set(channel, "refused")
        with pytest.raises(ConnectionRefusedError):
            knock(port)
        sandbox.switches.set(channel, "ok")
    knock(port)
    assert port_of(sandbox, channel) == port


@DOORS
def test_a_refused_port_stays_ours(sandbox: Sandbox, channel: str) -> None:
    sandbox.switches.set(channel, "refused")
    with socket.socket() as other, pytest.raises(OSError, match=r"in use|already|permitted|forbidden"):
        other.bind(("127.0.0.1", port_of(sandbox, channel)))


@DOORS
def test_one_door_shuts_alone(sandbox: Sandbox, channel: str) -> None:
    sandbox.switches.set(channel, "refused")
    for other in {"email", "sms", "telegram"} - {channel}:
        knock(port_of(sandbox, other))


def test_a_switch_that_was_set_before_the_start_counts() -> None:
    sandbox = Sandbox()
    sandbox.switches.set("email", "refused")
    with sandbox, pytest.raises(ConnectionRefusedError):
        knock(sandbox.smtp_port)


def test_the_ports_can_be_chosen() -> None:
    port = free_port()
    with Sandbox(smtp_port=port) as sandbox:
        assert sandbox.smtp_port == port
        assert sandbox.environment()["SMTP_PORT"] == str(port)


def test_a_taken_port_is_named_and_nothing_stays_behind() -> None:
    before, port = threading.active_count(), free_port()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        sandbox = Sandbox(smtp_port=port, telegram_port=taken)
        with pytest.raises(OSError, match=f"127.0.0.1:{taken}"):
            sandbox.start()
    assert not sandbox.running
    assert threading.active_count() <= before
    with pytest.raises(ConnectionRefusedError):
        knock(port)


@DOORS
def test_stop_is_prompt_while_clients_hang(channel: str) -> None:
    before = threading.active_count()
    sandbox = Sandbox()
    sandbox.start()
    sandbox.switches.update({"email": "silent", "sms": "silent", "telegram": "silent"})
    with socket.create_connection(("127.0.0.1", port_of(sandbox, channel)), timeout=30) as client:
        path = b"/sms" if channel == "sms" else b"/bot1:a/getMe"
        client.sendall(b"POST " + path + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        with socket.create_connection(("127.0.0.1", port_of(sandbox, channel)), timeout=30) as idle:
            began = time.monotonic()
            sandbox.stop()
            assert time.monotonic() - began < PROMPT
            assert [ended(client), ended(idle)] == [True, True]
    assert threading.active_count() <= before


def ended(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


def test_stop_ends_a_mail_that_waits_for_an_answer() -> None:
    sandbox = Sandbox()
    sandbox.start()
    with smtplib.SMTP("127.0.0.1", sandbox.smtp_port, timeout=30) as client:
        client.ehlo()
        client.mail("a@b.test")
        client.putcmd("rcpt", "TO:<timeout@simulator.test>")
        began = time.monotonic()
        sandbox.stop()
        assert time.monotonic() - began < PROMPT
        with pytest.raises(smtplib.SMTPServerDisconnected):
            client.getreply()


def test_stop_can_be_called_twice_and_start_again() -> None:
    sandbox = Sandbox()
    sandbox.stop()
    sandbox.start()
    sandbox.start()
    port = sandbox.smtp_port
    sandbox.stop()
    sandbox.stop()
    sandbox.switches.set("sms", "refused")
    sandbox.start()
    assert sandbox.smtp_port == port
    knock(port)
    sandbox.stop()


def test_reset_forgets_everything(sandbox: Sandbox) -> None:
    sandbox.switches.set("telegram", "refused")
    with smtplib.SMTP("127.0.0.1", sandbox.smtp_port, timeout=30) as client:
        client.send_message(mail_to("user@example.com"))
        for _ in range(2):  # a first try both times
            with pytest.raises(smtplib.SMTPRecipientsRefused):
                client.send_message(mail_to("greylisted@simulator.test"))
            sandbox.reset()
    assert sandbox.inbox.messages() == []
    knock(sandbox.telegram_port)


def test_the_environment_names_every_door(sandbox: Sandbox) -> None:
    environment = sandbox.environment()
    assert environment["SMTP_PORT"] == str(sandbox.smtp_port)
    assert environment["SMS_HTTP_URL"] == f"http://127.0.0.1:{sandbox.http_port}/sms"
    assert environment["TELEGRAM_API_URL"] == f"http://127.0.0.1:{sandbox.telegram_port}"
    assert all(isinstance(value, str) for value in environment.values())


@pytest.fixture
def no_current() -> Iterator[None]:
    yield
    running = servers.current()
    if running is not None:
        running.stop()


@pytest.mark.usefixtures("no_current")
def test_a_process_has_one_sandbox() -> None:
    assert servers.current() is None
    sandbox = servers.start_current()
    assert servers.start_current() is sandbox is servers.current()
    sandbox.stop()
    assert servers.current() is None


def test_many_clients_at_once_lose_nothing(sandbox: Sandbox) -> None:
    def send(number: int) -> None:
        with smtplib.SMTP("127.0.0.1", sandbox.smtp_port, timeout=60) as client:
            for turn in range(5):
                client.send_message(mail_to(f"user-{number}-{turn}@example.com"))

    clients = [threading.Thread(target=send, args=(number,)) for number in range(20)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    entries = sandbox.inbox.messages()
    assert [entry.seq for entry in entries] == list(range(1, 101))
    assert len({entry.to for entry in entries}) == 100
