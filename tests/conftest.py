"""What all tests share."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings as django_settings
from django.db.models.signals import post_migrate
from django.test import override_settings
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

from api import authentication
from channels.fake import FakeChannel
from notifier import counters, errands, organization_accounts, streams
from notifier.models import DEFAULT_SLUG, Organization
from tests.clients import FrontClient

pytest_plugins = ["tests.servers.fixtures"]

# How long an example takes says more about the machine, and what else it does, than about us.
hypothesis_settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("any machine")

LONG = (  # what takes longest, since it waits for real processes
    "tests/notifier/test_workers.py",
    "tests/faults/",
    "tests/amqp/",
    "tests/browser/",
    "tests/commands/",
    "tests/security/test_canary.py",
    "tests/security/test_rotation.py",
    "tests/security/test_doors_server.py",
    "tests/servers/",
    "tests/test_scripts.py",
)


TOGETHER = ("tests/amqp/",)
"""Folders whose files run on one side: they share a RabbitMQ, which takes ten seconds to start."""


class ByFile(LoadFileScheduling):  # type: ignore[misc]
    """A file's tests stay together, and so do those of some folders."""

    def _split_scope(self, nodeid: str) -> str:
        return next((folder for folder in TOGETHER if nodeid.startswith(folder)), super()._split_scope(nodeid))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling | None:
    """Who runs what, where tests run side by side."""
    return ByFile(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where tests run side by side, begin with the long ones: at the end no side then waits long for the other."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: not item.nodeid.startswith(LONG))


class FakeRegistry(dict[str, FakeChannel]):
    """Fake channels in the real ones' place; `close` as the registry has it."""

    def close(self) -> None:
        """Nothing is open."""


def keep_default_organization(*, using: str, **_: Any) -> None:
    """Put back what migration 0002 made, each time a test with transactions of its own has emptied every table.

    Django tells of that (the command `flush`) with the signal that follows a migration. Without it the organization
    would be gone for the rest of this process; that such tests come last helps only while there is one process.
    Its id is another one then.
    """
    Organization.objects.using(using).get_or_create(slug=DEFAULT_SLUG, defaults={"name": "Default"})


post_migrate.connect(keep_default_organization, sender=apps.get_app_config("notifier"))


def default_organization() -> Organization:
    """The default organization."""
    return Organization.objects.get(slug=DEFAULT_SLUG)


@pytest.fixture(autouse=True, scope="session")
def _cheap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A hasher that does not take its time; no static files, which each new client would look through; and the default
    organization kept for longer than any test, so that none has to count the query that looks it up again."""
    hashers = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    with (
        override_settings(PASSWORD_HASHERS=hashers, STATIC_ROOT=tmp_path_factory.mktemp("static")),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(authentication._default, "KEPT_SECONDS", 86_400.0)
        yield


@pytest.fixture(autouse=True)
def forgotten() -> None:
    """What a process keeps for some seconds was another test's, and is rolled back since: a key's number, too."""
    counters.forget()
    streams.forget()
    organization_accounts.forget()


@pytest.fixture
def organization(db: None) -> Organization:
    """The default organization."""
    return default_organization()


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> FakeRegistry:
    """Fake channels for e-mail, SMS and Telegram, each configured."""
    registry = FakeRegistry({name: FakeChannel(name) for name in django_settings.CHANNELS})
    monkeypatch.setattr(errands, "channels", lambda: registry)
    settings.SMTP_HOST = "mail.example.com"
    settings.DEFAULT_FROM_EMAIL = "notifier@example.com"
    settings.SMS_PROVIDER = ("http",)
    settings.SMS_HTTP_URL = "https://sms.example.com/send"
    settings.TELEGRAM_BOT_TOKEN = "1:token"
    return registry


@pytest.fixture
def api() -> APIClient:
    """A client of the API, without a key: the tests run with API_OPEN."""
    return FrontClient()
