"""What all tests share."""

import pytest
from django.conf import settings as django_settings
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from channels.fake import FakeChannel
from notifier import errands
from notifier.models import DEFAULT_SLUG, Organization

pytest_plugins = ["tests.servers.fixtures"]


class FakeRegistry(dict[str, FakeChannel]):
    """Fake channels in the real ones' place; `close` as the registry has it."""

    def close(self) -> None:
        """Nothing is open."""


def default_organization() -> Organization:
    """The default organization, also after a test that emptied every table."""
    return Organization.objects.get_or_create(slug=DEFAULT_SLUG, defaults={"name": "Default"})[0]


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
    return APIClient()
