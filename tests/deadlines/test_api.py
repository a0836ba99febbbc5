"""`/api/deadlines/`: people and their due dates."""

from datetime import UTC, date, timedelta
from datetime import datetime as moment
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from deadlines.models import Deadline
from notifier import api_keys
from notifier.models import Organization
from tests.api.checks import assert_problem, raw
from tests.deadlines.conftest import calendar, deadline, people

URL = "/api/deadlines/"
FIELDS = {"id", "person", "kind", "due_date", "note", "state", "created_at", "updated_at"}


def path(row: Deadline) -> str:
    """Its address."""
    return f"{URL}{row.pk}/"


@pytest.mark.parametrize("url", [URL, URL.rstrip("/")])
def test_a_deadline_is_created(api: APIClient, organization: Organization, url: str) -> None:
    body = {"person": "  Анна   Иванова ", "kind": "vehicle", "due_date": "2027-03-01", "note": "Bring it.\n= 1"}
    response = api.post(url, body)
    assert response.status_code == 201
    made = response.json()
    assert set(made) == FIELDS
    assert made == {**made, **body, "person": "Анна Иванова"}
    row = Deadline.objects.get()
    assert response.headers["Location"] == path(row)
    assert (row.organization, row.due_date) == (organization, date(2027, 3, 1))
    assert api.get(path(row)).json() == api.get(path(row).rstrip("/")).json() == made


def test_what_is_left_out_is_a_medical_examination_without_date(api: APIClient, organization: Organization) -> None:
    made = api.post(URL, {"person": "Ada"}).json()
    assert (made["kind"], made["due_date"], made["note"], made["state"]) == ("medical_exam", None, "", "without_date")
    assert api.post(URL, {"person": "Alan", "due_date": None}).json()["due_date"] is None


@pytest.mark.parametrize(
    ("change", "attr", "code"),
    [
        ({"person": None}, "person", "null"),
        ({"person": ""}, "person", "blank"),
        ({"person": "  "}, "person", "blank"),
        ({"person": 5}, "person", "invalid"),
        ({"person": ["Ada"]}, "person", "invalid"),
        ({"person": "a" * 256}, "person", "max_length"),
        ({"person": "Ada\nLovelace"}, "person", "one_line"),
        ({"kind": "birthday"}, "kind", "invalid_choice"),
        ({"kind": None}, "kind", "null"),
        ({"kind": 1}, "kind", "invalid_choice"),
        ({"kind": True}, "kind", "invalid_choice"),
        ({"due_date": "21.11.2026"}, "due_date", "day"),
        ({"due_date": "2026-02-30"}, "due_date", "day"),
        ({"due_date": "20261121"}, "due_date", "day"),
        ({"due_date": "2026-W01-1"}, "due_date", "day"),
        ({"due_date": "2026-11-21T00:00:00Z"}, "due_date", "day"),
        ({"due_date": "２０２６-11-21"}, "due_date", "day"),
        ({"due_date": ""}, "due_date", "day"),
        ({"due_date": 20261121}, "due_date", "day"),
        ({"due_date": True}, "due_date", "day"),
        ({"note": None}, "note", "null"),
        ({"note": "a" * 1001}, "note", "max_length"),
        ({"note": 1}, "note", "invalid"),
        ({"peson": "Ada"}, "peson", "unknown_field"),
        ({"organization": 1}, "organization", "unknown_field"),
        ({"id": 1}, "id", "unknown_field"),
        ({"state": "later"}, "state", "unknown_field"),
    ],
)
@pytest.mark.parametrize("method", ["post", "put", "patch"])
def test_what_is_not_right_is_refused_and_named(
    api: APIClient, organization: Organization, method: str, change: dict[str, Any], attr: str, code: str
) -> None:
    row = deadline(organization, "Grace")
    answer = getattr(api, method)(URL if method == "post" else path(row), {"person": "Ada", **change})
    assert_problem(answer, 400, attr, code)
    assert list(Deadline.objects.values_list("person", "due_date", "note")) == [("Grace", None, "")]


@pytest.mark.parametrize("body", ["[]", '"Ada"', "null", "5", "{}", '{"person": "A\\u0000"}', '{"person": "\\ud800"}'])
def test_what_is_no_deadline_is_refused(api: APIClient, organization: Organization, body: str) -> None:
    assert_problem(raw(api, "POST", URL, body), 400)
    assert not Deadline.objects.exists()


@pytest.mark.parametrize("kind", ["text/csv", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded"])
def test_only_json_is_read(api: APIClient, organization: Organization, kind: str) -> None:
    assert_problem(raw(api, "POST", URL, "person=Ada", kind), 415)


def test_two_people_may_have_one_name(api: APIClient, organization: Organization) -> None:
    made = [api.post(URL, {"person": person}).json()["id"] for person in ("Ada", " Ada ")]
    assert len(set(made)) == 2
    assert [row.person for row in Deadline.objects.filter(organization=organization)] == ["Ada", "Ada"]


def test_two_spellings_of_a_letter_are_one_name(api: APIClient, organization: Organization) -> None:
    made = [api.post(URL, {"person": person}).json()["person"] for person in ("Андре\u0439", "Андре\u0438\u0306")]
    assert made == ["Андре\u0439"] * 2


def test_a_name_that_is_longer_in_the_one_spelling(api: APIClient, organization: Organization) -> None:
    assert_problem(api.post(URL, {"person": "\u0958" * 255}), 400, "person", "max_length")
    assert api.post(URL, {"person": "\u0958" * 100}).json()["person"] == "\u0915\u093c" * 100


def test_patch_changes_what_is_given_and_put_all_of_it(api: APIClient, organization: Organization) -> None:
    row = deadline(organization, "Ada", 5, kind="vehicle", note="old")
    changed = api.patch(path(row), {"note": "new"}).json()
    assert (changed["person"], changed["kind"], changed["note"]) == ("Ada", "vehicle", "new")
    assert changed["due_date"] == "2026-11-26"
    assert api.patch(path(row), {"due_date": None}).json()["due_date"] is None
    assert api.patch(path(row), {}).status_code == 200
    replaced = api.put(path(row), {"person": "Alan"}).json()
    assert (replaced["id"], replaced["person"], replaced["kind"], replaced["note"]) == (
        row.pk,
        "Alan",
        "medical_exam",
        "",
    )
    assert_problem(api.put(path(row), {"note": "x"}), 400, "person", "required")


def test_it_is_deleted(api: APIClient, organization: Organization) -> None:
    row = deadline(organization, "Ada")
    assert api.delete(path(row)).status_code == 204
    assert_problem(api.get(path(row)), 404)
    assert not Deadline.objects.exists()


@pytest.mark.parametrize("method", ["get", "put", "patch", "delete"])
def test_another_organizations_is_not_there(
    api: APIClient, organization: Organization, other: Organization, method: str
) -> None:
    theirs = deadline(other, "Ada")
    for address in (path(theirs), f"{URL}{2**70}/", f"{URL}0/"):
        assert_problem(getattr(api, method)(address, {"person": "Mallory"} if method != "get" else {}), 404)
    theirs.refresh_from_db()
    assert theirs.person == "Ada"
    assert api.get(URL).json()["results"] == []


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", "later upcoming today overdue without"),
        ("person=today", "today"),
        ("person=%20today%20", "today"),
        ("person=toda", ""),
        ("kind=vehicle", "overdue"),
        ("state=without_date", "without"),
        ("state=overdue", "overdue"),
        ("state=upcoming", "upcoming today"),
        ("state=later", "later"),
        ("state=upcoming&kind=vehicle", ""),
        ("due_before=TODAY", "overdue"),
        ("due_after=TODAY", "later upcoming"),
        ("due_after=&state=", "later upcoming today overdue without"),
    ],
)
def test_the_list_newest_first_and_its_filters(
    api: APIClient, organization: Organization, query: str, expected: str
) -> None:
    today = timezone.localdate()
    calendar(organization, days_ahead=10)
    deadline(organization, "without")
    deadline(organization, "overdue", today - timedelta(days=1), kind="vehicle")
    deadline(organization, "today", today)
    deadline(organization, "upcoming", today + timedelta(days=10))
    deadline(organization, "later", today + timedelta(days=11))
    answer = api.get(f"{URL}?{query.replace('TODAY', today.isoformat())}")
    assert answer.status_code == 200
    found = answer.json()["results"]
    assert [one["person"] for one in found] == expected.split()
    if not query:
        assert [one["state"] for one in found] == ["later", "upcoming", "upcoming", "overdue", "without_date"]


@pytest.mark.parametrize(
    ("query", "attr"),
    [
        ("kind=birthday", "kind"),
        ("state=gone", "state"),
        ("due_before=21.11.2026", "due_before"),
        ("due_after=2026-13-01", "due_after"),
        ("person=%00", "person"),
    ],
)
def test_a_wrong_filter_is_refused(api: APIClient, organization: Organization, query: str, attr: str) -> None:
    assert_problem(api.get(f"{URL}?{query}"), 400, attr)


def test_today_is_that_of_the_organization(
    api: APIClient, organization: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timezone, "now", lambda: moment(2026, 11, 20, 22, tzinfo=UTC))
    row = deadline(organization, "Ada", date(2026, 11, 20))
    assert api.get(path(row)).json()["state"] == "upcoming"
    mine = calendar(organization, timezone="Asia/Vladivostok")
    assert api.get(path(row)).json()["state"] == "overdue"
    assert [one["person"] for one in api.get(f"{URL}?state=overdue").json()["results"]] == ["Ada"]
    mine.timezone = "America/New_York"
    mine.save()
    assert api.get(path(row)).json()["state"] == "upcoming"


def test_a_list_costs_the_same_however_long_it_is(
    api: APIClient, organization: Organization, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    people(organization, 300, 5)
    api.get(URL)  # the default organization is kept afterwards
    with django_assert_num_queries(2):
        first = api.get(f"{URL}?page_size=100").json()
    assert len(first["results"]) == 100
    with django_assert_num_queries(2):
        assert len(api.get(first["next"]).json()["results"]) == 100


@pytest.mark.parametrize(("method", "address"), [("get", URL), ("post", URL), ("post", f"{URL}import/")])
@pytest.mark.parametrize(("scopes", "status"), [(["send", "read"], 403), (["manage"], 0)])
def test_all_of_it_needs_the_scope_manage(
    organization: Organization, settings: Settings, method: str, address: str, scopes: list[str], status: int
) -> None:
    settings.API_OPEN = False
    client = APIClient()
    assert_problem(getattr(client, method)(address), 401)
    made = api_keys.make(organization, kind="live", scopes=scopes)
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {made.secret}")
    body = {"person": "Ada"} if address == URL and method == "post" else None
    answer = getattr(client, method)(address, body)
    if status:
        assert_problem(answer, status, None, "scope")
    else:
        assert answer.status_code in {200, 201, 400, 415}


@pytest.mark.parametrize(("method", "address"), [("delete", URL), ("put", URL), ("get", f"{URL}import/")])
def test_other_methods_are_not_allowed(api: APIClient, organization: Organization, method: str, address: str) -> None:
    assert_problem(getattr(api, method)(address), 405)
