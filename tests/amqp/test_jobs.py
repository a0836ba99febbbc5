"""Which messages are jobs, what is stored for them, and with what words the others are put aside."""

import json
from typing import Any

import pytest
from rest_framework.test import APIClient

from notifier.amqp.session import content_of
from notifier.models import Notification, Organization, Recipient
from tests.amqp.conftest import Jobs, Take

MAIL = {"to_email": "ann@example.com", "subject": "Hello", "message": "Text"}
REST = {"to": {"email": "ann@example.com"}, "message": "Text"}


def encoded(body: Any) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode()


# --- Jobs ------------------------------------------------------------------------------------------------------------
FORMS: dict[str, tuple[Any, dict[str, Any]]] = {
    "subject": (MAIL, {"subject": "Hello", "message": "Text"}),
    "title": ({"to_email": "ann@example.com", "title": "Hello", "message": "Text"}, {"subject": "Hello"}),
    "neither": ({"to_email": "ann@example.com", "message": "First\nSecond"}, {"subject": "First"}),
    "text as data": (
        {"to_email": "ann@example.com", "subject": "Hello", "template_data": {"message": "Text"}},
        {"subject": "Hello", "message": "Text"},
    ),
    "a template": (
        {"to_email": "ann@example.com", "template": "welcome", "template_data": {"name": "Ann"}},
        {"template": "welcome", "steps": [{"channel": "email"}]},
    ),
    "with a field of the REST body": ({**MAIL, "reference": "order 7", "priority": "high"}, {"reference": "order 7"}),
    "with other channels": (
        {**MAIL, "channels": ["email", "telegram"]},
        {"steps": [{"channel": "email"}, {"channel": "telegram"}]},
    ),
    "a REST body": ({**REST, "channels": ["sms", "email"]}, {"steps": [{"channel": "sms"}, {"channel": "email"}]}),
    "Cyrillic": ({**MAIL, "message": "Привет"}, {"message": "Привет"}),
    "its own id": ({**MAIL, "message_id": "7"}, {"message": "Text"}),
}


@pytest.mark.parametrize(("body", "columns"), FORMS.values(), ids=FORMS)
def test_a_job_is_stored(body: Any, columns: dict[str, Any], jobs: Jobs, take: Take) -> None:
    jobs.put(encoded(body))
    assert take(1).accepted == 1
    row = Notification.objects.get()
    assert row.to == {"email": "ann@example.com"}
    assert {name: getattr(row, name) for name in columns} == columns


def test_the_short_form_asks_for_an_e_mail(jobs: Jobs, take: Take) -> None:
    jobs.put(encoded(MAIL))
    take(1)
    assert Notification.objects.get().steps == [{"channel": "email"}]


@pytest.mark.parametrize("encoding", ["utf-8", "UTF8", "binary", "identity"])
def test_plain_utf_8_is_read_whatever_it_is_called(encoding: str, jobs: Jobs, take: Take) -> None:
    jobs.put(encoded(MAIL), content_encoding=encoding, content_type="text/plain")
    assert take(1).accepted == 1


def test_a_job_belongs_to_the_consumers_organization(jobs: Jobs, take: Take, organization: Organization) -> None:
    other = Organization.objects.create(slug="other", name="Other")
    stranger = Recipient.objects.create(organization=organization, email="ann@example.com")
    jobs.put(encoded(MAIL))
    jobs.put(encoded({"user_id": stranger.pk, "message": "Text"}))
    done = take(2, organization=other)
    assert (done.accepted, done.dead) == (1, 1)
    assert Notification.objects.get().organization == other
    assert jobs.dead()[0].headers["x-error-codes"] == "does_not_exist"


# --- What is no job --------------------------------------------------------------------------------------------------
CANARY = "s3cr3t-canary"
BAD: dict[str, tuple[bytes | dict[str, Any], dict[str, Any], str, str]] = {
    "nothing": (b"", {}, "The body is not JSON.", "parse_error"),
    "no JSON": (b"{", {}, "The body is not JSON.", "parse_error"),
    "no UTF-8": (b'{"a": "\xff"}', {}, "The body is not UTF-8.", "parse_error"),
    "UTF-16": (json.dumps(MAIL).encode("utf-16"), {}, "The body is not UTF-8.", "parse_error"),
    "a key twice": (b'{"a": 1, "a": 2}', {}, "A key stands twice in one object.", "parse_error"),
    "NaN": (b'{"a": NaN}', {}, "NaN and Infinity are not JSON.", "parse_error"),
    "deep": (b"[" * 100_000, {}, "The body is nested too deeply.", "parse_error"),
    "NUL": (b'{"to_email": "a\\u0000"}', {}, "to_email: NUL and lone surrogates", "unsafe"),
    "a list": (b"[]", {}, "Expected an object.", "invalid"),
    "packed": (encoded(MAIL), {"content_encoding": "gzip"}, "plain UTF-8 is expected", "unsupported_encoding"),
    "packed by kombu": (b"\x1f\x8b", {"application_headers": {"compression": "gzip"}}, "plain UTF-8 is", "unsupported"),
    "Latin-1": (b'"\xe9"', {"content_encoding": "latin-1"}, "plain UTF-8 is expected", "unsupported_encoding"),
    "lone surrogates": (b"\\ud800", {"content_encoding": "unicode_escape"}, "plain UTF-8 is expected", "unsupported"),
    "too large": (b" " * (10 * 1024 * 1024 + 1), {}, "at most 10 MB", "too_large"),
    "no address": ({**MAIL, "to_email": "ann"}, {}, "to_email: Enter a valid e-mail address.", "email"),
    "no message": ({"to_email": "ann@example.com"}, {}, "message: Give exactly one of", "required"),
    "a blank one": ({**MAIL, "message": " "}, {}, "message: This field may not be blank.", "blank"),
    "a number": ({**MAIL, "message": 5}, {}, "message: Not a valid string.", "invalid"),
    "two people": ({**MAIL, "user_id": 1}, {}, "to_email: Give exactly one of to_email, to", "invalid"),
    "two addresses": ({**MAIL, "to": {"email": "a@example.com"}}, {}, "to_email: Give exactly one of", "invalid"),
    "title and subject": ({**MAIL, "title": "x"}, {}, "title: Give either this or subject.", "repeated"),
    "a title of two lines": (
        {"to_email": "ann@example.com", "title": "a\nBcc: b@example.com", "message": "x"},
        {},
        "title: Line breaks and control characters",
        "one_line",
    ),
    "data and message": (
        {**MAIL, "template_data": {"message": "x"}},
        {},
        "template_data: Give either this or message.",
        "repeated",
    ),
    "data without a message": ({"to_email": "a@example.com", "template_data": {}}, {}, "template_data.message:", "req"),
    "other data": (
        {"to_email": "a@example.com", "template_data": {"message": "x", "name": "y"}},
        {},
        "template_data.name: Without a template there is only message.",
        "unknown_field",
    ),
    "data that are none": ({"to_email": "a@example.com", "template_data": "x"}, {}, "template_data: Expected", "inv"),
    "blank data": (
        {"to_email": "a@example.com", "template_data": {"message": ""}},
        {},
        "template_data.message: This field may not be blank.",
        "blank",
    ),
    "an unknown template": (
        {"to_email": "a@example.com", "template": "nonsense", "template_data": {}},
        {},
        "template: There is no template of that name.",
        "unknown_template",
    ),
    "a value that the template does not know": (
        {"to_email": "a@example.com", "template": "welcome", "template_data": {"nmae": CANARY}},
        {},
        "template_data.nmae: ",
        "unknown",
    ),
    "an unknown field": (
        {**MAIL, "smtp_pasword": CANARY},
        {},
        "smtp_pasword: There is no such field.",
        "unknown_field",
    ),
    "a title in a REST body": ({**REST, "title": "x"}, {}, "title: There is no such field.", "unknown_field"),
    "half an account": (
        {**MAIL, "smtp_password": CANARY},
        {},
        "smtp_user: smtp_user and smtp_password",
        "required",
    ),
    "an id that is no text": ({**MAIL, "message_id": 7}, {}, "message_id: It needs 1 to 255", "invalid"),
    "an empty id": ({**MAIL, "message_id": ""}, {}, "message_id: It needs 1 to 255", "invalid"),
    "an id in Cyrillic": (MAIL, {"message_id": "письмо"}, "message_id: It needs 1 to 255", "invalid"),
    "two ids": ({**MAIL, "message_id": "a"}, {"message_id": "b"}, "message_id: The property and the field", "invalid"),
    "an id that nobody can read": (MAIL, {"message_id": b"\xff"}, "The message's properties cannot be read", "unread"),
    "a moment beyond the calendar": (
        encoded(MAIL),
        {"application_headers": {"at": b"\xff" * 3}, "type": b"\xfe"},
        "The message's properties cannot be read",
        "unreadable",
    ),
}


@pytest.mark.parametrize(("body", "properties", "words", "codes"), BAD.values(), ids=BAD)
def test_what_is_no_job_becomes_a_dead_letter_that_says_why(
    body: Any, properties: dict[str, Any], words: str, codes: str, jobs: Jobs, take: Take
) -> None:
    jobs.put(encoded(body), **properties)
    assert take(1).dead == 1
    assert not Notification.objects.exists()
    (letter,) = jobs.dead()
    assert content_of(letter) == encoded(body)
    assert words in letter.headers["x-error"]
    assert letter.headers["x-error-codes"].startswith(codes)
    assert CANARY not in str(letter.headers)
    assert jobs.waiting() == 0


def test_a_dead_letter_is_the_message_as_it_came(jobs: Jobs, take: Take) -> None:
    jobs.put(
        b"nonsense",
        content_type="text/x-odd",
        message_id="7",
        correlation_id="c",
        type="t",
        app_id="app",
        timestamp=1_700_000_000,
        application_headers={"trace": "abc", "deep": {"list": [1, "two", None]}},
    )
    take(1)
    (letter,) = jobs.dead()
    kept = ("content_type", "message_id", "correlation_id", "type", "app_id", "timestamp")
    assert [letter.properties[name] for name in kept] == ["text/x-odd", "7", "c", "t", "app", 1_700_000_000]
    assert letter.properties["delivery_mode"] == 2
    assert (letter.headers["trace"], letter.headers["deep"]) == ("abc", {"list": [1, "two", None]})
    assert (letter.headers["x-original-exchange"], letter.headers["x-original-routing-key"]) == ("", jobs.name)


def test_a_dead_letter_neither_vanishes_nor_comes_back_by_itself(jobs: Jobs, take: Take) -> None:
    jobs.put(b"nonsense", expiration="60000", user_id="guest", application_headers={"CC": [jobs.name]})
    take(1)
    jobs.put(encoded(MAIL))
    assert take(1).accepted == 1  # and not the letter once more
    (letter,) = jobs.dead()
    assert not {"expiration", "user_id"} & letter.properties.keys()
    assert letter.headers["x-original-expiration"] == "60000"


def test_headers_that_fill_a_frame_do_not_hold_up_the_queue(jobs: Jobs, take: Take) -> None:
    jobs.put(b"nonsense", application_headers={f"h{nth}": "x" * 1000 for nth in range(120)})
    take(1)
    (letter,) = jobs.dead()
    assert letter.headers["x-error"] == "The body is not JSON. (its headers are left out)"


def test_many_errors_are_told_briefly_and_on_one_line(jobs: Jobs, take: Take) -> None:
    jobs.put(encoded({**MAIL, **{f"x{nth}\n{'y' * 500}": 1 for nth in range(500)}}))
    take(1)
    told = jobs.dead()[0].headers["x-error"]
    assert len(told) <= 1000
    assert "\n" not in told


# --- Keys ------------------------------------------------------------------------------------------------------------
def test_an_id_counts_once_as_property_and_as_field(jobs: Jobs, take: Take) -> None:
    jobs.put(encoded(MAIL), message_id="7")
    jobs.put(encoded(MAIL), message_id="7")
    jobs.put(encoded({**MAIL, "message_id": "7"}))
    jobs.put(encoded({**MAIL, "message_id": "7"}), message_id="7")
    assert take(4).accepted == 4
    assert Notification.objects.count() == 1


def test_without_an_id_every_message_is_a_job(jobs: Jobs, take: Take) -> None:
    jobs.put(encoded(MAIL))
    jobs.put(encoded(MAIL))
    take(2)
    assert Notification.objects.count() == 2


SAME = {"to": {"email": "ann@example.com"}, "subject": "Hello", "message": "Text"}


@pytest.mark.parametrize("body", [MAIL, SAME, {"to_email": "ann@example.com", "title": "Hello", "message": "Text"}])
def test_a_key_is_the_same_through_rest_and_the_queue(
    body: dict[str, Any], jobs: Jobs, take: Take, api: APIClient
) -> None:
    jobs.put(encoded(body), message_id="7")
    take(1)
    row = Notification.objects.get()
    again = api.post("/api/notifications/", SAME, headers={"Idempotency-Key": "7"})
    assert (again.status_code, again.json()["id"], again.headers["Idempotent-Replayed"]) == (202, row.pk, "true")
    first = api.post("/api/notifications/", SAME, headers={"Idempotency-Key": "8"}).json()
    jobs.put(encoded(body), message_id="8")
    assert take(1).accepted == 1
    assert {found.pk for found in Notification.objects.all()} == {row.pk, first["id"]}


def test_a_key_with_another_body_is_no_job(jobs: Jobs, take: Take, api: APIClient) -> None:
    api.post("/api/notifications/", SAME, headers={"Idempotency-Key": "7"})
    jobs.put(encoded({**MAIL, "message": "Other"}), message_id="7")
    assert take(1).dead == 1
    (letter,) = jobs.dead()
    assert letter.headers["x-error"] == "message_id: It came with another body before."
    assert letter.headers["x-error-codes"] == "idempotency_key_reused"
    assert Notification.objects.count() == 1
