"""Tokens: each kind is taken where it belongs, once where it works once, and as long as its user's password stands."""

import base64
import json
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import jwt
import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.models.functions import Now
from pytest_django.fixtures import Settings
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken

from accounts import tokens
from accounts.tokens import (
    KINDS,
    AccessToken,
    ActivateToken,
    ChangePasswordToken,
    Kind,
    RefreshToken,
    SocketToken,
    WrongTokenError,
    create_token,
    validate_any_token,
    verify_token,
)
from tests.accounts.conftest import account, newcomer

pytestmark = pytest.mark.django_db
ONCE = [kind for kind in KINDS if kind.works_once]
KEY = django_settings.JWT_SECRET_KEY


def named(kind: Kind) -> str:
    return str(kind.token_type)


def owner_for(kind: Kind) -> User:
    """A user who may use one of these."""
    return newcomer() if kind is ActivateToken else account()


def claims_of(text: str) -> dict[str, Any]:
    return jwt.decode(text, options={"verify_signature": False})


def signed(claims: dict[str, Any], key: str = KEY, algorithm: str = "HS256", **headers: Any) -> str:
    return jwt.encode(claims, key, algorithm, headers=headers)


def assert_refused(text: Any, kind: Kind) -> None:
    with pytest.raises(WrongTokenError) as refused:
        verify_token(text, kind)
    assert str(refused.value) == "", "which of the reasons it was, nobody is told"
    with pytest.raises(WrongTokenError):
        validate_any_token(text)


# --- Kinds -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("made", KINDS, ids=named)
@pytest.mark.parametrize("wanted", KINDS, ids=named)
def test_no_kind_passes_for_another(made: Kind, wanted: Kind) -> None:
    user = owner_for(made)
    text = create_token(user, made)
    User.objects.filter(pk=user.pk).update(is_active=wanted is not ActivateToken)  # so that it is the kind that decides
    if made is wanted:
        assert verify_token(text, wanted) == user
    else:
        with pytest.raises(WrongTokenError):
            verify_token(text, wanted)


@pytest.mark.parametrize("kind", KINDS, ids=named)
def test_any_token_tells_whose_it_is_and_is_not_spent_by_that(kind: Kind) -> None:
    user = owner_for(kind)
    text = create_token(user, kind)
    assert validate_any_token(text) == validate_any_token(text) == verify_token(text, kind) == user


@pytest.mark.parametrize(
    ("kind", "lifetime"),
    [
        (AccessToken, timedelta(minutes=60)),
        (RefreshToken, timedelta(days=7)),
        (ActivateToken, timedelta(hours=48)),
        (ChangePasswordToken, timedelta(minutes=60)),
        (SocketToken, timedelta(seconds=60)),
    ],
    ids=lambda value: getattr(value, "token_type", ""),
)
def test_each_ends_after_its_time(kind: Kind, lifetime: timedelta) -> None:
    text = create_token(owner_for(kind), kind)
    claims = claims_of(text)
    assert claims["exp"] - claims["iat"] == lifetime.total_seconds()
    assert abs(claims["iat"] - time.time()) < 60
    over = signed({**claims, "iat": claims["iat"] - 10**6, "exp": int(time.time()) - 1})
    assert_refused(over, kind)


# --- What is not ours ------------------------------------------------------------------------------------------------
def unsigned(claims: dict[str, Any], algorithm: str) -> str:
    parts = [{"alg": algorithm, "typ": "JWT"}, claims]
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    return ".".join([*encoded, ""])


def _header(text: str, header: str) -> str:
    encoded = base64.urlsafe_b64encode(header.encode()).rstrip(b"=").decode()
    return ".".join([encoded, *text.split(".")[1:]])


FORGED: dict[str, Callable[[str, dict[str, Any]], Any]] = {
    "alg none": lambda text, claims: unsigned(claims, "none"),
    "alg None": lambda text, claims: unsigned(claims, "None"),
    "alg none with our signature": lambda text, claims: _header(text, '{"alg":"none"}'),
    "another algorithm": lambda text, claims: signed(claims, algorithm="HS512"),
    "another key": lambda text, claims: signed(claims, key="k" * 64),
    "Django's key": lambda text, claims: signed(claims, key=django_settings.SECRET_KEY),
    "an empty key": lambda text, claims: unsigned(claims, "HS256"),
    "claims changed": lambda text, claims: ".".join(
        [text.split(".")[0], unsigned({**claims, "exp": 2**33}, "x").split(".")[1], text.split(".")[2]]
    ),
    "a critical header": lambda text, claims: signed(claims, crit=["exp"]),
    "another audience": lambda text, claims: signed({**claims, "aud": "others"}),
    "another issuer": lambda text, claims: signed({**claims, "iss": "others"}),
    "made later than now": lambda text, claims: signed({**claims, "iat": claims["iat"] + 3600}),
    "a number nobody gave": lambda text, claims: signed({**claims, "jti": "0" * 32}),
    "a bool for a time": lambda text, claims: signed({**claims, "exp": True}),
    "an end beyond all calendars": lambda text, claims: signed({**claims, "exp": 10**30}),
    "another password": lambda text, claims: signed({**claims, "password": "0" * 32}),
    "a user nobody is": lambda text, claims: signed({**claims, "user_id": "0"}),
    "a user of many digits": lambda text, claims: signed({**claims, "user_id": "9" * 200}),
    "a user who is no number": lambda text, claims: signed({**claims, "user_id": "ann"}),
    "a user as a number": lambda text, claims: signed({**claims, "user_id": int(claims["user_id"])}),
    "a list for a kind": lambda text, claims: signed({**claims, "token_type": [claims["token_type"]]}),
    "cut short": lambda text, claims: text[:-4],
    "a letter more": lambda text, claims: text + "A",
    "very long": lambda text, claims: signed({**claims, "more": "x" * 5000}),
    "deep": lambda text, claims: _header(text, "[" * 1500),
    "empty": lambda text, claims: "",
    "dots": lambda text, claims: "..",
    "Cyrillic": lambda text, claims: "жетон.жетон.жетон",
    "a lone surrogate": lambda text, claims: text + "\udcff",
    "NUL": lambda text, claims: text + "\x00",
    "none": lambda text, claims: None,
    "bytes": lambda text, claims: text.encode(),
}
MISSING = ["exp", "iat", "jti", "token_type", "user_id", "password", "aud", "iss"]


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED)
def test_a_forged_token_is_refused(forge: Callable[[str, dict[str, Any]], Any]) -> None:
    text = create_token(account(), RefreshToken)
    assert_refused(forge(text, claims_of(text)), RefreshToken)
    assert verify_token(text, RefreshToken)


@pytest.mark.parametrize("kind", KINDS, ids=named)
@pytest.mark.parametrize("claim", MISSING)
def test_each_claim_is_needed(claim: str, kind: Kind) -> None:
    text = create_token(owner_for(kind), kind)
    claims = claims_of(text)
    assert_refused(signed({name: value for name, value in claims.items() if name != claim}), kind)
    assert verify_token(signed(claims), kind), "otherwise this proves nothing"


# --- Whose time is over ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", KINDS, ids=named)
def test_a_new_password_ends_it(kind: Kind) -> None:
    user = owner_for(kind)
    text = create_token(user, kind)
    user.set_password("a new one")
    user.save()
    assert_refused(text, kind)


@pytest.mark.parametrize("kind", KINDS, ids=named)
def test_it_goes_with_its_user(kind: Kind) -> None:
    user = owner_for(kind)
    text = create_token(user, kind)
    user.delete()
    assert_refused(text, kind)


@pytest.mark.parametrize("kind", KINDS, ids=named)
def test_a_deactivated_user_has_none(kind: Kind) -> None:
    user = owner_for(kind)
    text = create_token(user, kind)
    user.is_active = True
    user.save()  # which ends a registration
    user.is_active = False
    user.save()
    assert_refused(text, kind)


@pytest.mark.parametrize("kind", [kind for kind in ONCE if kind is not ActivateToken], ids=named)
def test_who_was_deactivated_and_comes_back_has_to_get_new_ones(kind: Kind) -> None:
    user = account()
    text = create_token(user, kind)
    for is_active in (False, True):
        user.is_active = is_active
        user.save()
    assert_refused(text, kind)


def test_an_operator_who_edits_a_newcomer_leaves_him_his_link() -> None:
    user = newcomer()
    text = create_token(user, ActivateToken)
    user.save()
    assert verify_token(text, ActivateToken)


def test_without_a_key_there_are_no_tokens(settings: Settings) -> None:
    text = create_token(account(), AccessToken)
    settings.JWT_SECRET_KEY = ""
    assert_refused(text, AccessToken)


def test_a_token_says_nothing_of_the_stored_password() -> None:
    user = account()
    text = create_token(user, AccessToken)
    assert user.password not in str(claims_of(text))
    assert set(claims_of(text)) == {*MISSING}


# --- Once ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ONCE, ids=named)
def test_it_works_once(kind: Kind) -> None:
    text = create_token(owner_for(kind), kind)
    assert verify_token(text, kind)
    assert_refused(text, kind)


def test_what_undoes_the_action_gives_the_token_back() -> None:
    text = create_token(account(), ChangePasswordToken)
    with transaction.atomic():
        verify_token(text, ChangePasswordToken)
        transaction.set_rollback(True)
    assert verify_token(text, ChangePasswordToken)


@pytest.mark.parametrize("kind", ONCE, ids=named)
def test_no_token_is_stored(kind: Kind) -> None:
    """Who reads the database could use it."""
    text = create_token(owner_for(kind), kind)
    verify_token(text, kind)
    rows = [*OutstandingToken.objects.values(), *BlacklistedToken.objects.values()]
    assert len(rows) == 2
    assert text.rsplit(".", 1)[1] not in str(rows)
    assert OutstandingToken.objects.get().token == ""


def test_a_purged_token_is_not_good_again() -> None:
    text = create_token(account(), ChangePasswordToken)
    verify_token(text, ChangePasswordToken)
    OutstandingToken.objects.all().delete()
    assert_refused(text, ChangePasswordToken)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("kind", ONCE, ids=named)
def test_of_twenty_uses_at_once_one_succeeds(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite in memory has one connection")
    text = create_token(owner_for(kind), kind)
    start, used = threading.Barrier(20, timeout=60), []
    looked = tokens._is_spent
    monkeypatch.setattr(tokens, "_is_spent", lambda *found: (looked(*found), start.wait())[0])  # all see it unspent

    def use() -> None:
        try:
            used.append(verify_token(text, kind))
        except WrongTokenError:
            pass
        finally:
            connection.close()

    threads = [threading.Thread(target=use) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(used) == 1
    assert BlacklistedToken.objects.filter(blacklisted_at__lte=Now()).count() == 1
