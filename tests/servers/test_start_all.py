"""The real service under `scripts/start_all.py`: it comes up, and a signal brings all of it down cleanly."""

import os
import signal
import sys
from pathlib import Path

import pytest
import requests

from tests.servers.base import family, free_port, is_alive
from tests.servers.migrated import migrated_file
from tests.servers.processes import ProjectProcess

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=10).ok
    except requests.RequestException:
        return False


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A migrated SQLite file, for all of these tests."""
    return migrated_file(tmp_path_factory.mktemp("database") / "db.sqlite3")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_web_worker_and_beat_come_up_and_end_cleanly(
    database: str, redis_url: str, tmp_path: Path, number: signal.Signals
) -> None:
    port = str(free_port())
    environment = {"DATABASE_URL": database, "REDIS_URL": redis_url, "PORT": port}
    with ProjectProcess("all", ("scripts/start_all.py",), environment, tmp_path) as service:
        service.wait_for(lambda: answers(f"http://127.0.0.1:{port}/health/live"), what="the web server answers")
        service.wait_for_line(r"\[worker\] .*ready")
        service.wait_for_line(r"\[beat\] .*[Ss]tarting")
        members = family(service.pid)
        assert len(members) >= 4
        if number == signal.SIGINT:
            os.killpg(service.pid, number)  # as a terminal does
        else:
            service.send(number)
        assert service.wait(60) == 0, service.output
        assert not [pid for pid in members if is_alive(pid)]
        assert "Traceback" not in service.output


def test_without_a_broker_the_web_process_is_enough(database: str, tmp_path: Path) -> None:
    port = str(free_port())
    environment = {"DATABASE_URL": database, "PORT": port}
    with ProjectProcess("all", ("scripts/start_all.py",), environment, tmp_path) as service:
        service.wait_for(lambda: answers(f"http://127.0.0.1:{port}/health/live"), what="the web server answers")
        assert "[worker]" not in service.output
        assert service.stop(signal.SIGTERM, 60) == 0, service.output


def test_a_missing_migration_stops_the_start_and_names_the_command(tmp_path: Path) -> None:
    environment = {"DATABASE_URL": f"sqlite:///{tmp_path}/db.sqlite3"}
    with ProjectProcess("all", ("scripts/start_all.py",), environment, tmp_path) as service:
        assert service.wait(60) == 1
        assert "python manage.py migrate" in service.output
        assert "Traceback" not in service.output
