"""From a file's lines to rows: all of them or none."""

from collections import Counter
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from deadlines.csv_files import Line, Problem
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


class NamesakesError(Exception):
    """Several deadlines could be meant by a line; nothing was stored. `problems`: which lines."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(len(problems))
        self.problems = problems


def store(organization: Organization, lines: Sequence[Line], *, dry_run: bool = False) -> Counts:
    """Store these: a person's deadline of this kind is changed where there is one, and made where there is none.

    A column that the file does not have stays as it is. `dry_run`: only counts. NamesakesError where there are several.
    """
    with transaction.atomic():
        if not dry_run:  # two imports at once: the second one sees what the first has done
            Organization.objects.select_for_update(no_key=True).get(pk=organization.pk)
        known = _known(organization, lines)
        made = [Deadline(organization=organization, **line.values) for line in lines if line.key not in known]
        changed = [row for line in lines if (row := known.get(line.key)) and _apply(row, line.values)]
        if not dry_run:
            Deadline.objects.bulk_create(made, batch_size=BATCH)
            _write(changed, {name for line in lines for name in line.values} & {"due_date", "note"})
    return Counts(len(made), len(changed), len(lines) - len(made) - len(changed))


def _known(organization: Organization, lines: Sequence[Line]) -> dict[tuple[str, str], Deadline]:
    """What each line means, where it means one."""
    people = sorted({line.key[0] for line in lines})
    found = Deadline.objects.filter(organization=organization).order_by()
    rows = [row for some in _batches(people) for row in found.filter(person__in=some)]
    many = {key for key, number in Counter((row.person, row.kind) for row in rows).items() if number > 1}
    detail = _("There are several people of this name: change theirs by hand.")
    problems = [Problem(line.number, "person", "ambiguous", detail) for line in lines if line.key in many]
    if problems:
        raise NamesakesError(problems)
    return {(row.person, row.kind): row for row in rows}


def _apply(row: Deadline, values: dict[str, Any]) -> bool:
    """Whether the line says something new."""
    new = {name: value for name, value in values.items() if getattr(row, name) != value}
    for name, value in new.items():
        setattr(row, name, value)
    return bool(new)


def _write(rows: Sequence[Deadline], columns: AbstractSet[str]) -> None:
    """Only the file's `columns`: what somebody wrote meanwhile into another one stays, and who was deleted is gone."""
    now = timezone.now()
    for row in rows:
        row.updated_at = now
    Deadline.objects.bulk_update(rows, [*sorted(columns), "updated_at"], batch_size=BATCH)


def _batches(people: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(people), BATCH):
        yield people[start : start + BATCH]
