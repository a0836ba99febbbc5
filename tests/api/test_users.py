"""`/api/users/`: creating, reading, changing, finding."""

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from notifier.models import Organization, Recipient
from tests.api.checks import USER_FIELDS, assert_problem, moment

URL = "/api/users/"


@pytest.mark.django_db
def test_a_new_user_is_answered_with_201_its_place_and_every_field(api: APIClient) -> None:
    response = api.post(URL, {"email": "user@example.com"})
    body = response.json()
    assert response.status_code == 201
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Location"] == f"/api/users/{body['id']}/"
    assert set(body) == USER_FIELDS
    assert type(body["id"]) is int
    assert body["email"] == "user@example.com"
    assert {body[name] for name in ("phone", "telegram_chat_id", "external_id", "name", "language", "timezone")} == {
        None
    }
    assert body["channels"] == []
    assert moment(body["created_at"]) <= moment(body["updated_at"])
    assert api.get(response.headers["Location"]).json() == body


@pytest.mark.django_db
def test_every_field_comes_back_as_it_was_given(api: APIClient) -> None:
    given: dict[str, Any] = {
        "email": "Ada.Lovelace@example.com",
        "phone": "+12025550123",
        "telegram_chat_id": "-1001234567890",
        "external_id": "customer-17",
        "name": "Ада Лавлейс 🧮",
        "language": "en-gb",
        "timezone": "Europe/London",
        "channels": ["telegram", "email"],
    }
    body = api.post(URL, given).json()
    assert {name: body[name] for name in given} == given


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"email": "user@example.com"}, {"email": "user@example.com"}),
        ({"email": "User@EXAMPLE.Com"}, {"email": "User@example.com"}),  # the local part is the host's business
        ({"email": "user+tag@mail.example.co.uk"}, {"email": "user+tag@mail.example.co.uk"}),
        ({"email": "delivered@simulator.test"}, {"email": "delivered@simulator.test"}),
        ({"phone": "+12025550123"}, {"phone": "+12025550123"}),
        ({"phone": "+1 (202) 555-0123"}, {"phone": "+12025550123"}),
        ({"phone": "+7 912 345-67-89"}, {"phone": "+79123456789"}),
        ({"phone": "+39 02 3661 8300"}, {"phone": "+390236618300"}),  # Italy keeps its leading zero
        ({"phone": "+12015550100"}, {"phone": "+12015550100"}),
        ({"telegram_chat_id": 123456789}, {"telegram_chat_id": "123456789"}),
        ({"telegram_chat_id": "123456789"}, {"telegram_chat_id": "123456789"}),
        ({"telegram_chat_id": -1001234567890}, {"telegram_chat_id": "-1001234567890"}),
        ({"telegram_chat_id": 9007199254740993}, {"telegram_chat_id": "9007199254740993"}),  # over 2**53
        ({"telegram_chat_id": "@news_channel"}, {"telegram_chat_id": "@news_channel"}),
    ],
)
def test_one_address_is_enough(api: APIClient, given: dict[str, Any], kept: dict[str, Any]) -> None:
    response = api.post(URL, given)
    assert response.status_code == 201
    assert {name: response.json()[name] for name in kept} == kept


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("region", "given", "kept"),
    [
        ("US", "(202) 555-0123", "+12025550123"),
        ("RU", "8 912 345-67-89", "+79123456789"),
        ("GB", "07911 123456", "+447911123456"),
        ("US", "+79123456789", "+79123456789"),  # a number with its country needs no region
    ],
)
def test_a_national_number_is_read_by_phone_region(
    api: APIClient, settings: Settings, region: str, given: str, kept: str
) -> None:
    settings.PHONE_REGION = region
    assert api.post(URL, {"phone": given}).json()["phone"] == kept


@pytest.mark.django_db
def test_a_national_number_without_phone_region_is_refused(api: APIClient, settings: Settings) -> None:
    settings.PHONE_REGION = ""
    assert_problem(api.post(URL, {"phone": "(202) 555-0123"}), 400, "phone")


@pytest.mark.django_db
@pytest.mark.parametrize("field", ["name", "external_id"])
def test_name_and_external_id_take_255_characters_and_no_more(api: APIClient, field: str) -> None:
    assert api.post(URL, {"email": "user@example.com", field: "ж" * 255}).status_code == 201
    assert_problem(api.post(URL, {"email": "user@example.com", field: "ж" * 256}), 400, field, "max_length")


@pytest.mark.django_db
@pytest.mark.parametrize("body", [{}, {"name": "Ada"}, {"email": None, "phone": "", "external_id": "1"}])
def test_without_any_address_there_is_no_user(api: APIClient, body: dict[str, Any], nothing_stored: None) -> None:
    assert_problem(api.post(URL, body), 400)


@pytest.mark.django_db
@pytest.mark.parametrize("empty", [None, ""])
def test_an_empty_address_counts_as_none(api: APIClient, empty: str | None) -> None:
    response = api.post(URL, {"email": "user@example.com", "phone": empty, "telegram_chat_id": empty, "name": empty})
    assert response.status_code == 201
    assert response.json()["phone"] is response.json()["telegram_chat_id"] is response.json()["name"] is None


# --- external_id -----------------------------------------------------------------------------------------------------
def test_an_external_id_is_unique_in_its_organization_only(
    api: APIClient, user: Recipient, strangers: Recipient
) -> None:
    body = {"email": "user@example.com", "external_id": strangers.external_id}
    assert api.post(URL, body).status_code == 201
    assert_problem(api.post(URL, body), 400, "external_id", "unique")
    assert_problem(api.patch(f"{URL}{user.pk}/", {"external_id": body["external_id"]}), 400, "external_id", "unique")


def test_any_number_of_users_may_have_no_external_id(api: APIClient, user: Recipient) -> None:
    assert [api.post(URL, {"email": "user@example.com"}).status_code for _ in range(2)] == [201, 201]


def test_a_user_may_be_given_its_own_external_id_again(api: APIClient, user: Recipient) -> None:
    for _ in range(2):
        assert api.patch(f"{URL}{user.pk}/", {"external_id": "customer-17"}).status_code == 200


def test_a_race_for_an_external_id_ends_with_a_400_too(
    api: APIClient, user: Recipient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other request stores its user after this one has looked whether there is one."""
    api.post(URL, {"email": "first@example.com", "external_id": "customer-17"})
    monkeypatch.setattr("notifier.inputs.RecipientInput.validate_external_id", lambda self, value: value)
    body = {"email": "second@example.com", "external_id": "customer-17"}
    assert_problem(api.post(URL, body), 400, "external_id", "unique")
    assert_problem(api.patch(f"{URL}{user.pk}/", {"external_id": "customer-17"}), 400, "external_id", "unique")
    assert api.get(URL).status_code == 200


# --- Changing --------------------------------------------------------------------------------------------------------
def test_a_patch_changes_what_it_names_and_nothing_else(api: APIClient, user: Recipient) -> None:
    before = api.get(f"{URL}{user.pk}/").json()
    response = api.patch(f"{URL}{user.pk}/", {"name": "Ada", "email": "ada@example.com"})
    assert response.status_code == 200
    after = response.json()
    assert moment(after.pop("updated_at")) > moment(before.pop("updated_at"))
    assert after == {**before, "name": "Ada", "email": "ada@example.com"}
    assert api.patch(f"{URL}{user.pk}/", {}).status_code == 200


@pytest.mark.parametrize("empty", [None, ""])
@pytest.mark.parametrize("field", ["email", "phone", "telegram_chat_id"])
def test_a_patch_clears_an_address(api: APIClient, user: Recipient, field: str, empty: str | None) -> None:
    assert api.patch(f"{URL}{user.pk}/", {field: empty}).json()[field] is None


def test_a_patch_cannot_take_the_last_address(api: APIClient, user: Recipient) -> None:
    assert api.patch(f"{URL}{user.pk}/", {"phone": None, "telegram_chat_id": None}).status_code == 200
    assert_problem(api.patch(f"{URL}{user.pk}/", {"email": None}), 400)
    assert api.get(f"{URL}{user.pk}/").json()["email"] == "user@example.com"


def test_a_refused_patch_changes_nothing(api: APIClient, user: Recipient) -> None:
    before = api.get(f"{URL}{user.pk}/").json()
    assert_problem(api.patch(f"{URL}{user.pk}/", {"name": "Ada", "phone": "nobody"}), 400, "phone")
    assert api.get(f"{URL}{user.pk}/").json() == before


@pytest.mark.parametrize("method", ["get", "patch", "delete"])
def test_a_user_of_another_organization_is_not_there(api: APIClient, strangers: Recipient, method: str) -> None:
    assert_problem(getattr(api, method)(f"{URL}{strangers.pk}/", {}), 404, None, "not_found")
    strangers.refresh_from_db()


# --- Finding ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, ["grace", "ada"]),
        ({"email": "ada@example.com"}, ["ada"]),
        ({"phone": "+12025550123"}, ["grace"]),
        ({"external_id": "grace"}, ["grace"]),
        ({"external_id": "grace", "email": "ada@example.com"}, []),
        ({"email": "user@other.example.com"}, []),
        ({"email": "' OR 1=1 --"}, []),
        ({"external_id": "theirs"}, []),
    ],
)
def test_users_are_found_by_address_and_external_id(
    api: APIClient, organization: Organization, strangers: Recipient, query: dict[str, str], found: list[str]
) -> None:
    Recipient.objects.create(organization=organization, email="ada@example.com", external_id="ada")
    Recipient.objects.create(organization=organization, phone="+12025550123", external_id="grace")
    response = api.get(URL, query)
    assert response.status_code == 200
    assert [row["external_id"] for row in response.json()["results"]] == found


@pytest.mark.parametrize(
    ("field", "given", "asked"),
    [
        ("email", "Ada@Example.COM", "Ada@Example.COM"),
        ("email", "Ada@Example.COM", "Ada@example.com"),
        ("phone", "+1 (202) 555-0123", "+1 (202) 555-0123"),
        ("phone", "+1 202 555 0123", "202-555-0123"),
        ("phone", "+12025550123", " 12025550123"),  # an unescaped + is a space
    ],
)
def test_an_address_is_found_as_it_was_given(
    api: APIClient, organization: Organization, settings: Settings, field: str, given: str, asked: str
) -> None:
    settings.PHONE_REGION = "US"
    made = api.post(URL, {field: given}).json()["id"]
    assert [row["id"] for row in api.get(URL, {field: asked}).json()["results"]] == [made]
    assert api.get(URL, {field: "x" + asked}).json()["results"] == []


def test_a_list_of_users_costs_the_same_however_long_it_is(api: APIClient, organization: Organization) -> None:
    def queries() -> int:
        with CaptureQueriesContext(
            connection,
        ) as captured:
            api.get(URL, {"page_size": 100})
        return len(captured)

    Recipient.objects.create(organization=organization, email="user@example.com")
    few = queries()
    Recipient.objects.bulk_create(Recipient(organization=organization, email="user@example.com") for _ in range(50))
    assert queries() == few <= 3


# --- Addresses of the API itself -------------------------------------------------------------------------------------
def test_a_missing_trailing_slash_is_handled_and_not_redirected(api: APIClient, user: Recipient) -> None:
    assert api.post("/api/users", {"email": "user@example.com"}).status_code == 201
    assert api.get("/api/users").status_code == 200
    assert api.get(f"/api/users/{user.pk}").status_code == 200
    assert api.patch(f"/api/users/{user.pk}", {"name": "Ada"}).status_code == 200
    assert api.delete(f"/api/users/{user.pk}").status_code == 204
