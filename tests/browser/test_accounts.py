"""From the mail's link to logged in, in a real browser, under the strictest policy."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.conftest import POLICY
from tests.servers.base import wait_until

FIRST, SECOND = "correct horse battery", "another staple entirely"


@dataclass
class Somebody:
    """Who has an address, a mailbox in the sandbox, and a browser."""

    page: Page
    demo: str
    address: str
    complaints: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def open(self, path: str) -> None:
        """Load this page."""
        self.page.goto(self.demo + path)

    def submit(self, **fields: str) -> None:
        """Fill the form in, and press its button."""
        self.page.locator("body[data-ready]").wait_for()
        for name, value in fields.items():
            self.page.fill(f"#{name}", value)
        self.page.locator("button.primary").click()

    def sees(self, what: str) -> str:
        """Its text, once it is there."""
        found = self.page.locator(what)
        found.wait_for()
        return found.text_content() or ""

    def link(self, page: str) -> str:
        """The path of the link to that page in the last mail."""
        found: list[str] = []

        def look() -> bool:
            messages = self.page.request.get(f"{self.demo}sandbox/inbox/").json()["messages"]
            texts = [str(one["text"]) for one in messages if self.address in one["to"]]
            found[:] = re.findall(rf"https?://[^/\s]+/(accounts/{page}/#token=\S+)", "\n".join(texts))
            return bool(found)

        wait_until(look, 30, "the mail")
        return found[-1]

    def logs_in(self, password: str) -> bool:
        """Whether this password opens the account."""
        body = {"email": self.address, "password": password}
        return self.page.request.post(f"{self.demo}api/auth/token/", data=body).status == 200


@contextmanager
def somebody(browser: Browser, demo: str, language: str, **options: Any) -> Iterator[Somebody]:
    """At the end the console must have been silent but for refusals, and no address may have carried a token."""
    context = browser.new_context(locale=language, reduced_motion="reduce", **options)
    context.set_default_timeout(40_000)

    def strictly(route: Any) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, headers={**answer.headers, "content-security-policy": POLICY})

    context.route(f"{demo}accounts/**", strictly)
    one = Somebody(context.new_page(), demo, f"{language}{time.time_ns()}@example.com")
    one.page.on("console", lambda said: one.complaints.append(said.text) if said.type == "error" else None)
    one.page.on("pageerror", lambda error: one.complaints.append(str(error)))
    one.page.on("request", lambda request: one.asked.append(request.url))
    yield one
    context.close()
    assert [text for text in one.complaints if "status of 400" not in text] == []
    assert [url for url in one.asked if "token=" in url or not url.startswith(demo)] == []


@pytest.mark.parametrize(("language", "width", "scheme"), [("en", 1280, "light"), ("ru", 390, "dark")])
def test_from_the_mails_link_to_logged_in(browser: Browser, demo: str, language: str, width: int, scheme: str) -> None:
    options = {"viewport": {"width": width, "height": 844}, "color_scheme": scheme}
    with somebody(browser, demo, language, **options) as ann:
        ann.open("accounts/register/")
        assert ann.page.locator("html").get_attribute("lang") == language
        ann.submit(email=ann.address, password=FIRST, again=FIRST)
        ann.sees("[data-done]")
        assert not ann.logs_in(FIRST)

        link = ann.link("activate")
        ann.open(link)
        assert ann.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        ann.submit()
        assert ann.address in ann.sees("[data-done]")
        assert "token" not in ann.page.url
        assert ann.logs_in(FIRST)

        ann.open(link)  # of the page that is open already the browser loads nothing anew
        ann.submit()
        ann.sees("[data-broken]")


def test_from_a_forgotten_password_to_logged_in(browser: Browser, demo: str) -> None:
    with somebody(browser, demo, "en") as ann:
        ann.open("accounts/register/")
        ann.submit(email=ann.address, password=FIRST, again=FIRST)
        ann.open(ann.link("activate"))
        ann.submit()
        ann.sees("[data-done]")

        ann.open("accounts/forgot/")
        ann.submit(email=ann.address)
        ann.sees("[data-done]")
        ann.open(ann.link("password"))
        ann.submit(password="short", again=FIRST)
        assert ann.sees('[data-error="again"]:not(:empty)')
        ann.submit(again="short")
        assert ann.sees('[data-error="password"]:not(:empty)')
        ann.submit(password=SECOND, again=SECOND)
        assert ann.address in ann.sees("[data-done]")
        assert ann.logs_in(SECOND)
        assert not ann.logs_in(FIRST)


def test_a_page_without_its_token_says_so(browser: Browser, demo: str) -> None:
    with somebody(browser, demo, "en") as ann:
        ann.open("accounts/activate/")
        ann.sees("[data-broken]")
        assert not ann.page.locator("form").is_visible()
