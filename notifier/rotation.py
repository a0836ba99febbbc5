"""A new encryption key for what is stored: every sealed column, row by row, while the service goes on."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from cacheops import invalidate_model
from django.apps import apps
from django.db.models import Model

from notifier import vault

SEALED = (
    "notifier.Notification.credentials",
    "notifier.Organization.webhook_secrets",
    "notifier.EmailSettings.secret",
    "notifier.SmsSettings.secret",
    "notifier.TelegramSettings.secret",
)
"""Every column that holds what `vault.seal` made: application, model, column. A new one is added here."""

BATCH = 5000


@dataclass
class Tally:
    """How far one column has come."""

    looked_at: int = 0
    resealed: int = 0
    unreadable: list[Any] = field(default_factory=list)  # primary keys


def table_of(sealed: str) -> tuple[type[Model], str]:
    """The model and the column of an entry of `SEALED`."""
    model, _, column = sealed.rpartition(".")
    return apps.get_model(model), column


def rotate(sealed: str, *, batch: int = BATCH) -> Iterator[Tally]:
    """Seal this column's secrets with the first of `ENCRYPTION_KEYS`; says after each batch how far it is.

    Each value is replaced only while it is the one that was read: what was wiped stays wiped, what is newer stays.
    No transaction holds more than one row, and each statement reads a bounded number of them.
    """
    model, column = table_of(sealed)
    tally = Tally()
    rows = _uncached(model).order_by("pk").values_list("pk", column)
    found = list(rows[:batch])
    while found:
        for pk, value in found:
            if value is not None:
                _rotate_one(model, column, pk, value, tally)
        tally.looked_at += len(found)
        yield tally
        found = list(rows.filter(pk__gt=found[-1][0])[:batch])
    invalidate_model(model)  # a cached row would need the old key for as long as it is kept


def _rotate_one(model: type[Model], column: str, pk: Any, value: Any, tally: Tally) -> None:
    """Whoever changes the value meanwhile may have sealed it with an older key: then it is looked at again."""
    while value is not None:
        try:
            anew = vault.reseal(value)
        except vault.VaultError:
            tally.unreadable.append(pk)
            return
        if anew is None:
            return
        if _uncached(model).filter(pk=pk, **{column: bytes(value)}).update(**{column: anew}):
            tally.resealed += 1
            return
        value = _uncached(model).filter(pk=pk).values_list(column, flat=True).first()


def _uncached(model: type[Model]) -> Any:
    """Its rows as the database has them."""
    return model._base_manager.nocache()  # type: ignore[attr-defined]  # cacheops adds it
