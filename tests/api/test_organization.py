"""`/api/organizations/me/`: the caller's organization, and the secret that signs its callbacks."""

import base64

import pytest
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from notifier import webhook_secrets
from notifier.models import Organization, Recipient
from tests.api.checks import assert_problem

ME = "/api/organizations/me/"
ROTATE = "/api/organizations/me/rotate-webhook-secret/"


def secret(api: APIClient) -> str:
    response = api.get(ME)
    assert response.status_code == 200
    shown: str = response.json()["webhook_secret"]
    return shown


def test_an_organization_sees_itself(api: APIClient, organization: Organization) -> None:
    for path in (ME, ME.rstrip("/")):
        body = api.get(path).json()
        assert set(body) == {"slug", "name", "webhook_secret"}
        assert (body["slug"], body["name"]) == (organization.slug, organization.name)


def test_the_secret_is_made_once_and_stays(api: APIClient, organization: Organization) -> None:
    shown = secret(api)
    assert shown.startswith("whsec_")
    assert 24 <= len(base64.b64decode(shown.removeprefix("whsec_"), validate=True)) <= 64  # Standard Webhooks
    assert secret(api) == shown == webhook_secrets.current(organization)


def test_a_rotation_makes_a_new_one_and_the_old_one_signs_beside_it(api: APIClient, organization: Organization) -> None:
    before = secret(api)
    response = api.post(ROTATE)
    assert response.status_code == 200
    after = response.json()["webhook_secret"]
    assert after not in {before, ""}
    assert secret(api) == after
    keys = [base64.b64decode(one.removeprefix("whsec_")) for one in (after, before)]
    assert webhook_secrets.signing(organization) == keys
    assert api.post(ROTATE.rstrip("/")).json()["webhook_secret"] not in {before, after}


def test_each_organization_has_a_secret_of_its_own(api: APIClient, strangers: Recipient, organization: object) -> None:
    theirs = webhook_secrets.current(strangers.organization)
    ours = secret(api)
    assert ours != theirs
    api.post(ROTATE)
    assert webhook_secrets.current(strangers.organization) == theirs


def test_a_secret_that_a_callback_made_is_the_one_that_is_shown(api: APIClient, organization: Organization) -> None:
    body = {"to": {"email": "user@example.com"}, "message": "Hello", "callback_url": "https://example.com/"}
    assert api.post("/api/notifications/", body).status_code == 202
    organization.refresh_from_db()
    assert organization.webhook_secrets is not None
    assert secret(api) == webhook_secrets.current(organization)


@pytest.mark.parametrize(("method", "path"), [("get", ME), ("post", ROTATE)])
def test_nobody_without_a_key(
    api: APIClient, organization: Organization, settings: Settings, method: str, path: str
) -> None:
    settings.API_OPEN = False
    answer = getattr(api, method)(path)
    assert_problem(answer, 401)
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert "whsec_" not in answer.content.decode()
    organization.refresh_from_db()
    assert organization.webhook_secrets is None


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [("a=b", "application/x-www-form-urlencoded", 415), ('{"secret": "x"}', "application/json", 400)],
)
def test_a_rotation_takes_no_wishes(
    api: APIClient, organization: Organization, body: str, content_type: str, status: int
) -> None:
    assert_problem(api.generic("POST", ROTATE, body, content_type), status)
    organization.refresh_from_db()
    assert organization.webhook_secrets is None


@pytest.mark.parametrize(("method", "path"), [("post", ME), ("put", ME), ("delete", ME), ("get", ROTATE)])
def test_other_methods_are_not_allowed(api: APIClient, organization: Organization, method: str, path: str) -> None:
    assert_problem(getattr(api, method)(path), 405)
    organization.refresh_from_db()
    assert organization.webhook_secrets is None
