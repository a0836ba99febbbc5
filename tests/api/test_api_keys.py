"""API keys: who is let in, by which header, how long, and what each scope opens."""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.apps import apps
from django.db.models import F
from django.db.models.functions import Now
from django.urls import URLPattern, reverse
from django.utils import timezone
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from api.urls import urlpatterns
from notifier import api_keys
from notifier.api_keys import Made, Scope
from notifier.models import ApiKey, Notification, Organization, Recipient
from tests.api.checks import assert_problem, counts

USERS = "/api/users/"
MESSAGE = {"to": {"email": "user@example.com"}, "message": "Hello"}
Headers = dict[str, Any]


@pytest.fixture(autouse=True)
def _closed(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in production; and a process that has seen no key yet."""
    settings.API_OPEN = False
    monkeypatch.setattr(api_keys, "_used", api_keys._LastUse())


@pytest.fixture
def made(organization: Organization) -> Made:
    """A key that may do everything."""
    return api_keys.make(organization)


def bearer(key: str) -> Headers:
    return {"HTTP_AUTHORIZATION": f"Bearer {key}"}


def own_header(key: str) -> Headers:
    return {"HTTP_X_API_KEY": key}


def assert_refused(api: APIClient, headers: Headers) -> None:
    """401 in the contract's form, with the challenge, wherever it is tried; nothing is stored, nothing is told."""
    before = counts()
    for answer in (api.get(USERS, **headers), api.post("/api/notifications/", MESSAGE, **headers)):
        assert_problem(answer, 401)
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert counts() == before


def assert_let_in(api: APIClient, headers: Headers) -> None:
    assert api.get(USERS, **headers).status_code == 200
    assert api.post("/api/notifications/", MESSAGE, **headers).status_code == 202


def change(made: Made, **values: Any) -> None:
    ApiKey.objects.filter(pk=made.row.pk).update(**values)


# --- Which headers ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "shown",
    [
        bearer,
        lambda key: {"HTTP_AUTHORIZATION": f"bearer {key}"},  # a scheme's case says nothing, RFC 9110
        lambda key: {"HTTP_AUTHORIZATION": f"BEARER   {key}  "},
        own_header,
        lambda key: {**bearer(key), **own_header(key)},  # both, and they agree
        lambda key: {"HTTP_AUTHORIZATION": "Basic eDp5", **own_header(key)},  # for a proxy on the way
    ],
)
def test_a_good_key_is_let_in(api: APIClient, made: Made, shown: Callable[[str], Headers]) -> None:
    assert_let_in(api, shown(made.secret))


@pytest.mark.parametrize(
    "shown",
    [
        pytest.param(lambda key: {}, id="missing"),
        pytest.param(lambda key: bearer(""), id="empty"),
        pytest.param(lambda key: own_header(" "), id="blank"),
        pytest.param(lambda key: bearer("wrong"), id="wrong"),
        pytest.param(lambda key: own_header("wrong"), id="wrong in X-API-Key"),
        pytest.param(lambda key: bearer(key[:-1]), id="shortened"),
        pytest.param(lambda key: bearer(key[:-1] + ("a" if key[-1] != "a" else "b")), id="last letter"),
        pytest.param(lambda key: bearer(key + "A"), id="a letter more"),
        pytest.param(lambda key: bearer(key.swapcase()), id="other case"),
        pytest.param(lambda key: bearer(key.rsplit("_", 1)[0]), id="prefix alone"),
        pytest.param(lambda key: bearer(f"{key[:17]}_{'A' * 43}"), id="right prefix, wrong secret"),
        pytest.param(lambda key: bearer(key.replace("ntf_live_", "ntf_test_")), id="as if it were of another kind"),
        pytest.param(lambda key: bearer(hashlib.sha256(key.encode()).hexdigest()), id="digest"),
        pytest.param(lambda key: bearer(f"{key} {key}"), id="twice in one header"),
        pytest.param(lambda key: bearer(key + "\x00"), id="NUL"),
        pytest.param(lambda key: bearer(key[:-1] + "é"), id="not ASCII"),
        pytest.param(lambda key: bearer("ключ"), id="Cyrillic"),
        pytest.param(lambda key: bearer(key[:-1] + "\udcff"), id="lone surrogate"),
        pytest.param(lambda key: bearer("x" * 100_000), id="very long"),
        pytest.param(lambda key: bearer(key + "A" * 100_000), id="good, and very long"),
        pytest.param(lambda key: own_header(f"{key[:17]}_{'_' * 100_000}"), id="very long in X-API-Key"),
        pytest.param(lambda key: {"HTTP_AUTHORIZATION": key}, id="no scheme"),
        pytest.param(lambda key: {"HTTP_AUTHORIZATION": "Bearer"}, id="scheme alone"),
        pytest.param(lambda key: {"HTTP_AUTHORIZATION": f"Basic {key}"}, id="another scheme"),
        pytest.param(lambda key: {"HTTP_AUTHORIZATION": f"Token {key}"}, id="a scheme of others"),
        pytest.param(
            lambda key: {"HTTP_AUTHORIZATION": "Basic eDp5", **own_header("wrong")}, id="a proxy's, and wrong"
        ),
        pytest.param(lambda key: {**bearer(key), **own_header("wrong")}, id="both, the second wrong"),
        pytest.param(lambda key: {**bearer("wrong"), **own_header(key)}, id="both, the first wrong"),
    ],
)
@pytest.mark.parametrize("is_open", [False, True])
def test_anything_else_is_refused(
    api: APIClient, made: Made, settings: Settings, shown: Callable[[str], Headers], is_open: bool
) -> None:
    headers = shown(made.secret)
    settings.API_OPEN = is_open
    if is_open and not headers:
        assert_let_in(api, headers)  # nothing was claimed
    else:
        assert_refused(api, headers)


def test_two_good_keys_that_differ_are_refused(api: APIClient, made: Made, organization: Organization) -> None:
    other = api_keys.make(organization)
    assert_refused(api, {**bearer(made.secret), **own_header(other.secret)})


def test_a_key_says_which_organization_asks_also_where_the_api_is_open(
    api: APIClient, strangers: Recipient, settings: Settings, organization: Organization
) -> None:
    settings.API_OPEN = True
    theirs = api_keys.make(strangers.organization)
    assert [row["id"] for row in api.get(USERS, **bearer(theirs.secret)).json()["results"]] == [strangers.pk]
    assert api.get(USERS).json()["results"] == []


def test_the_answer_to_a_wrong_key_does_not_repeat_it(api: APIClient, made: Made) -> None:
    shown = made.secret[:-4] + "zzzz"
    answer = api.get(USERS, **bearer(shown))
    assert shown.rsplit("_", 1)[-1] not in answer.content.decode() + str(answer.headers)


# --- How long --------------------------------------------------------------------------------------------------------
def test_a_revoked_key_is_refused_at_once(api: APIClient, made: Made) -> None:
    assert_let_in(api, bearer(made.secret))
    assert api_keys.revoke([made.row]) == 1
    assert_refused(api, bearer(made.secret))
    assert api_keys.revoke([made.row]) == 0


def test_an_expired_key_is_refused(api: APIClient, made: Made) -> None:
    change(made, expires_at=Now() + timedelta(hours=1))
    assert_let_in(api, bearer(made.secret))
    change(made, expires_at=Now() - timedelta(seconds=1))
    assert_refused(api, bearer(made.secret))


@pytest.mark.parametrize("year", [2001, 2300])
def test_the_databases_clock_decides_not_this_machines(
    api: APIClient, made: Made, monkeypatch: pytest.MonkeyPatch, year: int
) -> None:
    monkeypatch.setattr(timezone, "now", lambda: datetime(year, 1, 1, tzinfo=UTC))
    change(made, expires_at=Now() + timedelta(hours=1))
    assert api.get(USERS, **bearer(made.secret)).status_code == 200
    change(made, expires_at=Now() - timedelta(hours=1))
    assert_problem(api.get(USERS, **bearer(made.secret)), 401)


def test_a_rotated_key_goes_on_for_a_day_beside_its_successor(api: APIClient, made: Made) -> None:
    successor = api_keys.rotate(made.row)
    assert successor.secret != made.secret
    for one in (made, successor):
        assert_let_in(api, bearer(one.secret))
    change(made, expires_at=F("expires_at") - timedelta(days=1) + timedelta(minutes=5))
    assert_let_in(api, bearer(made.secret))
    change(made, expires_at=F("expires_at") - timedelta(minutes=5, seconds=1))
    assert_refused(api, bearer(made.secret))
    assert_let_in(api, bearer(successor.secret))


@pytest.mark.parametrize("kind", list(ApiKey.Kind))
@pytest.mark.parametrize("scopes", [(Scope.SEND,), (Scope.READ,), (Scope.SEND, Scope.READ), (Scope.MANAGE,)])
def test_a_successor_may_do_the_same(organization: Organization, kind: str, scopes: tuple[Scope, ...]) -> None:
    ends = timezone.now() + timedelta(days=30)
    old = api_keys.make(organization, name="Shop", kind=kind, scopes=scopes, expires_at=ends).row
    old.refresh_from_db()
    new = api_keys.rotate(old).row
    new.refresh_from_db()
    assert (new.organization, new.name, new.kind) == (organization, "Shop", kind)
    assert api_keys.scopes_of(new) == api_keys.scopes_of(old)
    assert new.expires_at is not None
    assert abs(new.expires_at - ends) < timedelta(minutes=1)  # it lives as long as the old one was to


def test_a_rotation_does_not_lengthen_a_life(organization: Organization) -> None:
    soon = timezone.now() + timedelta(hours=1)
    old = api_keys.make(organization, expires_at=soon).row
    old.refresh_from_db()
    api_keys.rotate(old)
    old.refresh_from_db()
    assert old.expires_at == soon


# --- How it is kept --------------------------------------------------------------------------------------------------
def test_a_key_is_a_prefix_and_32_random_bytes(organization: Organization) -> None:
    for kind in ApiKey.Kind:
        one, other = (api_keys.make(organization, kind=kind) for _ in range(2))
        assert one.secret.startswith(f"ntf_{kind}_")
        assert one.secret.startswith(f"{one.row.prefix}_")
        assert len(one.secret.removeprefix(f"{one.row.prefix}_")) == 43  # 32 bytes in URL-safe base64
        assert one.secret[18:] != other.secret[18:]


def test_only_the_digest_is_in_the_database(api: APIClient, made: Made) -> None:
    assert_let_in(api, bearer(made.secret))
    secret = made.secret.removeprefix(f"{made.row.prefix}_")
    everything = [row for model in apps.get_models() for row in model._default_manager.values()]
    assert everything
    assert not [row for row in everything if secret in repr(row)]
    row = ApiKey.objects.get()
    assert bytes(row.digest) == hashlib.sha256(made.secret.encode()).digest()


def test_keys_with_the_same_prefix_lock_nobody_out(
    api: APIClient, organization: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifier.api_keys.secrets.choice", lambda letters: "A")
    one, other = api_keys.make(organization), api_keys.make(organization)
    assert one.row.prefix == other.row.prefix
    for key in (one, other):
        assert_let_in(api, bearer(key.secret))
    assert_refused(api, bearer(f"{one.row.prefix}_{'A' * 43}"))
    api_keys.revoke([one.row])
    assert_refused(api, bearer(one.secret))
    assert_let_in(api, bearer(other.secret))


def test_digests_are_compared_in_constant_time(api: APIClient, made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare(stored: bytes, shown: bytes) -> bool:
        compared.append((stored, shown))
        return False

    monkeypatch.setattr("notifier.api_keys.hmac.compare_digest", compare)
    assert api_keys.find(made.secret) is None  # this comparison decides, and no other
    digest = hashlib.sha256(made.secret.encode()).digest()
    assert compared == [(digest, digest)]


def test_the_last_use_is_kept_to_the_minute(api: APIClient, made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    def last_used() -> datetime | None:
        return ApiKey.objects.get(pk=made.row.pk).last_used_at

    assert last_used() is None
    assert api.get(USERS, **bearer(made.secret)).status_code == 200
    first = last_used()
    assert first is not None
    assert timezone.now() - first < timedelta(minutes=1)
    assert api.get(USERS, **bearer(made.secret)).status_code == 200
    assert last_used() == first  # within the minute nothing is written
    monkeypatch.setattr(api_keys, "USED_SECONDS", 0.0)
    assert api.get(USERS, **bearer(made.secret)).status_code == 200
    again = last_used()
    assert again is not None
    assert again > first


def test_a_refused_use_is_no_use(api: APIClient, made: Made) -> None:
    api_keys.revoke([made.row])
    assert_refused(api, bearer(made.secret))
    assert_refused(api, bearer(f"{made.row.prefix}_{'A' * 43}"))
    assert ApiKey.objects.get().last_used_at is None


# --- What a scope opens ----------------------------------------------------------------------------------------------
READS = {
    *("users", "user", "notifications", "notification", "organization", "events", "notification-events"),
    *("templates", "template"),
}
WRITES = {
    ("users", "POST"): Scope.SEND,
    ("user", "PATCH"): Scope.SEND,
    ("user", "DELETE"): Scope.SEND,
    ("notifications", "POST"): Scope.SEND,
    ("bulk", "POST"): Scope.SEND,
    ("plan", "POST"): Scope.SEND,
    ("cancel", "POST"): Scope.SEND,
    ("retry", "POST"): Scope.SEND,
    ("acknowledge", "POST"): Scope.SEND,
    ("rotate-webhook-secret", "POST"): Scope.MANAGE,
    ("preview", "POST"): Scope.READ,
}
OPEN_TO_ALL = {"schema", "docs", "redoc"}
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
SCOPES: list[tuple[Scope, ...]] = [(), (Scope.SEND,), (Scope.READ,), (Scope.SEND, Scope.READ), (Scope.MANAGE,)]
ROUTES = {entry.name: entry for entry in urlpatterns if isinstance(entry, URLPattern) and entry.name}


def test_every_route_has_its_place_in_these_tables() -> None:
    assert set(ROUTES) == READS | {name for name, _method in WRITES} | OPEN_TO_ALL


def wanted(name: str, method: str) -> Scope | None:
    """The scope that opens this, as the contract says. None: there is no such method."""
    if method in ("GET", "HEAD"):
        return Scope.READ if name in READS else None
    return Scope.READ if method == "OPTIONS" else WRITES.get((name, method))


@pytest.mark.parametrize("scopes", SCOPES, ids=lambda scopes: "+".join(scopes) or "none")
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", sorted(set(ROUTES) - OPEN_TO_ALL))
def test_a_route_is_opened_by_its_scope_alone(
    quiet_api: APIClient, user: Recipient, name: str, method: str, scopes: tuple[Scope, ...]
) -> None:
    key = api_keys.make(user.organization, scopes=scopes)
    groups = {"pk": user.pk, "name": "welcome"}
    path = reverse(f"api:{name}", kwargs={group: groups[group] for group in ROUTES[name].pattern.regex.groupindex})
    before = counts()
    answer = quiet_api.generic(method, path, "{}", "application/json", **bearer(key.secret))
    scope = wanted(name, method)
    if scope is None:  # no such method: 405 to who could use it, and never anything that works
        assert answer.status_code == 405 if Scope.MANAGE in scopes else answer.status_code in (403, 405)
    elif {scope, Scope.MANAGE} & set(scopes):
        assert answer.status_code in (200, 201, 202, 204, 400, 404), answer.content
    else:
        assert answer.status_code == 403
        if method != "HEAD":
            assert_problem(answer, 403, attr=None, code="scope")
        assert counts() == before


@pytest.mark.parametrize(("scopes", "status"), [((Scope.SEND,), 202), ((Scope.READ,), 403), ((Scope.MANAGE,), 202)])
def test_only_who_may_send_sends(
    api: APIClient, organization: Organization, scopes: tuple[Scope, ...], status: int
) -> None:
    key = api_keys.make(organization, scopes=scopes)
    assert api.post("/api/notifications/", MESSAGE, **bearer(key.secret)).status_code == status
    assert Notification.objects.count() == (status == 202)


@pytest.mark.parametrize("name", sorted(OPEN_TO_ALL))
def test_the_description_of_the_api_is_open(api: APIClient, made: Made, name: str) -> None:
    for headers in ({}, bearer(made.secret), bearer("wrong")):
        assert api.get(reverse(f"api:{name}"), **headers).status_code == 200


@pytest.mark.parametrize("scopes", SCOPES[1:], ids="+".join)
def test_only_who_manages_sees_the_webhook_secret(
    api: APIClient, organization: Organization, scopes: tuple[Scope, ...]
) -> None:
    key = api_keys.make(organization, scopes=scopes)
    answer = api.get("/api/organizations/me/", **bearer(key.secret))
    assert (b"whsec_" in answer.content) == (Scope.MANAGE in scopes)
    assert answer.status_code == (403 if scopes == (Scope.SEND,) else 200)
    if answer.status_code == 200:
        assert set(answer.json()) == {"slug", "name"} | ({"webhook_secret"} if Scope.MANAGE in scopes else set())
