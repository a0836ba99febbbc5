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
    return str(vault.unseal(sealed)["current"]) if sealed else _made(organization, anew=False)


def rotate(organization: Organization) -> str:
    """A new secret; the ones before sign beside it, each for a day."""
    return _made(organization, anew=True)


def _made(organization: Organization, *, anew: bool) -> str:
    """A new secret. Not `anew`: only if nobody else made the first one at this moment."""
    with transaction.atomic():
        row = Organization.objects.select_for_update().get(pk=organization.pk)
        known: dict[str, Any] = vault.unseal(row.webhook_secrets) if row.webhook_secrets else {}
        if known and not anew:
            return str(known["current"])
        replaced = _beside(known)
        if known:
            replaced.insert(0, {"secret": known["current"], "at": timezone.now().isoformat()})
        made = PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()
        row.webhook_secrets = vault.seal({"current": made, "replaced": replaced})
        row.save(update_fields=["webhook_secrets"])  # not update(): cached copies of the row would stay
    return made


def _beside(known: dict[str, Any]) -> list[dict[str, str]]:
    """The replaced secrets that still sign, the newest first."""
    now = timezone.now()
    return [one for one in known.get("replaced", []) if now - datetime.fromisoformat(one["at"]) < BESIDE]


def signing(organization: Organization) -> list[bytes]:
    """The keys that sign now, the newest first."""
    current(organization)
    known = vault.unseal(Organization.objects.values_list("webhook_secrets", flat=True).get(pk=organization.pk) or b"")
    names = [known["current"], *(one["secret"] for one in _beside(known))]
    return [base64.b64decode(name.removeprefix(PREFIX)) for name in names]
