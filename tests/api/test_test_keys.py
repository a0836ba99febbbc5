"""Keys for tests: a notification goes its whole way, and nothing leaves the service."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db.models.functions import Now
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from notifier import api_keys, delivery, ledger, receipts, tasks
from notifier.chain import Finish
from notifier.ledger import Settlement
from notifier.models import ApiKey, Attempt, Circuit, Notification, Organization, Receipt, Recipient
from notifier.states import Status
from tests.api.checks import assert_problem
from tests.notifier.lawful import watched
from tests.trap import Trap, sprung

URL = "/api/notifications/"
HELLO = {"to": {"email": "user@example.com"}, "message": "Hello", "channels": ["email"]}
ACCOUNT = {"smtp_user": "me@example.com", "smtp_password": "canary-pa55word"}
FATES = ("delivered", "bounced", "rejected", "greylisted", "timeout", "unknown")
ADDRESSES = {
    "email": {"email": [f"{fate}@simulator.test" for fate in FATES]},
    "sms": {"phone": [f"+1201555010{number}" for number in range(6)]},
    "telegram": {"telegram_chat_id": [str(100 + number) for number in range(6)]},
}
ORDINARY = {"email": "user@example.com", "sms": "+12025550123", "telegram": "123456789"}
FIELDS = {channel: next(iter(addresses)) for channel, addresses in ADDRESSES.items()}
CHANNELS = pytest.mark.parametrize("channel", ADDRESSES)
RECIPIENTS = [
    *[(channel, fate, ADDRESSES[channel][FIELDS[channel]][at]) for channel in FIELDS for at, fate in enumerate(FATES)],
    *[(channel, "delivered", address) for channel, address in ORDINARY.items()],
    ("email", "bounced", "Bounced@Simulator.Test"),
    ("email", "delivered", "rejected@example.com"),
]
# fate: status and story after the first pass, status and story after the receipt or the next round
STORIES: dict[str, tuple[str, list[tuple[str, str | None]], str, list[tuple[str, str | None]]]] = {
    "delivered": ("sent", [("accepted", None)], "delivered", []),
    "bounced": ("sent", [("accepted", None)], "failed", [("failed", "bounced")]),
    "rejected": ("failed", [("failed", "invalid_address")], "failed", []),
    "greylisted": ("queued", [("failed", "rejected")], "sent", [("accepted", None)]),
    "timeout": ("queued", [("failed", "timeout")], "queued", [("failed", "timeout")]),
    "unknown": ("failed", [("unknown", "outcome_unknown")], "failed", []),
}


@pytest.fixture(autouse=True)
def trap(monkeypatch: pytest.MonkeyPatch, settings: Settings, db: None) -> Iterator[Trap]:
    """Nothing may leave; every move is one of the contract's table."""
    with sprung(monkeypatch, settings) as made, watched():
        yield made


def client(organization: Organization, kind: ApiKey.Kind) -> APIClient:
    made = APIClient()
    made.credentials(HTTP_AUTHORIZATION=f"Bearer {api_keys.make(organization, kind=kind).secret}")
    return made


@pytest.fixture
def test_client(organization: Organization) -> APIClient:
    return client(organization, ApiKey.Kind.TEST)


@pytest.fixture
def live_client(organization: Organization) -> APIClient:
    return client(organization, ApiKey.Kind.LIVE)


def sent(api: APIClient, body: dict[str, Any]) -> dict[str, Any]:
    """What was accepted, after its first pass."""
    response = api.post(URL, body)
    assert response.status_code == 202, response.content
    return passed(api, response.json()["id"])


def passed(api: APIClient, pk: int) -> dict[str, Any]:
    """The notification after a pass, as if the pause before it were over."""
    Notification.objects.filter(pk=pk, status="queued").update(due_at=Now())
    delivery.deliver([pk])
    return read(api, pk)


def read(api: APIClient, pk: int) -> dict[str, Any]:
    response = api.get(f"{URL}{pk}/")
    assert response.status_code == 200
    found: dict[str, Any] = response.json()
    return found


def receipts_come() -> None:
    """As if the simulated providers' time had passed."""
    Receipt.objects.update(not_before=Now())
    tasks.apply_receipts()


def story(row: dict[str, Any]) -> list[tuple[str, str | None]]:
    return [(attempt["outcome"], attempt["code"]) for attempt in row["attempts"]]


# --- Outcomes --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("channel", "fate", "address"), RECIPIENTS)
@pytest.mark.parametrize("configured", [True, False])
def test_the_address_says_what_comes_of_it(
    test_client: APIClient, settings: Settings, channel: str, fate: str, address: str, configured: bool
) -> None:
    if not configured:
        settings.SMTP_HOST, settings.SMS_PROVIDER, settings.TELEGRAM_BOT_TOKEN = "", (), ""
    at_first, told, in_the_end, more = STORIES[fate]
    row = sent(test_client, {"to": {FIELDS[channel]: address}, "message": "Hello", "channels": [channel]})
    assert (row["status"], story(row)) == (at_first, told)
    receipts_come()
    row = passed(test_client, row["id"])
    assert (row["status"], story(row)) == (in_the_end, told + more)
    for attempt in row["attempts"]:
        assert (attempt["channel"], attempt["account"]) == (channel, "default")
        assert attempt["detail"].startswith("Simulated provider: ")
        assert attempt["temporary"] == {"accepted": None, "unknown": None}.get(
            attempt["outcome"], attempt["code"] in {"rejected", "timeout"}
        )
    assert not Receipt.objects.exists()


@CHANNELS
def test_a_stored_users_address_counts_as_well(
    test_client: APIClient, organization: Organization, channel: str
) -> None:
    user = Recipient.objects.create(
        organization=organization, **{FIELDS[channel]: ADDRESSES[channel][FIELDS[channel]][2]}
    )
    row = sent(test_client, {"user_id": user.pk, "message": "Hello", "channels": [channel]})
    assert (row["status"], row["failure_code"]) == ("failed", "invalid_address")


def test_the_same_with_a_live_key_does_leave(live_client: APIClient, trap: Trap) -> None:
    everywhere = {FIELDS[channel]: ADDRESSES[channel][FIELDS[channel]][0] for channel in ADDRESSES}
    row = sent(live_client, {"to": everywhere, "message": "Hello"})
    assert [code for _, code in story(row)] == ["unreachable"] * 3
    assert {address for what, address in trap.caught if what == "connect"} == {("127.0.0.1", trap.port)}
    assert not Receipt.objects.exists()
    trap.caught.clear()


def test_the_chain_is_walked_as_ever(test_client: APIClient) -> None:
    to = {"email": "timeout@simulator.test", "phone": "+12015550102", "telegram_chat_id": "100"}
    row = sent(test_client, {"to": to, "message": "Hello"})
    assert story(row) == [("failed", "timeout"), ("failed", "invalid_address"), ("accepted", None)]
    receipts_come()
    assert read(test_client, row["id"])["status"] == "delivered"


def test_a_bounce_reopens_the_chain(test_client: APIClient) -> None:
    to = {"email": "bounced@simulator.test", "phone": "+12025550123"}
    row = sent(test_client, {"to": to, "message": "Hello", "channels": ["email", "sms"]})
    assert (row["status"], row["finished_at"] is None) == ("sent", False)
    receipts_come()
    row = read(test_client, row["id"])
    assert (row["status"], story(row)) == ("queued", [("accepted", None), ("failed", "bounced")])
    row = passed(test_client, row["id"])
    assert (row["status"], story(row)[2:]) == ("sent", [("accepted", None)])
    assert [attempt["channel"] for attempt in row["attempts"]] == ["email", "email", "sms"]
    receipts_come()
    assert read(test_client, row["id"])["status"] == "delivered"


@pytest.mark.parametrize(
    ("fate", "status", "told"),
    [("delivered", "delivered", "accepted"), ("bounced", "queued", "failed")],
)
def test_a_bar_of_delivered_waits_for_the_receipt(test_client: APIClient, fate: str, status: str, told: str) -> None:
    to = {"email": f"{fate}@simulator.test", "phone": "+12025550123"}
    body = {"to": to, "message": "Hello", "channels": [{"channel": "email", "until": "delivered"}, "sms"]}
    row = sent(test_client, body)
    assert (row["status"], story(row)) == ("waiting", [("accepted", None)])
    tasks.apply_receipts()
    assert read(test_client, row["id"])["status"] == "waiting"
    receipts_come()
    row = read(test_client, row["id"])
    assert (row["status"], row["attempts"][-1]["outcome"]) == (status, told)


def test_attachments_html_and_a_long_text_are_taken(test_client: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(_ids: Any) -> Any:
        raise AssertionError("nobody reads a test's files")

    monkeypatch.setattr(ledger, "files_of", never)
    files = [{"filename": "a.txt", "content_type": "text/plain", "content": "SGVsbG8="}]
    body = {**HELLO, "message": "Hello " * 5000, "html": "<p>Hello</p>", "attachments": files}
    assert sent(test_client, body)["status"] == "sent"


# --- Accounts of one's own -------------------------------------------------------------------------------------------
def test_ones_own_account_is_not_used_either(test_client: APIClient, trap: Trap) -> None:
    own = {**ACCOUNT, "smtp_host": "127.0.0.1", "smtp_port": trap.port, "smtp_use_tls": False}
    row = sent(test_client, {**HELLO, **own})
    assert (row["status"], [attempt["account"] for attempt in row["attempts"]]) == ("sent", ["request"])
    assert Notification.objects.get(pk=row["id"]).credentials is None


@pytest.mark.parametrize("kind", list(ApiKey.Kind))
def test_wiped_credentials_leave_the_step_out(test_client: APIClient, organization: Organization, kind: Any) -> None:
    """Whoever retries it: a test stays one."""
    row = sent(test_client, {**HELLO, **ACCOUNT, "to": {"email": "rejected@simulator.test"}})
    assert (row["status"], row["attempts"][0]["account"]) == ("failed", "request")
    api, again = client(organization, kind), f"{URL}{row['id']}/retry/"
    assert api.post(again).status_code == 202
    row = passed(api, row["id"])
    assert (row["status"], story(row)[1:]) == ("failed", [("skipped", "not_configured")])
    assert api.post(again, ACCOUNT).status_code == 202
    row = passed(api, row["id"])
    assert (row["status"], story(row)[2:]) == ("failed", [("failed", "invalid_address")])
    assert row["attempts"][2]["account"] == "request"


# --- Many, and what would become of one ------------------------------------------------------------------------------
def test_a_bulk_stays_here_in_either_form(test_client: APIClient, organization: Organization) -> None:
    people = [
        Recipient.objects.create(organization=organization, email=f"{fate}@simulator.test", channels=["email"])
        for fate in FATES
    ]
    bulks: list[dict[str, Any]] = [
        {"message": "Hello", "user_ids": [person.pk for person in people]},
        {"notifications": [{**HELLO, "to": {"email": person.email}} for person in people]},
    ]
    for bulk in bulks:
        response = test_client.post(f"{URL}bulk/", bulk)
        assert response.status_code == 202, response.content
        ids = response.json()["ids"]
        assert Notification.objects.filter(pk__in=ids, test=True).count() == len(FATES)
        delivery.deliver_due()
        assert [read(test_client, pk)["status"] for pk in ids] == [STORIES[fate][0] for fate in FATES]


def test_more_than_one_batch(test_client: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receipts, "LONGEST_LOOK", 60.0)  # this machine may be busy
    response = test_client.post(f"{URL}bulk/", {"notifications": [HELLO] * 250})
    assert response.status_code == 202
    delivery.deliver_due()
    assert set(Notification.objects.values_list("status", flat=True)) == {"sent"}
    receipts_come()
    assert set(Notification.objects.values_list("status", flat=True)) == {"delivered"}
    assert Attempt.objects.count() == 250


def test_a_plan_shows_the_simulated_account(test_client: APIClient, live_client: APIClient, settings: Settings) -> None:
    settings.SMTP_HOST, settings.SMS_PROVIDER = "", ()
    Circuit.objects.create(key="telegram:default", failures=9, open_until=Now() + settings.CIRCUIT_SECONDS)
    to = {"email": "user@example.com", "phone": "+12025550123", "telegram_chat_id": "1000"}

    def plan(api: APIClient, **more: Any) -> list[tuple[bool, str | None, str | None]]:
        steps = api.post(f"{URL}plan/", {"to": to, "message": "Hello", **more}).json()["steps"]
        return [(step["runs"], step["account"], step["code"]) for step in steps]

    assert plan(test_client) == [(True, "default", None)] * 3
    assert plan(test_client, **ACCOUNT)[0] == (True, "request", None)
    assert [code for *_, code in plan(live_client)] == ["not_configured", "not_configured", "circuit_open"]
    assert not Notification.objects.exists()


# --- Beside live keys ------------------------------------------------------------------------------------------------
def test_each_kind_of_key_reads_what_the_other_sent(test_client: APIClient, live_client: APIClient) -> None:
    ids = [api.post(URL, HELLO).json()["id"] for api in (test_client, live_client)]
    for api in (test_client, live_client):
        assert {row["id"] for row in api.get(URL).json()["results"]} == set(ids)
        assert [read(api, pk)["id"] for pk in ids] == ids
    assert list(Notification.objects.order_by("id").values_list("test", flat=True)) == [True, False]


def test_a_test_key_lets_no_live_one_go_again(test_client: APIClient, live_client: APIClient) -> None:
    pk = live_client.post(URL, HELLO).json()["id"]
    claim = ledger.claim(limit=1, ids=[pk])
    ledger.settle(claim, [Settlement(pk, [], Finish(Status.FAILED, "rejected"))])
    assert_problem(test_client.post(f"{URL}{pk}/retry/"), 403, None, "test_key")
    assert Notification.objects.get(pk=pk).status == "failed"
    assert live_client.post(f"{URL}{pk}/retry/").status_code == 202


@pytest.mark.parametrize("verb", ["cancel", "acknowledge"])
def test_a_test_key_stops_no_live_one(test_client: APIClient, live_client: APIClient, verb: str) -> None:
    pk = live_client.post(URL, HELLO).json()["id"]
    assert_problem(test_client.post(f"{URL}{pk}/{verb}/"), 403, None, "test_key")
    assert Notification.objects.get(pk=pk).status == "queued"
    assert live_client.post(f"{URL}{pk}/{verb}/").status_code == 200


@pytest.mark.parametrize("path", [URL, f"{URL}bulk/"])
@pytest.mark.parametrize("test_first", [True, False])
def test_an_idempotency_key_does_not_reach_from_one_kind_to_the_other(
    test_client: APIClient, live_client: APIClient, path: str, test_first: bool
) -> None:
    body = HELLO if path == URL else {"notifications": [HELLO]}
    first, second = (test_client, live_client) if test_first else (live_client, test_client)

    def post(api: APIClient) -> Any:
        return api.post(path, body, HTTP_IDEMPOTENCY_KEY="order-7")

    assert post(first).status_code == 202
    assert_problem(post(second), 422, None)
    again = post(first)
    assert (again.status_code, again.headers["Idempotent-Replayed"]) == (202, "true")
    assert Notification.objects.count() == 1
