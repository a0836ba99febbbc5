"""What the API's tests share."""

from collections.abc import Iterator

import pytest
from rest_framework.test import APIClient

from notifier.models import Organization, Recipient
from tests.api.checks import counts
from tests.clients import FrontClient


@pytest.fixture
def user(organization: Organization) -> Recipient:
    """A user with an address for each channel."""
    return Recipient.objects.create(
        organization=organization, email="user@example.com", phone="+12025550123", telegram_chat_id="123456789"
    )


@pytest.fixture
def strangers(db: None) -> Recipient:
    """A user of another organization."""
    other = Organization.objects.create(slug="other", name="Other")
    return Recipient.objects.create(organization=other, email="user@other.example.com", external_id="theirs")


@pytest.fixture
def nothing_stored(organization: Organization) -> Iterator[None]:
    """After the test there are as many rows as before."""
    before = counts()
    yield
    assert counts() == before


@pytest.fixture
def quiet_api() -> APIClient:
    """A client that shows the answer to a bug, as the world sees it, instead of raising the bug."""
    return FrontClient(raise_request_exception=False)
