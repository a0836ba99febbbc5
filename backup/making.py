"""Make a backup: one try is one row, whatever comes of it."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

from django.conf import settings
from django.db import Error, IntegrityError, close_old_connections, connection, transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from backup import files
from backup.errors import BackupError, BusyError, of_the_database
from backup.facts import END, Facts
from backup.models import Backup, Status, Trigger, this_host
from backup.postgres import PostgresSource
from backup.programs import STOPPED, Stop, stopped
from backup.sqlite import SqliteSource

log = logging.getLogger(__name__)

TOLD_EVERY = 1.0
"""Seconds between two notes of how far it is."""

Told = Callable[[int], None]
"""Is told how many bytes of SQL there are so far."""


def make(
    trigger: Trigger,
    *,
    slot: datetime | None = None,
    stop: Stop = lambda: False,
    told: Told = lambda _size: None,
    report: Callable[[Backup], None] = lambda _row: None,
) -> Backup | None:
    """Make one, record it, and have it reported, made or failed. None: somebody else has done this slot.

    BackupError says why there is none; the file of the one before is as it was then.
    """
    row = _begun(trigger, slot)
    if row is None:
        return None
    dead: list[Backup] = []
    try:
        facts, written = _written(row, dead, stop, told)
        _record(row, facts, written)
    except (KeyboardInterrupt, SystemExit):
        _record_failure(row, stopped())
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, the row has to say so
        failure = _failure_of(error)
        _record_failure(row, failure)
        if not isinstance(failure, BusyError):
            _report(report, [*dead, row])
        raise failure from None
    _report(report, [*dead, row])
    return row


def _begun(trigger: Trigger, slot: datetime | None) -> Backup | None:
    values = {
        "started_at": timezone.now(),
        "trigger": trigger,
        "slot": slot,
        "host": this_host(),
        "path": str(files.target()),
    }
    try:
        with transaction.atomic():
            row = Backup.objects.create(**values)
            _forget(row)
            return row
    except IntegrityError:
        return None
    except Error as error:
        raise of_the_database(str(error)) from None


def _written(row: Backup, dead: list[Backup], stop: Stop, told: Told) -> tuple[Facts, files.Written]:
    deadline = time.monotonic() + settings.DB_BACKUP_TIMEOUT.total_seconds()
    with files.hold() as directory, _source(directory, deadline, stop) as source:
        dead += _end_interrupted(row)
        facts: Facts = source.facts()
        with files.Packer(directory) as packer:
            packer.write(facts.line().encode())
            looked = time.monotonic()
            for sql in source.sql():
                packer.write(sql)
                if time.monotonic() - looked >= TOLD_EVERY:
                    looked = time.monotonic()
                    _note(row, packer.sql_size, told)
            packer.write(END)
            return facts, packer.finish()


@contextmanager
def _source(directory: Path, deadline: float, stop: Stop) -> Iterator[PostgresSource | SqliteSource]:
    if connection.vendor == "postgresql":
        with PostgresSource(deadline=deadline, stop=stop) as source:
            yield source
    else:
        with SqliteSource(directory, deadline=deadline, stop=stop) as copy:
            yield copy


def _end_interrupted(row: Backup) -> list[Backup]:
    """We have the locks: whoever else is called running is not. Where another machine's lock is none of ours (SQLite
    has no such thing) there is no other machine."""
    dead = list(Backup.objects.filter(status=Status.RUNNING, pk__lt=row.pk).order_by("pk"))
    sentence = _("Its process ended before it was complete, or this database was restored from it.")
    for one in dead:
        _record_failure(one, BackupError("interrupted", sentence))
    return dead


def _note(row: Backup, size: int, told: Told) -> None:
    told(size)
    try:
        Backup.objects.filter(pk=row.pk).update(sql_size=size)
    except Error:  # a bar that stands still is no reason to give up
        log.debug("How far the backup is could not be noted.", exc_info=True)


def _failure_of(error: Exception) -> BackupError:
    if isinstance(error, BackupError):
        return error
    if isinstance(error, Error):
        return of_the_database(str(error))
    log.error("A backup failed for a reason that is not foreseen.", exc_info=error)
    return BackupError(
        "internal_error",
        _("Something failed that is not foreseen ({error}); the log says what.").format(error=type(error).__name__),
    )


def _record_failure(row: Backup, failure: BackupError) -> None:
    log.error("The database backup failed: %s", failure, extra={"backup_id": row.pk, "code": failure.code})
    row.status, row.finished_at = Status.FAILED, timezone.now()
    row.error_code, row.error = failure.code, str(failure)
    if failure.code == STOPPED:
        row.slot = None  # a restart at that hour must not cost the night's backup
    _save(row)


def _record(row: Backup, facts: Facts, written: files.Written) -> None:
    row.status, row.finished_at = Status.OK, timezone.now()
    row.path, row.size, row.sql_size, row.sha256 = str(written.path), written.size, written.sql_size, written.sha256
    row.database, row.server, row.tool = facts.database, facts.server[:64], facts.tool[:64]
    row.tables, row.migrations = dict(facts.tables), list(facts.migrations)
    if not _save(row):
        sentence = _("The backup lies in {path}, but the database did not take its record.")
        raise BackupError("not_recorded", sentence.format(path=row.path))
    log.info("The database was backed up.", extra={"backup_id": row.pk, "size": row.size})


def _save(row: Backup) -> bool:
    """False: the database is gone. Its row is then called interrupted by the next one."""
    try:
        if not connection.in_atomic_block:
            close_old_connections()  # it may have ended while the dump took its time
        row.save(force_update=True)
    except Error:
        log.exception("A backup could not be recorded.", extra={"backup_id": row.pk})
        return False
    return True


def _forget(row: Backup) -> None:
    """Only so many rows are kept, for so long; the last good one in any case."""
    newest = Backup.objects.order_by("-pk").values_list("pk", flat=True)
    old = Q(started_at__lt=row.started_at - Backup.KEPT) | Q(pk__lte=newest[Backup.MOST :].first() or 0)
    Backup.objects.filter(old).exclude(pk=newest.filter(status=Status.OK).first() or 0).delete()


def _report(report: Callable[[Backup], None], rows: Sequence[Backup]) -> None:
    for row in rows:
        try:
            report(row)
        except Exception:
            log.exception("Nobody could be told of a backup.", extra={"backup_id": row.pk})


def shown(span: timedelta | None) -> str:
    """A duration for people."""
    return f"{span.total_seconds():.1f} s" if span is not None else ""
