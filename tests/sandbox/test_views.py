"""The sandbox over HTTP: switches and inbox as JSON, 404 where none runs."""

import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.http import Http404, HttpRequest, HttpResponse
from django.middleware.csrf import get_token
from django.test import RequestFactory

from sandbox import servers, views
from sandbox.servers import Sandbox

pytestmark = pytest.mark.skipif("DJANGO_SETTINGS_MODULE" not in os.environ, reason="needs the service's settings")

View = Callable[[HttpRequest], HttpResponse]


@pytest.fixture
def running() -> Iterator[Sandbox]:
    sandbox = servers.start_current()
    yield sandbox
    sandbox.stop()


def get(view: View, query: str = "") -> HttpResponse:
    return view(RequestFactory().get(f"/{query}"))


def post(view: View, body: Any = None, *, token: bool = True) -> HttpResponse:
    factory, headers = RequestFactory(), {}
    if token:
        secret = get_token(factory.get("/"))
        factory.cookies["csrftoken"] = secret
        headers["X-CSRFToken"] = secret
    content = body if isinstance(body, bytes) else json.dumps(body)
    return view(factory.post("/", content, content_type="application/json", headers=headers))


def content(reply: HttpResponse, status: int = 200) -> Any:
    assert reply.status_code == status
    return json.loads(reply.content)


def test_the_state_names_switches_choices_and_servers(running: Sandbox) -> None:
    state = content(get(views.state))
    assert state["switches"] == {"email": "ok", "sms": "ok", "telegram": "ok"}
    assert state["choices"]["telegram"][0] == "ok"
    assert "blocked" in state["choices"]["telegram"]
    assert state["servers"]["smtp"] == f"127.0.0.1:{running.smtp_port}"
    assert state["servers"]["http"] == f"http://127.0.0.1:{running.http_port}"


def test_a_switch_is_set_and_the_new_state_comes_back(running: Sandbox) -> None:
    state = content(post(views.switches, {"email": "refused", "sms": "error"}))
    assert state["switches"] == {"email": "refused", "sms": "error", "telegram": "ok"} == running.switches.state()


@pytest.mark.parametrize(
    ("body", "attr"),
    [
        ({"email": "on fire"}, "email"),
        ({"email": None}, "email"),
        ({"email": ["ok"]}, "email"),
        ({"sms": "error", "pigeon": "ok"}, "pigeon"),
        ([], None),
        (b"{", None),
        (b"\xff", None),
    ],
)
def test_what_is_unknown_is_a_problem_and_changes_nothing(running: Sandbox, body: Any, attr: str | None) -> None:
    reply = post(views.switches, body)
    problem = content(reply, 400)
    assert reply["Content-Type"] == "application/problem+json"
    assert (problem["status"], problem["errors"][0]["attr"]) == (400, attr)
    assert set(running.switches.state().values()) == {"ok"}


def test_the_inbox_is_read_from_a_number_on_without_raw_bytes(running: Sandbox) -> None:
    for number in range(3):
        running.inbox.add("email", f"user-{number}@example.com", text="Hello", html="<b>Hello</b>", raw=b"all of it")
    messages = content(get(views.inbox, "?after=1"))["messages"]
    assert [(message["seq"], message["to"]) for message in messages] == [
        (2, "user-1@example.com"),
        (3, "user-2@example.com"),
    ]
    assert "raw" not in messages[0]
    assert messages[0]["received_at"].endswith("Z")
    assert get(views.inbox)["Content-Type"] == "application/json"


@pytest.mark.parametrize("after", ["-1", "x", "1.5", "", "9" * 30])
@pytest.mark.usefixtures("running")
def test_an_odd_number_is_a_problem(after: str) -> None:
    assert content(get(views.inbox, f"?after={after}"), 400)["errors"][0]["attr"] == "after"


def test_reset_empties_the_inbox_and_lets_everything_work(running: Sandbox) -> None:
    running.inbox.add("sms", "+12015550142")
    running.switches.set("sms", "error")
    assert set(content(post(views.reset))["switches"].values()) == {"ok"}
    assert running.inbox.messages() == []


@pytest.mark.parametrize("view", [views.switches, views.reset])
def test_writing_needs_the_csrf_token(running: Sandbox, view: View) -> None:
    running.switches.set("sms", "error")
    assert post(view, {"sms": "ok"}, token=False).status_code == 403
    assert running.switches.get("sms") == "error"
    assert get(view).status_code == 405


@pytest.mark.parametrize("view", [views.state, views.inbox])
def test_without_a_sandbox_there_is_nothing_to_read(view: View) -> None:
    with pytest.raises(Http404):
        get(view)


@pytest.mark.parametrize("view", [views.switches, views.reset])
def test_without_a_sandbox_there_is_nothing_to_write(view: View) -> None:
    with pytest.raises(Http404):
        post(view, {"email": "ok"})
