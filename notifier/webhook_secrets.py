"""What signs an organization's status callbacks (Standard Webhooks: `whsec_` and the key in base64)."""

import base64
import secrets
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from notifier import vault
from notifier.models import Organization

BESIDE = timedelta(days=1)
"""How long a replaced secret signs beside the new one."""

PREFIX = "whsec_"


def current(organization: Organization) -> str:
    """The organization's secret; made when it is first asked for."""
    sealed = Organization.objects.values_list("webhook_secrets", flat=True).get(pk=organization.pk)
    return str(vault.unseal(sealed)["current"]) if sealed else rotate(organization)


def rotate(organization: Organization) -> str:
    """A new secret; the one before signs beside it for a day."""
    with transaction.atomic():
        row = Organization.objects.select_for_update().get(pk=organization.pk)
        made = PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()
        known: dict[str, Any] = {"current": made}
        if row.webhook_secrets:
            before = vault.unseal(row.webhook_secrets)["current"]
            known |= {"previous": before, "replaced_at": timezone.now().isoformat()}
        row.webhook_secrets = vault.seal(known)
        row.save(update_fields=["webhook_secrets"])  # not update(): cached copies of the row would stay
    return made


def signing(organization: Organization) -> list[bytes]:
    """The keys that sign now, the newest first."""
    current(organization)
    known = vault.unseal(Organization.objects.values_list("webhook_secrets", flat=True).get(pk=organization.pk) or b"")
    names = [known["current"]]
    if "previous" in known and timezone.now() - datetime.fromisoformat(known["replaced_at"]) < BESIDE:
        names.append(known["previous"])
    return [base64.b64decode(name.removeprefix(PREFIX)) for name in names]
