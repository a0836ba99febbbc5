"""Bad requests to every address of the API, whatever it does: JSON in the one shape, never 5xx, nothing stored.

The addresses come from the project's own resolver, so that a new one is tried as well.
"""

import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError, connection
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from api import authentication
from notifier import api_keys
from tests.api.checks import assert_problem, raw
from tests.security.tenants import METHODS, ROWS, Route, Tenant, dump, our_models, routes, tenant

pytestmark = pytest.mark.django_db

PAGES = {"schema", "docs", "redoc"}
"""What anybody may read; the last two are for people, and are HTML."""
ALL = [route for route in routes() if route.name not in PAGES]
BODILESS = {"cancel", "acknowledge", "rotate-webhook-secret", "socket-token"}
"""They take no body, and read none."""
CSV = {"deadline-import"}
"""They take files, and nothing that is announced as anything else."""
KEYLESS = {"register", "activate", "token", "token-refresh", "logout", "password-forgot", "password-change"}
"""Who comes here has nothing to show yet, or shows it in the body: tests/accounts."""
NO_KEYS = {*KEYLESS, "socket-token"}
"""A key is nothing here."""
WRITING = [
    (route, method)
    for route in ALL
    for method in ("POST", "PUT", "PATCH")
    if method in route.methods and route.name not in BODILESS
]


def named(value: Any) -> str | None:
    """A route's name, for the test's."""
    return value.name if isinstance(value, Route) else None


@pytest.fixture
def mine(settings: Settings) -> Tenant:
    """The caller's organization, without a limit of requests."""
    settings.API_OPEN = False
    settings.API_THROTTLE_SEND = None
    return tenant("mine", "mineword")


@pytest.fixture
def client(mine: Tenant) -> APIClient:
    """Its client."""
    return mine.clients["live"]


@pytest.fixture
def path(mine: Tenant) -> Callable[[Route], str]:
    """The address of a route, with one of the caller's own rows in it."""

    def made(route: Route) -> str:
        return route.path(pk=ROWS[route.name](mine)[0]) if route.groups else route.path()

    return made


def fine(response: Any) -> bool:
    """Whether it is an answer, or an error in the one shape; an error must not be ours."""
    if response.status_code >= 400:
        assert_problem(response, response.status_code)
    assert response.status_code < 500, response.content
    assert not 300 <= response.status_code < 400
    assert "html" not in response.headers.get("Content-Type", "")
    return bool(response.status_code < 400)


# --- Addresses -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("route", ALL, ids=named)
def test_a_missing_slash_changes_nothing(
    client: APIClient, path: Callable[[Route], str], route: Route, method: str
) -> None:
    """Above all it is no redirect, which would turn a POST into a GET."""
    body = '{"nothing": 1}' if route.name not in BODILESS and (route.name, method) != ("user", "DELETE") else ""
    if route.name in BODILESS or method == "DELETE":
        method = "PUT" if method in route.methods else method  # they would do their work the first time
    with_slash, without = (raw(client, method, url, body) for url in (path(route), path(route).rstrip("/")))
    assert path(route).endswith("/")
    assert with_slash.status_code == without.status_code
    if not with_slash.streaming:  # a stream begins where the database is at that moment
        assert with_slash.content == without.content
    fine(without)


@pytest.mark.parametrize(
    "end", ["//", "/.", "/%00", "/;a=b", ".json", "/%0d%0aX:%20y", "/x" * 2000], ids=lambda e: e[:9]
)
def test_more_behind_an_address_is_another_address(client: APIClient, path: Callable[[Route], str], end: str) -> None:
    before = dump()
    for route, method in ((route, method) for route in ALL for method in METHODS):
        response = raw(client, method, path(route).rstrip("/") + end, "{}")
        assert response.status_code in {404, 405}
        assert "X" not in response.headers
        fine(response)
    assert dump() == before


@pytest.mark.parametrize(
    "number", ["0", "-1", "1.5", "1e3", "٣", "%00", "' OR 1=1", "../1", "9" * 400, "{{7*7}}", "%s"]
)
def test_what_is_no_rows_number_is_not_found(client: APIClient, number: str) -> None:
    before = dump()
    for route, method in ((one, method) for one in ALL if one.groups for method in one.methods):
        assert_problem(raw(client, method, route.path(pk=number), "{}"), 404, None, "not_found")
    assert dump() == before


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "FOO", "get", "post", "PROPFIND", "G E T", "é", "X" * 5000])
def test_a_method_that_nobody_knows(client: APIClient, path: Callable[[Route], str], method: str) -> None:
    urls = [path(route) for route in ALL]
    before = dump()
    for response in (raw(client, method, url, "{}") for url in urls):
        if method in {"get", "post"}:  # the server in front of Django never lets them through as they are
            assert response.status_code < 500
        else:
            assert_problem(response, 405, None, "method_not_allowed")
    assert method in {"get", "post"} or dump() == before


@pytest.mark.parametrize("route", [*ALL, *(route for route in routes() if route.name in PAGES)], ids=named)
@pytest.mark.parametrize("debug", [False, True])
def test_another_hosts_name_is_refused_everywhere(
    client: APIClient, path: Callable[[Route], str], route: Route, settings: Settings, *, debug: bool
) -> None:
    settings.DEBUG = debug
    before = dump()
    for host in ("evil.example.com", "testserver.evil.example.com", "testserver@evil.example.com", "te st", "\x00", ""):
        for method in METHODS:
            response = raw(client, method, path(route), "{}", headers={"Host": host})
            assert_problem(response, 400, None, "bad_request")
            assert b"evil" not in response.content
    assert dump() == before


@pytest.mark.parametrize(
    "query",
    [
        "cursor=garbage&page_size=-1",
        "cursor=" + "A" * 5000,
        "cursor=%00&cursor=%ff",
        "format=html",
        "format=api",
        "page_size[]=5&page_size[$gt]=5",
        "user_id=1&user_id=2",
        "user_id=%7B%7B7*7%7D%7D",
        "reference=%00",
        "email=%ed%a0%80",
        "status=sent%00",
        "__class__=x&organization=1&organization_id=1",
        "=&&&==",
        "&".join(f"a{number}=1" for number in range(5000)),
        "_method=DELETE&method=DELETE",
        "fields=organization&expand=organization&include=all&debug=1",
    ],
    ids=lambda query: query[:30],
)
def test_no_query_string_breaks_anything(client: APIClient, path: Callable[[Route], str], query: str) -> None:
    for route, method in ((route, method) for route in ALL for method in ("GET", "OPTIONS", "HEAD")):
        response = raw(client, method, f"{path(route)}?{query}", "")
        assert response.status_code < 500
        if method == "GET":
            fine(response)


# --- Bodies ----------------------------------------------------------------------------------------------------------
BODIES: dict[str, tuple[bytes, str, set[int]]] = {
    "no JSON": (b"hello", "application/json", {400}),
    "truncated": (b'{"message": "Hello"', "application/json", {400}),
    "a list": (b"[]", "application/json", {400}),
    "a number": (b"5", "application/json", {400}),
    "null": (b"null", "application/json", {400}),
    "NUL": (b'{"message": "\\u0000"}', "application/json", {400}),
    "a lone surrogate": (b'{"metadata": {"\\ud800": 1}}', "application/json", {400}),
    "a repeated key": (b'{"message": "a", "message": "b"}', "application/json", {400}),
    "NaN": (b'{"message": NaN}', "application/json", {400}),
    "deep": (b'{"a":' * 3000 + b"1" + b"}" * 3000, "application/json", {400}),
    "deep and open": (b"[" * 5000, "application/json", {400}),
    "a huge number": (b'{"user_id": ' + b"9" * 5000 + b"}", "application/json", {400}),
    "UTF-16": ('{"message": "a"}'.encode("utf-16"), "application/json", {400}),
    "an unknown field": (b'{"__proto__": {"is_admin": true}}', "application/json", {400}),
    "too large": (b'{"message": "' + b"x" * (10 * 1024 * 1024) + b'"}', "application/json", {413}),
    "a form": (b"message=Hello", "application/x-www-form-urlencoded", {415}),
    "multipart": (b"--x\r\n\r\n--x--", "multipart/form-data; boundary=x", {415}),
    "XML": (b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>', "application/xml", {415}),
    "YAML": (b"!!python/object/apply:os.system ['true']", "application/yaml", {415}),
    "a pickle": (b"\x80\x04N.", "application/octet-stream", {415}),
    "another charset": (b"{}", "application/json; charset=utf-16", {415}),
}  # fmt: skip


@pytest.mark.parametrize(("body", "content_type", "statuses"), BODIES.values(), ids=BODIES)
def test_a_bad_body_at_every_door(
    client: APIClient, path: Callable[[Route], str], body: bytes, content_type: str, statuses: set[int]
) -> None:
    before = dump()
    for route, method in WRITING:
        response = raw(client, method, path(route), body, content_type)
        assert not fine(response)
        assert response.status_code in ({415} if route.name in CSV else statuses), (route.name, response.content)
    assert dump() == before


@pytest.mark.parametrize("route", [route for route in ALL if route.name in BODILESS], ids=named)
def test_who_needs_no_body_reads_none(client: APIClient, path: Callable[[Route], str], route: Route) -> None:
    for body, content_type, _ in BODIES.values():
        fine(raw(client, "POST", path(route), body, content_type))


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, gzip", "x-gzip"])
def test_no_packed_body_is_unpacked(client: APIClient, path: Callable[[Route], str], encoding: str) -> None:
    """A bomb of a gigabyte is a megabyte on the wire."""
    before, bomb = dump(), gzip.compress(b'{"message": "' + b"x" * 50_000_000 + b'"}', 1)
    assert len(bomb) < 1_000_000
    for route, method in WRITING:
        response = raw(client, method, path(route), bomb, headers={"Content-Encoding": encoding})
        assert_problem(response, 415, None, "unsupported_media_type")
    assert dump() == before


# --- Headers ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "headers",
    [
        {"Accept": "text/html"},
        {"Accept": "*/*;q=x, , ;;"},
        {"Accept": "a" * 50_000},
        {"Accept-Language": "../../etc/passwd, *;q=9e99"},
        {"Accept-Language": "a-" * 10_000},
        {"Content-Length": "-1"},
        {"Content-Length": "1e3"},
        {"Content-Length": "٣"},
        {"Idempotency-Key": ""},
        {"Idempotency-Key": "x" * 256},
        {"Idempotency-Key": "é"},
        {"Idempotency-Key": "a\x00b"},
        {"X-HTTP-Method-Override": "DELETE"},
        {"X-Forwarded-Host": "evil.example.com"},
        {"X-Forwarded-For": "' OR 1=1 --"},
        {"X-Forwarded-Proto": "https, http"},
        {"Cookie": "sessionid=" + "x" * 5000},
        {"Cookie": "=;;;\x00"},
        {"Range": "bytes=0-" + "9" * 500},
        {"If-Modified-Since": "yesterday"},
        {"Expect": "100-continue"},
        {"Upgrade": "websocket"},
        {"Forwarded": "for=_hidden;host=evil"},
    ],
    ids=lambda headers: f"{next(iter(headers))}: {next(iter(headers.values()))[:20]!r}",
)
def test_no_header_breaks_anything(client: APIClient, path: Callable[[Route], str], headers: dict[str, str]) -> None:
    for route, method in ((route, method) for route in ALL for method in ("GET", "POST")):
        if method == "POST" and route.name in BODILESS | {"retry"}:
            continue
        response = raw(client, method, path(route), '{"nothing": 1}', headers=headers)
        fine(response)
        assert b"evil" not in response.getvalue()


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer \x00"},
        {"Authorization": "Bearer " + "x" * 100_000},
        {"Authorization": "Bearer ntf_live_00000000_" + "0" * 43},
        {"Authorization": "Bearer ntf_live_%' OR 1=1 --_" + "0" * 43},
        {"Authorization": "Basic dXNlcjpwYXNz"},
        {"Authorization": "Token x"},
        {"Authorization": "Bearer a, Bearer b"},
        {"Authorization": "Béarer é"},
        {"X-API-Key": "\x00"},
        {"X-API-Key": "null"},
        {"X-API-Key": "undefined"},
        {"Cookie": "sessionid=x; csrftoken=y"},
    ],
    ids=lambda headers: str(headers)[:50],
)
def test_without_a_good_key_no_address_does_anything(
    mine: Tenant, path: Callable[[Route], str], headers: dict[str, str]
) -> None:
    before = dump()
    keyed = [route for route in ALL if route.name not in KEYLESS]
    for route, method in ((one, method) for one in keyed for method in {*one.methods, "OPTIONS", "DELETE"}):
        response = raw(APIClient(raise_request_exception=False), method, path(route), "{not JSON", headers=headers)
        assert_problem(response, 401)
        assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert dump() == before


@pytest.mark.parametrize("place", ["key", "api_key", "token", "access_token", "apikey", "X-API-Key"])
def test_a_key_in_the_address_opens_nothing(mine: Tenant, place: str) -> None:
    """It would stand in logs and histories."""
    key = api_keys.make(mine.organization).secret
    for route in ALL:
        if not route.groups and route.name not in KEYLESS:
            assert_problem(APIClient().get(f"{route.path()}?{place}={key}"), 401)


# --- The database is out ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("is_open", [True, False])
@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("route", [route for route in ALL if route.name not in NO_KEYS], ids=named)
def test_without_a_database_every_address_says_when_to_come_again(
    mine: Tenant,
    path: Callable[[Route], str],
    route: Route,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    *,
    debug: bool,
    is_open: bool,
) -> None:
    settings.DEBUG, settings.API_OPEN = debug, is_open
    monkeypatch.setattr(authentication._default, "_kept", None)
    client = APIClient(raise_request_exception=False) if is_open else mine.clients["live"]
    url = path(route)

    def out(*_: Any) -> Any:
        raise OperationalError("canary: could not connect to 10.1.2.3 as user app")

    body = json.dumps({"email": "user@example.com"})
    for method in route.methods:
        with connection.execute_wrapper(out):
            response = raw(client, method, url, body)
        assert_problem(response, 503, None, "unavailable")
        assert int(response.headers["Retry-After"]) > 0
        assert b"canary" not in response.content


def test_every_model_is_among_those_that_are_compared() -> None:
    """What `dump` leaves out could change unseen."""
    assert set(dump()) == {model.__name__ for model in our_models()} >= {"Notification", "Recipient", "ApiKey"}


@pytest.mark.parametrize("path", ["/", "/sandbox/state/", "/sandbox/switches/", "/sandbox/inbox/", "/sandbox/reset/"])
def test_the_demo_page_and_the_sandbox_are_not_there_in_production(path: str, settings: Settings) -> None:
    assert (settings.DEBUG, settings.DEMO_PAGE) == (False, False)
    for method in ("GET", "POST"):
        assert raw(APIClient(), method, path, "{}").status_code == 404
