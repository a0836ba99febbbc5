"""`manage.py audit_ledger`."""

from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db.models import F
from django.db.models.functions import Now

from notifier import ledger
from notifier.models import Notification, Organization
from tests.notifier.rows import stored

pytestmark = pytest.mark.django_db


def test_what_is_open_and_will_be_found_counts_as_live(capsys: pytest.CaptureFixture[str]) -> None:
    ledger.cancel(stored("email"))
    stored("email")
    ledger.claim(limit=1, ids=[stored("email").pk])
    call_command("audit_ledger")
    assert "3 = 1 finished + 2 live and due" in capsys.readouterr().out


@pytest.mark.parametrize("organization", [None, "default"])
def test_what_nobody_would_come_back_to_is_named(organization: str | None) -> None:
    lost = stored("email")
    Notification.objects.filter(pk=lost.pk).update(due_at=F("expires_at") + timedelta(seconds=1))
    with pytest.raises(CommandError, match=rf"nobody will come back to them: {lost.pk}$"):
        call_command("audit_ledger", organization=organization)
    Organization.objects.create(slug="another", name="Another")
    call_command("audit_ledger", organization="another")


def test_an_organization_that_is_not_there_proves_nothing() -> None:
    with pytest.raises(CommandError, match="nobody"):
        call_command("audit_ledger", organization="nobody")


def test_a_lease_without_end_is_found() -> None:
    held = ledger.claim(limit=1, ids=[stored("email").pk]).rows[0]
    Notification.objects.filter(pk=held.pk).update(lease_until=Now() + timedelta(hours=1))
    with pytest.raises(CommandError, match=str(held.pk)):
        call_command("audit_ledger")
