"""One circuit per (channel, account): a provider that is down costs the first few messages its timeout, no more.

Failures in a row that speak of the provider or the account open it; then every step through that account is skipped,
until after a while one probe is let through. Its success closes the circuit, its failure keeps it open. The circuits
are rows, so that all workers share them without a Redis; they are read at most once a second, and written only when
something fails or recovers.
"""

import hashlib
import hmac
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from channels.base import Account
from channels.simulated import SimulatedAccount
from notifier.models import Circuit

COUNTED = frozenset({"unreachable", "timeout", "tls_failed", "authentication_failed", "provider_error"})
"""Codes that speak of the provider or the account, not of the message or the person."""

SIMULATED = ":simulated"
"""How the keys end that are no circuit's."""

FRESH = 1.0
"""Seconds for which what was read is believed."""

FORGET = timedelta(days=1)


def key_of(channel: str, account: Account) -> str:
    """The circuit's key. A request's own account has one of its own, and no key tells what the account is.

    Simulated accounts have none: their key never opens.
    """
    if isinstance(account, SimulatedAccount):
        return channel + SIMULATED
    if account.origin == "default":
        return f"{channel}:default"
    told = repr(sorted((name, str(value)) for name, value in asdict(account).items()))
    digest = hmac.new(settings.SECRET_KEY.encode(), told.encode(), hashlib.sha256).hexdigest()
    return f"{channel}:{account.origin}:{digest[:32]}"


@dataclass(slots=True)
class _Seen:
    """What was last read of one circuit. `open_until` by our monotonic clock, None while it is closed."""

    failures: int
    open_until: float | None


@dataclass
class Breaker:
    """This process's view of the circuits; for the one thread that speaks to the database."""

    _seen: dict[str, _Seen] = field(default_factory=dict)
    _read_at: float = float("-inf")

    def allows(self, key: str) -> bool:
        """Whether a message may go this way. When an open circuit's time is over, one probe of all workers may."""
        if not settings.CIRCUIT_FAILURES:
            return True
        self._refresh()
        seen = self._seen.get(key)
        if seen is None or seen.open_until is None:
            return True
        if seen.open_until > time.monotonic():
            return False
        won = Circuit.objects.filter(key=key, open_until__lte=Now()).update(open_until=Now() + settings.CIRCUIT_SECONDS)
        self._read_at = float("-inf")
        return bool(won)

    def is_open(self, key: str) -> bool:
        """Whether messages are kept from going this way; asking uses up no probe."""
        self._refresh()
        seen = self._seen.get(key)
        if seen is None or seen.open_until is None or not settings.CIRCUIT_FAILURES:
            return False
        return seen.open_until > time.monotonic()  # after that the next message is let through, as the probe

    def record(self, answers: Iterable[tuple[str, str]]) -> None:
        """Count what came back: (key, code of the attempt, "" for an accepted one)."""
        if not settings.CIRCUIT_FAILURES:
            return
        failed: Counter[str] = Counter()
        well: set[str] = set()
        for key, code in answers:
            if key.endswith(SIMULATED):
                continue  # it says nothing of any provider
            if code in COUNTED:
                failed[key] += 1
            elif code not in {"outcome_unknown", "internal_error"}:
                well.add(key)  # it answered: whatever it said of this message, the way there works
                failed.pop(key, None)
        for key in well & set(self._seen):
            Circuit.objects.filter(key=key).delete()
        for key, count in failed.items():
            self._count(key, count)
        if failed or well & set(self._seen):
            self._read_at = float("-inf")

    def _count(self, key: str, count: int) -> None:
        with transaction.atomic():
            Circuit.objects.get_or_create(key=key)
            row = Circuit.objects.filter(key=key)
            row.update(failures=F("failures") + count, changed_at=Now())
            row.filter(failures__gte=settings.CIRCUIT_FAILURES).update(open_until=Now() + settings.CIRCUIT_SECONDS)

    def _refresh(self) -> None:
        if time.monotonic() - self._read_at < FRESH:
            return
        self._read_at = now = time.monotonic()
        rows = Circuit.objects.annotate(database_now=Now()).values_list("key", "failures", "open_until", "database_now")
        self._seen = {
            key: _Seen(failures, None if until is None else now + (until - database_now).total_seconds())
            for key, failures, until, database_now in rows
        }


def forget() -> None:
    """Delete circuits that nothing has happened to for a day."""
    Circuit.objects.filter(changed_at__lte=Now() - FORGET).delete()
