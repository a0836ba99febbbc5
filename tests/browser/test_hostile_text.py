"""The demo page shows whatever the API says as text: also in fields that a provider or another client has filled."""

import json
import re
from typing import Any

import pytest
from playwright.sync_api import Route, expect

from tests.browser.conftest import Visit
from tests.browser.test_demo_page import create_user, inbox, send

pytestmark = pytest.mark.real_server

CANARY = "<img src=x onerror=\"window.pwned=1\"><svg onload='window.pwned=1'><b class=canary>{{7*7}}</b>"
KEPT = {"id", "status", "channel", "outcome", "created_at", "due_at", "sent_at", "started_at", "finished_at", "name"}
"""What the page itself decides by."""


def poisoned(value: Any, name: str = "") -> Any:
    """The same answer with the canary in every text."""
    if isinstance(value, dict):
        return {key: poisoned(inner, key) for key, inner in value.items()}
    if isinstance(value, list):
        return [poisoned(inner, name) for inner in value]
    is_text = isinstance(value, str) and name not in KEPT and not name.endswith(("_at", "_id", "url"))
    return f"{value}{CANARY}" if is_text or name in {"provider_id", "external_id"} else value


def test_whatever_the_service_says_is_shown_as_text(visit: Visit) -> None:
    page = visit.page

    def poison(route: Route) -> None:
        if route.request.method != "GET":
            route.continue_()
            return
        response = route.fetch()
        told = poisoned(response.json())
        route.fulfill(response=response, body=json.dumps(told))

    def poison_stream(route: Route) -> None:
        told = poisoned(route.fetch(url=route.request.url.replace("/events/", "/")).json())
        body = f"event: notification.{told['status']}\ndata: {json.dumps({'data': told})}\n\n"
        route.fulfill(content_type="text/event-stream", body=body)

    create_user(page, name=CANARY, email="ada@example.com", phone="+12025550123")
    page.route(re.compile(r"/api/(notifications|users)/\d+/?$"), poison)
    page.route(re.compile(r"/api/notifications/\d+/events/$"), poison_stream)
    page.route(re.compile(r"/sandbox/inbox/"), poison)
    send(page, subject="Hello", message="Hello")
    expect(inbox(page, "email").first).to_be_visible()
    expect(page.locator("#attempts")).to_contain_text("onerror")
    expect(page.locator("#status")).to_have_attribute("data-status", "sent")
    assert page.locator(".canary, img[src=x], svg[onload]").count() == 0
    assert page.evaluate("window.pwned") is None
