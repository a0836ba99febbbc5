"""Two organizations, two SMTP servers, the real channel: each message leaves through its own."""

from collections.abc import Iterator
from typing import Any

import pytest
from pytest_django.fixtures import Settings

from channels.email import EmailChannel
from channels.fake import FakeChannel
from notifier import delivery, errands, intake
from notifier.models import EmailSettings, Notification, Organization
from notifier.organization_accounts import seal_secret
from tests.channels.smtp_peer import SmtpPeer
from tests.conftest import FakeRegistry

pytestmark = pytest.mark.django_db

HOUSES = ("acme", "rose", "default")


@pytest.fixture
def servers(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, SmtpPeer]]:
    """A server for each, with a login of its own; the default organization has the environment's."""
    channel: Any = EmailChannel()
    registry = FakeRegistry({"email": channel, "sms": FakeChannel("sms"), "telegram": FakeChannel("telegram")})
    monkeypatch.setattr(errands, "channels", lambda: registry)
    peers = {name: SmtpPeer(user=f"robot@{name}.example", password=f"secret of {name}") for name in HOUSES}
    settings.SMTP_HOST, settings.SMTP_PORT = "127.0.0.1", peers["default"].port
    settings.SMTP_USE_TLS = settings.SMTP_USE_SSL = False
    settings.SMTP_DEFAULT_USER, settings.SMTP_DEFAULT_PASSWORD = "robot@default.example", "secret of default"
    settings.DEFAULT_FROM_EMAIL = "robot@default.example"
    yield peers
    channel.close()
    for peer in peers.values():
        peer.close()


def house(name: str, peer: SmtpPeer) -> Organization:
    if name == "default":
        return Organization.objects.get(slug=name)
    organization = Organization.objects.create(slug=name, name=name)
    EmailSettings.objects.create(
        organization=organization,
        host="127.0.0.1",
        port=peer.port,
        use_tls=False,
        user=f"robot@{name}.example",
        secret=seal_secret(f"secret of {name}"),
    )
    return organization


def send(rows: list[tuple[Organization, str]]) -> list[Notification]:
    """All of them in one batch."""
    stored = [
        intake.accept(owner, {"to": {"email": to}, "message": "Hello", "channels": ["email"]}, ring=False)
        for owner, to in rows
    ]
    delivery.deliver([row.pk for row in stored])
    return list(Notification.objects.filter(pk__in=[row.pk for row in stored]).order_by("pk"))


def test_each_message_leaves_through_its_own(servers: dict[str, SmtpPeer]) -> None:
    houses = {name: house(name, servers[name]) for name in HOUSES}
    mixed = [(houses[name], f"user{number}@{name}.example") for number in range(4) for name in HOUSES]
    for row in send(mixed):
        assert row.status == "sent"
        attempt = row.attempts.get()
        assert attempt.account == ("default" if row.organization.slug == "default" else "organization")
    for name, peer in servers.items():
        assert sorted(mail.recipient for mail in peer.taken) == [f"user{number}@{name}.example" for number in range(4)]
        assert {mail.sender for mail in peer.taken} == {f"robot@{name}.example"}


def test_ones_broken_server_costs_the_other_nothing_and_takes_no_other_way(servers: dict[str, SmtpPeer]) -> None:
    houses = {name: house(name, servers[name]) for name in HOUSES}
    EmailSettings.objects.filter(organization=houses["acme"]).update(secret=seal_secret("wrong"))
    refused, sent = send([(houses["acme"], "a@example.com"), (houses["rose"], "b@example.com")])
    assert (refused.status, sent.status) == ("queued", "sent")
    assert [attempt.code for attempt in refused.attempts.all()] == ["authentication_failed"]
    assert [len(servers[name].taken) for name in HOUSES] == [0, 1, 0]


def test_without_active_settings_the_environments_is_taken(servers: dict[str, SmtpPeer]) -> None:
    acme = house("acme", servers["acme"])
    EmailSettings.objects.filter(organization=acme).update(is_active=False)
    [row] = send([(acme, "a@example.com")])
    assert (row.status, row.attempts.get().account) == ("sent", "default")
    assert [len(servers[name].taken) for name in HOUSES] == [0, 0, 1]
