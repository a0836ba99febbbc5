"""The scripts, run in a copy of the project that has stubs in place of what is big."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ROOT / "scripts"
COMMANDS = ["demo", "test", "audit", "start_web", "start_worker", "start_beat", "start_all"]
NAMES = sorted(path.stem for path in SCRIPTS.glob("*.sh"))
TARGETS = {
    "demo": ("bootstrap", "demo"),
    "test": ("bootstrap", "test"),
    "audit": ("bootstrap", "audit"),
    "benchmark": ("bootstrap", "benchmark"),
    "start_web": ("python", "manage.py serve"),
    "start_worker": ("python", "-m celery -A notifier worker"),
    "start_beat": ("python", "-m celery -A notifier beat"),
    "start_all": ("python", "scripts/start_all.py"),
}
posix = pytest.mark.skipif(sys.platform == "win32", reason="runs the .sh scripts")


# --- What can be told from the text ----------------------------------------------------------------------------------
def test_every_script_is_there_for_both_kinds_of_systems() -> None:
    assert set(COMMANDS) < set(NAMES)
    assert sorted(path.stem for path in SCRIPTS.glob("*.bat")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_file_is_what_windows_reads(name: str) -> None:
    content = (SCRIPTS / f"{name}.bat").read_bytes()
    lines = content.split(b"\r\n")
    assert content.isascii()
    assert b"\n" not in b"".join(lines)
    assert lines[0] == b"@echo off"
    assert lines[-2:] == [b"exit /b %ERRORLEVEL%", b""]
    assert b"%*" in content


@pytest.mark.parametrize("name", NAMES)
def test_a_shell_script_is_what_a_plain_sh_reads(name: str) -> None:
    path = SCRIPTS / f"{name}.sh"
    content = path.read_text(encoding="utf-8")
    assert b"\r" not in path.read_bytes()
    assert content.startswith("#!/bin/sh\n")
    assert "set -eu\n" in content
    assert '"$@"' in content
    if sys.platform != "win32":
        assert os.access(path, os.X_OK)
        subprocess.run(["sh", "-n", str(path)], check=True, timeout=60)


@pytest.mark.parametrize("name", COMMANDS)
def test_both_twins_start_the_same(name: str) -> None:
    helper, command = TARGETS[name]
    shell = (SCRIPTS / f"{name}.sh").read_text(encoding="utf-8")
    batch = (SCRIPTS / f"{name}.bat").read_text(encoding="utf-8")
    assert shell.endswith(f'exec "$(dirname "$0")/{helper}.sh" {command} "$@"\n')
    windows = command.replace("scripts/", "scripts\\")
    assert f'call "%~dp0{helper}.bat" {windows} %*\n' in batch


def test_continuous_integration_runs_the_test_script_and_nothing_else() -> None:
    path = ROOT / ".ci" / "run"
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "#!/bin/bash"
    assert [line for line in lines[1:] if not line.startswith(("set ", "cd "))] == ["./scripts/test.sh"]
    assert sys.platform == "win32" or os.access(path, os.X_OK)


# --- A copy of the project -------------------------------------------------------------------------------------------
@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project that holds the scripts and nothing else, in a directory with a space in its name."""
    copy = tmp_path / "a project"
    shutil.copytree(SCRIPTS, copy / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "requirements.txt").write_text("# nothing\n", encoding="utf-8")
    (copy / "requirements-dev.txt").write_text("# nothing, too\n", encoding="utf-8")
    (copy / "manage.py").write_text("import sys\nprint('manage.py', *sys.argv[1:])\n", encoding="utf-8")
    return copy


def program(path: Path, text: str) -> Path:
    """A shell script that stands for something bigger."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def run(
    project: Path, name: str, *arguments: str, path: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a script from another directory, with `path` before everything else on the PATH."""
    front = f"{path}{os.pathsep}" if path else ""
    return subprocess.run(
        [str(project / "scripts" / f"{name}.sh"), *arguments],
        cwd="/",
        env={**os.environ, "PATH": f"{front}{os.environ['PATH']}", "PIP_NO_INDEX": "1", "TEST_APT": "0", **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
        check=False,
    )


ECHO = 'echo "pid=$$ cwd=$(pwd)"\nfor word; do echo "<$word>"; done'


@posix
@pytest.mark.parametrize("name", ["start_web", "start_worker", "start_beat", "start_all"])
def test_a_service_becomes_the_python_of_the_venv_with_all_arguments(project: Path, name: str) -> None:
    program(project / ".venv/bin/python", ECHO)
    child = subprocess.Popen(
        [str(project / "scripts" / f"{name}.sh"), "--port", "a b", ""], cwd="/", stdout=subprocess.PIPE, text=True
    )
    output, _ = child.communicate(timeout=60)
    words = [*TARGETS[name][1].split(), "--port", "a b", ""]
    # The same process id: signals reach the service itself, no shell stands between.
    assert output.splitlines() == [f"pid={child.pid} cwd={project}", *(f"<{word}>" for word in words)]


@posix
def test_without_a_venv_it_is_the_python_on_the_path(project: Path, tmp_path: Path) -> None:
    program(tmp_path / "bin/python3", f'[ "$1" = -c ] && exit 0\n{ECHO}')
    done = run(project, "start_web", path=tmp_path / "bin")
    assert done.stdout.splitlines()[1:] == ["<manage.py>", "<serve>"]


@posix
def test_without_any_packages_it_says_what_to_do(project: Path, tmp_path: Path) -> None:
    for name in ("python", "python3"):
        program(tmp_path / "bin" / name, "exit 1")
    done = run(project, "start_worker", path=tmp_path / "bin")
    assert done.returncode == 1
    assert "pip install -r requirements.txt" in done.stdout


# --- The setup -------------------------------------------------------------------------------------------------------
@pytest.fixture
def uv(tmp_path: Path) -> Path:
    """A directory with a `uv` that installs nothing and writes down that it was asked to."""
    text = f'[ "$1" = --version ] && exit 0\nsleep 0.3\necho "$*" >> "{tmp_path}/uv.log"'
    return fake_uv(tmp_path, text)


def fake_uv(tmp_path: Path, text: str) -> Path:
    """A directory for the PATH with this `uv` and a Python that leaves the PATH as it is (version managers' do not)."""
    program(tmp_path / "bin/python3", f'exec "{sys.executable}" "$@"')
    return program(tmp_path / "bin/uv", text).parent


def installed(tmp_path: Path) -> list[str]:
    """The files of pins that our `uv` was asked to install."""
    log = tmp_path / "uv.log"
    return [line.split()[-1] for line in log.read_text(encoding="utf-8").splitlines()] if log.is_file() else []


@posix
def test_the_demo_sets_up_once_and_then_starts_at_once(project: Path, tmp_path: Path, uv: Path) -> None:
    first = run(project, "demo", "--port", "8123", path=uv)
    assert first.returncode == 0, first.stdout
    assert first.stdout.splitlines()[-1] == "manage.py demo --port 8123"
    assert "Installing requirements.txt" in first.stdout
    second = run(project, "demo", "--check", path=uv)
    assert second.stdout == "manage.py demo --check\n"
    assert installed(tmp_path) == ["requirements.txt"]


@posix
def test_changed_pins_are_installed(project: Path, tmp_path: Path, uv: Path) -> None:
    run(project, "demo", path=uv)
    (project / "requirements.txt").write_text("# another\n", encoding="utf-8")
    run(project, "demo", path=uv)
    run(project, "demo", path=uv)
    assert installed(tmp_path) == ["requirements.txt", "requirements.txt"]


@posix
def test_two_setups_at_a_time_do_not_disturb_each_other(project: Path, tmp_path: Path, uv: Path) -> None:
    results: list[subprocess.CompletedProcess[str]] = []
    threads = [threading.Thread(target=lambda: results.append(run(project, "demo", path=uv))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [done.returncode for done in results] == [0, 0, 0]
    assert installed(tmp_path) == ["requirements.txt"]


@posix
def test_a_uv_that_does_not_run_or_fails_leaves_the_work_to_pip(project: Path, tmp_path: Path) -> None:
    broken = fake_uv(tmp_path, '[ "$1" = --version ]')
    done = run(project, "demo", path=broken)
    assert done.returncode == 0, done.stdout
    assert "Installing requirements.txt with pip" in done.stdout


@posix
def test_a_setup_that_failed_is_tried_again(project: Path, tmp_path: Path) -> None:
    (project / "requirements.txt").write_text("no-such-package-at-all==1\n", encoding="utf-8")
    done = run(project, "demo", path=fake_uv(tmp_path, '[ "$1" = --version ] || ! grep -q no-such requirements.txt'))
    assert done.returncode == 1
    assert "could not be installed" in done.stdout.splitlines()[-1]
    (project / "requirements.txt").write_text("# nothing\n", encoding="utf-8")
    assert run(project, "demo", path=tmp_path / "bin").stdout.splitlines()[-1] == "manage.py demo"


@posix
def test_a_venv_whose_python_is_gone_is_made_anew(project: Path, tmp_path: Path, uv: Path) -> None:
    run(project, "demo", path=uv)
    (project / ".venv/bin/python").unlink()
    (project / ".venv/bin/python").symlink_to("/nowhere/python")
    done = run(project, "demo", path=uv)
    assert done.returncode == 0, done.stdout
    assert "making .venv anew" in done.stdout
    assert len(installed(tmp_path)) == 2


@posix
def test_a_directory_that_is_no_venv_is_left_alone(project: Path, uv: Path) -> None:
    (project / ".venv").mkdir()
    (project / ".venv/letter").write_text("mine", encoding="utf-8")
    done = run(project, "demo", path=uv)
    assert done.returncode == 1
    assert "is not a virtual environment" in done.stdout
    assert (project / ".venv/letter").is_file()


@posix
def test_an_old_python_is_told_in_a_sentence(project: Path, tmp_path: Path) -> None:
    names = ("python3", "python3.14", "python3.13", "python3.12", "python3.11", "python")
    for name in names:
        program(tmp_path / "bin" / name, "exit 1")
    done = run(project, "demo", path=tmp_path / "bin")
    assert done.returncode == 1
    assert done.stdout.startswith("Python 3.11 or newer is needed.")


# --- test.sh ---------------------------------------------------------------------------------------------------------
@pytest.fixture
def checked(project: Path, uv: Path) -> Path:
    """A project that is set up, whose Python only says what it was asked to run; `$FAIL` names what fails."""
    assert run(project, "test", "--version", path=uv).returncode != 0  # set up; there is no pytest
    python = 'case "$1" in -c) exit 0;; esac\necho "ran: $*"\ncase "$*" in *"${FAIL:-nothing}"*) exit 3;; esac'
    (project / ".venv/bin/python").unlink()
    program(project / ".venv/bin/python", python)
    program(project / ".venv/bin/lint-imports", 'echo "ran: lint-imports"')
    return project


def ran(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line.removeprefix("ran: ") for line in done.stdout.splitlines() if line.startswith("ran: ")]


PYTEST = "-m pytest -n 3 --dist loadfile --no-loadscope-reorder"
ON_BOTH = (
    "tests/notifier tests/api tests/faults/test_state_machine.py "
    "--ignore=tests/api/test_api_keys.py --ignore=tests/api/test_bad_fields.py --ignore=tests/api/test_bad_input.py "
    "--ignore=tests/api/test_schema.py "
    "--ignore=tests/notifier/test_counters.py --ignore=tests/notifier/test_environment.py"
)
ALL_CHECKS = [
    "-m ruff check .",
    "-m ruff format --check .",
    "-m mypy .",
    "lint-imports",
    f"{PYTEST} -m not real_server {ON_BOTH}",
    f"{PYTEST} -rfEs",
]


@posix
def test_every_check_runs_and_pytest_has_the_last_word(checked: Path, uv: Path) -> None:
    done = run(checked, "test", path=uv)
    assert ran(done) == ALL_CHECKS
    assert done.stdout.splitlines()[-1] == f"ran: {ALL_CHECKS[-1]}"
    assert done.returncode == 0


@posix
@pytest.mark.parametrize(("failing", "code"), [("mypy", 1), ("ruff format", 1), ("pytest", 3)])
def test_what_fails_decides_the_exit_code_and_stops_nothing(checked: Path, uv: Path, failing: str, code: int) -> None:
    done = run(checked, "test", path=uv, FAIL=failing)
    assert ran(done) == ALL_CHECKS
    assert done.returncode == code


@posix
def test_with_arguments_only_pytest_runs(checked: Path, uv: Path) -> None:
    done = run(checked, "test", "tests/api", "-k", "a or b", path=uv)
    assert ran(done) == ["-m pytest tests/api -k a or b"]


@posix
def test_a_sigterm_lets_pytest_end_its_servers(checked: Path, uv: Path, tmp_path: Path) -> None:
    waits = f'sleep 30 & trap "echo interrupted; kill $!; exit 2" INT; touch "{tmp_path}/up"; wait'
    text = f'case "$*" in *pytest*) {waits};; esac'
    program(checked / ".venv/bin/python", text)
    child = subprocess.Popen(
        [str(checked / "scripts/test.sh")],
        env={**os.environ, "PATH": f"{uv}{os.pathsep}{os.environ['PATH']}", "TEST_APT": "0"},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        eventually((tmp_path / "up").exists)
        child.terminate()
        output, _ = child.communicate(timeout=60)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
    assert output.splitlines()[-1] == "interrupted"
    assert child.returncode == 128 + signal.SIGTERM


# --- start_all -------------------------------------------------------------------------------------------------------
SERVICE = """
import os, pathlib, signal, sys, time
name = sys.argv[-1] if "celery" in sys.argv[0] else "web " + " ".join(sys.argv[2:])
def stop(number, frame):
    print(name, "got", signal.Signals(number).name, flush=True)
    if os.environ.get("STUBBORN") != name:
        sys.exit(0)
signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGINT, stop)
print(name, "is up", flush=True)
if os.environ.get("DIES") == name:
    sys.exit(7)
while True:
    time.sleep(0.05)
"""


class Together:
    """A running start_all, and everything it has printed."""

    def __init__(self, project: Path, embedded: bool, **environment: str) -> None:
        (project / "manage.py").write_text(SERVICE, encoding="utf-8")
        for package in ("celery", "django"):
            (project / package).mkdir()
            (project / package / "__init__.py").touch()
        (project / "celery/__main__.py").write_text(SERVICE, encoding="utf-8")
        (project / "django/conf.py").write_text(f"class settings:\n    EMBEDDED = {embedded}\n", encoding="utf-8")
        self.process = subprocess.Popen(
            [sys.executable, str(project / "scripts/start_all.py"), "--port", "8123"],
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self.lines.append(line.rstrip("\n"))

    def wait_for(self, *lines: str) -> None:
        eventually(lambda: set(lines) <= set(self.lines), lambda: "\n".join(self.lines))

    def end(self) -> int:
        code = self.process.wait(60)
        self._reader.join(60)
        return code

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.send_signal(signal.SIGINT)
            self.process.wait(60)
        self._reader.join(60)
        if self.process.stdout:
            self.process.stdout.close()


def eventually(condition: Callable[[], bool], explain: Callable[[], str] = str) -> None:
    """Wait until it is true, for a while."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, explain()
        time.sleep(0.02)


@contextlib.contextmanager
def together(project: Path, *, embedded: bool = False, **environment: str) -> Iterator[Together]:
    started = Together(project, embedded, **environment)
    try:
        yield started
    finally:
        started.close()


UP = ("[web] web --port 8123 is up", "[worker] worker is up", "[beat] beat is up")


@posix
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_a_signal_ends_all_of_them_cleanly(project: Path, name: str) -> None:
    with together(project) as all_of_them:
        all_of_them.wait_for(*UP)
        all_of_them.process.send_signal(getattr(signal, name))
        assert all_of_them.end() == 0
        for child in ("[web] web --port 8123", "[worker] worker", "[beat] beat"):
            assert all_of_them.lines.count(f"{child} got SIGTERM") == 1


@posix
def test_ctrl_c_in_a_terminal_reaches_each_of_them_once(project: Path) -> None:
    with together(project) as all_of_them:
        all_of_them.wait_for(*UP)
        os.killpg(all_of_them.process.pid, signal.SIGINT)
        assert all_of_them.end() == 0
        assert sum("got SIG" in line for line in all_of_them.lines) == 3


@posix
def test_without_a_broker_only_the_web_process_is_started(project: Path) -> None:
    with together(project, embedded=True) as all_of_them:
        all_of_them.wait_for(UP[0])
        all_of_them.process.terminate()
        assert all_of_them.end() == 0
        assert not any(line.startswith(("[worker]", "[beat]")) for line in all_of_them.lines)


@posix
def test_one_that_ends_by_itself_takes_the_others_with_it(project: Path) -> None:
    with together(project, DIES="worker") as all_of_them:
        assert all_of_them.end() == 7
        assert "[start_all] worker ended by itself with exit code 7: stopping the others" in all_of_them.lines


@posix
def test_a_second_ctrl_c_does_not_wait_any_longer(project: Path) -> None:
    with together(project, STUBBORN="worker") as all_of_them:
        all_of_them.wait_for(*UP)
        all_of_them.process.send_signal(signal.SIGINT)
        all_of_them.wait_for("[worker] worker got SIGTERM")
        all_of_them.process.send_signal(signal.SIGINT)
        assert all_of_them.end() == 1
        told = next(line for line in all_of_them.lines if "killing what is still busy" in line)
        assert "worker" in told  # and whichever of the others had not ended yet


@posix
def test_wrong_settings_end_the_start_with_their_own_sentence(project: Path) -> None:
    with together(project) as all_of_them:
        all_of_them.wait_for(*UP)
    (project / "django/conf.py").write_text("raise SystemExit('REDIS_URL is wrong')\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(project / "scripts/start_all.py")], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "REDIS_URL is wrong\n")


# --- healthcheck.py --------------------------------------------------------------------------------------------------
def healthy(*arguments: str, **environment: str) -> bool:
    command = [sys.executable, str(SCRIPTS / "healthcheck.py"), *arguments]
    return subprocess.run(command, env={**os.environ, **environment}, timeout=60, check=False).returncode == 0


class Live(BaseHTTPRequestHandler):
    """Answers as the service does to somebody who knows one of its names."""

    def do_GET(self) -> None:
        known = self.path == "/health/live" and self.headers["Host"] in ("localhost", "notifier.example.com")
        self.send_response(200 if known else 400)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Be silent."""


def test_the_web_server_is_asked_by_a_name_it_answers_to() -> None:
    with HTTPServer(("127.0.0.1", 0), Live) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        port = str(server.server_address[1])
        try:
            assert healthy("web", PORT=port, DJANGO_ALLOWED_HOSTS="")
            assert healthy("web", PORT=port, DJANGO_ALLOWED_HOSTS=".notifier.example.com,localhost")
            assert not healthy("web", PORT=port, DJANGO_ALLOWED_HOSTS="elsewhere.example.com")
        finally:
            server.shutdown()
            thread.join()
    assert not healthy("web", PORT=port)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
def test_a_process_that_moves_is_well_and_a_frozen_one_is_not() -> None:
    code = "import sys, healthcheck; sys.exit(not healthcheck.process_is_well(int(sys.argv[1]), float(sys.argv[2])))"

    def well(pid: int, patience: float) -> bool:
        command = [sys.executable, "-c", code, str(pid), str(patience)]
        return subprocess.run(command, cwd=SCRIPTS, timeout=60, check=False).returncode == 0

    child = subprocess.Popen([sys.executable, "-c", "import time\nwhile True: time.sleep(0.5)"])
    try:
        assert well(child.pid, 30)
        assert healthy("process", str(child.pid))
        child.send_signal(signal.SIGSTOP)
        assert not well(child.pid, 1.5)
    finally:
        child.kill()
        child.wait()
    assert not well(child.pid, 30)
