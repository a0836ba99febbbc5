"""`manage.py demo` as the README's reader meets it: a fresh clone, one command, two curl lines."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.servers.base import free_port, is_listening, wait_until
from tests.servers.processes import PASSED_ON, ROOT, ProjectProcess

NOT_IN_A_CLONE = shutil.ignore_patterns(
    *(".*", "__pycache__", "*.sqlite3*", "staticfiles", "build", "tests", "node_modules", "*.log")
)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project as a clone has it: without databases, `.env` and collected files."""
    return Path(shutil.copytree(ROOT, tmp_path_factory.mktemp("clone") / "notifier", ignore=NOT_IN_A_CLONE))


def run(clone: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`python manage.py demo` in the clone, run to its end, with an environment as a person's."""
    base = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return subprocess.run(
        [sys.executable, "manage.py", "demo", *arguments],
        cwd=clone,
        env={**base, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


class Demo:
    """A running demo."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.page = f"http://127.0.0.1:{self.port}/"
        environment = {"DATABASE_URL": f"sqlite:///{directory / 'demo.sqlite3'}", "DJANGO_DEBUG": ""}
        arguments = ("manage.py", "demo", "--port", str(self.port))
        self.process = ProjectProcess("demo", arguments, environment, directory)
        self.process.start().wait_for_line("Ctrl\\+C ends it")

    def arrived(self, after: int = 0) -> list[dict[str, Any]]:
        """What the inbox holds after that number."""
        reply = requests.get(f"{self.page}sandbox/inbox/", {"after": after}, timeout=30)
        messages: list[dict[str, Any]] = reply.json()["messages"]
        return messages


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """A demo that the tests share: leave it running."""
    running = Demo(tmp_path_factory.mktemp("demo"))
    yield running
    running.process.kill()


# --- --check ---------------------------------------------------------------------------------------------------------
def test_the_check_of_a_fresh_clone_succeeds_and_leaves_nothing(clone: Path, tmp_path: Path) -> None:
    before = {path.name for path in clone.iterdir()}
    ended = run(clone, "--check", TMPDIR=str(tmp_path))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert [line.split()[:2] for line in ended.stdout.splitlines()] == [
        ["ok", "email"],
        ["ok", "sms"],
        ["ok", "telegram"],
    ]
    assert ended.stderr == ""
    left = {path.name for path in clone.iterdir()} - before - {"staticfiles"}
    assert not left
    assert not list(tmp_path.iterdir())


def test_the_check_of_a_broken_chain_fails(clone: Path) -> None:
    with ThreadPoolExecutor() as pool:
        checks = [pool.submit(run, clone, "--check", DEFAULT_CHAIN=chain) for chain in ("sms", "email,telegram")]
    for ended in (check.result() for check in checks):
        assert ended.returncode == 1
        assert "FAILED" in ended.stdout
        assert "Traceback" not in ended.stderr


def test_the_check_never_leaves_the_machine_whatever_the_environment_says(clone: Path) -> None:
    """Real accounts of the environment must be neither used nor needed."""
    nowhere = f"127.0.0.1:{free_port()}"
    real = {
        "SMTP_HOST": "smtp.example.com",
        "SMTP_DEFAULT_USER": "me@example.com",
        "SMTP_DEFAULT_PASSWORD": "secret",
        "TELEGRAM_BOT_TOKEN": "1:real",
        "SMS_PROVIDER": "twilio",
        "REDIS_URL": f"redis://{nowhere}/0",
        "CELERY_BROKER_URL": f"amqp://{nowhere}//",
        "DATABASE_URL": f"postgres://user:secret@{nowhere}/notifier",
        "DJANGO_DEBUG": "0",
        "API_OPEN": "0",
    }
    ended = run(clone, "--check", **real)
    assert ended.returncode == 0, ended.stdout + ended.stderr


# --- The README's two lines ------------------------------------------------------------------------------------------
def curl(url: str, body: str) -> dict[str, Any]:
    """A POST as curl sends it, word for word."""
    headers = {"Content-Type": "application/json"}
    response = requests.post(url, data=body.encode(), headers=headers, timeout=30)
    assert response.ok, response.text
    answer: dict[str, Any] = response.json()
    return answer


def test_the_readmes_two_lines_put_a_mail_into_the_inbox(demo: Demo) -> None:
    page, before = demo.page, len(demo.arrived())
    user = curl(f"{page}api/users/", '{"email":"user@example.com"}')
    assert user["id"] == 1
    row = curl(f"{page}api/notifications/", '{"user_id": 1, "message": "Hello via SMTP!"}')
    place = f"{page}api/notifications/{row['id']}/"
    wait_until(lambda: requests.get(place, timeout=30).json()["status"] == "sent", 30, "it is sent")
    [mail] = demo.arrived(after=before)
    assert (mail["channel"], mail["to"]) == ("email", "user@example.com")
    assert (mail["subject"], mail["text"]) == ("Hello via SMTP!", "Hello via SMTP!")


def test_what_it_prints_is_true(demo: Demo) -> None:
    output, before = demo.process.output, len(demo.arrived())
    for place in ("", "api/docs/", "sandbox/inbox/"):
        assert f"{demo.page}{place}" in output
        assert requests.get(f"{demo.page}{place}", timeout=30).status_code == 200
    line = output[output.index("curl -X POST") :]
    assert f"{demo.page}api/notifications/" in line.splitlines()[0]
    row = curl(f"{demo.page}api/notifications/", line.partition("-d '")[2].partition("'")[0])
    wait_until(lambda: len(demo.arrived(after=before)) == 1, 30, "it arrives")
    shown = requests.get(f"{demo.page}api/notifications/{row['id']}/", timeout=30).json()
    assert shown["to"] == {"email": "u***@example.com"}


def test_the_links_in_its_mails_lead_to_it(demo: Demo) -> None:
    before = len(demo.arrived())
    curl(f"{demo.page}api/auth/register/", '{"email": "ada@example.com", "password": "a long sentence 77"}')
    wait_until(lambda: len(demo.arrived(after=before)) == 1, 30, "the mail arrives")
    [mail] = demo.arrived(after=before)
    assert f"{demo.page}accounts/activate/#token=" in mail["text"]


def test_a_wrong_host_sees_nothing(demo: Demo) -> None:
    """The demo runs with DEBUG: a foreign name that leads to this machine must not see its pages."""
    response = requests.get(demo.page, headers={"Host": "evil.example.com"}, timeout=30)
    assert response.status_code == 400
    assert "SECRET" not in response.text
    assert "Traceback" not in response.text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(tmp_path: Path, number: int) -> None:
    demo = Demo(tmp_path)
    try:
        curl(f"{demo.page}api/notifications/", '{"to": {"email": "user@example.com"}, "message": "Hello"}')
        assert demo.process.stop(number, seconds=60) == 0
    finally:
        demo.process.kill()
    assert not is_listening(demo.port)
    assert "Traceback" not in demo.process.output
