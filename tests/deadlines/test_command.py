"""`manage.py send_medical_notifications`: over a real SMTP server, organization by organization."""

import email
import email.policy
import io
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from pytest_django.fixtures import Settings

from deadlines import digest, sending
from deadlines.models import DigestRun
from deadlines.tasks import send_digests
from notifier import intake
from notifier.models import Notification, Organization
from tests.channels.smtp_peer import Drop, SmtpPeer
from tests.commands.conftest import database
from tests.deadlines.conftest import TODAY, administrator, calendar, deadline, recipients
from tests.servers.base import ServerError
from tests.servers.processes import manage

__all__ = ["database"]


@pytest.fixture
def peer(settings: Settings) -> Iterator[SmtpPeer]:
    """The service's mail server."""
    with SmtpPeer() as made:
        lead_to(settings, made)
        yield made


def lead_to(settings: Settings, peer: SmtpPeer) -> None:
    """Make it the environment's account."""
    settings.SMTP_HOST, settings.SMTP_PORT = "127.0.0.1", peer.port
    settings.SMTP_USE_TLS = settings.SMTP_USE_SSL = False
    settings.DEFAULT_FROM_EMAIL = "notifier@example.com"


def told(organization: Organization, peer: SmtpPeer, *addresses: str, **fields: Any) -> None:
    """Have these recipients told by that server, whichever account is used."""
    recipients(organization, *addresses, host="127.0.0.1", port=peer.port, use_tls=False, **fields)


def run(*arguments: str) -> tuple[str, int]:
    """What it prints, and its exit code."""
    out, code = io.StringIO(), 0
    try:
        call_command("send_medical_notifications", *arguments, stdout=out)
    except SystemExit as end:
        code = int(str(end.code))
    return out.getvalue(), code


def sent(peer: SmtpPeer) -> list[str]:
    """Who got a mail."""
    return sorted(mail.recipient for mail in peer.taken)


def fill(organization: Organization) -> None:
    """Two without date, three overdue, five upcoming, one later."""
    for number, days in enumerate([None, None, -1, -2, -3, 0, 1, 2, 3, 30, 31]):
        due = None if days is None else timezone.localdate() + timedelta(days=days)
        deadline(organization, f"Person {number}", due)


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        (
            "ru",
            [
                "Начинаем формирование отчета о медосмотрах",
                '\n--- Обработка организации: ООО "Ромашка" ---\n',
                '✅ Уведомление отправлено для ООО "Ромашка"!\n',
                "   Получатели: admin@romashka.ru, hr@romashka.ru\n",
                "   Без даты: 2, Просроченные: 3, Предстоящие: 5\n",
                "=" * 60 + "\n✅ Завершено! Отправлено: 1, Ошибок: 0\n",
            ],
        ),
        (
            "en",
            [
                '\n--- Processing organization: ООО "Ромашка" ---\n',
                "   Recipients: admin@romashka.ru, hr@romashka.ru\n",
                "   Without date: 2, Overdue: 3, Upcoming: 5\n",
                "✅ Done! Sent: 1, errors: 0\n",
            ],
        ),
    ],
)
def test_it_prints_what_it_does(
    organization: Organization, peer: SmtpPeer, settings: Settings, language: str, expected: list[str]
) -> None:
    settings.LANGUAGE_CODE = language
    organization.name = 'ООО "Ромашка"'
    organization.save()
    told(organization, peer, "admin@romashka.ru", "hr@romashka.ru")
    fill(organization)
    out, code = run()
    assert code == 0
    places = [out.index(line) for line in expected]
    assert places == sorted(places)
    assert sent(peer) == ["admin@romashka.ru", "hr@romashka.ru"]


def test_the_mail_arrives_whole(organization: Organization, peer: SmtpPeer) -> None:
    told(organization, peer, "a@example.com")
    deadline(organization, "Иванов Иван", timezone.localdate() - timedelta(days=3))
    run()
    [taken] = peer.taken
    mail = email.message_from_bytes(taken.content, policy=email.policy.default)
    assert mail["To"] == "a@example.com"
    assert mail["Subject"].startswith("Deadlines of Default")
    for kind in ("plain", "html"):
        part = mail.get_body((kind,))
        assert part is not None
        content = part.get_content()
        assert "Иванов Иван" in content
        assert "days overdue: 3" in content


def test_organizations_without_deadlines_are_passed_over(
    organization: Organization, other: Organization, peer: SmtpPeer
) -> None:
    for owner in (organization, other):
        told(owner, peer, f"{owner.slug}@example.com")
    deadline(other, "Ada", -1)
    out, code = run()
    assert "Default" not in out
    assert ("Sent: 1, errors: 0" in out, code) == (True, 0)
    assert sent(peer) == ["other@example.com"]
    out, code = run("--organization", "default")
    assert "nothing to send" in out
    assert ("Sent: 0, errors: 0" in out, code) == (True, 0)
    assert len(peer.taken) == 1


@pytest.mark.parametrize("by", ["pk", "slug"])
def test_one_organization_by_id_or_slug(
    organization: Organization, other: Organization, peer: SmtpPeer, by: str
) -> None:
    for owner in (organization, other):
        told(owner, peer, f"{owner.slug}@example.com")
        deadline(owner, "Ada", -1)
    out, _ = run("--organization", str(getattr(other, by)))
    assert "Sent: 1, errors: 0" in out
    assert sent(peer) == ["other@example.com"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--organization", "nobody"], "nobody"),
        (["--organization", "999999999999"], "999999999999"),
        (["--organization", "9" * 40], "9999"),
        (["--organization", "²"], "²"),
        (["--organization", ""], "''"),
        (["--date", "21.11.2026"], "21.11.2026"),
        (["--date", "2026-02-30"], "2026-02-30"),
        (["--date", "20261121"], "20261121"),
        (["--date", ""], "''"),
    ],
)
def test_what_is_not_there_is_an_error(
    organization: Organization, peer: SmtpPeer, arguments: list[str], named: str
) -> None:
    deadline(organization, "Ada", -1)
    with pytest.raises(CommandError, match=re.escape(named)):
        run(*arguments)
    assert not Notification.objects.exists()


def test_as_of_another_day(organization: Organization, peer: SmtpPeer) -> None:
    told(organization, peer, "a@example.com")
    deadline(organization, "Ada", TODAY)
    assert "Overdue: 0, Upcoming: 1" in run("--date", "2026-11-21")[0]
    assert "Overdue: 1, Upcoming: 0" in run("--date", "2026-11-22")[0]
    assert "Overdue: 0, Upcoming: 0" in run("--date", "2026-10-01")[0]
    assert "Sent: 1, errors: 0" in run("--date", "9999-12-31")[0]
    assert len(peer.taken) == 4


def test_one_that_fails_says_why_and_the_others_go_on(
    organization: Organization, other: Organization, settings: Settings
) -> None:
    with SmtpPeer({"RCPT": ["550 5.1.1 no such user", "250 ok"]}) as peer:
        lead_to(settings, peer)
        told(organization, peer, "gone@example.com")
        told(other, peer, "other@example.com")
        for owner in (organization, other):
            deadline(owner, "Ada", -1)
        out, code = run()
    assert code == 1
    assert "❌ The notification was not sent for Default!" in out
    assert re.search(r"   gone@example\.com: invalid_address .*550", out)
    assert "✅ The notification was sent for Other!" in out
    assert "❌ Done! Sent: 1, errors: 1" in out
    assert sent(peer) == ["other@example.com"]


def test_sent_means_every_recipient_in_the_first_round(organization: Organization, settings: Settings) -> None:
    with SmtpPeer({"RCPT": ["250 ok", "451 4.7.1 greylisted"]}) as peer:
        lead_to(settings, peer)
        told(organization, peer, "a@example.com", "b@example.com")
        deadline(organization, "Ada", -1)
        out, code = run()
    assert ("Sent: 0, errors: 1" in out, code) == (True, 1)
    assert len(re.findall(r"   [ab]@example\.com: rejected", out)) == 1
    assert sorted(Notification.objects.values_list("status", flat=True)) == ["queued", "sent"]


def test_a_server_that_is_away(organization: Organization, settings: Settings) -> None:
    with SmtpPeer({"connect": [Drop] * 9}) as peer:
        lead_to(settings, peer)
        told(organization, peer, "a@example.com")
        deadline(organization, "Ada", -1)
        out, code = run()
    assert code == 1
    assert "a@example.com: unreachable" in out


def test_without_an_account(organization: Organization, settings: Settings) -> None:
    settings.SMTP_HOST = ""
    recipients(organization, "a@example.com", is_active=False)
    deadline(organization, "Ada", -1)
    out, code = run()
    assert ("Sent: 0, errors: 1" in out, code) == (True, 1)
    assert "No recipients" in out


def test_who_is_told(organization: Organization, other: Organization, peer: SmtpPeer, django_user_model: Any) -> None:
    deadline(organization, "Ada", -1)
    out, code = run()
    assert "❌ No recipients: enter them in the organization's e-mail settings" in out
    assert ("Sent: 0, errors: 1" in out, code) == (True, 1)
    django_user_model.objects.create_superuser("root", "root@example.com", "pass")
    django_user_model.objects.create_superuser("idle", "idle@example.com", "pass", is_active=False)
    django_user_model.objects.create_superuser("mute", "", "pass")
    assert "Recipients: root@example.com\n" in run()[0]
    administrator(django_user_model, organization, "ann")
    administrator(django_user_model, organization, "gone", is_active=False)
    administrator(django_user_model, other, "stranger")
    member = administrator(django_user_model, organization, "member")
    member.memberships.update(role="member")
    assert "Recipients: ann@example.com\n" in run()[0]
    told(organization, peer, "hr@example.com", "HR@example.com", "b@example.com", is_active=False)
    out, _ = run()
    assert "switched off" in out
    assert "Recipients: ann@example.com\n" in out
    organization.emailsettings.is_active = True
    organization.emailsettings.save()
    assert "Recipients: hr@example.com, b@example.com\n" in run()[0]


def test_a_recipient_that_is_no_address_is_an_error_of_its_own(organization: Organization, peer: SmtpPeer) -> None:
    told(organization, peer, "nobody", "a@example.com")
    deadline(organization, "Ada", -1)
    out, code = run()
    assert ("Sent: 0, errors: 1" in out, code) == (True, 1)
    assert "   nobody: to: email: " in out
    assert sent(peer) == ["a@example.com"]


def test_it_always_sends_and_beat_does_not_send_again(organization: Organization, peer: SmtpPeer) -> None:
    calendar(organization, hour=0, is_active=True)
    told(organization, peer, "a@example.com")
    deadline(organization, "Ada", timezone.localdate() - timedelta(days=1))
    run("--date", "2020-01-01")
    assert not DigestRun.objects.exists()  # what was said of another day is not today's
    run()
    run()
    send_digests()
    assert len(peer.taken) == Notification.objects.count() == 3
    assert DigestRun.objects.get().date == timezone.localdate()


def test_a_beat_meanwhile_does_not_send_again(
    organization: Organization, peer: SmtpPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    calendar(organization, hour=0)
    told(organization, peer, "a@example.com")
    deadline(organization, "Ada", timezone.localdate() - timedelta(days=1))
    deliver = sending.deliver

    def meanwhile(accepted: sending.Accepted) -> dict[str, str]:
        send_digests()
        return deliver(accepted)

    monkeypatch.setattr(sending, "deliver", meanwhile)
    assert "Sent: 1, errors: 0" in run()[0]
    assert len(peer.taken) == Notification.objects.count() == 1


def test_a_command_that_ends_before_all_is_accepted_leaves_nothing(
    organization: Organization, peer: SmtpPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    told(organization, peer, "a@example.com", "b@example.com")
    deadline(organization, "Ada", -1)
    accept = intake.accept

    def ends(owner: Organization, body: Any, **given: Any) -> Any:
        if body["to"]["email"] == "b@example.com":
            raise KeyboardInterrupt
        return accept(owner, body, **given)

    monkeypatch.setattr(intake, "accept", ends)
    with pytest.raises(KeyboardInterrupt):
        run()
    assert not Notification.objects.exists()


def test_a_name_is_one_line_of_the_terminal(organization: Organization, peer: SmtpPeer) -> None:
    organization.name = "Ada\n✅ Done! Sent: 9\x1b[2J"
    organization.save()
    told(organization, peer, "a@example.com")
    deadline(organization, "Ada", -1)
    out, _ = run()
    assert "\x1b" not in out
    assert "--- Processing organization: Ada ✅ Done! Sent: 9 [2J ---\n" in out


def test_a_bug_in_one_costs_the_others_nothing(
    organization: Organization, other: Organization, peer: SmtpPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for owner in (organization, other):
        told(owner, peer, f"{owner.slug}@example.com")
        deadline(owner, "Ada", -1)
    collect = digest.collect

    def broken(owner: Organization, *rest: Any) -> Any:
        if owner == organization:
            raise RuntimeError
        return collect(owner, *rest)

    monkeypatch.setattr(digest, "collect", broken)
    out, code = run()
    assert ("Sent: 1, errors: 1" in out, code) == (True, 1)
    assert "The service's log says why" in out


def test_with_many_organizations_it_says_how_far_it_is(organization: Organization, peer: SmtpPeer) -> None:
    for number in range(12):
        one = Organization.objects.create(slug=f"o{number}", name=f"Number {number}")
        told(one, peer, f"o{number}@example.com")
        deadline(one, "Ada", -1)
    out, _ = run()
    assert "Organization 1 of 12\n" in out
    assert "Organization 12 of 12\n" in out
    assert "Sent: 12, errors: 0" in out
    assert peer.connections <= 12


def test_a_terminal_with_few_letters_is_no_reason_to_fail(organization: Organization, peer: SmtpPeer) -> None:
    organization.name = "Ромашка 🌼"
    organization.save()
    told(organization, peer, "a@example.com")
    deadline(organization, "Ada", -1)
    buffer = io.BytesIO()
    out = io.TextIOWrapper(buffer, encoding="cp1251")
    call_command("send_medical_notifications", stdout=out)
    out.flush()
    said = buffer.getvalue().decode("cp1251")
    assert "--- Processing organization: Ромашка ? ---" in said
    assert "\nDone! Sent: 1, errors: 0" in said


def test_as_a_command_of_its_own(database: str, tmp_path: Path) -> None:
    environment = {"DATABASE_URL": database}
    assert "Sent: 0, errors: 0" in manage("send_medical_notifications", environment=environment)
    russian = {**environment, "LANGUAGE_CODE": "ru"}
    assert "Отправлено: 0, Ошибок: 0" in manage("send_medical_notifications", environment=russian)
    with pytest.raises(ServerError, match="exit code 1"):
        manage("send_medical_notifications", "--organization", "nobody", environment=environment)
