"""A real browser before a really running demo, under the strictest policy that the page must live with."""

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
from playwright.sync_api import APIRequestContext, Browser, ConsoleMessage, Page, Route, expect, sync_playwright

from tests.servers.base import free_port
from tests.servers.processes import ProjectProcess

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


@pytest.fixture(autouse=True)
def _patience() -> Iterator[None]:
    """What is expected of a page may take long on a busy machine."""
    expect.set_options(timeout=40_000)
    yield
    expect.set_options(timeout=5_000)


@pytest.fixture(scope="module")
def demo_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of the demo's database."""
    return tmp_path_factory.mktemp("demo") / "demo.sqlite3"


@pytest.fixture
def next_round(demo_database: Path) -> Callable[[], None]:
    """Lets the time pass until the next round of all that waits for one."""

    def begin() -> None:
        with closing(sqlite3.connect(demo_database, timeout=30)) as connection, connection:
            connection.execute("UPDATE notifier_notification SET due_at = datetime('now') WHERE status = 'queued'")

    return begin


@pytest.fixture(scope="module")
def demo(demo_database: Path) -> Iterator[str]:
    """The address of a running demo, whose next round begins when a test says so and whose circuits stay closed."""
    directory, port = demo_database.parent, free_port()
    environment = {
        "DATABASE_URL": f"sqlite:///{demo_database}",
        "RETRY_DELAYS": "600",
        "CIRCUIT_FAILURES": "0",
        "API_THROTTLE_SEND": "",
        "LOG_LEVEL": "WARNING",
    }
    process = ProjectProcess("demo", ("manage.py", "demo", "--port", str(port)), environment, directory)
    address = f"http://127.0.0.1:{port}/"
    with process:
        process.wait_for(lambda: is_up(f"{address}health/live"), 60, "the demo's answer")
        yield address
        process.stop()


def is_up(url: str) -> bool:
    """Whether it answers with 200."""
    try:
        with urlopen(url, timeout=10) as answer:  # noqa: S310 - our own demo
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The machine's own Chromium: nothing is downloaded."""
    program = os.environ.get("CHROMIUM") or next((path for name in CHROMIUM if (path := shutil.which(name))), None)
    if program is None:
        pytest.skip(
            f"NO BROWSER: the demo page stays unseen. Install Chromium: none of {', '.join(CHROMIUM)} is there."
        )
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=Path(program), args=ARGUMENTS)
        yield running
        running.close()


@dataclass
class Visit:
    """One person's visit. `complaints`: what the browser's console said; `strangers`: requests that left the demo."""

    page: Page
    address: str
    complaints: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)

    def open(self) -> None:
        """Load the page and wait until its scripts are ready."""
        self.page.goto(self.address)
        self.ready()

    def ready(self) -> None:
        """Wait until the page's scripts are ready."""
        self.page.locator("body[data-ready]").wait_for()

    def expect_refusal(self) -> None:
        """The API has refused something: Chromium notes each such answer in the console. Anything else still counts."""
        self.complaints[:] = [text for text in self.complaints if "the server responded with a status of 4" not in text]

    def watch(self) -> None:
        """Note what the console says and where requests go."""

        def noted(message: ConsoleMessage) -> None:
            if message.type in ("error", "warning"):
                self.complaints.append(message.text)

        self.page.on("console", noted)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.context.on("request", lambda request: self._note_host(request.url))

    def _note_host(self, url: str) -> None:
        if urlsplit(url).scheme not in ("data", "blob", "about") and not url.startswith(self.address):
            self.strangers.append(url)


@contextmanager
def visiting(browser: Browser, address: str, **options: Any) -> Iterator[Visit]:
    """A visit to a demo without users and mail, whose channels work.

    At its end the console must have been silent, and no request may have left the demo.
    """
    context = browser.new_context(**{"locale": "en", "reduced_motion": "reduce", **options})

    def strictly(route: Route) -> None:
        answer = route.fetch(max_redirects=0)
        route.fulfill(response=answer, headers={**answer.headers, "content-security-policy": POLICY})

    context.route(address, strictly)
    context.set_default_timeout(40_000)
    visit = Visit(context.new_page(), address)
    visit.watch()
    forget_people(context.request, address)
    visit.open()
    visit.page.locator("#reset").click()
    visit.page.locator("#lesson:not(:empty)").wait_for()
    yield visit
    context.close()
    assert visit.complaints == []
    assert visit.strangers == []


def forget_people(request: APIRequestContext, address: str) -> None:
    """Erase all users: what is still queued for them ends too."""
    for user in request.get(f"{address}api/users/").json()["results"]:
        assert request.delete(f"{address}api/users/{user['id']}/").status == 204


@pytest.fixture
def visit(browser: Browser, demo: str) -> Iterator[Visit]:
    """An English-speaking visitor at a desk."""
    with visiting(browser, demo, viewport={"width": 1280, "height": 900}) as opened:
        yield opened


@pytest.fixture
def visitor(browser: Browser, demo: str) -> Callable[..., Any]:
    """Makes visits with options of their own, as in `with visitor(locale="ru") as visit`."""
    return lambda **options: visiting(browser, demo, **options)
