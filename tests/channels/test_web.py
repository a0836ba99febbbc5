"""How far a request got: over real sockets, since nothing else tells a broken write from a broken read."""

import logging
import socket
import ssl
import threading
import time
import traceback
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from channels import net, web, web_session
from channels.errors import (
    ChannelError,
    MisconfiguredError,
    PermanentError,
    TemporaryError,
    UnknownOutcomeError,
)
from channels.web import Body, Reply, WebClient, as_form, as_json
from tests.channels import http_peer as peers
from tests.channels.http_peer import Act, Connection, HttpPeer, answer, answer_and_close, answer_partly, drip, http_peer

SECRET = "123456:very-secret-token"
BODY = Body(b'{"text": "Hello"}', "application/json")
SHORT = timedelta(seconds=1)
LONG = timedelta(seconds=30)


@pytest.fixture
def peer() -> Iterator[HttpPeer]:
    with http_peer() as made:
        yield made


@pytest.fixture
def client() -> Iterator[WebClient]:
    made = WebClient()
    yield made
    made.close()


def post(client: WebClient, url: str, *, timeout: timedelta = LONG, body: Body = BODY) -> Reply:
    return client.post(f"{url}/bot{SECRET}/send", body, service="Somebody", timeout=timeout)


def failure(client: WebClient, url: str, timeout: timedelta = LONG) -> Any:
    with pytest.raises((ChannelError, MisconfiguredError)) as caught:
        post(client, url, timeout=timeout)
    return caught.value


def test_a_reply_is_returned_whatever_its_status(client: WebClient, peer: HttpPeer) -> None:
    peer.plan(answer(418, {"a": "б"}, {"Retry-After": "7"}))
    reply = post(client, peer.url)
    assert (reply.status, reply.record(), reply.retry_after) == (418, {"a": "б"}, timedelta(seconds=7))
    [request] = peer.requests
    assert (request.method, request.path, request.body) == ("POST", f"/bot{SECRET}/send", BODY.content)
    assert request.headers["content-type"] == "application/json"
    assert request.headers["accept-encoding"] == "identity"  # what we read is what counts against the cap


# Nothing left


def test_nobody_listens(client: WebClient) -> None:
    with peers.closed_port() as port:
        error = failure(client, f"http://127.0.0.1:{port}")
    assert (type(error), error.code) == (TemporaryError, "unreachable")


def test_the_name_is_unknown(client: WebClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*args: Any, **kwargs: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    error = failure(client, "http://api.example.test")
    assert (type(error), error.code) == (TemporaryError, "unreachable")


def test_a_hanging_name_service_takes_half_of_the_time_at_most(
    client: WebClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: over.wait(60) and [])
    begun_at = time.monotonic()
    error = failure(client, "http://api.example.test", timeout=timedelta(seconds=0.6))
    over.set()
    assert (type(error), error.code) == (TemporaryError, "unreachable")
    assert 0.25 < time.monotonic() - begun_at < 20


def test_a_connection_that_breaks_while_we_write_left_nothing(client: WebClient, peer: HttpPeer) -> None:
    """Half a body is nothing that a server could act on."""

    def reset_while_reading(connection: Connection) -> None:
        connection.sock.recv(1000)
        connection.reset()

    peer.plan(reset_while_reading)
    with pytest.raises(TemporaryError) as caught:
        post(client, peer.url, body=Body(b"x" * 50_000_000, "text/plain"))
    assert caught.value.code == "unreachable"


def test_a_server_that_does_not_read_leaves_nothing_either(client: WebClient, peer: HttpPeer) -> None:
    peer.plan(peers.hang_before_reading)
    begun_at = time.monotonic()
    with pytest.raises(TemporaryError) as caught:
        post(client, peer.url, timeout=SHORT, body=Body(b"x" * 50_000_000, "text/plain"))
    assert caught.value.code == "timeout"
    assert time.monotonic() - begun_at >= SHORT.total_seconds() * 0.9  # not the half that is meant for connecting


@pytest.mark.parametrize("url", ["", "api.example.test", "ftp://example.test", "http://", "http://[::1", "http://a..b"])
def test_a_wrong_address_is_our_own_fault(client: WebClient, url: str) -> None:
    error = failure(client, url)
    assert (type(error), error.code) == (MisconfiguredError, "misconfigured")


@pytest.mark.parametrize("value", ["a\nb", "ключ"])
def test_a_key_that_no_header_can_carry_is_our_own_fault(client: WebClient, peer: HttpPeer, value: str) -> None:
    peer.otherwise = answer(200)
    with pytest.raises(MisconfiguredError):
        client.post(peer.url, BODY, service="Somebody", timeout=LONG, headers={"Authorization": value})
    assert not peer.requests


@pytest.mark.parametrize("encode", [lambda text: as_json({"text": text}), lambda text: as_form({"text": text})])
def test_half_a_sign_is_refused_before_anything_is_sent(encode: Any) -> None:
    with pytest.raises(PermanentError):
        encode("\ud83d")


def test_a_private_address_is_refused_where_only_public_ones_may_be_reached(peer: HttpPeer) -> None:
    peer.otherwise = answer(200)
    error = failure(WebClient(public_only=True), peer.url)
    assert (type(error), error.code, peer.connections) == (MisconfiguredError, "misconfigured", 0)


# May have arrived


@pytest.mark.parametrize(
    ("act", "timeout"),
    [
        (peers.drop_after_reading, LONG),
        (peers.reset_after_reading, LONG),
        (peers.hang_after_reading, SHORT),
        (answer_partly(b"HTTP/1.1 20"), LONG),
        (answer_partly(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"), LONG),
        (answer_partly(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"), LONG),
        (answer_partly(b"SSH-2.0-OpenSSH_9\r\n\r\n"), LONG),
        (drip(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000, pause=0.05), SHORT),
        (drip(peers.reply_bytes(200, b"{}" + b" " * 5000), pause=0.02), SHORT),
    ],
    ids=["drop", "reset", "hang", "half a status", "half a body", "half a chunk", "no HTTP", "drip heads", "drip body"],
)
def test_after_the_hand_over_silence_is_unknown_and_nothing_is_repeated(
    client: WebClient, peer: HttpPeer, act: Act, timeout: timedelta
) -> None:
    peer.plan(act)
    peer.otherwise = answer(200, {})
    begun_at = time.monotonic()
    error = failure(client, peer.url, timeout=timeout)
    assert (type(error), error.code) == (UnknownOutcomeError, "outcome_unknown")
    assert time.monotonic() - begun_at < 20
    assert peer.came(1)


def test_an_error_whose_body_breaks_off_is_an_error_all_the_same(client: WebClient, peer: HttpPeer) -> None:
    peer.plan(answer_partly(b"HTTP/1.1 503 Busy\r\nContent-Length: 100\r\nRetry-After: 9\r\n\r\n{"))
    reply = post(client, peer.url)
    assert (reply.status, reply.body, reply.retry_after) == (503, b"", timedelta(seconds=9))


def test_an_early_refusal_is_heard_though_the_body_was_not_read(client: WebClient, peer: HttpPeer) -> None:
    def refuse(connection: Connection) -> None:
        connection.sock.recv(10)
        connection.write(peers.reply_bytes(413, b"{}", {"Connection": "close"}))
        connection.sock.shutdown(socket.SHUT_WR)
        while connection.sock.recv(1 << 20):
            pass

    peer.plan(refuse)
    assert post(client, peer.url, body=Body(b"x" * 5_000_000, "text/plain")).status == 413


@pytest.mark.parametrize("status", [200, 307])
def test_an_endless_reply_is_cut_and_its_connection_closed(client: WebClient, peer: HttpPeer, status: int) -> None:
    """`requests` would read a redirect to its end, here until the time is over."""

    def flood(connection: Connection) -> None:
        connection.read()
        connection.write(b"HTTP/1.1 %d OK\r\nLocation: /\r\nTransfer-Encoding: chunked\r\n\r\n" % status)
        while not connection.peer.over.is_set():
            connection.write(b"2000\r\n" + b"x" * 0x2000 + b"\r\n")

    peer.plan(flood)
    reply = post(client, peer.url)
    assert (reply.status, len(reply.body), reply.record()) == (status, web_session.MAX_REPLY_BYTES, {})
    assert peer.hung_up.wait(peers.PATIENCE)


# Kept connections


def test_a_connection_is_kept_and_a_thread_has_its_own(client: WebClient, peer: HttpPeer) -> None:
    peer.otherwise = answer(200, {})
    post(client, peer.url)
    post(client, peer.url)
    assert peer.connections == 1
    other = threading.Thread(target=post, args=(client, peer.url))
    other.start()
    other.join()
    assert (peer.connections, len(peer.requests)) == (2, 3)


def test_a_kept_connection_that_the_server_closed_is_noticed_before_use(client: WebClient, peer: HttpPeer) -> None:
    peer.plan(answer_and_close(200, {}), answer(200, {"second": True}))
    post(client, peer.url)
    assert peer.hung_up.wait(peers.PATIENCE)
    assert post(client, peer.url).record() == {"second": True}
    assert len(peer.requests) == 2


def test_a_connection_that_was_idle_for_long_is_not_trusted(
    client: WebClient, peer: HttpPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer.otherwise = answer(200, {})
    post(client, peer.url)
    monkeypatch.setattr(web, "IDLE_SECONDS", -1.0)
    post(client, peer.url)
    assert peer.connections == 2


def test_a_closed_client_works_again(client: WebClient, peer: HttpPeer) -> None:
    peer.otherwise = answer(200, {})
    post(client, peer.url)
    client.close()
    assert peer.hung_up.wait(peers.PATIENCE)
    assert post(client, peer.url).status == 200


def test_a_close_that_crosses_the_request_is_unknown_and_not_repeated(client: WebClient, peer: HttpPeer) -> None:
    peer.plan(answer(200, {}), peers.drop_after_reading)
    peer.otherwise = answer(200, {})
    post(client, peer.url)
    assert isinstance(failure(client, peer.url), UnknownOutcomeError)
    assert len(peer.requests) == 2


# What stays here


def test_a_redirect_is_not_followed(client: WebClient, peer: HttpPeer) -> None:
    peer.plan(answer(307, b"", {"Location": f"{peer.url}/elsewhere"}))
    assert post(client, peer.url).status == 307
    assert len(peer.requests) == 1


def test_cookies_netrc_and_proxies_stay_out(
    client: WebClient, peer: HttpPeer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login a password b")
    monkeypatch.setenv("NETRC", str(netrc))
    peer.otherwise = answer(200, {}, {"Set-Cookie": "account=one; Path=/"})
    with peers.closed_port() as port:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
        post(client, peer.url)
        post(client, peer.url)
    assert not {"cookie", "authorization"} & peer.requests[1].headers.keys()


@pytest.mark.parametrize("url", ["", "no-scheme.example.test", "http://", "http://127.0.0.1:1", "https://127.0.0.1:1"])
def test_no_error_shows_the_token(client: WebClient, peer: HttpPeer, url: str) -> None:
    peer.plan(peers.drop_after_reading)
    error = failure(client, url or peer.url)
    assert SECRET not in "".join(traceback.format_exception(error)) + repr(error) + error.detail


def test_no_log_shows_the_token(client: WebClient, peer: HttpPeer, caplog: pytest.LogCaptureFixture) -> None:
    """urllib3 logs every path at DEBUG, and with a warning where a reply's headers are odd."""
    caplog.set_level(logging.DEBUG, "urllib3")
    peer.plan(answer(200, {}), answer_partly(b"HTTP/1.1 200 OK\r\n: x\r\ny\r\n\r\n{}"))
    post(client, peer.url)
    post(client, peer.url)
    assert SECRET not in caplog.text


def test_other_users_of_urllib3_keep_their_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "urllib3")
    logging.getLogger("urllib3.connectionpool").debug("somebody else's")
    assert "somebody else's" in caplog.text


# TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server_side(authority: trustme.CA, host: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host).configure_cert(context)
    return context


@pytest.fixture
def trusting(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WebClient:
    """A client on a machine whose administrator has added the authority."""
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    return WebClient()


def test_the_system_s_authorities_count(authority: trustme.CA, trusting: WebClient) -> None:
    with http_peer(server_side(authority, "127.0.0.1"), answer(200, {"safe": True})) as peer:
        assert post(trusting, peer.url).record() == {"safe": True}
        post(trusting, peer.url)
        trusting.close()
    assert peer.connections == 1


def test_an_unknown_authority_is_not_trusted(authority: trustme.CA, client: WebClient) -> None:
    with http_peer(server_side(authority, "127.0.0.1"), answer(200, {})) as peer:
        error = failure(client, peer.url)
    assert (type(error), error.code, peer.requests) == (MisconfiguredError, "tls_failed", [])


def test_another_host_s_certificate_is_not_trusted(authority: trustme.CA, trusting: WebClient) -> None:
    with http_peer(server_side(authority, "other.example.test"), answer(200, {})) as peer:
        error = failure(trusting, peer.url)
    assert (type(error), error.code, peer.requests) == (MisconfiguredError, "tls_failed", [])


def test_a_silent_handshake_left_nothing(client: WebClient, peer: HttpPeer) -> None:
    """`requests` calls this a read timeout."""
    peer.plan(peers.hang_before_reading)
    error = failure(client, peer.url.replace("http:", "https:"), timeout=SHORT)
    assert (type(error), error.code) == (TemporaryError, "timeout")


def test_plain_http_where_tls_was_expected_left_nothing(client: WebClient, peer: HttpPeer) -> None:
    def answer_in_clear(connection: Connection) -> None:
        connection.sock.recv(1000)
        connection.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    peer.plan(answer_in_clear)
    error = failure(client, peer.url.replace("http:", "https:"))
    assert (type(error), error.code) == (TemporaryError, "unreachable")


@pytest.mark.parametrize(
    ("act", "seconds"),
    # Half of the time is for the handshake, which has to succeed.
    [(peers.drop_after_reading, 60), (drip(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 999, pause=0.05), 3)],
    ids=["drop", "drip"],
)
def test_after_the_hand_over_silence_is_unknown_with_tls_too(
    authority: trustme.CA, trusting: WebClient, act: Act, seconds: int
) -> None:
    with http_peer(server_side(authority, "127.0.0.1"), act) as peer:
        begun_at = time.monotonic()
        error = failure(trusting, peer.url, timeout=timedelta(seconds=seconds))
        assert time.monotonic() - begun_at < 30
        assert peer.came(1)
    assert type(error) is UnknownOutcomeError


# The sockets underneath


def test_the_socket_layer_refuses_to_work_outside_a_request() -> None:
    with pytest.raises(RuntimeError):
        web_session._Connection("127.0.0.1", 1).connect()


def test_every_address_of_a_name_is_tried(client: WebClient, peer: HttpPeer, monkeypatch: pytest.MonkeyPatch) -> None:
    real = net.resolve
    peer.plan(answer(200, {}))
    with peers.closed_port() as port:
        dead = net.Address(socket.AF_INET, ("127.0.0.1", port))
        monkeypatch.setattr(net, "resolve", lambda *args, **options: [dead, *real(*args, **options)])
        assert post(client, peer.url).status == 200
