"""`Idempotency-Key`: a repeated request is answered as the first one was, and sends nothing."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now
from rest_framework.test import APIClient

from channels.errors import PermanentError
from notifier import delivery, idempotency, send
from notifier.inputs import NotificationInput
from notifier.intake import InvalidNotificationError
from notifier.models import IdempotencyKey, Notification, Organization, Recipient
from notifier.tasks import purge
from tests.api.checks import assert_problem, counts, raw
from tests.api.test_races import in_thread
from tests.conftest import FakeRegistry, default_organization

URL = "/api/notifications/"
BULK = "/api/notifications/bulk/"
HELLO: dict[str, Any] = {"to": {"email": "user@example.com"}, "message": "Hello", "metadata": {"a": 1, "b": [1, 2]}}


def post(api: APIClient, body: Any, key: str | None = "k-1", url: str = URL) -> Any:
    headers = {} if key is None else {"Idempotency-Key": key}
    return api.post(url, body, headers=headers)


def replayed(response: Any) -> bool:
    value = response.headers.get("Idempotent-Replayed")
    assert value in {None, "true"}
    return value is not None


# --- The header ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("key", ["x", " ", "~!@#$%^&*()", "a key, with blanks", "x" * 255, "Ключ".encode().hex()])
def test_a_key_is_printable_ascii(api: APIClient, organization: Organization, key: str) -> None:
    first, second = post(api, HELLO, key), post(api, HELLO, key)
    assert (first.status_code, second.status_code) == (202, 202)
    assert (replayed(first), replayed(second)) == (False, True)


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\there", "\x7f", "\x00", "ключ", "é", "a\x80"])
@pytest.mark.parametrize("url", [URL, BULK])
def test_any_other_key_is_refused(api: APIClient, nothing_stored: None, key: str, url: str) -> None:
    body = HELLO if url == URL else {"notifications": [HELLO]}
    assert_problem(post(api, body, key, url), 400, None, "idempotency_key")
    assert not IdempotencyKey.objects.exists()


def test_without_a_key_each_request_is_a_new_one(api: APIClient, organization: Organization) -> None:
    first, second = post(api, HELLO, None), post(api, HELLO, None)
    assert first.json()["id"] != second.json()["id"]
    assert not replayed(second)
    assert not IdempotencyKey.objects.exists()


def test_keys_are_told_apart_by_every_letter(api: APIClient, organization: Organization) -> None:
    assert (
        len({post(api, HELLO, key).json()["id"] for key in ("k", "K", "k ", " k", "kk")}) >= 3
    )  # WSGI may strip blanks
    assert post(api, HELLO, "k").json()["id"] != post(api, HELLO, "K").json()["id"]


# --- The answer ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("end", ["untouched", "sent", "failed", "cancelled", "acknowledged"])
def test_the_first_answer_comes_again_although_the_status_moved_on(
    api: APIClient, organization: Organization, fakes: FakeRegistry, end: str
) -> None:
    body = {**HELLO, "reference": "r", "channels": ["email"], "priority": "high"}
    first = post(api, body)
    pk = first.json()["id"]
    if end in {"sent", "failed"}:
        fakes["email"].fail_next(*([PermanentError("no")] if end == "failed" else []))
        delivery.deliver([pk])
    elif end != "untouched":
        assert api.post(f"{URL}{pk}/{end.replace('ledged', 'ledge').replace('elled', 'el')}/").status_code == 200
    assert Notification.objects.get().status == (end if end != "untouched" else "queued")
    for _ in range(2):
        again = post(api, body)
        assert (again.status_code, again.content, replayed(again)) == (202, first.content, True)
        assert again.headers["Location"] == first.headers["Location"] == f"{URL}{pk}/"
    assert Notification.objects.count() == 1
    delivery.deliver_due()
    assert len(fakes["email"].sent) == (end in {"sent", "untouched"})


def test_the_first_answer_of_one_that_is_sent_later(api: APIClient, organization: Organization) -> None:
    body = {**HELLO, "send_at": "2126-11-20T10:00:00Z"}
    body["send_at"] = _in_an_hour()
    first = post(api, body)
    api.post(f"{URL}{first.json()['id']}/cancel/")
    assert first.json()["due_at"] == first.json()["send_at"]
    assert post(api, body).content == first.content


def _in_an_hour() -> str:
    from django.utils import timezone

    return (timezone.now() + timedelta(hours=1)).isoformat()


SAME = {
    "as it was": json.dumps(HELLO),
    "without spaces": json.dumps(HELLO, separators=(",", ":")),
    "with many": json.dumps(HELLO, indent=8),
    "keys in another order": json.dumps(dict(reversed(HELLO.items()))),
    "keys inside in another order": json.dumps({**HELLO, "metadata": {"b": [1, 2], "a": 1}}),
    "escapes": json.dumps(HELLO).replace("Hello", "\\u0048ello"),
}
OTHER: dict[str, Any] = {
    "another text": {**HELLO, "message": "Hello!"},
    "another person": {**HELLO, "to": {"email": "ann@example.com"}},
    "one field more": {**HELLO, "priority": "normal"},
    "one field less": {name: value for name, value in HELLO.items() if name != "metadata"},
    "a list in another order": {**HELLO, "metadata": {"a": 1, "b": [2, 1]}},
    "another type": {**HELLO, "metadata": {"a": "1", "b": [1, 2]}},
    "true is not 1": {**HELLO, "metadata": {"a": True, "b": [1, 2]}},
    "one that would be refused": {**HELLO, "mesage": "x"},
    "an empty one": {},
}


@pytest.mark.parametrize("text", SAME.values(), ids=SAME)
def test_the_same_json_is_the_same_request(api: APIClient, organization: Organization, text: str) -> None:
    first = post(api, HELLO)
    again = raw(api, "POST", URL, text, headers={"Idempotency-Key": "k-1"})
    assert (again.status_code, again.content, replayed(again)) == (202, first.content, True)


@pytest.mark.parametrize("body", OTHER.values(), ids=OTHER)
def test_another_body_under_the_same_key_is_refused(api: APIClient, organization: Organization, body: Any) -> None:
    first = post(api, HELLO)
    assert_problem(post(api, body), 422, None, "idempotency_key_reused")
    assert post(api, HELLO).content == first.content
    assert Notification.objects.count() == 1


@pytest.mark.parametrize("body", [{**HELLO, "mesage": "x"}, {**HELLO, "message": ""}, {}, [], "x", None])
def test_a_refused_body_uses_no_key_up(api: APIClient, organization: Organization, body: Any) -> None:
    before = counts()
    answer = raw(api, "POST", URL, json.dumps(body), headers={"Idempotency-Key": "k-1"})
    assert_problem(answer, 400)
    assert (counts(), IdempotencyKey.objects.count()) == (before, 0)
    mended = post(api, HELLO)
    assert (mended.status_code, replayed(mended)) == (202, False)


def test_a_bulk_is_repeated_as_a_whole(api: APIClient, organization: Organization) -> None:
    body = {"notifications": [HELLO, {**HELLO, "message": "Second"}, HELLO]}
    first, again = post(api, body, url=BULK), post(api, body, url=BULK)
    assert (again.status_code, again.content, replayed(again)) == (202, first.content, True)
    assert Notification.objects.count() == first.json()["count"] == 3
    assert_problem(post(api, {"notifications": [HELLO]}, url=BULK), 422)


def test_a_refused_bulk_uses_no_key_up(api: APIClient, nothing_stored: None) -> None:
    assert_problem(post(api, {"notifications": [HELLO, {}]}, url=BULK), 400)
    assert not IdempotencyKey.objects.exists()


# --- One space -------------------------------------------------------------------------------------------------------
def test_over_every_door_the_keys_are_one_space(api: APIClient, organization: Organization) -> None:
    over_rest = post(api, HELLO, "rest").json()["id"]
    over_python = send(**HELLO, idempotency_key="python").pk
    post(api, {"notifications": [HELLO]}, "bulk", BULK)

    assert send(**HELLO, idempotency_key="rest").pk == over_rest
    assert post(api, HELLO, "python").json()["id"] == over_python
    assert replayed(post(api, HELLO, "python"))
    assert_problem(post(api, HELLO, "bulk"), 422)
    assert_problem(post(api, {"notifications": [HELLO]}, "rest", BULK), 422)
    for key in ("bulk", "rest"):
        with pytest.raises(InvalidNotificationError, match="another body"):
            send(to="ann@example.com", message="Another", idempotency_key=key)
    assert Notification.objects.count() == 3


def test_each_organization_has_a_space_of_its_own(api: APIClient, strangers: Recipient) -> None:
    theirs = send(**HELLO, organization=strangers.organization, idempotency_key="k-1")
    ours = post(api, HELLO)
    assert (ours.status_code, replayed(ours)) == (202, False)
    assert ours.json()["id"] != theirs.pk


@pytest.mark.parametrize("key", ["x" * 256, "ключ", "a\nb", "\x00"])
def test_a_key_that_is_none_is_refused_in_python_too(nothing_stored: None, key: str) -> None:
    with pytest.raises(InvalidNotificationError, match="ASCII"):
        send(**HELLO, idempotency_key=key)


# --- A day -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("age", "same"), [(timedelta(hours=23, minutes=59), True), (timedelta(hours=24), False)])
@pytest.mark.parametrize("purged", [False, True])
def test_a_key_counts_for_a_day(
    api: APIClient, organization: Organization, age: timedelta, *, same: bool, purged: bool
) -> None:
    first = post(api, HELLO)
    IdempotencyKey.objects.update(created_at=Now() - age)
    if purged:
        purge()
        assert IdempotencyKey.objects.exists() is same
    again = post(api, HELLO)
    assert (replayed(again), again.json()["id"] == first.json()["id"]) == (same, same)
    assert IdempotencyKey.objects.count() == 1


def test_a_deleted_notification_is_not_sent_again(api: APIClient, organization: Organization) -> None:
    post(api, HELLO)
    Notification.objects.all().delete()
    assert_problem(post(api, HELLO), 404)
    with pytest.raises(InvalidNotificationError, match="deleted"):
        send(**HELLO, idempotency_key="k-1")
    assert not Notification.objects.exists()


def test_of_a_body_only_a_keyed_digest_is_kept(api: APIClient, organization: Organization) -> None:
    account = {"smtp_user": "me@example.com", "smtp_password": "canary-pa55word"}
    assert post(api, {**HELLO, **account}).status_code == 202
    kept = repr(IdempotencyKey.objects.values().get())
    assert not any(word in kept for word in ("canary", "me@example.com", "Hello"))
    assert idempotency.fingerprint({}) != "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


# --- At the same moment ----------------------------------------------------------------------------------------------
@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite in memory is one thread's alone")
@pytest.mark.django_db(transaction=True)
def test_of_many_at_the_same_moment_one_is_stored_and_all_get_its_answer() -> None:
    default_organization()
    calls: list[Callable[[], Any]] = [lambda: post(APIClient(), HELLO)] * 20
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(in_thread, calls))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.content for answer in answers}) == 1
    assert sum(not replayed(answer) for answer in answers) == 1
    assert Notification.objects.count() == 1


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has one writer at a time")
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("url", [URL, BULK])
def test_a_person_erased_in_the_middle_is_not_there(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    user = Recipient.objects.create(organization=default_organization(), email="user@example.com")
    plain = NotificationInput.read

    def row(self: NotificationInput, *arguments: Any, **options: Any) -> Any:
        made = plain(self, *arguments, **options)
        with ThreadPoolExecutor(1) as pool:  # by another request
            pool.submit(in_thread, Recipient.objects.all().delete).result()
        return made

    monkeypatch.setattr(NotificationInput, "read", row)
    body = {"user_id": user.pk, "message": "Hello"}
    answer = post(APIClient(), body if url == URL else {"notifications": [body]}, url=url)
    assert_problem(answer, 400, "user_id" if url == URL else "notifications.0.user_id", "does_not_exist")
    assert not Notification.objects.exists()
    assert not IdempotencyKey.objects.exists()
