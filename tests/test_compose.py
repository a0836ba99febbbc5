"""docker-compose.yml and Dockerfile, as far as they can be judged without a Docker engine."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(TEXT)["services"]
OURS = ("web", "worker", "beat", "migrate", "consumer")
LONG_RUNNING = [name for name in SERVICES if name != "migrate"]
PRODUCTION = [name for name, service in SERVICES.items() if service.get("profiles") != ["demo"]]
SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|KEY|DATABASE_URL|REDIS_URL")


def seconds(span: str) -> int:
    return int(span.removesuffix("s"))


def test_every_part_of_the_service_is_there() -> None:
    assert set(SERVICES) == {"web", "worker", "beat", "migrate", "postgres", "redis", "demo", "consumer", "rabbitmq"}


@pytest.mark.parametrize("name", LONG_RUNNING)
def test_what_runs_on_and_on_has_a_health_check(name: str) -> None:
    check = SERVICES[name]["healthcheck"]
    assert check["test"][0] in ("CMD", "CMD-SHELL")
    assert seconds(check["timeout"]) <= seconds(check["interval"])


@pytest.mark.parametrize("name", [name for name in PRODUCTION if name != "migrate"])
def test_what_runs_on_and_on_is_started_again_and_has_time_to_stop(name: str) -> None:
    assert SERVICES[name]["restart"] == "unless-stopped"
    assert seconds(SERVICES[name]["stop_grace_period"]) >= (90 if name == "worker" else 30)


@pytest.mark.parametrize("name", PRODUCTION)
def test_no_secret_has_a_value_of_its_own_outside_the_demo(name: str) -> None:
    for variable, value in SERVICES[name].get("environment", {}).items():
        if SECRET.search(variable):
            without_variables = re.sub(r"\$\{[A-Z_]+:-\}", "", str(value))
            assert not re.search(r":[^/@:]+@", without_variables), variable
            assert without_variables == "" or "://" in without_variables, variable


def test_without_a_password_the_broker_refuses_to_start() -> None:
    script = SERVICES["redis"]["command"][-1]
    assert ': "$${REDIS_PASSWORD:?' in script
    assert "requirepass" in script


def test_without_a_password_rabbitmq_refuses_to_start() -> None:
    assert ': "$${RABBITMQ_DEFAULT_PASS:?' in SERVICES["rabbitmq"]["command"][-1]


def test_the_broker_loses_a_second_at_most_and_evicts_nothing() -> None:
    script = SERVICES["redis"]["command"][-1]
    assert "--appendonly yes --appendfsync everysec --maxmemory-policy noeviction" in script


@pytest.mark.parametrize("name", [name for name in SERVICES if name != "web"])
def test_only_the_web_server_is_published(name: str) -> None:
    assert "ports" not in SERVICES[name]


def test_the_web_server_is_on_the_loopback_address_unless_somebody_says_otherwise() -> None:
    assert SERVICES["web"]["ports"] == ["${HOST:-127.0.0.1}:${PORT:-8000}:8000"]


@pytest.mark.parametrize("name", OURS)
def test_our_processes_cannot_change_their_own_code(name: str) -> None:
    assert SERVICES[name]["read_only"] is True
    assert SERVICES[name]["cap_drop"] == ["ALL"]


@pytest.mark.parametrize("name", ["web", "worker", "beat", "consumer"])
def test_nothing_starts_before_the_database_is_migrated(name: str) -> None:
    needs = SERVICES[name]["depends_on"]
    assert needs["migrate"] == {"condition": "service_completed_successfully"}
    assert needs["postgres"] == needs["redis"] == {"condition": "service_healthy"}


def test_the_demo_needs_nothing_else_and_is_asked_for_by_name() -> None:
    demo = SERVICES["demo"]
    assert demo["profiles"] == ["demo"]
    assert not {"depends_on", "env_file", "volumes"} & set(demo)
    # Compose fills in the whole file whatever the profile: a variable that must be set would stop the demo too.
    assert not re.search(r"(?<!\$)\$\{[A-Z_]+:?\?", TEXT)


def test_every_script_that_a_container_runs_is_there() -> None:
    for name in (*OURS, "demo"):
        assert (ROOT / SERVICES[name]["command"][0]).is_file(), name
        for word in SERVICES[name]["healthcheck"].get("test", []):
            if word.startswith("scripts/"):
                assert (ROOT / word).is_file(), name


def test_every_volume_that_is_used_is_declared() -> None:
    used = {volume.partition(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    assert used == set(yaml.safe_load(TEXT)["volumes"])


def test_every_variable_of_the_file_is_explained_in_the_example() -> None:
    variables = set(re.findall(r"(?<!\$)\$\{([A-Z_]+)", TEXT))
    assert variables == {"POSTGRES_PASSWORD", "REDIS_PASSWORD", "RABBITMQ_PASSWORD", "HOST", "PORT", "PUBLIC_URL"}
    example = ROOT / ".env.example"
    if not example.is_file():
        pytest.skip(".env.example is not there")
    explained = set(re.findall(r"^#? ?([A-Z_]+)=", example.read_text(encoding="utf-8"), flags=re.MULTILINE))
    assert variables <= explained


def test_the_image_runs_as_a_user_without_rights_and_checks_its_health() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    assert lines.index("USER notifier") > max(number for number, line in enumerate(lines) if line.startswith("COPY"))
    assert any(line.startswith("HEALTHCHECK") for line in lines)
    assert any(line.startswith("FROM python:3.11-slim") for line in lines)


def test_no_secret_is_copied_into_the_image() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert {".env", ".env.*", ".git", "*.sqlite3*", "backups"} <= set(ignored)
