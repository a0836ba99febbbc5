"""The schema: valid, true, and usable offline."""

import io
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.color import no_style
from django.core.signals import request_finished, request_started
from django.db import close_old_connections, connection
from django.test import Client
from django.urls import resolve
from hypothesis import HealthCheck, Phase, given, settings
from rest_framework.test import APIClient
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

from deadlines.models import Deadline
from notifier.models import Organization, Recipient
from notifier.wsgi import application
from tests.api.checks import stored

JSON_SCHEMA = "/api/schema/?format=json"
OPERATIONS = [
    ("/api/users/", "get"),
    ("/api/users/", "post"),
    ("/api/users/{id}/", "get"),
    ("/api/users/{id}/", "patch"),
    ("/api/users/{id}/", "delete"),
    ("/api/notifications/", "get"),
    ("/api/notifications/", "post"),
    ("/api/notifications/bulk/", "post"),
    ("/api/notifications/{id}/", "get"),
    ("/api/notifications/{id}/cancel/", "post"),
    ("/api/notifications/{id}/retry/", "post"),
    ("/api/notifications/{id}/acknowledge/", "post"),
    ("/api/notifications/{id}/events/", "get"),
    ("/api/notifications/plan/", "post"),
    ("/api/events/", "get"),
    ("/api/templates/", "get"),
    ("/api/templates/{name}/", "get"),
    ("/api/templates/{name}/preview/", "post"),
    ("/api/organizations/me/", "get"),
    ("/api/organizations/me/rotate-webhook-secret/", "post"),
    ("/api/deadlines/", "get"),
    ("/api/deadlines/", "post"),
    ("/api/deadlines/{id}/", "get"),
    ("/api/deadlines/{id}/", "put"),
    ("/api/deadlines/{id}/", "patch"),
    ("/api/deadlines/{id}/", "delete"),
    ("/api/deadlines/import/", "post"),
    ("/api/auth/register/", "post"),
    ("/api/auth/activate/", "post"),
    ("/api/auth/token/", "post"),
    ("/api/auth/token/refresh/", "post"),
    ("/api/auth/logout/", "post"),
    ("/api/auth/password/forgot/", "post"),
    ("/api/auth/password/change/", "post"),
    ("/api/auth/socket-token/", "post"),
]
CSV = {"/api/deadlines/import/"}


@pytest.fixture
def users(organization: Organization) -> None:
    """The users 1, 2 and 3, whom the examples name, each with a notification; a deadline 1; and an account."""
    for pk in (1, 2, 3):
        Recipient.objects.create(pk=pk, organization=organization, email=f"{pk}@example.com")
        stored(organization, user_id=pk)
    Deadline.objects.create(pk=1, organization=organization, person="Somebody")
    User.objects.create_user("ann@example.com", "ann@example.com", "a long sentence is a good one")
    with connection.cursor() as cursor:
        for statement in connection.ops.sequence_reset_sql(no_style(), [Recipient, Deadline]):
            cursor.execute(statement)


@pytest.fixture
def document(client: Client) -> dict[str, Any]:
    """The schema as JSON."""
    response = client.get(JSON_SCHEMA)
    assert response.status_code == 200
    made: dict[str, Any] = json.loads(response.content)
    return made


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Path, method, operation."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def test_the_schema_is_valid() -> None:
    out = io.StringIO()
    call_command("spectacular", "--validate", "--fail-on-warn", stdout=out)
    assert "openapi: 3" in out.getvalue()


def test_every_address_is_in_it(document: dict[str, Any]) -> None:
    assert sorted((path, method) for path, method, _ in operations(document)) == sorted(OPERATIONS)


def test_errors_are_documented_as_they_come(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        errors = {status: reply for status, reply in operation["responses"].items() if int(status) >= 400}
        assert {"401", "503"} <= set(errors), (path, method)
        assert ("404" in errors) == ("{" in path), (path, method)
        for reply in errors.values():
            assert set(reply["content"]) == {"application/problem+json"}, (path, method)


def test_429_is_documented_where_something_is_limited(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        view: Any = resolve(path.format(id=1, name="welcome")).func
        is_limited = (method == "post" and bool(view.view_class.throttle_classes)) or path.endswith("/events/")
        assert ("429" in operation["responses"]) == is_limited, (path, method)


def test_requests_are_documented_as_what_is_read(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        if "requestBody" in operation:
            expected = "text/csv" if path in CSV else "application/json"
            assert set(operation["requestBody"]["content"]) == {expected}, (path, method)
            assert {"400", "415"} <= set(operation["responses"]), (path, method)


def test_no_password_is_in_an_answer(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        answers = json.dumps(operation["responses"])
        for name in re.findall(r"#/components/schemas/(\w+)", answers):
            assert "password" not in json.dumps(document["components"]["schemas"][name]), (path, method)


def test_every_example_is_taken_by_the_api_itself(api: APIClient, document: dict[str, Any], users: None) -> None:
    """A reader copies them. The users they name are there."""
    tried = 0
    for path, method, operation in operations(document):
        kind = "text/csv" if path in CSV else "application/json"
        examples = operation.get("requestBody", {}).get("content", {}).get(kind, {}).get("examples", {})
        for name, example in examples.items():
            body = example["value"] if path in CSV else json.dumps(example["value"])
            response = api.generic(method.upper(), path.format(id=1, name="welcome"), body, kind)
            assert 200 <= response.status_code < 300, (name, response.content)
            tried += 1
    assert tried >= 8


@pytest.mark.parametrize("page", ["/api/docs/", "/api/redoc/"])
def test_the_pages_load_nothing_from_elsewhere(client: Client, page: str) -> None:
    html = client.get(page).content.decode()
    html += client.get(f"{page}?script=").content.decode()  # of Swagger UI: the script that the page loads from here
    loaded = re.findall(r"""(?:src|href|url)\s*[=:]\s*["']?([^"'\s>]+)""", html)
    assert any("/static/" in link for link in loaded)
    assert '"/api/schema"' in html
    for link in re.findall(r"(?:https?:)?//[\w.-]+\.[\w-]+", html):
        assert link.endswith("www.w3.org"), link


# --- Everything that the schema allows, and more ---------------------------------------------------------------------
@pytest.fixture
def contract(client: Client, users: None) -> Iterator[Any]:
    """The schema as Schemathesis reads it, with rows that its paths may meet.

    As with Django's test client no request closes the connection: it holds the test's own transaction.
    """
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield schemathesis.openapi.from_wsgi(JSON_SCHEMA, application)
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


CHECKS = [not_a_server_error, response_schema_conformance, content_type_conformance]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_what_the_schema_promises_is_kept(contract: Any, operation: tuple[str, str]) -> None:
    path, method = operation

    @given(case=contract[path][method.upper()].as_strategy())
    @settings(
        max_examples=12,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def keeps_it(case: Any) -> None:
        case.validate_response(case.call(), checks=CHECKS)

    keeps_it()
