"""The admin of organizations' accounts: who reaches which page, what the button says, and that no secret is seen."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.contrib.messages import get_messages
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django.fixtures import Settings

from notifier import trials
from notifier import urls as _  # noqa: F401 - which load the admin, whose pages are listed below
from notifier.models import EmailSettings, Membership, Organization, ProviderSettings, SmsSettings, TelegramSettings
from notifier.organization_accounts import seal_secret
from tests.channels.http_peer import HttpPeer, answer, http_peer
from tests.channels.smtp_peer import Hang, SmtpPeer
from tests.notifier.provider_rows import (
    CANARY,
    EMAIL,
    SMS,
    TELEGRAM,
    changed,
    email_row,
    sms_row,
    telegram_row,
)

MODELS: list[type[ProviderSettings]] = [EmailSettings, SmsSettings, TelegramSettings]
BODIES: dict[type[ProviderSettings], dict[str, str]] = {
    EmailSettings: EMAIL,
    SmsSettings: SMS,
    TelegramSettings: TELEGRAM,
}
WORD = "strangersword"
Role = Membership.Role

pytestmark = pytest.mark.django_db


@dataclass
class House:
    organization: Organization
    rows: dict[type[ProviderSettings], Any]


def house(slug: str, word: str) -> House:
    """An organization whose every text holds the word, with one account of each kind."""
    organization = Organization.objects.create(slug=slug, name=f"{word} Ltd")
    email = email_row(
        organization, host=f"{word}.example.com", user=f"{word}@example.com", recipients=f"{word}@example.com"
    )
    sms = sms_row(organization, login=word, sender=word)
    rows = {EmailSettings: email, SmsSettings: sms, TelegramSettings: telegram_row(organization)}
    return House(organization, rows)


@pytest.fixture
def mine(db: None) -> House:
    return house("mine", "myword")


@pytest.fixture
def theirs(db: None) -> House:
    return house("theirs", WORD)


def operator(name: str, organization: Organization | None = None, role: str = Role.ADMINISTRATOR) -> Client:
    """The browser of an operator who may enter the admin."""
    user = User.objects.create_user(name, email=f"{name}@example.com", is_staff=True)
    if organization is not None:
        Membership.objects.create(user=user, organization=organization, role=role)
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def page(mine: House, theirs: House) -> Client:
    """The browser of the one's administrator."""
    return operator("anna", mine.organization)


@pytest.fixture
def superuser(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root", "root@example.com"))
    return client


def start(model: type[ProviderSettings]) -> str:
    return f"{model._meta.app_label}_{model._meta.model_name}_"


def address(model: type[ProviderSettings], name: str, *arguments: Any) -> str:
    return reverse(f"admin:{start(model)}{name}", args=arguments)


def row_pages() -> list[tuple[type[ProviderSettings], str]]:
    """Every page about one row, as the admin itself lists them."""
    return [
        (model, entry.name.removeprefix(start(model)))
        for model in MODELS
        for entry in admin.site.get_model_admin(model).get_urls()
        if entry.name and str(entry.pattern).startswith("<")
    ]


def all_pages(rows: dict[type[ProviderSettings], Any]) -> Iterator[str]:
    """Every address of the three models."""
    for model in MODELS:
        yield address(model, "changelist")
        yield address(model, "add")
    for model, name in row_pages():
        yield address(model, name, rows[model].pk)


def stored() -> list[Any]:
    return [list(model._default_manager.order_by("pk").values()) for model in MODELS]


def said(response: Any) -> list[tuple[str, str]]:
    """The messages that this answer has added: how and what."""
    added = get_messages(response.wsgi_request)._queued_messages  # type: ignore[union-attr]
    return [(message.level_tag, str(message)) for message in added]


# --- Who reaches what ------------------------------------------------------------------------------------------------
def test_there_is_a_test_page_for_each() -> None:
    assert {name for _model, name in row_pages()} == {"change", "delete", "history", "test"}


@pytest.mark.parametrize("staff", [True, False])
def test_strangers_and_members_reach_nothing(theirs: House, *, staff: bool) -> None:
    before = stored()
    member = operator("ben", theirs.organization, Role.MEMBER)
    User.objects.get(username="ben").user_permissions.set(Permission.objects.all())
    User.objects.filter(username="ben").update(is_staff=staff)
    for client in (Client(), member, operator("nobody")):
        for where in all_pages(theirs.rows):
            for response in (client.get(where), client.post(where, {"post": "yes"})):
                login = response.status_code == 302 and response.headers["Location"].startswith("/admin/login/")
                assert login or response.status_code in (403, 404)
                assert WORD not in response.content.decode()
    assert stored() == before


@pytest.mark.parametrize(("model", "name"), row_pages())
def test_anothers_row_is_not_there(page: Client, theirs: House, model: type[ProviderSettings], name: str) -> None:
    before = stored()
    pages = [address(model, name, pk) for pk in (theirs.rows[model].pk, 2**40)]
    bodies = [{}, {"post": "yes"}, BODIES[model], {"from": "form"}]
    for where in pages:
        for response in (page.get(where), *(page.post(where, body) for body in bodies)):
            assert response.status_code == 404
            assert WORD not in response.content.decode()
    one, other = (page.get(where).content.decode() for where in pages)
    assert one.replace(pages[0], pages[1]) == other
    assert stored() == before
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize("model", MODELS)
def test_lists_choices_and_searches_hold_ones_own(
    page: Client, mine: House, theirs: House, model: type[ProviderSettings]
) -> None:
    for query in ({}, {"q": WORD[:6]}, {"organization__id__exact": theirs.organization.pk}, {"is_active__exact": 1}):
        response = page.get(address(model, "changelist"), query, follow=True)
        assert WORD not in response.content.decode()
        assert set(response.context["cl"].queryset) <= {mine.rows[model]}
    for query in ({"secret__startswith": "g"}, {"organization__memberships__user__password__startswith": "p"}):
        assert page.get(address(model, "changelist"), query).status_code in (302, 400)
    assert WORD not in page.get(address(model, "add"), {"organization": theirs.organization.pk}).content.decode()
    found = page.get(
        "/admin/autocomplete/",
        {"app_label": "notifier", "model_name": str(model._meta.model_name), "field_name": "organization", "term": ""},
    ).json()["results"]
    assert [one["id"] for one in found] == [str(mine.organization.pk)]


@pytest.mark.parametrize("model", MODELS)
def test_nothing_is_stored_for_another_organization(
    page: Client, mine: House, theirs: House, model: type[ProviderSettings]
) -> None:
    model._default_manager.all().delete()
    body = {**BODIES[model], "secret_text": "x"}
    refused = page.post(address(model, "add"), {**body, "organization": theirs.organization.pk})
    assert "organization" in refused.context["adminform"].form.errors
    assert page.post(address(model, "add"), {**body, "organization": mine.organization.pk}).status_code == 302
    row = model._default_manager.get()
    where = address(model, "change", row.pk)
    assert page.post(where, {**body, "organization": theirs.organization.pk}).status_code == 302
    assert model._default_manager.get().organization == mine.organization


@pytest.mark.parametrize("model", MODELS)
def test_actions_reach_ones_own(page: Client, theirs: House, mine: House, model: type[ProviderSettings]) -> None:
    both = [house.rows[model].pk for house in (theirs, mine)]
    page.post(address(model, "changelist"), {"action": "delete_selected", "_selected_action": both, "post": "yes"})
    assert list(model._default_manager.all()) == [theirs.rows[model]]


@pytest.mark.parametrize("name", ["change", "delete", "history"])
@pytest.mark.parametrize("model", MODELS)
def test_ones_own_are_there(page: Client, superuser: Client, mine: House, model: type[Any], name: str) -> None:
    for client in (page, superuser):
        response = client.get(address(model, name, mine.rows[model].pk))
        assert response.status_code == 200
        assert WORD not in response.content.decode()


def test_a_superuser_sees_everybodys(superuser: Client, mine: House, theirs: House) -> None:
    for model in MODELS:
        assert set(superuser.get(address(model, "changelist")).context["cl"].queryset) == {
            mine.rows[model],
            theirs.rows[model],
        }


def test_the_columns_of_the_list(page: Client) -> None:
    page.cookies["django_language"] = "en"
    response = page.get(address(EmailSettings, "changelist"))
    text = response.content.decode()
    columns = [
        text.index(f"column-{name}") for name in response.context["cl"].list_display if name != "action_checkbox"
    ]
    assert columns == sorted(columns)
    assert list(response.context["cl"].list_display[1:]) == [
        *("organization", "host", "port_number", "user_name", "status", "recipients_number", "actions_column")
    ]
    assert "Test e-mail" in text
    assert "✓ active" in text


# --- The button ------------------------------------------------------------------------------------------------------
@pytest.fixture
def http(settings: Settings) -> Iterator[HttpPeer]:
    with http_peer() as peer:
        settings.TWILIO_API_URL = settings.TELEGRAM_API_URL = peer.url
        yield peer


def press(client: Client, row: ProviderSettings, **body: str) -> Any:
    """The settings rest since their last test."""
    type(row)._default_manager.filter(pk=row.pk).update(tested_at=timezone.now() - timedelta(minutes=1))
    return client.post(address(type(row), "test", row.pk), body)


def aim(row: EmailSettings, peer: SmtpPeer, **fields: Any) -> EmailSettings:
    """The settings lead to the test's own server."""
    wanted = {"host": "127.0.0.1", "port": peer.port, "use_ssl": False, "may_be_inside": True, **fields}
    EmailSettings.objects.filter(pk=row.pk).update(**wanted)
    return EmailSettings.objects.get(pk=row.pk)


def test_a_green_test_sends_a_mail_to_each_recipient(page: Client, mine: House) -> None:
    Organization.objects.filter(pk=mine.organization.pk).update(name="My\nword <b>Ltd</b>")
    with SmtpPeer(user="myword@example.com", password=CANARY) as peer:
        row = aim(mine.rows[EmailSettings], peer, recipients="a@example.com\nb@example.com")
        response = press(page, row)
    assert response.headers["Location"] == address(EmailSettings, "changelist")
    [(tag, text)] = said(response)
    assert tag == "success"
    assert "a@example.com, b@example.com" in text
    assert "SPF" in text
    assert "<b>" not in text
    assert [mail.recipient for mail in peer.taken] == ["a@example.com", "b@example.com"]
    row.refresh_from_db()
    assert row.test_failure == ""
    assert "✓ passed" in page.get(address(EmailSettings, "change", row.pk)).content.decode()


@pytest.mark.parametrize(
    ("script", "fields", "stage", "words"),
    [
        ({"AUTH": "535 5.7.8 wrong"}, {}, "login", ["login", "Check user and password", "535 5.7.8"]),
        (
            {"RCPT": ["250 ok", "550 5.1.1 who"]},
            {},
            "recipient",
            ["recipient (b@example.com)", "Sent to a@example.com"],
        ),
        ({}, {"host": "nowhere.invalid"}, "dns", ["finding the server (DNS)", "spelling"]),
        ({}, {"use_tls": True}, "tls", ["encryption (TLS)", "no TLS on this port"]),
        ({}, {"may_be_inside": False, "use_tls": True}, "dns", ["superuser"]),
    ],
)
def test_a_red_test_names_the_stage_and_the_remedy(
    page: Client, mine: House, script: Any, fields: dict[str, Any], stage: str, words: list[str]
) -> None:
    with SmtpPeer(script, user="myword@example.com", password=CANARY) as peer:
        row = aim(mine.rows[EmailSettings], peer, recipients="a@example.com\nb@example.com", **fields)
        response = press(page, row, **{"from": "form"})
    assert response.headers["Location"] == address(EmailSettings, "change", row.pk)
    [(tag, text)] = said(response)
    assert tag == "error"
    for word in words:
        assert word in text
    row.refresh_from_db()
    assert row.test_failure == stage


def test_nobody_to_send_to_and_who_gets_it_else(page: Client, mine: House) -> None:
    with SmtpPeer(user="myword@example.com", password=CANARY) as peer:
        row = aim(mine.rows[EmailSettings], peer, recipients="")
        assert said(press(page, row))[0][0] == "success"
        assert [mail.recipient for mail in peer.taken] == ["anna@example.com"]
        User.objects.update(email="")
        assert "nobody to send to" in said(press(page, row))[0][1]


def test_it_is_pressed_twice(page: Client, mine: House) -> None:
    with SmtpPeer(user="myword@example.com", password=CANARY) as peer:
        row = aim(mine.rows[EmailSettings], peer)
        assert [tag for tag, _text in said(press(page, row))] == ["success"]
        [(tag, text)] = said(page.post(address(EmailSettings, "test", row.pk)))
    assert (tag, len(peer.taken)) == ("warning", 1)
    assert "Wait" in text


def test_inactive_settings_are_tested_and_said_to_be_inactive(page: Client, mine: House) -> None:
    with SmtpPeer(user="myword@example.com", password=CANARY) as peer:
        row = aim(mine.rows[EmailSettings], peer, is_active=False)
        tags = said(press(page, row))
    assert [tag for tag, _text in tags] == ["success", "warning"]
    assert "not active" in tags[1][1]
    assert "✗ switched off" in page.get(address(EmailSettings, "changelist")).content.decode()


def test_a_silent_server_does_not_hold_the_page(page: Client, mine: House, monkeypatch: pytest.MonkeyPatch) -> None:
    with SmtpPeer({"END": Hang}, user="myword@example.com", password=CANARY) as peer:
        row = aim(mine.rows[EmailSettings], peer)
        for seconds in (0.5, 2, 5):  # more where the machine is too busy to get that far
            monkeypatch.setattr(trials, "PATIENCE", timedelta(seconds=seconds))
            begun = timezone.now()
            [(tag, text)] = said(press(page, row))
            took = timezone.now() - begun
            assert tag == "error"
            if "may have arrived" in text:
                break
    assert "may have arrived" in text
    assert took < timedelta(seconds=20)


def test_an_unreadable_secret_is_said(page: Client, mine: House) -> None:
    for row in mine.rows.values():
        type(row)._default_manager.filter(pk=row.pk).update(secret=b"not sealed")
        [(tag, text)] = said(press(page, row))
        assert tag == "error"
        assert "cannot be read any more" in text


def test_sms_and_telegram_tell_whose_account_it_is(page: Client, mine: House, http: HttpPeer) -> None:
    http.plan(answer(200, {"status": "active", "friendly_name": "Acme's account"}))
    [(tag, text)] = said(press(page, mine.rows[SmsSettings]))
    assert (tag, "Acme&#x27;s account" in text) == ("success", True)
    http.plan(answer(200, {"ok": True, "result": {"username": "acme_bot"}}))
    [(tag, text)] = said(press(page, mine.rows[TelegramSettings]))
    assert (tag, "@acme_bot" in text) == ("success", True)
    http.plan(answer(401, {"ok": False, "description": f"Unauthorized {CANARY}"}))
    [(tag, text)] = said(press(page, mine.rows[TelegramSettings]))
    assert (tag, "does not let us in" in text) == ("error", True)
    mine.rows[TelegramSettings].refresh_from_db()
    assert mine.rows[TelegramSettings].test_failure == "login"


def test_the_button_needs_a_post_with_a_token(mine: House) -> None:
    client = operator("anna", mine.organization)
    guarded = Client(enforce_csrf_checks=True)
    guarded.cookies = client.cookies
    for row in mine.rows.values():
        where = address(type(row), "test", row.pk)
        assert client.get(where).status_code == 405
        assert guarded.post(where).status_code == 403


# --- No secret is seen -----------------------------------------------------------------------------------------------
def test_the_secret_is_seen_nowhere(
    superuser: Client, page: Client, mine: House, http: HttpPeer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    seen: list[str] = []
    with SmtpPeer({"AUTH": f"535 5.7.8 {CANARY}"}, user="u", password="p") as peer:
        aim(mine.rows[EmailSettings], peer)
        http.plan(answer(401, {"message": CANARY}), answer(404, {"description": CANARY}))
        for model, row in mine.rows.items():
            body = {**BODIES[model], "port": "x", "provider": "x", "parse_mode": "x", "secret_text": CANARY}
            seen.append(superuser.post(address(model, "change", row.pk), body).content.decode())  # refused
            body = changed(BODIES[model], secret_text=CANARY)
            if model is not EmailSettings:
                assert superuser.post(address(model, "change", row.pk), body).status_code == 302
            seen += [text for _tag, text in said(press(page, row))]
    for client in (superuser, page):
        seen += [client.get(where, follow=True).content.decode() for where in all_pages(mine.rows)]
    seen += [entry.change_message + entry.object_repr for entry in LogEntry.objects.all()]
    seen += [record.getMessage() for record in caplog.records]
    assert len(seen) > 30
    sealed = seal_secret(CANARY)[:5].decode()
    for text in seen:
        assert CANARY not in text
        assert sealed not in text


def test_odd_but_allowed_settings_are_pointed_out(page: Client, mine: House) -> None:
    where = address(EmailSettings, "change", mine.rows[EmailSettings].pk)
    odd = {"host": "smtp.gmail.com", "port": "465", "secret_text": "x"}
    page.post(where, changed(EMAIL, **odd))
    text = page.get(where).content.decode()
    assert "Gmail expects smtp.gmail.com, port 587, TLS." in text
