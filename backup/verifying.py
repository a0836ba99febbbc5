"""Prove a backup: restore it into a database of its own, count, compare, take that database away."""

import gzip
import hashlib
import logging
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, Any

from django.conf import settings
from django.db import Error, connection
from django.utils import timezone
from django.utils.translation import gettext as _

from backup import files, scratch
from backup.errors import BackupError, of_the_database
from backup.facts import END, LONGEST, Facts, differences
from backup.models import Backup, Proof, Status
from backup.programs import Stop

log = logging.getLogger(__name__)

PATIENCE = 4
"""Restoring makes every index anew: it may take so many times DB_BACKUP_TIMEOUT."""

SECOND = timedelta(seconds=1)
"""As exactly as a file tells when it was made."""

SHOWN = 5
"""Differences that are named."""


@dataclass(frozen=True)
class Verdict:
    """A backup that restores: what it holds, and its row where it is known here."""

    facts: Facts
    sha256: str
    row: Backup | None


def verify(path: Path | None = None, *, stop: Stop = lambda: False) -> Verdict:
    """Restore this file, else the latest backup, and compare it with what was recorded.

    BackupError says what is wrong with it. Whatever comes of it stands in the backup's row, where there is one.
    """
    path = path or files.target()
    if path.suffix == ".age":
        sentence = _(
            "{path} is encrypted: decrypt it where the private key is (`age -d -i backup.key`), then verify that."
        )
        raise BackupError("encrypted", sentence.format(path=path))
    rows: list[Backup] = []
    try:
        verdict = _verified(path, rows, stop)
    except BackupError as error:
        _note(rows, Proof.FAILED, str(error))
        raise
    _note(rows, Proof.OK, "")
    return verdict


def _verified(path: Path, rows: list[Backup], stop: Stop) -> Verdict:
    digest = _digest_of(path)
    rows += Backup.objects.filter(sha256=digest, status=Status.OK).order_by("-pk")[:1]
    deadline = time.monotonic() + PATIENCE * settings.DB_BACKUP_TIMEOUT.total_seconds()
    with _opened(path) as packed:
        facts = _facts_of(packed)
        recorded = rows[0] if rows else _made_at(facts)
        tables, migrations = _restored(facts, _pieces(packed), deadline, stop)
    wrong = differences(facts, tables, migrations)
    if recorded and dict(recorded.tables) != dict(facts.tables):
        wrong.append(_("its first line tells other numbers than this service's record"))
    if wrong:
        sentence = _("The restored copy is not what was backed up: {differences}")
        raise BackupError("different", sentence.format(differences="; ".join(wrong[:SHOWN])))
    return Verdict(facts, digest, rows[0] if rows else None)


def _made_at(facts: Facts) -> Backup | None:
    """The backup that was made when this file says it was: it may be that one, packed anew, or changed."""
    try:
        told = datetime.fromisoformat(facts.made_at)
    except ValueError:
        return None
    if told.tzinfo is None:
        return None
    made = Backup.objects.filter(status=Status.OK, database=facts.database)
    return made.filter(started_at__lt=told + SECOND, finished_at__gte=told).order_by("-pk").first()


def _digest_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        sentence = _("{path} cannot be read: {reason}")
        raise BackupError("no_file", sentence.format(path=path, reason=error.strerror)) from None


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """What is packed in it; whatever is wrong with the packing is our error."""
    try:
        with gzip.open(path, "rb") as packed:
            yield packed  # type: ignore[misc]
    except (gzip.BadGzipFile, EOFError, zlib.error):
        sentence = _("{path} is damaged or no backup: it cannot be unpacked to its end. Take another copy of it.")
        raise BackupError("damaged", sentence.format(path=path)) from None
    except OSError as error:
        raise BackupError("no_file", f"{path}: {error.strerror}") from None


def _facts_of(packed: IO[bytes]) -> Facts:
    line = packed.readline(LONGEST + 1)
    if not line:
        raise EOFError
    facts = Facts.read(line)
    if facts is None:
        raise BackupError("no_facts", _("The file does not say what it holds: it was not made by backup_database."))
    return facts


def _pieces(packed: IO[bytes]) -> Iterator[bytes]:
    last = b""
    while piece := packed.read(128 * 1024):
        last = (last + piece)[-len(END) :]
        yield piece
    if last != END:
        raise BackupError("damaged", _("The file ends too early. Take another copy of it."))


def _restored(
    facts: Facts, pieces: Iterator[bytes], deadline: float, stop: Stop
) -> tuple[Mapping[str, int], Sequence[str]]:
    if facts.database == "sqlite":
        return scratch.in_sqlite(pieces, deadline, stop)
    if connection.vendor != "postgresql":
        raise BackupError(
            "other_database", _("This is a backup of PostgreSQL: verify it with DATABASE_URL naming such a server.")
        )
    try:
        return scratch.in_postgres(pieces, deadline, stop)
    except Error as error:
        raise of_the_database(str(error)) from None


def _note(rows: Sequence[Backup], proof: Proof, detail: str) -> None:
    changes: dict[str, Any] = {"proof": proof, "proof_detail": detail, "verified_at": timezone.now()}
    for row in rows:
        for name, value in changes.items():
            setattr(row, name, value)
        try:
            row.save(update_fields=list(changes))
        except Error:
            log.exception("The proof of a backup could not be recorded.", extra={"backup_id": row.pk})
