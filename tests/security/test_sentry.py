"""Sentry hears what broke and where, and nothing that a client sent."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from pytest_django.fixtures import Settings

from notifier.environment import ConfigurationError
from tests.security.canary import sightings

ROOT = Path(__file__).resolve().parent.parent.parent
SECRET = "kanarienvogel7d1f"


@pytest.fixture(scope="module")
def envelopes() -> list[str]:
    """What a service that breaks everywhere would have sent."""
    environment = {**os.environ, "DATABASE_URL": "sqlite:///:memory:", "SENTRY_DSN": "", "LOG_LEVEL": "DEBUG"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.security.sentry_probe", SECRET],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    sent: list[str] = json.loads(done.stdout)
    return sent


def events(envelopes: list[str]) -> list[dict[str, Any]]:
    """The events among them: an envelope's last line is one."""
    return [json.loads(envelope.splitlines()[-1]) for envelope in envelopes]


def test_a_failing_view_and_a_failing_task_are_reported_without_what_was_sent(envelopes: list[str]) -> None:
    assert not sightings({f"envelope {nth}": one for nth, one in enumerate(envelopes)}, {"secret": SECRET})
    raised = [event["exception"]["values"][-1] for event in events(envelopes) if "exception" in event]
    assert {one["type"] for one in raised} == {"RuntimeError", "ValueError"}
    assert [one["value"] for one in raised] == ["3 parts, and token=*** besides", '1 {"smtp_password": "***"}']
    for one in raised:
        frame = one["stacktrace"]["frames"][-1]
        assert frame["function"] in {"breaks", "task_that_breaks"}
        assert "raise" in frame["context_line"]
        assert frame["lineno"] > 0


def test_an_error_in_the_log_is_reported_in_scrubbed_words(envelopes: list[str]) -> None:
    logged = [event["logentry"] for event in events(envelopes) if "logentry" in event]
    assert [entry["formatted"] for entry in logged] == ["password=*** of {'token': '***'}"]
    crumbs = [crumb.get("message") for crumb in events(envelopes)[-1]["breadcrumbs"]["values"]]
    assert "before: password=***" in crumbs


def test_the_request_is_told_by_its_method_and_path_alone(envelopes: list[str]) -> None:
    (request,) = [event["request"] for event in events(envelopes) if "request" in event]
    assert request == {"method": "POST", "url": "http://127.0.0.1/breaks/"}


@pytest.mark.parametrize(
    "place",
    [
        ("request", "data"),
        ("request", "cookies"),
        ("request", "env"),
        ("request", "headers", "X-Anything"),
        ("request", "query_string"),
        ("extra", "celery-job"),
        ("extra", "sys.argv"),
        ("user", "username"),
        ("tags", "anything"),
        ("contexts", "anything"),
        ("contexts", "trace", "data"),
        ("spans",),
        ("whatever a newer SDK adds",),
        ("exception", "values", 0, "stacktrace", "frames", 0, "vars"),
        ("exception", "values", 0, "stacktrace", "registers"),
        ("exception", "values", 0, "mechanism", "data"),
        ("threads", "values", 0, "stacktrace", "frames", 0, "vars"),
        ("breadcrumbs", "values", 0, "data"),
        ("logentry", "params"),
    ],
)
def test_what_an_event_holds_besides_stays_behind(place: tuple[Any, ...]) -> None:
    from notifier.sentry import event_without_secrets

    frames: Any = {"frames": [{"function": "breaks", "lineno": 7}]}
    event: Any = {
        "event_id": "7",
        "request": {"method": "GET", "url": "http://a/b?c=d", "headers": {}},
        "extra": {},
        "user": {},
        "tags": {},
        "contexts": {"trace": {"trace_id": "1"}},
        "exception": {"values": [{"type": "KeyError", "value": "x", "mechanism": {}, "stacktrace": frames}]},
        "threads": {"values": [{"id": 1, "stacktrace": json.loads(json.dumps(frames))}]},
        "breadcrumbs": {"values": [{"message": "clicked"}]},
        "logentry": {"message": "It failed."},
    }
    inner = event
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = {"anything": [SECRET]}
    shown = event_without_secrets(event, {})
    assert not sightings({"event": json.dumps(shown)}, {"secret": SECRET})
    assert shown["exception"]["values"][0]["stacktrace"]["frames"] == [{"function": "breaks", "lineno": 7}]
    assert (shown["event_id"], shown["logentry"]["message"]) == ("7", "It failed.")


@pytest.mark.parametrize(
    "dsn", ["https://sentry.example.com/1", "https://key@sentry.example.com/", "https://key@a:b/1"]
)
def test_a_dsn_that_is_none_stops_the_start(dsn: str, settings: Settings) -> None:
    settings.SENTRY_DSN = dsn
    with pytest.raises(ConfigurationError) as refused:
        apps.get_app_config("notifier").ready()
    assert re.fullmatch(r"SENTRY_DSN is wrong: [^\n]+\. Example: SENTRY_DSN=https://\S+", str(refused.value))


def test_without_a_dsn_nothing_of_it_is_loaded() -> None:
    asked = "import sys, django; django.setup(); import notifier.celery; print('sentry_sdk' in sys.modules)"
    environment = {**os.environ, "DATABASE_URL": "sqlite:///:memory:", "SENTRY_DSN": ""}
    done = subprocess.run([sys.executable, "-c", asked], cwd=ROOT, env=environment, capture_output=True, check=True)
    assert done.stdout.strip() == b"False"
