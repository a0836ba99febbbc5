"""The channels against the sandbox: each switch and each test recipient becomes the attempt that the contract names."""

from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest

from channels.base import Message
from channels.email import EmailChannel, SmtpAccount
from channels.errors import ChannelError, MisconfiguredError, TemporaryError, UnknownOutcomeError
from channels.sms import GatewayProvider, SmsAccount, SmsChannel, SmscProvider, SmsRuProvider, TwilioProvider
from channels.telegram import TelegramAccount, TelegramChannel
from sandbox.servers import Sandbox
from tests.channels.patience import Patience

Send = Callable[..., str]
LONG = timedelta(seconds=30)
PROVIDERS = ("http", "twilio", "smsru", "smsc")


def smtp_account(sandbox: Sandbox, **more: Any) -> SmtpAccount:
    fields = {"security": "none", "from_email": "Notifier <notifier@sandbox.test>", "timeout": LONG, **more}
    return SmtpAccount(host="127.0.0.1", port=sandbox.smtp_port, **fields)


def sms_account(environment: dict[str, str], provider: str, timeout: timedelta = LONG) -> SmsAccount:
    made = {
        "http": GatewayProvider(url=environment["SMS_HTTP_URL"], token=environment["SMS_HTTP_TOKEN"], timeout=timeout),
        "twilio": TwilioProvider(
            sid=environment["TWILIO_ACCOUNT_SID"],
            token=environment["TWILIO_AUTH_TOKEN"],
            sender=environment["TWILIO_FROM"],
            api_url=environment["TWILIO_API_URL"],
            timeout=timeout,
        ),
        "smsru": SmsRuProvider(
            api_id=environment["SMSRU_API_ID"], api_url=environment["SMSRU_API_URL"], timeout=timeout
        ),
        "smsc": SmscProvider(
            login=environment["SMSC_LOGIN"],
            password=environment["SMSC_PASSWORD"],
            api_url=environment["SMSC_API_URL"],
            timeout=timeout,
        ),
    }
    return SmsAccount(providers=(made[provider],))


@pytest.fixture
def send(sandbox: Sandbox, request: pytest.FixtureRequest) -> Iterator[Send]:
    """Sends "Hello" over a channel; the result is the attempt's outcome or code, with "later" where it is temporary.

    `silent`: no answer is meant to come.
    """
    environment, patience = sandbox.environment(), Patience()
    channel: Any
    account: Any
    if request.param == "email":
        channel, account = EmailChannel(), smtp_account(sandbox, timeout=patience)
    elif request.param == "telegram":
        url, token = environment["TELEGRAM_API_URL"], environment["TELEGRAM_BOT_TOKEN"]
        channel, account = TelegramChannel(), TelegramAccount(token=token, api_url=url, timeout=patience)
    else:
        channel, account = SmsChannel(), sms_account(environment, request.param, patience)

    def attempt(to: str, *, silent: bool = False) -> str:
        patience.span = 0.6 if silent else 30
        try:
            channel.send(Message(to=to, subject="Hello", text="Hello", reference="reference-1"), account)
        except TemporaryError as error:
            return f"{error.code} later"
        except (ChannelError, MisconfiguredError) as error:
            return error.code
        return "accepted"

    with closing(channel):
        yield attempt


LOST = "outcome_unknown"


@pytest.mark.parametrize(
    ("send", "to", "name", "expected"),
    [
        ("email", "user@example.com", "ok", "accepted"),
        ("email", "user@example.com", "refused", "unreachable later"),
        ("email", "user@example.com", "silent", "timeout later"),
        ("email", "user@example.com", "busy", "rejected later"),
        ("email", "user@example.com", "rejected", "invalid_address"),
        ("email", "user@example.com", "auth", "misconfigured"),  # nobody logs in here
        ("email", "user@example.com", "lost_answer", LOST),
        ("telegram", "77", "ok", "accepted"),
        ("telegram", "77", "refused", "unreachable later"),
        ("telegram", "77", "silent", LOST),  # the request was handed over whole
        ("telegram", "77", "error", "provider_error later"),
        ("telegram", "77", "rate_limited", "rate_limited later"),
        ("telegram", "77", "blocked", "blocked"),
        ("telegram", "77", "lost_answer", LOST),
        *[
            (provider, "+12015550142", name, expected)
            for provider in PROVIDERS
            for name, expected in (
                ("ok", "accepted"),
                ("refused", "unreachable later"),
                ("silent", LOST),
                ("error", "provider_error later"),
                ("rate_limited", "rate_limited later"),
                ("rejected", "invalid_address"),
                ("lost_answer", LOST),
            )
        ],
    ],
    indirect=["send"],
)
def test_a_switch_becomes_an_attempt(sandbox: Sandbox, send: Send, to: str, name: str, expected: str) -> None:
    sandbox.switches.set("sms" if to.startswith("+") else "telegram" if to == "77" else "email", name)
    assert send(to, silent=name == "silent") == expected
    assert len(sandbox.inbox.messages()) == (name in {"ok", "lost_answer"})
    sandbox.switches.reset()
    assert send(to) == "accepted"


NAMES = ("delivered", "bounced", "rejected", "greylisted", "timeout", "unknown")
MAILBOXES = [f"{name}@simulator.test" for name in NAMES]
PHONES = [f"+1201555010{number}" for number in range(6)]
CHATS = [str(100 + number) for number in range(6)]


@pytest.mark.parametrize(
    ("send", "recipients", "expected"),
    [
        ("email", MAILBOXES, ["invalid_address", "rejected later", "timeout later", LOST]),
        ("telegram", CHATS, ["invalid_address", "rate_limited later", LOST, LOST]),
        ("http", PHONES, ["invalid_address", "rate_limited later", LOST, LOST]),
        ("twilio", PHONES, ["invalid_address", "rate_limited later", LOST, LOST]),
        ("smsru", PHONES, ["invalid_address", "provider_error later", LOST, LOST]),
        ("smsc", PHONES, ["invalid_address", "rate_limited later", LOST, LOST]),
    ],
    indirect=["send"],
)
def test_the_six_test_recipients(sandbox: Sandbox, send: Send, recipients: list[str], expected: list[str]) -> None:
    outcomes = [send(to, silent=name == "timeout") for name, to in zip(NAMES, recipients, strict=True)]
    assert outcomes == ["accepted", "accepted", *expected]
    assert send(recipients[3]) == "accepted"  # greylisted at the first try only
    assert [entry.to.lstrip("+") for entry in sandbox.inbox.messages()] == [
        recipients[number].lstrip("+") for number in (0, 1, 5, 3)
    ]


def test_a_login_is_refused_by_the_switch_and_for_the_wrong_password(sandbox: Sandbox) -> None:
    message = Message(to="user@example.com", text="Hello", reference="reference-1")
    with closing(EmailChannel()) as channel:
        for name, password in (("auth", "anything"), ("ok", "wrong")):
            sandbox.switches.set("email", name)
            with pytest.raises(MisconfiguredError) as refused:
                channel.send(message, smtp_account(sandbox, user="shop", password=password, auth_in_clear=True))
            assert refused.value.code == "authentication_failed"
        channel.send(message, smtp_account(sandbox, user="shop", password="anything", auth_in_clear=True))
    assert len(sandbox.inbox.messages()) == 1


def test_a_repeat_after_a_lost_answer_carries_the_same_reference(sandbox: Sandbox) -> None:
    message = Message(to="unknown@simulator.test", text="Hello", reference="reference-1")
    with closing(EmailChannel()) as channel:
        for _ in range(2):
            with pytest.raises(UnknownOutcomeError):
                channel.send(message, smtp_account(sandbox))
    first, second = (entry.reference for entry in sandbox.inbox.messages())
    assert first == second != ""
