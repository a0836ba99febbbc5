#!/usr/bin/env python3
"""What `demo`, `test`, `audit`, `benchmark` have in common: make `.venv`, install what is pinned, then run the thing.

It runs before anything is installed, so it needs nothing but Python itself (`bootstrap.sh`, `bootstrap.bat` find one).
"""

import contextlib
import hashlib
import importlib.util
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
WINDOWS = os.name == "nt"
VENV_PYTHON = VENV / ("Scripts/python.exe" if WINDOWS else "bin/python")
STAMP = VENV / ".installed"
PINS = ("requirements.txt", "requirements-dev.txt", "requirements-audit.txt", "benchmarks/requirements.txt")
PIP, UV = "scripts/pip.txt", "scripts/uv.txt"  # the installers themselves, pinned like what they install
OLDEST = (3, 11)
CHECKS = (
    ("ruff check", ["ruff", "check", "."]),
    ("ruff format", ["ruff", "format", "--check", "."]),
    ("mypy", ["mypy", "."]),
    ("lint-imports", [str(VENV_PYTHON.with_name("lint-imports"))]),
)
ON_BOTH = (  # what depends on the database, without tables of who may and of bad input, which never reach it
    *("tests/notifier", "tests/api", "tests/faults/test_state_machine.py"),
    *(f"--ignore=tests/api/test_{name}.py" for name in ("api_keys", "bad_fields", "bad_input", "schema")),
    *(f"--ignore=tests/notifier/test_{name}.py" for name in ("counters", "environment")),
)
# Most tests wait for a server, so there is room for three; each side has its own servers. Files stay whole:
# tests/conftest.py says which come first.
SIDE_BY_SIDE = ("-n", "3", "--dist", "loadfile", "--no-loadscope-reorder")
SETUP_WAIT = 900  # seconds for which a second run waits until the first one has installed
SYSTEM_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


class SetupError(SystemExit):
    """Ends the script with one sentence."""


def say(text: str) -> None:
    """One line of progress, at once: a silent minute looks like a dead one."""
    print("==> " + text, flush=True)


def clean_environment() -> dict[str, str]:
    """Ours without what would send packages, or imports, to somewhere else than `.venv`."""
    strange = ("PYTHONHOME", "PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_REQUIRE_VIRTUALENV", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if name not in strange}


def run(
    command: Sequence[object], timeout: float | None = None, quiet: bool = False, settings: dict[str, str] | None = None
) -> int:
    """Run to the end and return the exit code; 127 if there is no such program, 124 if it took too long.

    Ctrl+C reaches the child by itself, SIGTERM is handed on to it as one; then this script ends too.
    """
    silence = subprocess.DEVNULL if quiet else None
    children: list[subprocess.Popen[bytes]] = []
    stopped: list[int] = []

    def stop(number: int, _frame: object) -> None:
        stopped.append(number)
        if number == signal.SIGTERM:  # as Ctrl+C would: pytest then ends the servers that it has started
            for child in children:
                child.send_signal(signal.SIGTERM if WINDOWS else signal.SIGINT)

    # Before the child is there: a shell's background job has SIGINT ignored, and the child would inherit that.
    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        child = subprocess.Popen(  # noqa: S603
            [str(part) for part in command],
            cwd=ROOT,
            env={**clean_environment(), **(settings or {})},
            stdout=silence,
            stderr=silence,
        )
        children.append(child)
        code = wait(child, timeout)
    except OSError:
        return 127
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if stopped:
        raise SystemExit(128 + stopped[0])
    return 128 - code if code < 0 else code


def wait(child: subprocess.Popen[bytes], timeout: float | None) -> int:
    """Wait for the child's end, and bring it about where it takes too long."""
    try:
        return child.wait(timeout)
    except subprocess.TimeoutExpired:
        say(f"{child.args[0]} took more than {timeout:.0f} s: ending it")  # type: ignore[index,str-bytes-safe]
        child.terminate()
    try:
        child.wait(30)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    return 124


# --- .venv -----------------------------------------------------------------------------------------------------------
@contextlib.contextmanager
def setup_lock() -> Iterator[None]:
    """One setup of this directory at a time; the lock is on this very file, so that nothing is left lying about."""
    with Path(__file__).open("rb") as file:
        deadline, told = time.monotonic() + SETUP_WAIT, False
        while not try_lock(file.fileno()):
            if time.monotonic() > deadline:
                raise SetupError(
                    "Another setup has been running here for a quarter of an hour: end it, then try again."
                )
            if not told:
                say("Another setup is running in this directory: waiting for it")
                told = True
            time.sleep(0.2)
        yield  # closing the file gives the lock back, however this process ends


def try_lock(descriptor: int) -> bool:
    """Whether the lock is ours now."""
    try:
        if sys.platform == "win32":
            os.lseek(descriptor, 1 << 30, os.SEEK_SET)  # far behind the text: a locked byte cannot be read by others
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def venv_works() -> bool:
    """Whether `.venv` holds a Python that starts and is new enough."""
    code = f"import sys; sys.exit(sys.version_info < {OLDEST})"
    return run([VENV_PYTHON, "-c", code], timeout=60, quiet=True) == 0


def find_uv() -> str | None:
    """The uv on the PATH, if it runs: a version manager's shim may stand there with nothing behind it."""
    uv = shutil.which("uv")
    return uv if uv and run([uv, "--version"], timeout=60, quiet=True) == 0 else None


def make_venv(with_pip: bool) -> None:
    """A fresh `.venv`."""
    if (VENV / "pyvenv.cfg").is_file():
        say("The Python in .venv does not start or is too old: making .venv anew")
    elif VENV.exists() and not (VENV.is_dir() and not any(VENV.iterdir())):
        raise SetupError(f"{VENV} is not a virtual environment: move it away, then run this again.")
    if with_pip and importlib.util.find_spec("ensurepip") is None:
        raise SetupError(
            "This Python cannot make a virtual environment. On Debian and Ubuntu run"
            ' "apt install python3-venv" (as root), then run this again.'
        )
    say(f"Making .venv with Python {platform.python_version()}")
    command = [sys.executable, "-m", "venv", "--clear", VENV]
    if run(command if with_pip else [*command, "--without-pip"], timeout=300) != 0:
        raise SetupError(
            "The virtual environment could not be made (see above). On Debian and Ubuntu it needs"
            ' "apt install python3-venv".'
        )


def wanted_stamps(pins: str) -> list[str]:
    """What the stamp says once `pins` are in: they, and the other file where its pins of today are in already."""
    files = {name: ROOT / name for name in PINS if (ROOT / name).is_file()}  # an image of the service has not all
    today = {name: f"{name} {hashlib.sha256(file.read_bytes()).hexdigest()}" for name, file in files.items()}
    old = stamps()
    return [line for name, line in today.items() if name == pins or line in old]


def stamps() -> list[str]:
    """What `.venv` holds: a line for each file of pins, with its hash."""
    return STAMP.read_text(encoding="utf-8").splitlines() if STAMP.is_file() else []


def ensure_installed(pins: str) -> None:
    """Bring `.venv` up to this file of pins. Does nothing when it is there already."""
    with setup_lock():
        works = venv_works()
        if works and wanted_stamps(pins) == stamps():
            return
        uv = find_uv()
        if not works:
            make_venv(with_pip=uv is None)
        stamped = wanted_stamps(pins)
        install(pins, uv)
        fresh = STAMP.with_name(STAMP.name + ".new")
        fresh.write_text("\n".join(stamped) + "\n", encoding="utf-8")
        fresh.replace(STAMP)


def install(pins: str, uv: str | None) -> None:
    """Install with uv where it can be had (seconds), else, or if it fails (a mirror only pip knows), with pip."""
    started = time.monotonic()
    say(f"Installing {pins} ({'with uv, a few seconds' if uv else 'the first time takes up to a minute'})")
    pip = [VENV_PYTHON, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    if uv is None:
        ensure_pip()
        # A quarter of the time. Only an accelerator: where it is not to be had, pip does it all.
        run([*pip, "install", "--quiet", "--require-hashes", "-r", UV], timeout=120, quiet=True)
        beside = VENV_PYTHON.with_name("uv.exe" if WINDOWS else "uv")
        uv = str(beside) if beside.is_file() else None
    only_pinned = ["install", "--require-hashes"]  # nothing whose content is not known beforehand
    if uv is None or run([uv, "pip", *only_pinned, "--python", VENV_PYTHON, "-r", PIP, "-r", pins]) != 0:
        ensure_pip()
        say(f"Installing {pins} with pip")
        if run([*pip, *only_pinned, "-r", pins]) != 0:
            raise SetupError("The packages could not be installed (see above). Run this again to go on.")
    say(f"Installed in {time.monotonic() - started:.0f} s")


def ensure_pip() -> None:
    """A `.venv` that uv made has no pip."""
    if run([VENV_PYTHON, "-m", "pip", "--version"], timeout=60, quiet=True) == 0:
        return
    if run([VENV_PYTHON, "-m", "ensurepip"], timeout=120, quiet=True) != 0:
        raise SetupError(
            'There is no pip for .venv. On Debian and Ubuntu run "apt install python3-venv" (as root),'
            " then run this again."
        )


# --- Debian's packages, for the tests --------------------------------------------------------------------------------
def wanted_packages() -> dict[str, str]:
    """Debian's packages that are missing here, each with what is skipped without it."""
    browser = any(shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    postfix, sasl = (shutil.which(name, path=SYSTEM_PATH) for name in ("postfix", "saslpasswd2"))
    plugins = list(Path("/usr/lib").glob("*/sasl2/liblogin.so*")) + list(Path("/usr/lib/sasl2").glob("liblogin.so*"))
    mail = "the tests against a real mail server"
    missing = {
        "chromium": "" if browser else "the tests in a real browser",
        "rabbitmq-server": "" if shutil.which("rabbitmq-server", path=SYSTEM_PATH) else "the tests against RabbitMQ",
        "postfix": "" if postfix else mail,
        "sasl2-bin": "" if sasl else mail,
        "libsasl2-modules": "" if plugins else mail,
    }
    return {package: reason for package, reason in missing.items() if reason}


def system_packages() -> None:
    """Get what only root can install; without root say loudly what will be skipped. `TEST_APT=0` leaves it alone."""
    missing = wanted_packages()
    root = sys.platform != "win32" and os.geteuid() == 0
    if root and find_uv() is None and importlib.util.find_spec("ensurepip") is None and not venv_works():
        missing["python3-venv"] = "everything"
    if missing and root and shutil.which("apt-get") and os.environ.get("TEST_APT", "1") != "0":
        apt_install(list(missing))
        missing = wanted_packages()
    for reason in sorted(set(missing.values())):
        names = " ".join(name for name in missing if missing[name] == reason)
        say(f"WILL BE SKIPPED: {reason}. Missing: {names}")
    if missing and not WINDOWS:
        say(f"On Debian, as root, this brings them: apt install {' '.join(missing)}")


def apt_install(packages: list[str]) -> None:
    """Install with progress and within bounds, and start none of the services: the tests start their own."""
    say(f"As root: installing Debian's packages {' '.join(packages)} (TEST_APT=0 leaves that out)")
    os.environ["DEBIAN_FRONTEND"] = "noninteractive"
    bounds = ["-o", "Acquire::http::Timeout=20", "-o", "Acquire::Retries=1", "-o", "DPkg::Lock::Timeout=120"]
    install_them = ["apt-get", *bounds, "install", "-y", "--no-install-recommends"]
    run(["apt-get", *bounds, "update"], timeout=180)
    # Loading may take as long as the network likes, so it is bounded; unpacking is not to be cut off in the middle.
    if run([*install_them, "--download-only", *packages], timeout=420) == 0:
        with services_stay_down():
            run([*install_them, *packages], timeout=900)


@contextlib.contextmanager
def services_stay_down() -> Iterator[None]:
    """Debian starts a service as soon as it is installed, unless this file says no."""
    policy = Path("/usr/sbin/policy-rc.d")
    if policy.exists():
        yield
        return
    policy.write_text("#!/bin/sh\nexit 101\n", encoding="utf-8")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink()


# --- The commands ----------------------------------------------------------------------------------------------------
def demo(arguments: list[str]) -> int:
    """Set up, then become `manage.py demo`."""
    ensure_installed("requirements.txt")
    return become([VENV_PYTHON, "manage.py", "demo", *arguments])


def test(arguments: list[str]) -> int:
    """Set up and run the checks and every test; with arguments only pytest, with these."""
    if arguments:
        ensure_installed("requirements-dev.txt")
        return become([VENV_PYTHON, "-m", "pytest", *arguments])
    system_packages()
    ensure_installed("requirements-dev.txt")
    failed = [name for name, command in CHECKS if check(name, command) != 0]
    say("pytest on SQLite: the ledger and the API, which pytest then runs on PostgreSQL")
    pytest = [VENV_PYTHON, "-m", "pytest", *SIDE_BY_SIDE]
    if run([*pytest, "-m", "not real_server", *ON_BOTH], settings={"TEST_DATABASE": "sqlite"}) != 0:
        failed.append("pytest on SQLite")
    if failed:
        say(f"FAILED: {', '.join(failed)} (see above). The tests run all the same; the exit code will be 1")
    say("pytest")  # with the reasons of what was skipped
    if WINDOWS:
        say("Not on Windows, since they need real servers:")
        run([VENV_PYTHON, "-m", "pytest", "--collect-only", "--quiet", "-m", "real_server"])
        pytest += ["-m", "not real_server"]
    return run([*pytest, "-rfEs"]) or (1 if failed else 0)


def audit(arguments: list[str]) -> int:
    """Write the list of parts, then ask for known vulnerabilities of every pin; only the second needs the network."""
    code = run([sys.executable, "scripts/audit.py", "--only-sbom"])
    if code == 0:
        ensure_installed("requirements.txt")  # the services would not start from a `.venv` that holds the tool alone
        ensure_installed("requirements-audit.txt")
        code = run([VENV_PYTHON, "scripts/audit.py", *arguments])
    return code


def benchmark(arguments: list[str]) -> int:
    """Set up, then become one of the benchmarks; without arguments show what there is."""
    ensure_installed("requirements-dev.txt")
    ensure_installed("benchmarks/requirements.txt")
    return become([VENV_PYTHON, "-m", "benchmarks", *(arguments or ["list"])])


def check(name: str, command: list[str]) -> int:
    """One check of the source. The tools are modules of `.venv`, or programs there."""
    say(name)
    # mypy loads the project's settings: those of development, not those of a `.env` that happens to lie here.
    settings = {"DJANGO_DEBUG": "1", "ENV_FILE": ""}
    return run(command if os.sep in command[0] else [VENV_PYTHON, "-m", *command], settings=settings)


def become(command: Sequence[str | Path]) -> int:
    """Replace this process, so that signals reach the command itself; Windows cannot, there we wait for it."""
    if not WINDOWS:
        sys.stdout.flush()
        os.chdir(ROOT)
        os.execve(command[0], [str(part) for part in command], clean_environment())  # noqa: S606
    return run(command)


def main(arguments: list[str]) -> int:
    """`demo`, `test`, `audit` or `benchmark`, with the rest of the arguments for it."""
    commands = {"demo": demo, "test": test, "audit": audit, "benchmark": benchmark}
    if not arguments or arguments[0] not in commands:
        raise SetupError("Usage: bootstrap.py demo|test|audit|benchmark [arguments]")
    return commands[arguments[0]](arguments[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
