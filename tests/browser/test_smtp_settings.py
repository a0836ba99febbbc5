"""An operator sets the e-mail of his organization up and proves it, against a real mail server."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme
from django.utils import translation
from django.utils.translation import gettext
from playwright.sync_api import Browser, Page, expect

from tests.browser.test_policy import PASSWORD, Look
from tests.servers.base import free_port
from tests.servers.migrated import file_of, migrate
from tests.servers.postfix import PostfixServer
from tests.servers.processes import ProjectProcess, manage

pytestmark = pytest.mark.real_server

LIST = "admin/notifier/emailsettings/"
PEOPLE = (
    "from django.contrib.auth.models import User; from notifier.models import Organization; "
    f"User.objects.create_superuser('root', 'user@example.com', {PASSWORD!r}); "
    "Organization.objects.update(name='ООО «Ромашка»')"
)
RESTED = "UPDATE notifier_emailsettings SET tested_at = NULL"
NONE = "DELETE FROM notifier_emailsettings"
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@dataclass
class Service:
    """A running service, and the mail server that it may use."""

    address: str
    environment: dict[str, str]
    postfix: PostfixServer

    def change(self, statement: str) -> None:
        """Do this to the database."""
        with closing(sqlite3.connect(file_of(self.environment["DATABASE_URL"]), timeout=30)) as connection, connection:
            connection.execute(statement)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    if reason := PostfixServer.missing():
        pytest.skip(f"NOT TESTED against a real Postfix: {reason}")
    directory, port, authority = tmp_path_factory.mktemp("smtp"), free_port(), trustme.CA()
    authority.cert_pem.write_to_path(str(directory / "ca.pem"))
    environment = {
        "DATABASE_URL": f"sqlite:///{directory / 'smtp.sqlite3'}",
        "SSL_CERT_FILE": str(directory / "ca.pem"),
        "LOG_LEVEL": "WARNING",
    }
    migrate(environment)
    manage("shell", "--no-imports", "-c", PEOPLE, environment=environment)
    certificate = authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.bytes()
    process = ProjectProcess("demo", ("manage.py", "demo", "--port", str(port)), environment, Path(directory))
    with PostfixServer(certificate) as postfix, process:
        process.wait_for_line(rf"http://127\.0\.0\.1:{port}/", 60)
        yield Service(f"http://127.0.0.1:{port}/", environment, postfix)
        process.stop()


Window = Callable[..., AbstractContextManager[Look]]


@pytest.fixture
def window(browser: Browser, service: Service) -> Window:
    """Opens windows of the operator, who has signed in; at their end nothing may have been refused by the policy."""
    service.change(NONE)

    @contextmanager
    def opened(**options: Any) -> Iterator[Look]:
        context = browser.new_context(**{"locale": "en", "viewport": WIDE, **options})
        context.set_default_timeout(40_000)
        look = Look(context.new_page(), service.address)
        look.watch()
        look.sign_in()
        yield look
        context.close()
        assert look.complaints == []
        assert look.strangers == []

    return opened


def add_settings(look: Look, service: Service, password: str) -> None:
    """From a preset, and then the tests' own server."""
    page, postfix = look.page, service.postfix
    look.open(f"{LIST}add/")
    page.locator(".field-organization .select2-selection").click()
    page.locator(".select2-results__option", has_text="Ромашка").click()
    page.select_option("#id_preset", "gmail")
    expect(page.locator("#id_host")).to_have_value("smtp.gmail.com")
    expect(page.locator("#id_port")).to_have_value("587")
    page.select_option("#id_preset", "yandex")
    assert (page.is_checked("#id_use_tls"), page.is_checked("#id_use_ssl")) == (False, True)
    page.check("#id_use_tls")
    assert not page.is_checked("#id_use_ssl")
    page.fill("#id_host", "127.0.0.1")
    expect(page.locator("#id_preset")).to_have_value("")
    page.fill("#id_port", str(postfix.port))
    page.fill("#id_user", postfix.user)
    page.fill("#id_secret_text", password)
    page.fill("#id_from_email", "Notifier <sender@example.com>")
    page.fill("#id_recipients", "user@example.com")
    picture(page, "form")
    page.click("[name=_save]")
    expect(page.locator(".messagelist .success")).to_be_visible()


def press(page: Page) -> None:
    """The button, in the list or on the form."""
    page.locator("button[formaction$='/test/'], form[action$='/test/'] button").first.click()
    page.wait_for_load_state("networkidle")


def picture(page: Page, name: str) -> None:
    """For who wants to see it: SCREENSHOTS names a directory."""
    if directory := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=Path(directory) / f"{name}.png", full_page=True)


def in_language(language: str, *sentences: str) -> list[str]:
    """The sentences as the service says them there."""
    with translation.override(language):
        return [gettext(sentence) for sentence in sentences]


@pytest.mark.parametrize("language", ["en", "ru"])
def test_the_walk(window: Window, service: Service, language: str) -> None:
    button, remedy, stage = in_language(
        language,
        "Test e-mail",
        "Check user and password: the user is mostly the whole e-mail address, without spaces around it.",
        "login",
    )
    before = len(service.postfix.received(count=0))
    with window(locale=language) as look:
        page = look.page
        add_settings(look, service, service.postfix.password)
        expect(page.locator("td.field-actions_column button")).to_have_text(button)
        assert page.locator("#changelist .results").evaluate("one => one.scrollWidth <= one.clientWidth")
        press(page)
        expect(page.locator(".messagelist .success")).to_contain_text("user@example.com")
        picture(page, f"green-{language}")
        mail = service.postfix.received(count=before + 1)[-1]
        assert "ООО «Ромашка»" in str(mail["Subject"])
        press(page)
        expect(page.locator(".messagelist .warning")).to_be_visible()
        page.locator("#result_list tbody th a").click()
        page.fill("#id_secret_text", "wrong")
        page.click("[name=_continue]")
        service.change(RESTED)
        press(page)
        refused = page.locator(".messagelist .error")
        expect(refused).to_contain_text(remedy)
        expect(refused).to_contain_text(stage)
        expect(refused).to_contain_text("535 5.7.8")
        assert "/change/" in page.url
        picture(page, f"red-{language}")
    assert len(service.postfix.received(count=0)) == before + 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("language", ["en", "ru"])
def test_it_is_readable_on_a_phone(window: Window, service: Service, language: str, scheme: str) -> None:
    with window(viewport=NARROW, locale=language, color_scheme=scheme) as look:
        add_settings(look, service, "wrong")
        for where in (LIST, ""):
            if where:
                look.open(where)
            else:
                look.page.locator("#result_list tbody th a").click()
            service.change(RESTED)
            press(look.page)
            message = look.page.locator(".messagelist .error")
            expect(message).to_be_visible()
            picture(look.page, f"phone-{'list' if where else 'form'}-{language}-{scheme}")
            box = message.bounding_box()
            assert box is not None
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= 390
            assert message.evaluate("one => one.scrollWidth <= one.clientWidth")


def test_the_button_works_without_script(window: Window, service: Service) -> None:
    with window() as look:
        add_settings(look, service, service.postfix.password)
    before = len(service.postfix.received(count=0))
    with window(java_script_enabled=False) as look:
        for number, path in enumerate((LIST, "form"), 1):
            if path == LIST:
                look.open(path)
            else:
                look.page.locator("#result_list tbody th a").click()
            service.change(RESTED)
            press(look.page)
            expect(look.page.locator(".messagelist .success")).to_be_visible()
            assert len(service.postfix.received(count=before + number)) == before + number
