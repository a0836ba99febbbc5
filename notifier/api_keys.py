"""API keys: made and shown once, found again by their digest, replaced without a gap, revoked at once."""

import hashlib
import hmac
import re
import secrets
import string
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from threading import Lock

from django.db import connection
from django.db.models import Q
from django.db.models.functions import Now

from notifier import postgres
from notifier.models import ApiKey, Organization

BESIDE = timedelta(days=1)
"""How long a key that was rotated goes on beside its successor."""

USED_SECONDS = 60.0
"""How exactly `last_used_at` is kept: to write it with every request would cost more than to answer most of them."""

_IS_GOOD = Q(revoked_at=None) & (Q(expires_at=None) | Q(expires_at__gt=Now()))

_FORM = re.compile(r"(ntf_(?:live|test)_[A-Za-z0-9]{8})_[A-Za-z0-9_-]{43}")
_LETTERS = string.ascii_letters + string.digits


class Scope(StrEnum):
    """What a key may do."""

    SEND = "send"  # write users and notifications, the verbs, plan
    READ = "read"  # GET
    MANAGE = "manage"  # everything


@dataclass(frozen=True, slots=True)
class Made:
    """A new key. `secret` is the key itself, which nobody can tell again."""

    row: ApiKey
    secret: str


def make(
    organization: Organization,
    *,
    name: str = "",
    kind: str = ApiKey.Kind.LIVE,
    scopes: Collection[str] = tuple(Scope),
    expires_at: datetime | None = None,
) -> Made:
    """A new key for this organization."""
    prefix = f"ntf_{ApiKey.Kind(kind)}_{''.join(secrets.choice(_LETTERS) for _ in range(8))}"
    secret = f"{prefix}_{secrets.token_urlsafe(32)}"
    row = ApiKey.objects.create(
        organization=organization,
        name=name,
        kind=kind,
        expires_at=expires_at,
        prefix=prefix,
        digest=_digest(secret),
        **{f"may_{scope}": scope in scopes for scope in Scope},
    )
    return Made(row, secret)


def rotate(old: ApiKey) -> Made:
    """A successor that may do the same. The old key goes on beside it for a day, unless it ends before."""
    made = make(old.organization, name=old.name, kind=old.kind, scopes=scopes_of(old), expires_at=_as_long_again(old))
    later = Q(expires_at=None) | Q(expires_at__gt=Now() + BESIDE)
    ApiKey.objects.filter(later, pk=old.pk).update(expires_at=Now() + BESIDE)
    return made


def revoke(rows: Collection[ApiKey]) -> int:
    """End these at once, for good. Returns how many were still good."""
    alive = ApiKey.objects.filter(pk__in=[row.pk for row in rows], revoked_at=None)
    return alive.update(revoked_at=Now())


def scopes_of(key: ApiKey) -> frozenset[Scope]:
    """What this key may do; `manage` is everything."""
    if key.may_manage:
        return frozenset(Scope)
    return frozenset(scope for scope in (Scope.SEND, Scope.READ) if getattr(key, f"may_{scope}"))


def find(secret: str) -> ApiKey | None:
    """The key that was shown, with its organization; None for one that is unknown, revoked, or over."""
    form = _FORM.fullmatch(secret)
    if form is None:
        return None
    digest = _digest(secret)
    for key in _good(form[1]):
        if hmac.compare_digest(bytes(key.digest), digest):
            _used.note(key)
            return key
    return None


def _good(prefix: str) -> Iterable[ApiKey]:
    """Those that begin so, are not revoked, and not over by the database's clock."""
    if connection.vendor == "postgresql":
        return postgres.keys(prefix)
    return ApiKey.objects.filter(_IS_GOOD, prefix=prefix).select_related("organization")


def may_still_read(pk: int) -> bool:
    """Whether the key of a stream that was opened before would open it now."""
    return ApiKey.objects.filter(_IS_GOOD, Q(may_read=True) | Q(may_manage=True), pk=pk).exists()


def _digest(secret: str) -> bytes:
    """Unsalted and fast: 32 random bytes need no protection against guessing."""
    return hashlib.sha256(secret.encode()).digest()


def _as_long_again(old: ApiKey) -> datetime | None:
    """When the successor ends: as long after today as the old one was to live after its making."""
    if old.expires_at is None:
        return None
    now: datetime = ApiKey.objects.annotate(database_now=Now()).values_list("database_now", flat=True).get(pk=old.pk)
    return now + (old.expires_at - old.created_at)


class _LastUse:
    """Writes `last_used_at` at most once a minute for each key, in each process."""

    MOST = 10_000  # keys remembered

    def __init__(self) -> None:
        self._noted: dict[int, float] = {}
        self._turn = Lock()

    def note(self, key: ApiKey) -> None:
        """It was used now."""
        now = time.monotonic()
        with self._turn:
            if now - self._noted.get(key.pk, float("-inf")) < USED_SECONDS:
                return
            if len(self._noted) >= self.MOST:
                self._noted.clear()
            self._noted[key.pk] = now
        ApiKey.objects.filter(pk=key.pk).update(last_used_at=Now())


_used = _LastUse()
