"""API keys in the admin: shown once, rotated, revoked; and nothing else."""

import base64
import hashlib
import logging
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.apps import apps
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.contrib.messages import get_messages
from django.contrib.sessions.models import Session
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from notifier import api_keys
from notifier.admin import shown_once
from notifier.models import ApiKey, Membership, Organization

KEY = re.compile(r"ntf_(?:live|test)_[A-Za-z0-9]{8}_[A-Za-z0-9_-]{43}")
LIST = "/admin/notifier/apikey/"
ADD = f"{LIST}add/"


@pytest.fixture
def operator(organization: Organization) -> User:
    """An administrator of the default organization."""
    user = User.objects.create_user("anna", is_staff=True)
    Membership.objects.create(user=user, organization=organization, role=Membership.Role.ADMINISTRATOR)
    return user


@pytest.fixture
def page(client: Client, operator: User) -> Client:
    """His browser."""
    client.force_login(operator)
    return client


@pytest.fixture
def key(organization: Organization) -> ApiKey:
    """A good one."""
    made = api_keys.make(organization, name="Shop", scopes=["send"])
    made.row.refresh_from_db()
    return made.row


def form(organization: Organization, /, **changes: Any) -> dict[str, Any]:
    """The form of a new key as a browser sends it; None leaves a field out."""
    body = {"organization": organization.pk, "name": "Shop", "kind": "live", "may_send": "on", "expires_at_0": ""}
    return {name: value for name, value in {**body, "expires_at_1": "", **changes}.items() if value is not None}


def of(key: ApiKey, name: str) -> str:
    """The address of one of its pages."""
    return reverse(f"admin:notifier_apikey_{name}", args=[key.pk])


def shown(answer: Any) -> str:
    """The only key on a page."""
    keys = KEY.findall(answer.content.decode())
    assert len(keys) == 1
    return str(keys[0])


def values(key: ApiKey) -> dict[str, Any]:
    """What is stored of it."""
    return dict(ApiKey.objects.filter(pk=key.pk).values().get())


# --- Shown once ------------------------------------------------------------------------------------------------------
def test_a_new_key_is_shown_once_on_a_page_of_its_own(page: Client, organization: Organization) -> None:
    answer = page.post(ADD, form(organization))
    row = ApiKey.objects.get()
    assert answer.status_code == 302
    assert answer.headers["Location"] == of(row, "shown")
    answer = page.get(of(row, "shown"))
    secret = shown(answer)
    assert "no-store" in answer.headers["Cache-Control"]
    found = api_keys.find(secret)
    assert found == row
    assert (row.organization, row.name, row.kind) == (organization, "Shop", "live")
    assert api_keys.scopes_of(row) == {"send"}
    answer = page.get(of(row, "shown"))
    assert answer.status_code == 200
    assert not KEY.search(answer.content.decode())
    assert "nobody can show it again" in answer.content.decode()


@pytest.mark.parametrize("button", ["_save", "_addanother", "_continue"])
@pytest.mark.parametrize("query", ["", "?_popup=1"])
def test_whatever_button_it_is_shown(page: Client, organization: Organization, button: str, query: str) -> None:
    popup = {"_popup": "1"} if query else {}
    answer = page.post(ADD + query, form(organization, **{button: "1"}, **popup), follow=True)
    assert api_keys.find(shown(answer)) == ApiKey.objects.get()


@pytest.fixture
def everything_logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Every line of every logger, SQL with its parameters too."""
    from django.db import connection

    connection.force_debug_cursor = True
    with caplog.at_level(logging.DEBUG), caplog.at_level(logging.DEBUG, "django.db.backends"):
        yield caplog
    connection.force_debug_cursor = False


@pytest.mark.parametrize("way", ["add", "rotate"])
def test_it_stands_nowhere_else(
    page: Client, organization: Organization, key: ApiKey, everything_logged: pytest.LogCaptureFixture, way: str
) -> None:
    answer = page.post(*((ADD, form(organization)) if way == "add" else (of(key, "rotate"), {})))
    row = ApiKey.objects.latest("pk")
    between = [str(session.get_decoded()) for session in Session.objects.all()]
    told = [str(message) for message in get_messages(answer.wsgi_request)]  # in the cookie they are compressed
    kept = f"{answer.headers}{answer.cookies}{between}{told}"
    answer = page.get(of(row, "shown"))
    secret = shown(answer)
    kept += f"{answer.headers}{answer.cookies}{everything_logged.text}"
    pages = [LIST, ADD, "/admin/", f"{LIST}?q={row.prefix}", *(of(row, name) for name in PAGES), of(row, "shown")]
    for address in pages:
        kept += page.get(address).content.decode()
    for model in apps.get_models():
        kept += repr(list(model._default_manager.values()))
    kept += str([session.get_decoded() for session in Session.objects.all()])
    own_part = secret.removeprefix(f"{row.prefix}_")
    assert row.prefix in kept
    assert own_part not in kept
    for form_of_it in (own_part.encode().hex(), base64.b64encode(own_part.encode()).decode()):
        assert form_of_it not in kept


PAGES = ("change", "history", "rotate", "revoke")


def test_it_is_shown_to_nobody_else(page: Client, organization: Organization, admin_client: Client) -> None:
    page.post(ADD, form(organization))
    row = ApiKey.objects.get()
    assert not KEY.search(admin_client.get(of(row, "shown")).content.decode())
    assert page.head(of(row, "shown")).status_code == 200
    assert page.post(of(row, "shown")).status_code == 200  # neither of these takes it
    assert api_keys.find(shown(page.get(of(row, "shown")))) == row


def test_it_does_not_wait_for_ever(page: Client, organization: Organization, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shown_once, "SECONDS", -1.0)
    page.post(ADD, form(organization))
    assert not KEY.search(page.get(of(ApiKey.objects.get(), "shown")).content.decode())


def test_a_session_that_was_forged_shows_nothing(page: Client, key: ApiKey, settings: Any) -> None:
    other = api_keys.make(key.organization)
    page.post(of(other.row, "rotate"))
    new = ApiKey.objects.latest("pk")
    session = page.session
    session[f"shown_once:{key.pk}"] = session[f"shown_once:{new.pk}"]  # another key's, under this one's name
    session[f"shown_once:{other.row.pk}"] = "rubbish"
    session.save()
    for row in (key, other.row):
        assert not KEY.search(page.get(of(row, "shown")).content.decode())


# --- The form --------------------------------------------------------------------------------------------------------
def at(moment: datetime) -> dict[str, str]:
    """As the form's two fields say it."""
    return {"expires_at_0": f"{moment:%Y-%m-%d}", "expires_at_1": f"{moment:%H:%M:%S}"}


@pytest.mark.parametrize(
    "changes",
    [
        {"may_send": None},  # a key that may do nothing
        {"organization": ""},
        {"organization": "999999999"},
        {"kind": "other"},
        {"name": "x" * 256},
        {"expires_at_0": "2001-01-01", "expires_at_1": "00:00"},
        {"expires_at_0": "9999-01-01", "expires_at_1": "00:00"},  # its successor would end after the last day
        {"expires_at_0": "tomorrow"},
    ],
)
def test_a_wrong_form_makes_no_key(page: Client, organization: Organization, changes: dict[str, Any]) -> None:
    answer = page.post(ADD, form(organization, **changes))
    assert answer.status_code == 200
    assert "errorlist" in answer.content.decode() or "errornote" in answer.content.decode()
    assert not ApiKey.objects.exists()


@pytest.mark.parametrize("ahead", [timedelta(minutes=5), timedelta(days=36_499)])
def test_it_may_end_by_itself(page: Client, organization: Organization, ahead: timedelta) -> None:
    ends = (timezone.now() + ahead).replace(microsecond=0)
    page.post(ADD, form(organization, kind="test", may_send=None, may_manage="on", **at(ends)))
    row = ApiKey.objects.get()
    assert (row.kind, row.expires_at) == ("test", ends)
    assert api_keys.scopes_of(row) == set(api_keys.Scope)
    assert page.post(of(row, "rotate")).status_code == 302
    assert ApiKey.objects.count() == 2


def test_only_the_name_of_a_key_changes(page: Client, key: ApiKey, organization: Organization) -> None:
    before = values(key)
    other = Organization.objects.create(slug="mine-too", name="Mine too")
    Membership.objects.create(user=User.objects.get(), organization=other, role=Membership.Role.ADMINISTRATOR)
    wishes = {"prefix": "ntf_live_x", "digest": "x", "may_read": "on", "may_manage": "on", "revoked_at_0": "2001-01-01"}
    body = form(other, name="Warehouse", kind="test", **wishes, **at(timezone.now() + timedelta(days=9)))
    assert page.post(of(key, "change"), body).status_code == 302
    assert values(key) == {**before, "name": "Warehouse"}
    assert "Warehouse" not in LogEntry.objects.get().change_message


def test_a_name_that_is_saved_undoes_nothing(page: Client, key: ApiKey, monkeypatch: pytest.MonkeyPatch) -> None:
    from notifier.admin.api_keys import ApiKeyAdmin

    save = ApiKeyAdmin.save_model

    def revoked_meanwhile(*arguments: Any) -> None:
        api_keys.revoke([key])
        save(*arguments)

    monkeypatch.setattr(ApiKeyAdmin, "save_model", revoked_meanwhile)
    page.post(of(key, "change"), {"name": "Warehouse"})
    assert values(key)["revoked_at"] is not None
    assert values(key)["name"] == "Warehouse"


def test_the_digest_is_never_shown_nor_asked_for(page: Client, key: ApiKey) -> None:
    digest = bytes(values(key)["digest"])
    told = "".join(page.get(address).content.decode() for address in (LIST, *(of(key, name) for name in PAGES)))
    for form_of_it in (digest.hex(), base64.b64encode(digest).decode(), str(digest), str(list(digest))):
        assert form_of_it not in told
    for lookup in ("digest", "digest__gt", "digest__startswith"):
        assert page.get(LIST, {lookup: digest.hex()}).status_code == 400


def test_a_key_is_not_deleted(page: Client, key: ApiKey, admin_client: Client) -> None:
    for browser in (page, admin_client):
        assert browser.get(of(key, "delete")).status_code == 403
        assert browser.post(of(key, "delete"), {"post": "yes"}).status_code == 403
        body = {"action": "delete_selected", "_selected_action": [key.pk], "post": "yes"}
        browser.post(LIST, body)
        assert b"delete_selected" not in browser.get(LIST).content
        assert ApiKey.objects.filter(pk=key.pk).exists()


def test_its_organization_takes_it_along(admin_client: Client) -> None:
    gone = Organization.objects.create(slug="gone", name="Gone")
    api_keys.make(gone)
    assert admin_client.post(f"/admin/notifier/organization/{gone.pk}/delete/", {"post": "yes"}).status_code == 302
    assert not ApiKey.objects.exists()
    assert not Organization.objects.filter(pk=gone.pk).exists()


# --- The list --------------------------------------------------------------------------------------------------------
def test_the_list_says_and_finds_what_state_a_key_is_in(page: Client, organization: Organization) -> None:
    rows = {name: api_keys.make(organization, name=f"the-{name}-one").row for name in ("good", "expired", "revoked")}
    ApiKey.objects.filter(pk=rows["expired"].pk).update(expires_at=Now() - timedelta(seconds=1))
    ApiKey.objects.filter(pk=rows["good"].pk).update(expires_at=Now() + timedelta(hours=1))
    api_keys.revoke([rows["revoked"]])
    for state, row in rows.items():
        told = page.get(LIST, {"state": state}).content.decode()
        assert f'<td class="field-state">{state}</td>' in told
        assert [name for name in rows if f"the-{name}-one" in told] == [state]
        assert f'<div class="readonly">{state}</div>' in page.get(of(row, "change")).content.decode()
    told = page.get(LIST, {"state": "rubbish"}).content.decode()
    assert all(f"the-{name}-one" in told for name in rows)


def test_what_is_known_of_a_key_is_shown(page: Client, organization: Organization) -> None:
    row = api_keys.make(organization, name="Shop", kind="test", scopes=["send", "read"]).row
    for address in (LIST, of(row, "change")):
        told = page.get(address).content.decode()
        for text in (organization.name, "Shop", row.prefix, "test", "send, read"):
            assert text in told


# --- Rotated ---------------------------------------------------------------------------------------------------------
def test_rotation_asks_first(page: Client, key: ApiKey) -> None:
    before = values(key)
    answer = page.get(of(key, "rotate"))
    assert answer.status_code == 200
    assert key.prefix in answer.content.decode()
    assert ApiKey.objects.count() == 1
    assert values(key) == before
    assert not LogEntry.objects.exists()


def test_rotation_shows_the_successor_once_and_leaves_the_old_one_a_day(page: Client, key: ApiKey) -> None:
    answer = page.post(of(key, "rotate"), follow=True)
    secret = shown(answer)
    new = api_keys.find(secret)
    assert new is not None
    assert new != key
    assert (new.organization, new.name, new.kind) == (key.organization, key.name, key.kind)
    assert api_keys.scopes_of(new) == api_keys.scopes_of(key)
    ends = values(key)["expires_at"]
    assert abs(ends - timezone.now() - timedelta(days=1)) < timedelta(minutes=1)
    assert f"The old key, {key}, goes on until" in answer.content.decode()
    assert not KEY.search(page.get(of(new, "shown")).content.decode())
    assert {entry.object_id for entry in LogEntry.objects.all()} == {str(key.pk), str(new.pk)}


def end(key: ApiKey, how: str) -> None:
    """Make it no good."""
    if how == "revoked":
        api_keys.revoke([key])
    else:
        ApiKey.objects.filter(pk=key.pk).update(expires_at=Now() - timedelta(seconds=1))


@pytest.mark.parametrize("how", ["revoked", "expired"])
def test_what_has_ended_gets_no_successor(page: Client, key: ApiKey, how: str) -> None:
    end(key, how)
    before = values(key)
    for answer in (page.get(of(key, "rotate")), page.post(of(key, "rotate"))):
        assert answer.headers["Location"] == of(key, "change")
    assert ApiKey.objects.count() == 1
    assert values(key) == before
    assert of(key, "rotate") not in page.get(of(key, "change")).content.decode()


# --- Revoked ---------------------------------------------------------------------------------------------------------
def test_revoking_asks_first_and_ends_a_key_for_good(page: Client, key: ApiKey) -> None:
    assert of(key, "revoke") in page.get(of(key, "change")).content.decode()
    assert key.prefix in page.get(of(key, "revoke")).content.decode()
    assert values(key)["revoked_at"] is None
    assert page.post(of(key, "revoke")).headers["Location"] == of(key, "change")
    at_once = values(key)["revoked_at"]
    assert at_once is not None
    assert of(key, "revoke") not in page.get(of(key, "change")).content.decode()
    page.post(of(key, "revoke"))
    assert values(key)["revoked_at"] == at_once
    assert [entry.change_message for entry in LogEntry.objects.all()] == ["Revoked"]


def test_many_are_revoked_from_the_list(page: Client, key: ApiKey, organization: Organization) -> None:
    others = [api_keys.make(organization).row for _ in range(2)]
    body: dict[str, Any] = {"action": "revoke_selected", "_selected_action": [key.pk, others[0].pk]}
    told = page.post(LIST, body).content.decode()
    assert key.prefix in told
    assert others[1].prefix not in told
    assert not ApiKey.objects.exclude(revoked_at=None).exists()
    page.get(LIST, {**body, "confirmed": "yes"})
    assert not ApiKey.objects.exclude(revoked_at=None).exists()
    assert page.post(LIST, {**body, "confirmed": "yes"}).status_code == 302
    assert set(ApiKey.objects.exclude(revoked_at=None)) == {key, others[0]}
    assert LogEntry.objects.count() == 2


def test_nothing_happens_without_the_forms_token(key: ApiKey, operator: User) -> None:
    elsewhere = Client(enforce_csrf_checks=True)
    elsewhere.force_login(operator)
    before = values(key)
    body = {"action": "revoke_selected", "_selected_action": [key.pk], "confirmed": "yes"}
    for address, sent in (
        (of(key, "rotate"), {}),
        (of(key, "revoke"), {}),
        (ADD, form(key.organization)),
        (LIST, body),
    ):
        assert elsewhere.post(address, sent).status_code == 403
    assert ApiKey.objects.count() == 1
    assert values(key) == before


def test_the_digest_in_the_database_is_that_of_the_key_shown(page: Client, organization: Organization) -> None:
    secret = shown(page.post(ADD, form(organization), follow=True))
    assert bytes(ApiKey.objects.get().digest) == hashlib.sha256(secret.encode()).digest()
