"""`manage.py notify`: one notification from the command line."""

import io
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from channels.errors import PermanentError, TemporaryError
from notifier.models import Notification, Organization, Recipient
from tests.conftest import FakeRegistry


def notify(*arguments: str) -> str:
    """What the command prints; CommandError where it ends with exit code 1."""
    out = io.StringIO()
    call_command("notify", *arguments, stdout=out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("arguments", "channel", "to"),
    [
        (["--to", "user@example.com"], "email", "user@example.com"),
        (["--phone", "+1 (202) 555-0123"], "sms", "+12025550123"),
        (["--telegram", "-100123456"], "telegram", "-100123456"),
        (["--to", "user@example.com", "--phone", "+12025550123", "--channel", "sms"], "sms", "+12025550123"),
    ],
)
def test_it_sends_at_once_and_says_so(
    organization: Organization, fakes: FakeRegistry, arguments: list[str], channel: str, to: str
) -> None:
    # `--telegram=-100…`: a value that begins with a dash would be read as an option.
    joined = [f"{name}={value}" for name, value in zip(arguments[::2], arguments[1::2], strict=True)]
    out = notify(*joined, "--message", "{{ Hello }} %s", "--subject", "Hi")
    row = Notification.objects.get()
    assert f"Notification {row.pk}: sent" in out
    assert f"{channel}: accepted" in out
    [(message, _account)] = fakes[channel].sent
    assert (message.to, message.text) == (to, "{{ Hello }} %s")


def test_a_stored_user_and_a_chain_in_order(organization: Organization, fakes: FakeRegistry) -> None:
    user = Recipient.objects.create(organization=organization, email="user@example.com", telegram_chat_id="1")
    fakes["telegram"].fail_next(PermanentError("no"))
    chain = ["--channel", "telegram", "--channel", "sms", "--channel", "email"]
    out = notify("--user", str(user.pk), "--message", "Hello", *chain)
    lines = [line.split()[:2] for line in out.splitlines() if line.startswith("  ")]
    assert lines == [["telegram:", "rejected"], ["sms:", "no_address"], ["email:", "accepted"]]


def test_a_template_with_its_context(organization: Organization, fakes: FakeRegistry) -> None:
    notify("--to", "user@example.com", "--template", "welcome", "--context", '{"organization": "Acme"}')
    [(message, _account)] = fakes["email"].sent
    assert "Acme" in message.subject
    assert "Acme" in message.text


@pytest.mark.parametrize(
    ("context", "word"), [("{}", "context.link"), ("{", "JSON"), ("[]", "object"), ('{"a": 1, "a": 2}', "twice")]
)
def test_a_wrong_context_is_refused(organization: Organization, context: str, word: str) -> None:
    with pytest.raises(CommandError, match=word):
        notify("--to", "user@example.com", "--template", "activation", "--context", context)
    assert Notification.objects.count() == 0


def test_what_failed_for_good_is_exit_code_1_and_says_why(organization: Organization, fakes: FakeRegistry) -> None:
    fakes["email"].always = PermanentError("no")
    with pytest.raises(CommandError, match="rejected"):
        notify("--to", "user@example.com", "--message", "Hello", "--channel", "email")


def test_what_will_be_tried_again_says_when(organization: Organization, fakes: FakeRegistry) -> None:
    fakes["email"].always = TemporaryError("busy")
    out = notify("--to", "user@example.com", "--message", "Hello", "--channel", "email")
    assert ": queued" in out
    assert "next try at" in out


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "user_id"),
        (["--to", "nobody"], "to.email"),
        (["--phone", "12"], "to.phone"),
        (["--user", "999999999"], "user_id"),
        (["--to", "user@example.com", "--user", "1"], "user_id"),
        (["--to", "user@example.com", "--channel", "pigeon"], "channels"),
        (["--to", "user@example.com", "--channel", "email", "--channel", "email"], "channels"),
        (["--to", "user@example.com", "--subject", "a\nb"], "subject"),
        (["--to", "user@example.com", "--message", ""], "message"),
        (["--to", "user@example.com", "--organization", "nobody"], "nobody"),
    ],
)
def test_what_is_refused_is_named_and_nothing_is_stored(
    organization: Organization, fakes: FakeRegistry, arguments: list[str], named: str
) -> None:
    with pytest.raises(CommandError, match=named):
        notify(*(arguments if "--message" in arguments else [*arguments, "--message", "Hello"]))
    assert not Notification.objects.exists()
    assert not any(fake.sent for fake in fakes.values())


def test_it_acts_for_the_organization_that_is_named(organization: Organization, fakes: FakeRegistry) -> None:
    other = Organization.objects.create(slug="other", name="Other")
    user: Any = Recipient.objects.create(organization=other, email="user@example.com")
    notify("--user", str(user.pk), "--message", "Hello", "--organization", "other")
    assert Notification.objects.get().organization == other
    with pytest.raises(CommandError, match="user_id"):
        notify("--user", str(user.pk), "--message", "Hello")


def test_what_the_terminal_cannot_show_is_a_question_mark(organization: Organization, fakes: FakeRegistry) -> None:
    fakes["email"].always = TemporaryError("занято ✓")
    written = io.BytesIO()
    with io.TextIOWrapper(written, "cp866") as out:
        call_command("notify", "--to", "user@example.com", "--message", "Hello", "--channel", "email", stdout=out)
        out.flush()
        assert "занято ?" in written.getvalue().decode("cp866")
