"""From a file's lines to rows: all of them or none."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from django.db import transaction
from django.utils import timezone

from deadlines.csv_files import Line
from deadlines.models import Deadline
from notifier.models import Organization

BATCH = 500


@dataclass
class Counts:
    """What an import does, or would do."""

    created: int = 0
    changed: int = 0
    unchanged: int = 0

    def as_dict(self) -> dict[str, int]:
        """By name."""
        return asdict(self)


def store(organization: Organization, lines: Sequence[Line], *, dry_run: bool = False) -> Counts:
    """Store these: a person's deadline of this kind is changed where there is one, and made where there is none.

    A column that the file does not have stays as it is. `dry_run`: only counts.
    """
    with transaction.atomic():
        if not dry_run:  # two imports at once: the second one sees what the first has done
            Organization.objects.select_for_update(no_key=True).get(pk=organization.pk)
        known = _known(organization, lines)
        counts, changed = Counts(), []
        for line in lines:
            row = known.get(line.key)
            if row is None:
                counts.created += 1
                changed.append(Deadline(organization=organization, **line.values))
            elif _apply(row, line.values):
                counts.changed += 1
                changed.append(row)
            else:
                counts.unchanged += 1
        if not dry_run:
            _write(changed)
    return counts


def _known(organization: Organization, lines: Sequence[Line]) -> dict[tuple[str, str], Deadline]:
    people = sorted({line.key[0] for line in lines})
    found = Deadline.objects.filter(organization=organization).order_by()
    return {(row.person, row.kind): row for some in _batches(people) for row in found.filter(person__in=some)}


def _apply(row: Deadline, values: dict[str, Any]) -> bool:
    """Whether the line says something new."""
    new = {name: value for name, value in values.items() if getattr(row, name) != value}
    for name, value in new.items():
        setattr(row, name, value)
    return bool(new)


def _write(rows: Sequence[Deadline]) -> None:
    """Made or changed by the key, not by the id: what somebody stored or deleted meanwhile is no error."""
    now = timezone.now()
    wanted = [
        Deadline(
            organization_id=row.organization_id,
            person=row.person,
            kind=row.kind,
            due_date=row.due_date,
            note=row.note,
            created_at=row.created_at,
            updated_at=now,
        )
        for row in rows
    ]
    Deadline.objects.bulk_create(
        wanted,
        batch_size=BATCH,
        update_conflicts=True,
        unique_fields=["organization", "person", "kind"],
        update_fields=["due_date", "note", "updated_at"],
    )


def _batches(people: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(people), BATCH):
        yield people[start : start + BATCH]
