"""Every page in a real browser, under the policy that the service itself sends: nothing inline, nothing from others."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect

from tests.servers.base import free_port
from tests.servers.migrated import migrate
from tests.servers.processes import ProjectProcess, manage

pytestmark = pytest.mark.real_server

PASSWORD = "an operator's own long password"
WATCH = (
    "addEventListener('securitypolicyviolation', e => console.error(`POLICY ${e.violatedDirective} ${e.blockedURI}`))"
)
REDOCS_LOGO = "cdn.redoc.ly/redoc/logo-mini.svg"  # its bundle always asks for it, and the policy always says no
CANARY = '<img src=x onerror="window.pwned=1"><script>window.pwned=1</script>'
PEOPLE = (
    "from django.contrib.auth.models import User; from notifier import send; from notifier.models import *; "
    f"User.objects.create_superuser('root', 'root@example.com', {PASSWORD!r}); "
    f"send(to='user@example.com', subject='Seen', message={CANARY!r}); "
    f"Recipient.objects.create(organization=Organization.objects.get(), name={CANARY!r}, email='user@example.com'); "
    f"Organization.objects.update(name={CANARY!r})"
)


@dataclass
class Look:
    """A page, what the browser complained of, and what it asked of others than the service."""

    page: Page
    address: str
    complaints: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)

    def watch(self) -> None:
        """Note every violation, everything on the console but plain information, and every address outside."""

        def noted(message: ConsoleMessage) -> None:
            icon = message.location["url"].endswith("/favicon.ico")  # browsers ask for it by themselves
            if message.type in ("error", "warning") and not icon:
                self.complaints.append(message.text)

        self.page.add_init_script(WATCH)
        self.page.on("console", noted)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.context.on("requestfinished", self._note)
        self.page.context.on("requestfailed", self._note)

    def _note(self, request: Request) -> None:
        within = request.url.startswith((self.address, "data:", "blob:", "about:"))
        if not within and request.failure != "csp":  # what the policy forbids never leaves the browser
            self.strangers.append(request.url)

    def open(self, path: str, status: int = 200) -> None:
        """The page, loaded to its end, with a policy of its own that knows nothing inline."""
        answer = self.page.goto(self.address + path, wait_until="networkidle")
        assert answer is not None
        assert answer.status == status
        policy = answer.headers["content-security-policy"]
        assert "unsafe" not in policy
        for part in ("script-src 'self'", "object-src 'none'", "base-uri 'none'", "frame-ancestors 'none'"):
            assert part in policy
        if status != 200:
            self.complaints[:] = [text for text in self.complaints if f"status of {status}" not in text]

    def sign_in(self) -> None:
        """As the operator."""
        self.open("admin/login/")
        self.page.fill("#id_username", "root")
        self.page.fill("#id_password", PASSWORD)
        self.page.click("[type=submit]")
        expect(self.page.locator("#user-tools")).to_be_visible()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The demo's address: every page there is, with an operator and hostile data."""
    directory, port = tmp_path_factory.mktemp("pages"), free_port()
    environment = {"DATABASE_URL": f"sqlite:///{directory / 'pages.sqlite3'}", "LOG_LEVEL": "WARNING"}
    migrate(environment)
    manage("shell", "--no-imports", "-c", PEOPLE, environment=environment)
    process = ProjectProcess("demo", ("manage.py", "demo", "--port", str(port)), environment, Path(directory))
    with process:
        process.wait_for_line(rf"http://127\.0\.0\.1:{port}/", 60)
        yield f"http://127.0.0.1:{port}/"
        process.stop()


@pytest.fixture
def look(browser: Browser, service: str) -> Iterator[Look]:
    """A browser's window; at its end nothing may have been refused, and nothing asked outside."""
    context = browser.new_context(locale="en", viewport={"width": 1280, "height": 1000})
    context.set_default_timeout(40_000)
    opened = Look(context.new_page(), service)
    opened.watch()
    yield opened
    assert opened.page.evaluate("window.pwned") is None
    context.close()
    assert [text for text in opened.complaints if REDOCS_LOGO not in text] == []
    assert opened.strangers == []


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("", "#message-form"),
        ("api/docs/", ".opblock-summary"),
        ("api/redoc/", "[role=search] input"),
        ("admin/login/", "#id_password"),
    ],
)
def test_a_page_lives_without_anything_inline(look: Look, path: str, shown: str) -> None:
    look.open(path)
    look.page.locator(shown).first.wait_for()


def test_swagger_ui_unfolds_a_call_and_makes_it(look: Look) -> None:
    look.open("api/docs/")
    call = look.page.locator(".opblock-get", has_text="/api/organizations/me/").first
    call.locator(".opblock-summary").click()
    call.locator(".execute").click()
    expect(call.locator(".live-responses-table tbody .response-col_status").first).to_contain_text("200")


def test_redoc_searches(look: Look) -> None:
    look.open("api/redoc/")
    look.page.locator("[role=search] input").fill("cancel")
    expect(look.page.locator("[data-role='search:results'] li").first).to_be_visible()


def test_the_admins_lists_and_forms_show_hostile_text_as_text(look: Look) -> None:
    look.sign_in()
    for path in ("admin/", "admin/notifier/notification/", "admin/notifier/recipient/", "admin/notifier/organization/"):
        look.open(path)
    expect(look.page.locator("#result_list")).to_contain_text("onerror=")
    look.page.locator("#result_list tbody th a").first.click()
    look.page.locator("#id_name").wait_for()
    assert look.page.evaluate("window.pwned") is None


def test_a_templates_mail_is_shown_in_its_colours_and_without_any_power(look: Look) -> None:
    """The one page with a policy of its own: styles may be inline, scripts may not."""
    look.sign_in()
    look.open("admin/notifier/submission/templates/")
    answer = look.page.goto(f"{look.address}admin/notifier/submission/templates/order_request/")
    assert answer is not None
    policy = answer.headers["content-security-policy"]
    assert "script-src 'self';" in policy
    assert policy.count("unsafe") == policy.count("style-src 'self' 'unsafe-inline'") == 1
    sample = look.page.locator("textarea.context").input_value()
    look.page.locator("textarea.context").fill(sample.replace("Anna Petrova", CANARY.replace('"', "'")))
    look.page.get_by_role("button", name="English").click()
    mail = look.page.frame_locator("iframe")
    expect(mail.locator("h1")).to_contain_text("onerror=")
    green = mail.locator(".head-green").evaluate("one => getComputedStyle(one).backgroundColor")
    assert green == "rgb(38, 166, 91)"
    assert look.page.evaluate("window.pwned") is None


def test_the_admins_date_picker_and_its_choices_work(look: Look) -> None:
    look.sign_in()
    look.open("admin/auth/user/1/change/")
    look.page.locator(".vDateField").first.fill("")
    look.page.locator("a:has(.date-icon)").first.click()
    look.page.locator(".calendarbox .calendar td a").first.click()
    assert look.page.locator(".vDateField").first.input_value()
    look.page.locator(".field-user_permissions .selector-chooseall").click()
    look.page.locator("[name=_continue]").click()
    expect(look.page.locator(".messagelist .success")).to_be_visible()


def test_a_refused_form_is_a_page_too(look: Look) -> None:
    look.open("admin/login/")
    look.page.context.clear_cookies()
    look.page.fill("#id_username", "root")
    look.page.fill("#id_password", "wrong")
    look.page.click("[type=submit]")
    expect(look.page.locator("h1")).to_have_text("Not accepted")
    look.complaints[:] = [text for text in look.complaints if "status of 403" not in text]
