"""What the tests of accounts share."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.hashers import MD5PasswordHasher
from django.contrib.auth.models import User
from django.utils import translation
from pytest_django.fixtures import Settings

from accounts import pace
from accounts.models import Registration
from notifier.delivery import deliver
from notifier.models import Membership, Notification, Organization
from tests.conftest import FakeRegistry

ADDRESS, PASSWORD, NEW_PASSWORD = "ann@example.com", "correct horse battery", "another staple entirely"
LINK = re.compile(r"(https?://\S+/accounts/(\w+)/)(?:#token=([\w.-]+))?")


@pytest.fixture(autouse=True)
def _quick(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No pause, no way in without credentials, and English whatever a test before left."""
    settings.API_OPEN = False
    monkeypatch.setattr(pace, "LEAST_SECONDS", 0.0)
    with translation.override("en"):
        yield


def account(address: str = ADDRESS, **fields: Any) -> User:
    """One that is active."""
    return User.objects.create_user(address, address, PASSWORD, **fields)


def newcomer(address: str = ADDRESS) -> User:
    """One that was registered, and not activated."""
    user = account(address, is_active=False)
    Registration.objects.create(user=user)
    return user


def member(organization: Organization, role: str = "member", address: str = ADDRESS) -> User:
    """An account with a place there."""
    user = account(address)
    Membership.objects.create(user=user, organization=organization, role=role)
    return user


def count_hashes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with each password that is hashed from now on."""
    hashed: list[int] = []
    plain = MD5PasswordHasher.encode

    def encode(*given: Any) -> str:
        hashed.append(1)
        return plain(*given)

    monkeypatch.setattr(MD5PasswordHasher, "encode", encode)
    return hashed


@pytest.fixture
def ann(db: None) -> User:
    """An active account."""
    return account()


class Mailbox:
    """What was mailed: delivered through the fake channel when somebody looks."""

    def __init__(self, fakes: FakeRegistry) -> None:
        self._channel = fakes["email"]

    def look(self) -> list[Any]:
        """All mails so far, the oldest first."""
        deliver(list(Notification.objects.filter(status="queued").order_by("pk").values_list("pk", flat=True)))
        return [message for message, _account in self._channel.sent]

    def links(self) -> list[tuple[str, str]]:
        """Page and token of the link in each mail."""
        found = []
        for message in self.look():
            links = LINK.findall(message.text)
            assert len(links) == 1, message.text
            found.append(links[0][1:])
        return found

    def token(self) -> str:
        """Of the last mail."""
        return self.links()[-1][1]


@pytest.fixture
def mailbox(fakes: FakeRegistry, organization: Organization) -> Mailbox:
    """Of everybody."""
    return Mailbox(fakes)
