"""How much a client may send: requests a minute, messages to one address an hour, messages a day."""

import time
from collections.abc import Callable, Iterator
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from notifier import api_keys, counters
from notifier.delivery import deliver
from notifier.environment import Rate
from notifier.models import ApiKey, Notification, Organization, Recipient
from tests.api.checks import assert_problem, ended, stored
from tests.conftest import FakeRegistry

pytestmark = pytest.mark.django_db
URL, BULK = "/api/notifications/", "/api/notifications/bulk/"
ANN: dict[str, Any] = {"to": {"email": "ann@example.com"}, "message": "Hello"}
HOUR = 3600
_numbers = count()

Post = Callable[[APIClient, dict[str, Any]], Any]


@pytest.fixture(autouse=True)
def no_limits(settings: Settings) -> Iterator[None]:
    """Nothing is limited, and nothing was counted."""
    settings.API_THROTTLE_SEND = settings.API_THROTTLE_RECIPIENT = settings.API_THROTTLE_DAY = None
    settings.API_THROTTLE_OPEN = False
    counters.forget()
    yield
    counters.forget()


def client(organization: Organization, kind: str = ApiKey.Kind.LIVE) -> APIClient:
    """Somebody with a key of his own."""
    key = api_keys.make(organization, kind=kind).secret
    return APIClient(headers={"Authorization": f"Bearer {key}"})


@pytest.fixture
def ann(organization: Organization) -> APIClient:
    """A client."""
    return client(organization)


def plain(api: APIClient, body: dict[str, Any]) -> Any:
    return api.post(URL, body)


def long(api: APIClient, body: dict[str, Any]) -> Any:
    return api.post(URL, body, headers={"Idempotency-Key": f"k-{next(_numbers)}"})


def listed(api: APIClient, body: dict[str, Any]) -> Any:
    return api.post(BULK, {"notifications": [body]})


def each(api: APIClient, body: dict[str, Any]) -> Any:
    to = Recipient.objects.create(organization=Organization.objects.get(slug="default"), **body["to"])
    return api.post(BULK, {**{name: value for name, value in body.items() if name != "to"}, "user_ids": [to.pk]})


DOORS = [plain, long, listed, each]


def assert_too_many(response: Any, least: int = 1, most: int = HOUR) -> int:
    """429 with the seconds to wait, within these bounds."""
    assert_problem(response, 429, attr=None, code="throttled")
    seconds = response.headers["Retry-After"]
    assert seconds.isdecimal()
    assert least <= int(seconds) <= most
    return int(seconds)


def texts(response: Any) -> str:
    return " ".join(error["detail"] for error in response.json()["errors"])


# --- Requests --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("post", DOORS)
def test_a_key_may_send_so_often(post: Post, ann: APIClient, organization: Organization, settings: Settings) -> None:
    settings.API_THROTTLE_SEND = Rate(3, 60)
    answers = [post(ann, ANN) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [202, 202, 202, 429, 429]
    seconds = assert_too_many(answers[3], 30, 60)
    assert [answer.headers["RateLimit-Policy"] for answer in answers] == ['"send";q=3;w=60'] * 5
    assert [answer.headers["RateLimit"] for answer in answers[:4]] == [
        *(f'"send";r={left}' for left in (2, 1, 0)),
        f'"send";r=0;t={seconds}',
    ]
    assert Notification.objects.count() == 3
    assert ann.get(URL).status_code == 200, "to read is not to send"
    assert post(client(organization), ANN).status_code == 202, "another key has its own"


@pytest.mark.parametrize("post", [plain, long])
def test_what_is_refused_was_a_request_too(post: Post, ann: APIClient, settings: Settings) -> None:
    settings.API_THROTTLE_SEND = Rate(2, 60)
    answers = [post(ann, {"message": "to nobody"}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [400, 400, 429]
    assert answers[0].headers["RateLimit"] == '"send";r=1'


def test_who_waits_as_told_is_let_in(ann: APIClient, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.API_THROTTLE_SEND = Rate(2, 1)
    now = time.monotonic_ns()
    monkeypatch.setattr(counters, "time", SimpleNamespace(monotonic=time.monotonic, monotonic_ns=lambda: now))
    for _ in range(3):
        assert [plain(ann, ANN).status_code for _ in range(2)] == [202, 202]
        now += assert_too_many(plain(ann, ANN), 1, 1) * 1_000_000_000


def test_to_retry_is_to_send(ann: APIClient, organization: Organization, settings: Settings) -> None:
    settings.API_THROTTLE_SEND = Rate(2, 60)
    rows = [ended(stored(organization), "failed", "rejected") for _ in range(3)]
    answers = [ann.post(f"{URL}{row.pk}/retry/", {}) for row in rows]
    assert [answer.status_code for answer in answers] == [202, 202, 429]
    assert ann.post(f"{URL}{rows[0].pk}/cancel/").status_code == 200


def test_to_retry_is_a_message_more(ann: APIClient, organization: Organization, settings: Settings) -> None:
    settings.API_THROTTLE_RECIPIENT = 2
    sent = stored(organization)
    assert ann.post(f"{URL}{sent.pk}/retry/", {}).status_code == 409  # which counts for nothing
    rows = [ended(stored(organization), "failed", "rejected") for _ in range(3)]
    answers = [ann.post(f"{URL}{row.pk}/retry/", {}) for row in rows]
    assert [answer.status_code for answer in answers] == [202, 202, 429]
    assert Notification.objects.get(pk=rows[2].pk).status == "failed"


@pytest.mark.parametrize(("is_set", "expected"), [(False, [202] * 3), (True, [202, 202, 429])])
def test_without_a_key_only_a_limit_that_was_set_counts(
    api: APIClient, organization: Organization, settings: Settings, *, is_set: bool, expected: list[int]
) -> None:
    settings.API_THROTTLE_SEND, settings.API_THROTTLE_OPEN = Rate(2, 60), is_set
    answers = [plain(api, ANN) for _ in range(3)]
    assert [answer.status_code for answer in answers] == expected
    assert ("RateLimit" in answers[0].headers) is is_set


@pytest.mark.parametrize("post", DOORS)
def test_where_it_is_off_nothing_is_said(post: Post, ann: APIClient, settings: Settings) -> None:
    answers = [post(ann, ANN) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [202] * 3
    assert not any(name.startswith("RateLimit") for name in answers[0].headers)


# --- One address -----------------------------------------------------------------------------------------------------
def test_a_thousand_posts_to_one_address_are_a_few_mails(
    ann: APIClient, fakes: FakeRegistry, settings: Settings
) -> None:
    settings.API_THROTTLE_RECIPIENT = 20
    answers = [plain(ann, ANN) for _ in range(1000)]
    assert [answer.status_code for answer in answers] == [202] * 20 + [429] * 980
    assert_too_many(answers[-1], HOUR // 2)
    assert "20 messages to one address" in texts(answers[-1])
    deliver([row.pk for row in Notification.objects.all()])
    assert len(fakes["email"].sent) == 20


SPELLINGS: dict[str, list[dict[str, Any]]] = {
    "as it is": [{"email": "ann@example.com"}] * 3,
    "capitals": [{"email": "ann@example.com"}, {"email": "Ann@EXAMPLE.com"}, {"email": "ANN@example.COM"}],
    "other addresses beside it": [
        {"email": "ann@example.com", "phone": "+12025550101"},
        {"email": "ann@example.com", "telegram_chat_id": "7"},
        {"email": "ann@example.com"},
    ],
    "phone": [{"phone": "+12025550123"}, {"phone": "+1 (202) 555-0123"}, {"phone": "+1-202-555-0123"}],
    "chat": [{"telegram_chat_id": "4711"}] * 3,
    "channel": [{"telegram_chat_id": "@news"}, {"telegram_chat_id": "@News"}, {"telegram_chat_id": "@NEWS"}],
    "IDN": [{"email": "ann@bücher.example"}, {"email": "ann@xn--bcher-kva.example"}, {"email": "ann@BÜCHER.example"}],
}


@pytest.mark.parametrize("to", SPELLINGS.values(), ids=SPELLINGS)
def test_an_address_is_one_however_it_is_written(to: list[dict[str, Any]], ann: APIClient, settings: Settings) -> None:
    settings.API_THROTTLE_RECIPIENT = 2
    answers = [plain(ann, {"to": one, "message": "Hello"}) for one in to]
    assert [answer.status_code for answer in answers] == [202, 202, 429]


def test_an_address_is_one_through_whichever_door(
    ann: APIClient, organization: Organization, settings: Settings
) -> None:
    settings.API_THROTTLE_RECIPIENT = 5
    user, same = (Recipient.objects.create(organization=organization, email="Ann@example.com") for _ in range(2))
    ways: list[Callable[[APIClient], Any]] = [
        lambda api: plain(api, ANN),
        lambda api: long(api, ANN),
        lambda api: plain(api, {"user_id": user.pk, "message": "Hello"}),
        lambda api: long(api, {"user_id": same.pk, "message": "Hello"}),
        lambda api: listed(api, ANN),
        lambda api: listed(api, {"user_id": user.pk, "message": "Hello"}),
        lambda api: api.post(BULK, {"user_ids": [same.pk], "message": "Hello"}),
    ]
    assert [way(ann).status_code for way in ways[:5]] == [202] * 5
    other_key = client(organization)
    for way in ways:
        assert_too_many(way(ann))
        assert_too_many(way(other_key))
    assert plain(ann, {**ANN, "to": {"email": "bob@example.com"}}).status_code == 202


def test_only_the_addresses_of_the_chain_count(ann: APIClient, organization: Organization, settings: Settings) -> None:
    settings.API_THROTTLE_RECIPIENT = 1
    to = {"email": "ann@example.com", "phone": "+12025550123", "telegram_chat_id": "4711"}
    user = Recipient.objects.create(organization=organization, **to, channels=["telegram"])
    assert plain(ann, {"to": to, "message": "Hello", "channels": ["sms"]}).status_code == 202
    assert plain(ann, {"user_id": user.pk, "message": "Hello"}).status_code == 202  # his own chain
    assert ann.post(BULK, {"user_ids": [user.pk], "message": "Hello", "channels": ["email"]}).status_code == 202
    for channel in ("email", "sms", "telegram"):
        assert_too_many(plain(ann, {"user_id": user.pk, "message": "Hello", "channels": [channel]}))


def test_a_bulk_is_taken_whole_or_not_at_all(ann: APIClient, settings: Settings) -> None:
    settings.API_THROTTLE_RECIPIENT = 2
    bob = {**ANN, "to": {"email": "bob@example.com"}}
    assert plain(ann, ANN).status_code == 202
    assert_too_many(ann.post(BULK, {"notifications": [bob, ANN, ANN, bob]}))
    assert Notification.objects.count() == 1
    assert ann.post(BULK, {"notifications": [bob, ANN, bob]}).status_code == 202
    assert_too_many(plain(ann, bob))


def test_an_organization_does_not_feel_another(ann: APIClient, strangers: Recipient, settings: Settings) -> None:
    settings.API_THROTTLE_RECIPIENT = settings.API_THROTTLE_DAY = 1
    assert [plain(ann, ANN).status_code for _ in range(2)] == [202, 429]
    theirs = client(strangers.organization)
    assert [plain(theirs, ANN).status_code for _ in range(2)] == [202, 429]


def test_a_test_key_does_not_use_up_an_address(ann: APIClient, organization: Organization, settings: Settings) -> None:
    settings.API_THROTTLE_RECIPIENT, settings.API_THROTTLE_DAY = 1, 3
    rehearsal = client(organization, ApiKey.Kind.TEST)
    assert [plain(rehearsal, ANN).status_code for _ in range(4)] == [202, 202, 202, 429]
    assert [plain(ann, ANN).status_code for _ in range(2)] == [202, 429]


def test_without_a_key_an_address_counts(api: APIClient, organization: Organization, settings: Settings) -> None:
    settings.API_THROTTLE_RECIPIENT = 2
    assert [plain(api, ANN).status_code for _ in range(3)] == [202, 202, 429]


# --- A day -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("post", DOORS)
def test_a_key_may_send_so_many_messages_a_day(
    post: Post, ann: APIClient, organization: Organization, settings: Settings
) -> None:
    settings.API_THROTTLE_DAY = 3
    answers = [post(ann, ANN) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [202, 202, 202, 429]
    assert_too_many(answers[3], 80_000, 86_400)
    assert "3 messages a day" in texts(answers[3])
    assert post(client(organization), ANN).status_code == 202


@pytest.mark.parametrize("form", ["notifications", "user_ids"])
def test_a_bulk_counts_its_messages(form: str, ann: APIClient, organization: Organization, settings: Settings) -> None:
    settings.API_THROTTLE_DAY = 5
    users = [Recipient.objects.create(organization=organization, email=f"u{n}@example.com").pk for n in range(6)]

    def bulk(number: int) -> Any:
        if form == "user_ids":
            return ann.post(BULK, {"user_ids": users[:number], "message": "Hello"})
        return ann.post(BULK, {"notifications": [{"user_id": pk, "message": "Hello"} for pk in users[:number]]})

    assert bulk(3).status_code == 202
    later = bulk(3)
    assert_too_many(later, 80_000, 86_400)
    assert "available in" in texts(later)
    never = bulk(6)
    assert_too_many(never, 86_400, 86_400)
    assert "available in" not in texts(never), "to wait is of no use"
    assert Notification.objects.count() == 3
    assert bulk(2).status_code == 202


# --- What does not count ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("post", [plain, long, listed])
@pytest.mark.parametrize("what", ["invalid", "nobody", "somebody else's"])
def test_what_is_refused_is_no_message(
    post: Post, what: str, ann: APIClient, strangers: Recipient, settings: Settings
) -> None:
    settings.API_THROTTLE_RECIPIENT = settings.API_THROTTLE_DAY = 1
    wrong: dict[str, Any] = {
        "invalid": {**ANN, "smtp_pasword": "x"},
        "nobody": {"user_id": 2**40, "message": "Hello"},
        "somebody else's": {"user_id": strangers.pk, "message": "Hello"},
    }[what]
    assert [post(ann, wrong).status_code for _ in range(3)] == [400] * 3
    assert [post(ann, ANN).status_code for _ in range(2)] == [202, 429]


def test_a_bulk_with_one_error_is_no_message(ann: APIClient, user: Recipient, settings: Settings) -> None:
    settings.API_THROTTLE_DAY = 2
    assert ann.post(BULK, {"user_ids": [user.pk, 2**40], "message": "Hello"}).status_code == 400
    assert ann.post(BULK, {"notifications": [ANN, {"message": "to nobody"}]}).status_code == 400
    assert ann.post(BULK, {"notifications": [ANN, ANN]}).status_code == 202


@pytest.mark.parametrize("is_bulk", [False, True])
def test_what_could_not_be_stored_is_no_message(
    ann: APIClient, settings: Settings, monkeypatch: pytest.MonkeyPatch, *, is_bulk: bool
) -> None:
    settings.API_THROTTLE_RECIPIENT = settings.API_THROTTLE_DAY = 1
    post = listed if is_bulk else long
    ann.raise_request_exception = False
    with monkeypatch.context() as broken:
        for place in ("notifier.insertion.insert_one", "notifier.intake.ledger.accept"):
            broken.setattr(place, lambda *_args, **_options: 1 / 0)
        assert post(ann, ANN).status_code == 500
    assert [post(ann, ANN).status_code for _ in range(2)] == [202, 429]


@pytest.mark.parametrize("url", [URL, BULK])
def test_a_replay_is_no_message(url: str, ann: APIClient, settings: Settings) -> None:
    settings.API_THROTTLE_RECIPIENT = settings.API_THROTTLE_DAY = 2
    body = ANN if url == URL else {"notifications": [ANN]}
    answers = [ann.post(url, body, headers={"Idempotency-Key": "the same"}) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [202] * 5
    assert [plain(ann, ANN).status_code for _ in range(2)] == [202, 429]
    assert ann.post(url, body, headers={"Idempotency-Key": "the same"}).status_code == 202


def test_a_key_that_met_a_limit_may_be_used_again(ann: APIClient, settings: Settings) -> None:
    settings.API_THROTTLE_DAY = 1
    header = {"Idempotency-Key": "again"}
    assert plain(ann, ANN).status_code == 202
    assert_too_many(ann.post(URL, ANN, headers=header), most=86_400)
    counters.forget()
    answer = ann.post(URL, ANN, headers=header)
    assert (answer.status_code, "Idempotent-Replayed" in answer.headers) == (202, False)


def test_a_plan_is_no_message(ann: APIClient, settings: Settings) -> None:
    settings.API_THROTTLE_SEND = Rate(1, 60)
    settings.API_THROTTLE_RECIPIENT = settings.API_THROTTLE_DAY = 1
    assert [ann.post(f"{URL}plan/", ANN).status_code for _ in range(3)] == [200] * 3
    assert plain(ann, ANN).status_code == 202
