"""The HTTP servers, over real sockets: Telegram's Bot API and the four SMS gateways."""

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from sandbox import sms, telegram
from sandbox.servers import Sandbox

Send = Callable[[Sandbox, str], requests.Response]
patience = 30.0
PHONE = "+12015550142"


@pytest.fixture(autouse=True)
def http() -> Iterator[requests.Session]:
    """One kept-alive session for each test, as the channels have it."""
    global session
    with requests.Session() as session:
        yield session


session: requests.Session


def is_silent(send: Send, sandbox: Sandbox, to: str) -> bool:
    """Whether no answer comes. Little time is given for it, and only for that."""
    with pytest.MonkeyPatch.context() as changed:
        changed.setitem(globals(), "patience", 0.5)
        with pytest.raises(requests.ReadTimeout):
            send(sandbox, to)
    return True


def bot(sandbox: Sandbox, method: str, token: str = telegram.TOKEN, **parameters: Any) -> requests.Response:
    url = f"http://127.0.0.1:{sandbox.telegram_port}/bot{token}/{method}"
    return session.post(url, json=parameters, timeout=patience)


def by_telegram(sandbox: Sandbox, chat: str) -> requests.Response:
    return bot(sandbox, "sendMessage", chat_id=chat, text="Hello")


def by_http(sandbox: Sandbox, phone: str) -> requests.Response:
    environment = sandbox.environment()
    body = {"to": phone, "text": "Hello", "sender": "Shop", "reference": "reference-1"}
    headers = {"Authorization": f"Bearer {environment['SMS_HTTP_TOKEN']}"}
    return session.post(environment["SMS_HTTP_URL"], json=body, headers=headers, timeout=patience)


def by_twilio(sandbox: Sandbox, phone: str) -> requests.Response:
    environment = sandbox.environment()
    sid = environment["TWILIO_ACCOUNT_SID"]
    url = f"{environment['TWILIO_API_URL']}/2010-04-01/Accounts/{sid}/Messages.json"
    form = {"To": phone, "From": environment["TWILIO_FROM"], "Body": "Hello"}
    return session.post(url, data=form, auth=(sid, environment["TWILIO_AUTH_TOKEN"]), timeout=patience)


def by_smsru(sandbox: Sandbox, phone: str) -> requests.Response:
    environment = sandbox.environment()
    form = {"api_id": environment["SMSRU_API_ID"], "to": phone, "msg": "Hello", "json": "1"}
    return session.post(f"{environment['SMSRU_API_URL']}/sms/send", data=form, timeout=patience)


def by_smsc(sandbox: Sandbox, phone: str) -> requests.Response:
    environment = sandbox.environment()
    login = {"login": environment["SMSC_LOGIN"], "psw": environment["SMSC_PASSWORD"], "fmt": "3"}
    form = login | {"phones": phone, "mes": "Hello", "id": "reference-1"}
    return session.post(f"{environment['SMSC_API_URL']}/sys/send.php", data=form, timeout=patience)


SMS = pytest.mark.parametrize("send", [by_http, by_twilio, by_smsru, by_smsc])
EVERYBODY = pytest.mark.parametrize(
    ("send", "channel", "to"),
    [
        (by_telegram, "telegram", "77"),
        (by_http, "sms", PHONE),
        (by_twilio, "sms", PHONE),
        (by_smsru, "sms", PHONE),
        (by_smsc, "sms", PHONE),
    ],
)


def refusal(reply: requests.Response) -> Any:
    """The status, and the provider's own code where it has one."""
    content = reply.json()
    code = content.get("code") or content.get("error_code")
    for number in content.get("sms", {}).values():
        code = number["status_code"]
    return reply.status_code, code or content["status_code"]


# --- What a provider says when all is well --------------------------------------------------------------------------


def test_telegram_takes_a_message(sandbox: Sandbox) -> None:
    reply = bot(sandbox, "sendMessage", chat_id=77, text="Привет 🎉").json()
    assert reply["ok"] is True
    assert (reply["result"]["chat"]["id"], reply["result"]["text"]) == (77, "Привет 🎉")
    (entry,) = sandbox.inbox.messages()
    assert (entry.channel, entry.to, entry.text) == ("telegram", "77", "Привет 🎉")
    assert entry.provider_id == str(reply["result"]["message_id"])


def test_telegram_takes_forms_queries_and_any_case(sandbox: Sandbox) -> None:
    url = f"http://127.0.0.1:{sandbox.telegram_port}/bot{telegram.TOKEN}/sendmessage"
    assert session.post(url, data={"chat_id": "-1001", "text": "form"}, timeout=patience).json()["ok"]
    assert session.get(url, params={"chat_id": "@a_channel", "text": "query"}, timeout=patience).json()["ok"]
    assert [entry.text for entry in sandbox.inbox.messages()] == ["form", "query"]


def test_telegram_says_who_the_bot_is(sandbox: Sandbox) -> None:
    me = bot(sandbox, "getMe").json()["result"]
    assert (me["id"], me["is_bot"]) == (123456789, True)


def test_http_gives_an_id_and_keeps_the_reference(sandbox: Sandbox) -> None:
    reply = by_http(sandbox, PHONE)
    (entry,) = sandbox.inbox.messages()
    assert reply.status_code == 201
    assert reply.json() == {"id": entry.provider_id}
    assert (entry.to, entry.text, entry.sender, entry.reference) == (PHONE, "Hello", "Shop", "reference-1")


def test_twilio_queues(sandbox: Sandbox) -> None:
    reply = by_twilio(sandbox, PHONE)
    (entry,) = sandbox.inbox.messages()
    assert (reply.status_code, reply.json()["status"], reply.json()["sid"]) == (201, "queued", entry.provider_id)


def test_smsru_answers_for_the_request_and_for_the_number(sandbox: Sandbox) -> None:
    reply = by_smsru(sandbox, PHONE).json()
    (entry,) = sandbox.inbox.messages()
    assert (reply["status"], reply["status_code"]) == ("OK", 100)
    assert reply["sms"][PHONE[1:]] == {"status": "OK", "status_code": 100, "sms_id": entry.provider_id}


def test_smsc_uses_the_clients_own_id(sandbox: Sandbox) -> None:
    assert by_smsc(sandbox, PHONE).json() == {"id": "reference-1", "cnt": 1}
    assert sandbox.inbox.messages()[0].reference == "reference-1"


# --- What a provider refuses by itself ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "description"),
    [
        ({"chat_id": "somebody", "text": "x"}, "chat not found"),
        ({"chat_id": 0, "text": "x"}, "chat not found"),
        ({"chat_id": True, "text": "x"}, "chat not found"),
        ({"text": "x"}, "chat_id is empty"),
        ({"chat_id": 1}, "message text is empty"),
        ({"chat_id": 1, "text": " \n"}, "message text is empty"),
        ({"chat_id": 1, "text": "<b></b>", "parse_mode": "HTML"}, "message text is empty"),
        ({"chat_id": 1, "text": "x" * 4097}, "message is too long"),
        ({"chat_id": 1, "text": "🎉" * 2049}, "message is too long"),
        ({"chat_id": 1, "text": "x", "parse_mode": "XML"}, "unsupported parse_mode"),
        ({"chat_id": 1, "text": "<b>x", "parse_mode": "HTML"}, "can't parse entities: "),
        ({"chat_id": 1, "text": "2 < 3", "parse_mode": "html"}, "can't parse entities: "),
    ],
)
def test_telegram_refuses(sandbox: Sandbox, parameters: dict[str, Any], description: str) -> None:
    reply = bot(sandbox, "sendMessage", **parameters)
    assert reply.status_code == reply.json()["error_code"] == 400
    assert reply.json()["description"].startswith(f"Bad Request: {description}")
    assert sandbox.inbox.messages() == []


@pytest.mark.parametrize(
    ("text", "mode"),
    [("x" * 4096, ""), ("🎉" * 2048, ""), (f"<b>{'x' * 4096}</b>", "HTML"), ("<b>not read", "")],
)
def test_telegram_takes_what_just_fits(sandbox: Sandbox, text: str, mode: str) -> None:
    assert bot(sandbox, "sendMessage", chat_id=1, text=text, parse_mode=mode).status_code == 200


def test_telegram_shows_the_text_and_keeps_the_markup(sandbox: Sandbox) -> None:
    bot(sandbox, "sendMessage", chat_id=1, text="<b>2 &lt; 3</b>", parse_mode="HTML")
    (entry,) = sandbox.inbox.messages()
    assert (entry.text, entry.html) == ("2 < 3", "<b>2 &lt; 3</b>")


@pytest.mark.parametrize(
    ("token", "method", "status"), [("secret", "getMe", 401), ("12:", "sendMessage", 401), ("12:ab", "getYou", 404)]
)
def test_telegram_knows_tokens_and_methods(sandbox: Sandbox, token: str, method: str, status: int) -> None:
    reply = bot(sandbox, method, token=token, chat_id=1, text="x")
    assert (reply.status_code, reply.json()["ok"], reply.json()["error_code"]) == (status, False, status)


@SMS
@pytest.mark.parametrize("phone", ["12", "+0123456789", "+1201555014x"])
def test_a_gateway_refuses_what_is_no_number(sandbox: Sandbox, send: Send, phone: str) -> None:
    expected: dict[Send, Any] = {
        by_http: (400, "invalid_address"),
        by_twilio: (400, 21211),
        by_smsru: (200, 202),
        by_smsc: (200, 7),
    }
    assert refusal(send(sandbox, phone)) == expected[send]
    assert sandbox.inbox.messages() == []


def test_a_gateway_wants_its_login(sandbox: Sandbox) -> None:
    base = f"http://127.0.0.1:{sandbox.http_port}"
    body = {"to": PHONE, "text": "x"}
    assert (
        session.post(f"{base}/sms", json=body, headers={"Authorization": "Bearer no"}, timeout=patience).status_code
        == 401
    )
    messages = f"{base}/2010-04-01/Accounts/{sms.TWILIO_SID}/Messages.json"
    assert refusal(session.post(messages, data=body, auth=("AC1", "no"), timeout=patience)) == (401, 20003)
    assert refusal(session.get(f"{base}/sms/send", params={"api_id": "no"}, timeout=patience)) == (200, 200)
    assert refusal(session.get(f"{base}/sys/send.php", params={"login": "no"}, timeout=patience)) == (200, 2)
    assert sandbox.inbox.messages() == []


def test_smsc_takes_the_passwords_hash(sandbox: Sandbox) -> None:
    psw = hashlib.md5(sms.KEY.encode(), usedforsecurity=False).hexdigest()
    form = {"login": sms.LOGIN, "psw": psw, "phones": PHONE, "mes": "x", "fmt": "3"}
    assert (
        session.get(f"http://127.0.0.1:{sandbox.http_port}/sys/send.php", params=form, timeout=patience).json()["cnt"]
        == 1
    )


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'"to"', b'{"to": 5, "text": "x"}', b'{"to": "+12015550142"}', b"\xff"]
)
def test_the_gateway_refuses_a_body_that_is_no_message(sandbox: Sandbox, body: bytes) -> None:
    headers = {"Authorization": f"Bearer {sms.KEY}", "Content-Type": "application/json"}
    reply = session.post(f"http://127.0.0.1:{sandbox.http_port}/sms", data=body, headers=headers, timeout=patience)
    assert reply.status_code == 400


def test_a_path_that_nobody_knows_is_404_and_a_huge_body_413(sandbox: Sandbox) -> None:
    assert session.get(f"http://127.0.0.1:{sandbox.http_port}/", timeout=patience).status_code == 404
    head = {"Content-Length": "99999999"}
    assert session.get(f"http://127.0.0.1:{sandbox.http_port}/sms", headers=head, timeout=patience).status_code == 413


# --- Switches -------------------------------------------------------------------------------------------------------


@EVERYBODY
def test_error_is_a_500(sandbox: Sandbox, send: Send, channel: str, to: str) -> None:
    sandbox.switches.set(channel, "error")
    assert send(sandbox, to).status_code == 500
    assert sandbox.inbox.messages() == []


@EVERYBODY
def test_rate_limited_is_a_429_that_names_a_second(sandbox: Sandbox, send: Send, channel: str, to: str) -> None:
    sandbox.switches.set(channel, "rate_limited")
    reply = send(sandbox, to)
    assert reply.status_code == 429
    if channel == "telegram":
        assert reply.json()["parameters"] == {"retry_after": 1}
    else:
        assert reply.headers["Retry-After"] == "1"


@EVERYBODY
def test_silent_never_answers(sandbox: Sandbox, send: Send, channel: str, to: str) -> None:
    sandbox.switches.set(channel, "silent")
    assert is_silent(send, sandbox, to)
    assert sandbox.inbox.messages() == []


@EVERYBODY
def test_lost_answer_takes_the_message_and_drops_the_connection(
    sandbox: Sandbox, send: Send, channel: str, to: str
) -> None:
    sandbox.switches.set(channel, "lost_answer")
    with pytest.raises(requests.ConnectionError):
        send(sandbox, to)
    assert [entry.to for entry in sandbox.inbox.messages()] == [to]


@EVERYBODY
def test_refused_cuts_kept_connections_and_comes_back(sandbox: Sandbox, send: Send, channel: str, to: str) -> None:
    send(sandbox, to)
    sandbox.switches.set(channel, "refused")
    with pytest.raises(requests.ConnectionError, match=r"refused|actively"):
        send(sandbox, to)
    sandbox.switches.set(channel, "ok")
    assert send(sandbox, to).ok
    assert len(sandbox.inbox.messages()) == 2


@SMS
def test_the_switch_rejected_knows_no_number(sandbox: Sandbox, send: Send) -> None:
    sandbox.switches.set("sms", "rejected")
    test_a_gateway_refuses_what_is_no_number(sandbox, send, PHONE)


def test_blocked_is_a_403(sandbox: Sandbox) -> None:
    sandbox.switches.set("telegram", "blocked")
    reply = by_telegram(sandbox, "77")
    assert (reply.status_code, reply.json()["description"]) == (403, "Forbidden: bot was blocked by the user")


@pytest.mark.parametrize(("name", "status"), [("error", 500), ("rate_limited", 429), ("blocked", 200)])
def test_an_outage_meets_every_question(sandbox: Sandbox, name: str, status: int) -> None:
    sandbox.switches.set("telegram", name)
    assert bot(sandbox, "getMe").status_code == status


def test_a_switch_is_for_its_own_channel(sandbox: Sandbox) -> None:
    sandbox.switches.set("sms", "error")
    assert by_telegram(sandbox, "77").ok
    sandbox.switches.update({"sms": "ok", "telegram": "refused"})
    assert by_http(sandbox, PHONE).ok


# --- Test recipients ------------------------------------------------------------------------------------------------


RECIPIENTS = pytest.mark.parametrize(
    ("send", "base"),
    [
        (by_telegram, "1"),
        (by_http, "+120155501"),
        (by_twilio, "+120155501"),
        (by_smsru, "120155501"),
        (by_smsc, "120155501"),
    ],
)


@RECIPIENTS
def test_delivered_and_bounced_are_taken_whatever_the_switches_say(sandbox: Sandbox, send: Send, base: str) -> None:
    sandbox.switches.update({"sms": "error", "telegram": "rate_limited"})
    for number in ("00", "01"):
        assert send(sandbox, base + number).ok
    assert [entry.to for entry in sandbox.inbox.messages()] == [f"{base}00", f"{base}01"]


@RECIPIENTS
def test_rejected_is_no_recipient(sandbox: Sandbox, send: Send, base: str) -> None:
    expected: dict[Send, Any] = {
        by_telegram: (400, 400),
        by_http: (400, "invalid_address"),
        by_twilio: (400, 21211),
        by_smsru: (200, 202),
        by_smsc: (200, 7),
    }
    assert refusal(send(sandbox, f"{base}02")) == expected[send]
    assert sandbox.inbox.messages() == []


@RECIPIENTS
def test_greylisted_refuses_each_first_try(sandbox: Sandbox, send: Send, base: str) -> None:
    expected: dict[Send, Any] = {
        by_telegram: (429, 429),
        by_http: (429, "rate_limited"),
        by_twilio: (429, 20429),
        by_smsru: (200, 220),
        by_smsc: (200, 9),
    }
    for taken in (1, 2):
        assert refusal(send(sandbox, f"{base}03")) == expected[send]
        assert send(sandbox, f"{base}03").ok
        assert len(sandbox.inbox.messages()) == taken


@RECIPIENTS
def test_timeout_is_silent_and_takes_nothing(sandbox: Sandbox, send: Send, base: str) -> None:
    assert is_silent(send, sandbox, f"{base}04")
    assert send(sandbox, f"{base}00").ok
    assert [entry.to for entry in sandbox.inbox.messages()] == [f"{base}00"]


@RECIPIENTS
def test_unknown_is_taken_without_an_answer(sandbox: Sandbox, send: Send, base: str) -> None:
    with pytest.raises(requests.ConnectionError):
        send(sandbox, f"{base}05")
    assert [entry.to for entry in sandbox.inbox.messages()] == [f"{base}05"]
