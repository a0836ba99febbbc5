"""What the sandbox's providers say later of messages to the test recipients."""

from contextlib import closing
from typing import Any

import pytest
from django.db.models.functions import Now

from channels.base import Message
from channels.email import EmailChannel
from channels.simulated import Fate, Later
from channels.sms import SmsChannel
from channels.telegram import TelegramAccount, TelegramChannel
from notifier import receipts, tasks
from notifier.models import Receipt
from sandbox import receipts as sandbox_receipts
from sandbox.servers import Sandbox
from tests.notifier.rows import stored
from tests.sandbox.test_channels import CHATS, LONG, MAILBOXES, PHONES, PROVIDERS, sms_account, smtp_account


def way(sandbox: Sandbox, name: str) -> tuple[Any, Any, list[str]]:
    environment = sandbox.environment()
    if name == "email":
        return EmailChannel(), smtp_account(sandbox), MAILBOXES
    if name == "telegram":
        url, token = environment["TELEGRAM_API_URL"], environment["TELEGRAM_BOT_TOKEN"]
        return TelegramChannel(), TelegramAccount(token=token, api_url=url, timeout=LONG), CHATS
    return SmsChannel(), sms_account(environment, name), PHONES


@pytest.mark.parametrize("name", ["email", "telegram", *PROVIDERS])
def test_the_message_is_named_as_its_sender_knows_it(sandbox: Sandbox, name: str) -> None:
    told: list[Later] = []
    sandbox.on_receipt = told.append
    channel, account, recipients = way(sandbox, name)
    ordinary = {"email": "user@example.com", "telegram": "77"}.get(name, "+12025550123")
    with closing(channel):
        known = [
            channel.send(Message(to=to, subject="Hello", text="Hello", reference=f"r-{number}"), account).provider_id
            for number, to in enumerate([*recipients[:2], ordinary])
        ]
    medium = name if name in {"email", "telegram"} else "sms"
    assert told == [Later(medium, known[0], Fate.DELIVERED), Later(medium, known[1], Fate.BOUNCED)]


@pytest.mark.django_db
def test_the_ledger_applies_them_when_they_are_due() -> None:
    row = stored("email", "sms")
    attempt: dict[str, Any] = {"step": 0, "round": 0, "channel": "email", "outcome": "accepted", "started_at": Now()}
    row.attempts.create(**attempt, provider_id="m1@sandbox.test")
    receipts.foretell([Later("email", "m1@sandbox.test", Fate.BOUNCED)])
    tasks.apply_receipts()
    assert row.attempts.count() == 1
    Receipt.objects.update(not_before=Now())
    tasks.apply_receipts()
    assert [one.code for one in row.attempts.all()] == ["", "bounced"]


def test_the_server_does_not_wait_for_the_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mail server that waits for a database would stand still for everybody."""
    import threading

    at_work, told = threading.Event(), threading.Event()

    def slow(_: object) -> None:
        at_work.wait(5)
        told.set()

    monkeypatch.setattr(receipts, "foretell", slow)
    sandbox_receipts.tell_ledger(Later("email", "m1@sandbox.test", Fate.DELIVERED))
    assert not told.is_set()
    at_work.set()
    assert told.wait(30)
