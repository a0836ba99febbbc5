"""Bad bodies: their form, before any field is looked at. Never 5xx, never HTML, nothing stored."""

import gzip
import json
import time
import tracemalloc
from typing import Any

import pytest
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from notifier.models import Organization, Recipient
from tests.api.checks import assert_problem, ended, raw, stored

DOORS = ["/api/users/", "/api/notifications/", "/api/notifications/bulk/"]
USER = b'{"email": "user@example.com"}'
GZIPPED = gzip.compress(USER, mtime=0)

pytestmark = pytest.mark.usefixtures("nothing_stored")


@pytest.fixture(params=[False, True], ids=["", "debug"])
def debug(request: pytest.FixtureRequest, settings: Settings) -> None:
    """Also with DEBUG on: Django's pages must not come through."""
    settings.DEBUG = request.param


NO_JSON: dict[str, bytes] = {
    "blank": b" ",
    "line break": b"\n",
    "text": b"hello",
    "truncated object": b'{"email": "user@example.com"',
    "truncated string": b'{"email": "user@exam',
    "truncated escape": b'{"email": "\\u00',
    "truncated list": b"[",
    "only a bracket": b"}",
    "single quotes": b"{'email': 'user@example.com'}",
    "no quotes": b"{email: 1}",
    "trailing comma": b'{"email": "user@example.com",}',
    "two objects": USER + USER,
    "junk behind": USER + b"x",
    "NUL behind": USER + b"\x00",
    "comment": b'/* */ {"email": "user@example.com"}',
    "Python": b'{"email": None}',
    "form": b"email=user%40example.com",
    "XML": b"<email>user@example.com</email>",
    "YAML": b"email: user@example.com",
    "NaN": b'{"email": NaN}',
    "Infinity": b'{"email": Infinity}',
    "-Infinity": b'{"email": [-Infinity]}',
    "NaN in a map": b'{"to": {"email": "user@example.com"}, "message": "x", "metadata": {"a": NaN}}',
    "overflowing float": b'{"to": {"email": "user@example.com"}, "message": "x", "metadata": {"a": 1e400}}',
    "overflowing negative float": b'{"to": {"email": "user@example.com"}, "message": "x", "metadata": {"a": -1e400}}',
    "huge number": b'{"telegram_chat_id": ' + b"9" * 5000 + b"}",
    "huge fraction": b'{"telegram_chat_id": 0.' + b"1" * 5000 + b"}",
    "leading zero": b'{"telegram_chat_id": 012}',
    "leading plus": b'{"telegram_chat_id": +12}',
    "hexadecimal": b'{"telegram_chat_id": 0x12}',
    "tab in a string": b'{"email": "user@example.com", "name": "a\tb"}',
    "line break in a string": b'{"email": "user@example.com", "name": "a\nb"}',
    "wrong escape": b'{"email": "user@example.com", "name": "\\x41"}',
    "BOM": b"\xef\xbb\xbf" + USER,
    "UTF-16": USER.decode().encode("utf-16"),
    "UTF-16 without BOM": USER.decode().encode("utf-16-le"),
    "UTF-32": USER.decode().encode("utf-32"),
    "Latin-1": '{"email": "user@example.com", "name": "é"}'.encode("latin-1"),
    "overlong UTF-8": b'{"email": "user@example.com", "name": "\xc0\xaf"}',
    "surrogate in UTF-8": b'{"email": "user@example.com", "name": "\xed\xa0\x80"}',
    "cut UTF-8": b'{"email": "user@example.com", "name": "\xd0"}',
    "gzip unannounced": GZIPPED,
    "repeated key": b'{"email": "user@example.com", "email": "evil@example.com"}',
    "repeated key, escaped": b'{"email": "user@example.com", "\\u0065mail": "evil@example.com"}',
    "repeated key inside": b'{"to": {"email": "a@example.com", "email": "b@example.com"}, "message": "x"}',
    "repeated key in a map": b'{"to": {"email": "a@example.com"}, "message": "x", "metadata": {"a": 1, "a": 2}}',
    "raw NUL": b'{"email": "user@example.com", "name": "a\x00b"}',
    "depth 1000": b'{"metadata":' + b"[" * 1000 + b"]" * 1000 + b"}",
    "depth 100,000": b"[" * 100_000,
    "depth 100,000, closed": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "depth in a field": b'{"to": {"email": "a@example.com"}, "message": "x", "metadata": '
    + b'{"a":' * 40
    + b"1"
    + b"}" * 41,
}


@pytest.mark.parametrize("body", NO_JSON.values(), ids=NO_JSON)
def test_what_is_no_json_of_ours(api: APIClient, body: bytes) -> None:
    for door in DOORS:
        assert_problem(raw(api, "POST", door, body), 400, None, "parse_error")


UNSAFE: list[tuple[bytes, str | None]] = [
    (rb'{"name": "a\u0000b"}', "name"),
    (rb'{"to": {"email": "a\u0000"}}', "to.email"),
    (rb'{"metadata": {"a": ["x", "\u0000"]}}', "metadata.a.1"),
    (rb'{"notifications": [{}, {"message": "\u0000"}]}', "notifications.1.message"),
    (rb'{"na\u0000me": "x"}', None),
    (rb'{"metadata": {"\u0000": 1}}', "metadata"),
    (rb'{"name": "\ud83d"}', "name"),
    (rb'{"name": "\ude00x"}', "name"),
    (rb'{"name": "\ude00\ud83d"}', "name"),
    (rb'{"metadata": {"a": {"b": "\udc00"}}}', "metadata.a.b"),
    (rb'{"metadata": {"\udc00": 1}}', "metadata"),
    (rb'{"\ud83d": "x"}', None),
    (rb'["\u0000"]', "0"),
    (rb'"\u0000"', None),
]


@pytest.mark.parametrize(("body", "attr"), UNSAFE)
def test_text_that_nothing_can_carry(api: APIClient, body: bytes, attr: str | None) -> None:
    for door in DOORS:
        assert_problem(raw(api, "POST", door, body), 400, attr, "unsafe")


@pytest.mark.usefixtures("debug")
def test_the_same_for_a_change_and_a_retry(api: APIClient, organization: Organization) -> None:
    user = Recipient.objects.create(organization=organization, email="user@example.com")
    row = ended(stored(organization), "failed", "rejected")
    for body in NO_JSON.values():
        assert_problem(raw(api, "PATCH", f"/api/users/{user.pk}/", body), 400)
        assert_problem(raw(api, "POST", f"/api/notifications/{row.pk}/retry/", body), 400)
    row.delete()
    user.delete()


@pytest.mark.parametrize("body", ["[]", "[{}]", '"x"', "5", "1.5", "true", "false", "null", "{}", ""])
def test_a_body_that_is_no_object_or_an_empty_one(api: APIClient, body: str) -> None:
    for door in DOORS:
        assert_problem(raw(api, "POST", door, body), 400)


@pytest.mark.parametrize("door", DOORS)
def test_a_very_wide_body_is_refused_quickly(api: APIClient, door: str) -> None:
    body = json.dumps({f"field{number}": number for number in range(20_000)})
    began = time.thread_time()
    assert_problem(raw(api, "POST", door, body), 400)
    assert time.thread_time() - began < 5


@pytest.mark.parametrize(
    "body",
    [
        b'"' + b'\\"' * 2_500_000,
        b'"' + b"\\" * 5_000_001,
        b'{"a":"' + b"\\u0061" * 1_500_000,
        b'"[' * 2_000_000,
        b"[" * 10_000_000,
        b'{"metadata": {"a": [' + b"1," * 2_000_000 + b"1]}}",
    ],
    ids=["quotes", "backslashes", "escapes", "both", "brackets", "numbers"],
)
def test_no_body_keeps_the_parser_busy(api: APIClient, body: bytes) -> None:
    """Each of these takes minutes where the reader goes back after every mismatch."""
    began = time.thread_time()
    assert_problem(raw(api, "POST", "/api/notifications/", body), 400)
    assert time.thread_time() - began < 5


def test_a_long_string_costs_memory_in_proportion(api: APIClient) -> None:
    body = b'{"message": "' + b"x" * 9_000_000 + b'"}'
    tracemalloc.start()
    try:
        assert_problem(raw(api, "POST", "/api/notifications/", body), 400, "message", "max_length")
        assert tracemalloc.get_traced_memory()[1] < 12 * len(body)
    finally:
        tracemalloc.stop()


@pytest.mark.usefixtures("debug")
@pytest.mark.parametrize("door", [*DOORS, "/api/users", "/api/notifications"])
def test_a_body_over_10_mb_is_too_large(api: APIClient, door: str) -> None:
    body = b'{"message": "' + b"x" * (10 * 1024 * 1024) + b'"}'
    assert_problem(raw(api, "POST", door, body), 413, None, "too_large")


def test_a_body_of_10_mb_is_read(api: APIClient) -> None:
    start, end = b'{"message": "', b'"}'
    body = start + b"x" * (10 * 1024 * 1024 - len(start + end)) + end
    assert_problem(raw(api, "POST", "/api/notifications/", body), 400, "message")


# --- How it is announced ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "text/json",
        "text/html",
        "application/x-www-form-urlencoded",
        "application/x-www-form-urlencoded; charset=utf-8",
        "multipart/form-data",
        "multipart/form-data; boundary=x",
        "multipart/mixed; boundary=x",
        "application/xml",
        "application/yaml",
        "application/octet-stream",
        "application/jsonp",
        "application/json-patch+json",
        "application/vnd.api+json",
        "application/x-ndjson",
        "application",
        "/json",
        "json",
        ";",
        "application/json; charset=foo",
        "application/json; charset=utf-16",
        "application/json; charset=latin-1",
        'application/json; charset="cp1251"',
        "application/json;Charset=UTF-7",
        "application/json; v=1; charset=ascii",
    ],
)
def test_only_json_in_utf8_is_read(api: APIClient, content_type: str) -> None:
    for door in DOORS:
        assert_problem(raw(api, "POST", door, USER, content_type), 415, None, "unsupported_media_type")


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "x-gzip", "gzip, gzip", "GZIP", "aes128gcm"])
@pytest.mark.parametrize("body", [USER, GZIPPED], ids=["plain", "gzipped"])
def test_no_encoded_body_is_read(api: APIClient, encoding: str, body: bytes) -> None:
    response = raw(api, "POST", "/api/users/", body, headers={"Content-Encoding": encoding})
    assert_problem(response, 415, None, "unsupported_media_type")


@pytest.mark.usefixtures("debug")
def test_a_form_and_a_multipart_body_are_refused(api: APIClient) -> None:
    fields = {"email": "user@example.com", "message": "Hello", "user_id": "1"}
    for door in DOORS:
        multipart: Any = APIClient(content_type=None)
        assert_problem(multipart.post(door, fields, format=None, content_type="multipart/form-data; boundary=B"), 415)
        form = "email=user%40example.com&user_id=1&message=Hello"
        assert_problem(raw(api, "POST", door, form, "application/x-www-form-urlencoded"), 415)


@pytest.mark.parametrize(
    "door", ["/api/users/", "/api/notifications/", "/api/users/1/", "/api/notifications/1/cancel/"]
)
@pytest.mark.parametrize(
    "accept", ["text/html", "application/xml", "text/*", "image/png, text/plain;q=0.5", "nonsense"]
)
@pytest.mark.usefixtures("debug")
def test_only_json_is_spoken(api: APIClient, door: str, accept: str) -> None:
    method = "POST" if door.endswith(("s/", "cancel/")) else "GET"
    response = raw(api, method, door, USER, headers={"Accept": accept})
    assert_problem(response, 406, None, "not_acceptable")


# --- Where it is sent ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("put", path) for path in ("/api/users/", "/api/users/1/", "/api/notifications/", "/api/notifications/1/")),
        *(("delete", path) for path in ("/api/users/", "/api/notifications/", "/api/notifications/1/")),
        *(("patch", path) for path in ("/api/users/", "/api/notifications/", "/api/notifications/1/")),
        *(("post", path) for path in ("/api/users/1/", "/api/notifications/1/")),
        *(("get", path) for path in ("/api/notifications/bulk/", "/api/notifications/1/cancel/")),
        *(("trace", path) for path in ("/api/users/", "/api/notifications/1/retry/")),
        ("get", "/api/notifications/1/retry/"),
        ("delete", "/api/notifications/1/cancel/"),
    ],
)
@pytest.mark.usefixtures("debug")
def test_a_method_that_is_not_there(api: APIClient, method: str, path: str) -> None:
    response = raw(api, method.upper(), path, "{}")
    assert_problem(response, 405, None, "method_not_allowed")
    assert "OPTIONS" in response.headers["Allow"]


@pytest.mark.parametrize(
    "path",
    [
        "/api",
        "/api/",
        "/api/nothing/",
        "/api/nothing",
        "/api/user/",
        "/api//users/",
        "/api/users//",
        "/api/users/abc/",
        "/api/users/-1/",
        "/api/users/1.5/",
        "/api/users/1e3/",
        "/api/users/%00/",
        "/api/users/%FF/",
        "/api/users/٣/",
        "/api/users/1/x/",
        "/api/users/../../etc/passwd",
        "/api/notifications/abc/",
        "/api/notifications/1/send/",
        "/api/notifications/abc/cancel/",
        "/health/nothing/",
    ],
)
@pytest.mark.usefixtures("debug")
def test_an_address_that_is_not_there(quiet_api: APIClient, path: str) -> None:
    for method in ("GET", "POST", "PATCH", "DELETE"):
        assert_problem(raw(quiet_api, method, path, USER), 404, None, "not_found")


NUMBERS = ["0", "999999999", str(2**63 - 1), str(2**63), str(2**64), "9" * 19, "9" * 5000, "0" * 50]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/users/{}/"),
        ("PATCH", "/api/users/{}/"),
        ("DELETE", "/api/users/{}/"),
        ("GET", "/api/notifications/{}/"),
        ("POST", "/api/notifications/{}/cancel/"),
        ("POST", "/api/notifications/{}/retry/"),
    ],
)
def test_a_number_that_no_row_has(api: APIClient, method: str, path: str) -> None:
    for number in NUMBERS:
        assert_problem(raw(api, method, path.format(number), "{}"), 404, None, "not_found")


@pytest.mark.parametrize(
    "host", ["evil.example.com", "", "a b", "testserver:port", "127.0.0.1.evil.example.com", "x" * 300]
)
@pytest.mark.usefixtures("debug")
def test_a_wrong_host_header(quiet_api: APIClient, host: str) -> None:
    for path in ("/api/users/", "/api/nothing/", "/health/live/"):
        assert_problem(quiet_api.get(path, headers={"Host": host}), 400, None, "bad_request")


# --- Queries ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("path", "field", "value"),
    [
        *(("/api/users/", field, "a\x00b") for field in ("email", "phone", "external_id")),
        *(("/api/notifications/", field, "\x00") for field in ("status", "channel", "user_id", "reference")),
        *(("/api/notifications/", "status", value) for value in ("lost", "SENT", "sent,failed", "['sent']")),
        *(("/api/notifications/", "channel", value) for value in ("pigeon", "EMAIL", "email,sms", '%"', "_mail")),
        *(
            ("/api/notifications/", "user_id", value)
            for value in ("abc", "0", "-1", "1.5", "1_0", "٣", "9" * 30, "9" * 5000, "1e3", " 1")
        ),
        *(
            ("/api/notifications/", field, value)
            for field in ("created_after", "created_before")
            for value in (
                "yesterday",
                "2026-11-20",
                "2026-11-20T12:00:00",
                "0001-01-01T00:00:00+14:00",
                "\x00",
                "1700000000",
            )
        ),
    ],
)
def test_a_filter_that_makes_no_sense(api: APIClient, path: str, field: str, value: str) -> None:
    assert_problem(api.get(path, {field: value}), 400, field)


@pytest.mark.parametrize(
    "query", ["%ff", "email=%ff%fe", "email=%", "email=%zz", "&&&=", "=", "email", "a" * 8000, "email=\ud7ff"]
)
@pytest.mark.parametrize("path", ["/api/users/", "/api/notifications/"])
def test_a_query_string_that_makes_no_sense_is_an_empty_page(api: APIClient, path: str, query: str) -> None:
    response = api.get(f"{path}?{query}")
    assert response.status_code == 200
    assert response.json()["results"] == []


@pytest.mark.parametrize("path", ["/api/users/", "/api/notifications/"])
def test_another_format_is_not_there(api: APIClient, path: str) -> None:
    assert_problem(api.get(f"{path}?format=html"), 404)
