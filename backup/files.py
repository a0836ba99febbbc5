"""The directory of the backups: one process at a time, one file that is replaced in one step, no leftovers."""

import contextlib
import hashlib
import os
import re
import secrets
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from django.conf import settings

from backup.errors import BusyError, of_a_file

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_GZIP = 16 + zlib.MAX_WBITS
_LOCK = ".notifier-backup.lock"
_OURS = re.compile(r"\.notifier-backup-[0-9a-f]{16}\.(?:part|copy)(?:-journal|-wal|-shm)?")


def target() -> Path:
    """Where the latest backup lies."""
    return Path(settings.LOCAL_BACKUP_DIR) / str(settings.LOCAL_BACKUP_FILENAME)


@contextlib.contextmanager
def hold() -> Iterator[Path]:
    """The directory, ours alone until the block or the process ends; BusyError: it is another's.

    What killed processes left behind is removed then.
    """
    directory = target().parent
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise of_a_file(error, target()) from None
    try:
        _lock(handle)
        _tidy(directory)
        yield directory
    finally:
        os.close(handle)  # which ends the lock


def _lock(handle: int) -> None:
    try:
        if sys.platform == "win32":
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # the second on Windows
        raise BusyError from None
    except OSError as error:  # a network's file system without locks
        raise of_a_file(error, target()) from None


def _tidy(directory: Path) -> None:
    """Nobody who lives owns these: we have the lock."""
    try:
        found = [left for left in directory.iterdir() if _OURS.fullmatch(left.name)]
    except OSError as error:
        raise of_a_file(error, target()) from None
    for left in found:
        with contextlib.suppress(OSError):
            left.unlink()


def passing(directory: Path, kind: str) -> Path:
    """The path of a new file that is gone at the end: `part` or `copy`."""
    return directory / f".notifier-backup-{secrets.token_hex(8)}.{kind}"


def remove(path: Path) -> None:
    """It, and what SQLite puts beside a database."""
    for suffix in ("", "-journal", "-wal", "-shm"):
        with contextlib.suppress(OSError):
            path.with_name(path.name + suffix).unlink(missing_ok=True)


@dataclass(frozen=True)
class Written:
    """The file that was made: `size` in bytes as it lies there, `sql_size` before it was packed."""

    path: Path
    size: int
    sql_size: int
    sha256: str


class Packer:
    """Packs SQL into a temporary file beside the target, which `finish` puts in its place.

    A context manager: left without `finish`, nothing has changed.
    """

    def __init__(self, directory: Path) -> None:
        self._path = passing(directory, "part")
        self._digest = hashlib.sha256()
        self._packing = zlib.compressobj(6, zlib.DEFLATED, _GZIP)  # no name, no time: the same rows make the same file
        self._size = self.sql_size = 0

    def __enter__(self) -> Self:
        try:
            handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
        except OSError as error:
            raise of_a_file(error, self._path) from None
        self._file = os.fdopen(handle, "wb", buffering=0)
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._file.close()
        remove(self._path)

    def write(self, sql: bytes) -> None:
        """Some more of it."""
        self._put(self._packing.compress(sql))
        self.sql_size += len(sql)

    def _put(self, packed: bytes) -> None:
        left = memoryview(packed)
        try:
            while left:  # a disk that is almost full takes a part
                left = left[self._file.write(left) :]
        except OSError as error:
            raise of_a_file(error, self._path) from None
        self._size += len(packed)
        self._digest.update(packed)

    def finish(self) -> Written:
        """Put the file in the place of the one before: after this call the new one is safe, before it the old one."""
        place = target()
        self._put(self._packing.flush())
        try:
            os.fsync(self._file.fileno())
            self._file.close()
            self._path.replace(place)
            _settle(place.parent)
        except OSError as error:
            raise of_a_file(error, place) from None
        return Written(place, self._size, self.sql_size, self._digest.hexdigest())


def _settle(directory: Path) -> None:
    """The new name is on disk, too. Windows does that by itself."""
    if sys.platform != "win32":
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
