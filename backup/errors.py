"""Why there is no backup, or no proof of one: a code that is counted, and a sentence that says what to do."""

import errno
from collections.abc import Callable
from pathlib import Path

from django.conf import settings
from django.utils.translation import gettext as _

from notifier.scrubbing import scrubbed

LONGEST = 1000


class BackupError(Exception):
    """Its text is for people, and holds no secret."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(scrubbed(sentence)[:LONGEST])
        self.code = code


class BusyError(BackupError):
    """Another one is being made."""

    CODE = "busy"

    def __init__(self) -> None:
        super().__init__(self.CODE, _("Another backup is being made; wait until it has ended."))


def of_a_file(error: OSError, path: Path) -> BackupError:
    """What the file system's refusal means."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        sentence = _("There is no room left in {directory}: make some, or name another LOCAL_BACKUP_DIR.")
        return BackupError("disk_full", sentence.format(directory=path.parent))
    if isinstance(error, FileExistsError | NotADirectoryError):
        sentence = _("{directory} is no directory: name another LOCAL_BACKUP_DIR, or move that file away.")
        return BackupError("no_directory", sentence.format(directory=path.parent))
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        sentence = _(
            "{directory} cannot be written to: give the service's user the right to, or name another LOCAL_BACKUP_DIR."
        )
        return BackupError("not_writable", sentence.format(directory=path.parent))
    return BackupError("file_error", f"{path}: {error.strerror or error}")


def of_the_database(text: str) -> BackupError:
    """What the words of a database, of its driver or of its programs mean."""
    for code, hints, sentence in _KNOWN:
        if any(hint in text for hint in hints):
            return BackupError(code, sentence())
    said = " ".join(text.split())[-LONGEST // 2 :]
    return BackupError("database_error", _("The database refused: {reason}").format(reason=scrubbed(said)))


def timed_out() -> str:
    """The sentence for too little time."""
    seconds = f"{settings.DB_BACKUP_TIMEOUT.total_seconds():g}"
    return _("It took longer than {seconds} s: raise DB_BACKUP_TIMEOUT.").format(seconds=seconds)


def _of_a_copy() -> str:
    sentence = _("There is no room left in {directory}: make some, or name another LOCAL_BACKUP_DIR.")
    return sentence.format(directory=settings.LOCAL_BACKUP_DIR)


# In the order in which they are looked for. Each sentence is made when it is needed, in the language of that moment.
_KNOWN: tuple[tuple[str, tuple[str, ...], Callable[[], str]], ...] = (
    (
        "version_mismatch",
        ("server version mismatch",),
        lambda: _("pg_dump is older than the server: install PostgreSQL's client programs of its version or newer."),
    ),
    (
        "authentication_failed",
        ("authentication failed", "no password supplied", "no pg_hba.conf entry", "role \""),
        lambda: _("The database does not accept this user or password; correct DATABASE_URL."),
    ),
    (
        "permission_denied",
        ("permission denied",),
        lambda: _("The database user may not read every table: give it that right, or make it their owner."),
    ),
    (
        "timeout",
        ("statement timeout", "canceling statement", "interrupted"),
        timed_out,
    ),
    (
        "locked",
        ("database is locked", "database table is locked", "database schema is locked"),
        lambda: _("The database is locked by another program: end what writes to it for so long, then try again."),
    ),
    ("disk_full", ("database or disk is full",), _of_a_copy),
    (
        "disk_full",
        ("No space left on device",),
        lambda: _("The disk of the database server is full: make room there."),
    ),
    (
        "unreachable",
        ("could not connect", "connection to server", "could not translate host name", "server closed the connection",
         "terminating connection", "invalid snapshot identifier", "the database system is", "Connection refused",
         "unable to open database file",
         "connection already closed", "SSL connection has been closed"),
        lambda: _("The database does not answer: start it, or correct DATABASE_URL."),
    ),
)  # fmt: skip
