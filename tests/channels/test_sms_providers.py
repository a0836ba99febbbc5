"""Each provider over the wire, against replies in its own form: one row for each that our tables know."""

import base64
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
    TemporaryError,
    UnknownOutcomeError,
)
from channels.sms import (
    GatewayProvider,
    Provider,
    SmsAccount,
    SmsChannel,
    SmscProvider,
    SmsRuProvider,
    TwilioProvider,
    gateway,
    smsc,
    smsru,
    twilio,
)
from tests.channels import http_peer as peers
from tests.channels.http_peer import Act, HttpPeer, answer, http_peer
from tests.channels.sms_replies import BY_STATUS, GATEWAY, SMSC, SMSRU, TWILIO

SID = "AC" + "0" * 32
SERVICE = "MG" + "1" * 32
MESSAGE_ID = "SM" + "2" * 32
SECRET = "very-secret"
NUMBER = "+12015550100"
TEXT = "Hello & «привет» + 100 %"

# Twilio's CreateMessageRequest: the fields of one SMS that we may use, with all others left out on purpose.
TWILIO_FIELDS = {"To", "From", "MessagingServiceSid", "Body", "StatusCallback"}


def providers(url: str, **options: Any) -> dict[str, Provider]:
    return {
        "twilio": TwilioProvider(SID, SECRET, "+15005550006", api_url=url, **options),
        "smsru": SmsRuProvider(SECRET, api_url=url, **options),
        "smsc": SmscProvider("me", SECRET, api_url=url, **options),
        "http": GatewayProvider(f"{url}/send?a=b", SECRET, **options),
    }


@pytest.fixture
def peer() -> Iterator[HttpPeer]:
    with http_peer() as made:
        yield made


@pytest.fixture
def channel() -> Iterator[SmsChannel]:
    made = SmsChannel()
    yield made
    made.close()


def send(channel: SmsChannel, provider: Provider, text: str = TEXT, reference: str = "n-42") -> Receipt:
    return channel.send(Message(to=NUMBER, text=text, reference=reference), SmsAccount(providers=(provider,)))


def failure(channel: SmsChannel, provider: Provider) -> Any:
    with pytest.raises((ChannelError, MisconfiguredError)) as caught:
        send(channel, provider)
    return caught.value


# What is sent


@pytest.mark.parametrize(
    ("sender", "field"),
    [("+15005550006", "From"), ("MyShop", "From"), ("MGMTeam", "From"), (SERVICE, "MessagingServiceSid")],
)
def test_twilio(channel: SmsChannel, peer: HttpPeer, sender: str, field: str) -> None:
    peer.plan(answer(201, {"sid": MESSAGE_ID, "status": "queued", "error_code": None, "error_message": None}))
    provider = TwilioProvider(SID, SECRET, sender, api_url=peer.url)
    assert send(channel, provider) == Receipt(MESSAGE_ID)
    [request] = peer.requests
    assert (request.method, request.path) == ("POST", f"/2010-04-01/Accounts/{SID}/Messages.json")
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    assert request.headers["authorization"] == "Basic " + base64.b64encode(f"{SID}:{SECRET}".encode()).decode()
    assert request.form == {"To": NUMBER, field: sender, "Body": TEXT}
    assert request.form.keys() <= TWILIO_FIELDS


@pytest.mark.parametrize("sender", ["", "MyShop"])
def test_smsru(channel: SmsChannel, peer: HttpPeer, sender: str) -> None:
    body = {
        "status": "OK",
        "status_code": 100,
        "sms": {"12015550100": {"status": "OK", "status_code": 100, "sms_id": "202611-1000000"}},
        "balance": 4122.56,
    }
    peer.plan(answer(200, body))
    assert send(channel, SmsRuProvider(SECRET, sender, peer.url)) == Receipt("202611-1000000")
    [request] = peer.requests
    assert (request.method, request.path) == ("POST", "/sms/send")
    assert request.form == {"api_id": SECRET, "to": "12015550100", "msg": TEXT, "json": "1"} | (
        {"from": sender} if sender else {}
    )


@pytest.mark.parametrize("sender", ["", "MyShop"])
def test_smsc(channel: SmsChannel, peer: HttpPeer, sender: str) -> None:
    peer.plan(answer(200, {"id": 1234, "cnt": 1}))
    assert send(channel, SmscProvider("me", SECRET, sender, peer.url)) == Receipt("1234")
    [request] = peer.requests
    assert (request.method, request.path) == ("POST", "/sys/send.php")
    assert request.form == {
        "login": "me",
        "psw": SECRET,
        "phones": "12015550100",
        "mes": TEXT,
        "charset": "utf-8",
        "fmt": "3",
        "id": str(smsc.own_id("n-42")),
    } | ({"sender": sender} if sender else {})


def test_smsc_gets_the_same_id_on_every_try(channel: SmsChannel, peer: HttpPeer) -> None:
    peer.otherwise = answer(200, {"id": 1, "cnt": 1})
    for reference in ("n-42", "n-42", "n-43"):
        send(channel, SmscProvider("me", SECRET, api_url=peer.url), reference=reference)
    first, again, other = (int(request.form["id"]) for request in peer.requests)
    assert first == again != other
    assert all(1 <= number <= 2**31 - 1 for number in (first, other))


@pytest.mark.parametrize(("token", "header"), [(SECRET, f"Bearer {SECRET}"), ("", None)])
def test_the_gateway(channel: SmsChannel, peer: HttpPeer, token: str, header: str | None) -> None:
    peer.plan(answer(202, {"id": "abc"}))
    assert send(channel, GatewayProvider(f"{peer.url}/v1/sms?x=1", token, "Shop")) == Receipt("abc")
    [request] = peer.requests
    assert (request.method, request.path) == ("POST", "/v1/sms?x=1")
    assert request.headers["content-type"] == "application/json"
    assert request.headers.get("authorization") == header
    assert request.json == {"to": NUMBER, "text": TEXT, "sender": "Shop", "reference": "n-42"}


@pytest.mark.parametrize("name", ["twilio", "smsru", "smsc"])
def test_the_base_of_an_api_may_have_a_path_of_its_own(channel: SmsChannel, peer: HttpPeer, name: str) -> None:
    peer.plan(answer(500))
    failure(channel, providers(f"{peer.url}/double/")[name])
    assert peer.requests[0].path.startswith("/double/")
    assert "//" not in peer.requests[0].path


@pytest.mark.parametrize("name", ["twilio", "smsru", "smsc", "http"])
def test_names_and_secrets(name: str) -> None:
    provider = providers("http://127.0.0.1:9")[name]
    assert provider.name == name
    assert SECRET not in repr(SmsAccount(providers=(provider,)))


# What providers answer


def check(error: Any, expected: type[Exception], code: str, delay: timedelta | None) -> None:
    assert (type(error), error.code, getattr(error, "retry_after", None)) == (expected, code, delay)


def test_every_row_of_our_tables_is_tested() -> None:
    assert {row[0] for row in TWILIO} == twilio.REFUSALS.keys()
    assert {row[0] for row in SMSRU} == smsru.REFUSALS.keys()
    assert {row[0] for row in SMSC} == smsc.REFUSALS.keys()
    assert {row[0] for row in GATEWAY} == gateway.REFUSALS.keys()


@pytest.mark.parametrize(("number", "expected", "code", "delay"), TWILIO)
def test_a_refusal_of_twilio(
    channel: SmsChannel, peer: HttpPeer, number: int, expected: type[Exception], code: str, delay: timedelta | None
) -> None:
    body = {
        "code": number,
        "message": "No.",
        "more_info": f"https://www.twilio.com/docs/errors/{number}",
        "status": 400,
    }
    peer.plan(answer(400, body))
    error = failure(channel, providers(peer.url)["twilio"])
    check(error, expected, code, delay)
    assert error.detail == f"twilio: HTTP 400, code {number}: No."


def test_a_message_that_twilio_took_and_gave_up_at_once(channel: SmsChannel, peer: HttpPeer) -> None:
    body = {"sid": MESSAGE_ID, "status": "failed", "error_code": 30007, "error_message": "Filtered"}
    peer.plan(answer(201, body))
    error = failure(channel, providers(peer.url)["twilio"])
    assert (type(error), error.detail) == (PermanentError, "twilio: HTTP 201, code 30007: Filtered")


@pytest.mark.parametrize("whole", [True, False], ids=["top", "number"])
@pytest.mark.parametrize(("number", "expected", "code", "delay"), SMSRU)
def test_a_refusal_of_smsru(
    channel: SmsChannel,
    peer: HttpPeer,
    number: int,
    expected: type[Exception],
    code: str,
    delay: timedelta | None,
    whole: bool,
) -> None:
    verdict = {"status": "ERROR", "status_code": number, "status_text": "Нет."}
    peer.plan(answer(200, verdict if whole else {"status": "OK", "status_code": 100, "sms": {"12015550100": verdict}}))
    error = failure(channel, providers(peer.url)["smsru"])
    check(error, expected, code, delay)
    assert error.detail == f"smsru: HTTP 200, code {number}: Нет."


@pytest.mark.parametrize(("number", "expected", "code", "delay"), SMSC)
def test_a_refusal_of_smsc(
    channel: SmsChannel, peer: HttpPeer, number: int, expected: type[Exception], code: str, delay: timedelta | None
) -> None:
    peer.plan(answer(200, {"error": "no", "error_code": number, "id": 77}))
    error = failure(channel, providers(peer.url)["smsc"])
    check(error, expected, code, delay)
    assert error.detail == f"smsc: HTTP 200, code {number}: no"


@pytest.mark.parametrize("status", [200, 400, 500])
@pytest.mark.parametrize(("word", "expected", "code", "delay"), GATEWAY)
def test_a_refusal_of_the_gateway_in_our_words(
    channel: SmsChannel,
    peer: HttpPeer,
    word: str,
    expected: type[Exception],
    code: str,
    delay: timedelta | None,
    status: int,
) -> None:
    peer.plan(answer(status, {"code": word, "detail": "No."}))
    error = failure(channel, providers(peer.url)["http"])
    check(error, expected, code, delay)
    assert error.detail == f"http: HTTP {status}, No."


@pytest.mark.parametrize("body", [b"", b"<html>", {"code": 99999, "message": "new"}], ids=["empty", "html", "new code"])
@pytest.mark.parametrize("name", ["twilio", "smsru", "smsc", "http"])
@pytest.mark.parametrize(("status", "expected", "code"), BY_STATUS)
def test_without_a_known_code_the_status_decides(
    channel: SmsChannel, peer: HttpPeer, name: str, status: int, expected: type[Exception], code: str, body: object
) -> None:
    peer.plan(answer(status, body))
    check(failure(channel, providers(peer.url)[name]), expected, code, None)
    assert len(peer.requests) == 1


@pytest.mark.parametrize("name", ["twilio", "smsru", "smsc", "http"])
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_heard(channel: SmsChannel, peer: HttpPeer, name: str, status: int) -> None:
    peer.plan(answer(status, b"", {"Retry-After": "17"}))
    assert failure(channel, providers(peer.url)[name]).retry_after == timedelta(seconds=17)


@pytest.mark.parametrize("body", [b"", b"<html>Sign in to this network</html>", [], {}, {"status": "OK"}, {"id": None}])
@pytest.mark.parametrize("name", ["twilio", "smsru", "smsc"])
def test_a_200_in_another_form_proves_nothing(channel: SmsChannel, peer: HttpPeer, name: str, body: object) -> None:
    peer.plan(answer(200, body))
    check(failure(channel, providers(peer.url)[name]), TemporaryError, "provider_error", None)


@pytest.mark.parametrize("status", [200, 202, 204])
@pytest.mark.parametrize("body", [b"", b"ok", {}, {"id": ""}, {"id": None}, {"id": True}, {"code": "queued"}])
def test_a_2xx_of_the_gateway_without_an_id_is_unknown(
    channel: SmsChannel, peer: HttpPeer, status: int, body: object
) -> None:
    peer.plan(answer(status, b"" if status == 204 else body))
    check(failure(channel, providers(peer.url)["http"]), UnknownOutcomeError, "outcome_unknown", None)


def test_the_gateway_may_count_its_messages(channel: SmsChannel, peer: HttpPeer) -> None:
    peer.plan(answer(200, {"id": 0}))
    assert send(channel, providers(peer.url)["http"]).provider_id == "0"


@pytest.mark.parametrize(
    ("name", "body", "expected"),
    [
        ("smsru", {"status": "ERROR", "status_code": 299}, PermanentError),
        ("smsru", {"status": "ERROR", "status_code": 599}, TemporaryError),
        ("smsru", {"status": "OK", "status_code": 100}, TemporaryError),  # not a word of our number
        ("smsru", {"status": "ERROR", "status_code": "202"}, InvalidRecipientError),
        ("smsc", {"error": "new", "error_code": 99}, PermanentError),
        ("smsc", {"error": "new", "id": 5}, TemporaryError),
        ("smsc", {"error": "x", "error_code": "7"}, InvalidRecipientError),
    ],
)
def test_new_codes(channel: SmsChannel, peer: HttpPeer, name: str, body: object, expected: type[Exception]) -> None:
    peer.plan(answer(200, body))
    assert type(failure(channel, providers(peer.url)[name])) is expected


@pytest.mark.parametrize("name", ["twilio", "smsru", "smsc", "http"])
@pytest.mark.parametrize("act", [peers.drop_after_reading, peers.reset_after_reading, peers.hang_after_reading])
def test_silence_after_the_request_is_unknown(channel: SmsChannel, peer: HttpPeer, name: str, act: Act) -> None:
    peer.plan(act)
    timeout = timedelta(seconds=1 if act is peers.hang_after_reading else 30)
    error = failure(channel, providers(peer.url, timeout=timeout)[name])
    check(error, UnknownOutcomeError, "outcome_unknown", None)
    assert peer.came(1)


@pytest.mark.parametrize("name", ["twilio", "smsru", "smsc", "http"])
def test_nobody_listens(channel: SmsChannel, name: str) -> None:
    with peers.closed_port() as port:
        error = failure(channel, providers(f"http://127.0.0.1:{port}")[name])
    check(error, TemporaryError, "unreachable", None)
    assert error.detail.startswith(f"{name}: ")


@pytest.mark.parametrize("name", ["twilio", "smsru", "smsc", "http"])
def test_echoed_secrets_and_numbers_are_taken_out(channel: SmsChannel, peer: HttpPeer, name: str) -> None:
    echo = f"user {SECRET} to {NUMBER} or 12015550100\n\x00"
    peer.plan(answer(400, {"code": 1, "message": echo, "error": echo, "status_code": 1, "status_text": echo}))
    detail = failure(channel, providers(peer.url)[name]).detail
    assert "user *** to *** or ***" in detail
    assert detail.isprintable()
