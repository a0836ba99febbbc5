"""The settings' variables: read once, checked, and refused with one sentence that helps."""

import os
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from cryptography.fernet import Fernet
from django.apps import apps
from pytest_django.fixtures import Settings

from notifier import environment as env
from notifier.brokers import AMQP_TLS, cacheops_redis
from notifier.cron import Cron
from notifier.environment import ConfigurationError

ROOT = Path(__file__).resolve().parent.parent.parent
NEEDED = {"DJANGO_SECRET_KEY": "x" * 50, "ENCRYPTION_KEYS": Fernet.generate_key().decode(), "ENV_FILE": ""}
NEEDED["EMAIL_BACKUP_RECIPIENT"] = "ops@example.com"  # with EMAIL_BACKUP_ENABLED=1 it is needed


def settings_with(**variables: str) -> dict[str, Any]:
    """The project's settings as they come from these variables and nothing else."""
    with mock.patch.dict(os.environ, {**NEEDED, **variables}, clear=True):
        return runpy.run_path(str(ROOT / "notifier" / "settings.py"))


def refusal_of(**variables: str) -> str:
    """The sentence with which the start ends."""
    with pytest.raises(ConfigurationError) as refused:
        settings_with(**variables)
    return str(refused.value)


WRONG: dict[str, list[str]] = {
    "DJANGO_DEBUG": ["maybe", "2", "y"],
    "PORT": ["0", "65536", "-1", "eighty", "80.0", "٨٠", "9" * 5000],
    "PUBLIC_URL": [
        *("ftp://example.com", "example.com", "https://", "http://:80", "http://a:port", "http://a:99999"),
        *("https://a.example/?x=1", "https://a.example/#y", "https://ann@a.example", "https://a.example?"),
    ],
    "DATABASE_URL": ["mysql://a@b/c", "nonsense", "postgres//a", "oracle://a@b/c", "postgres://a", "postgres://a@b/"],
    "REDIS_URL": ["http://127.0.0.1", "127.0.0.1:6379", "redis://", "redis://127.0.0.1/one", "redis://a:0/0"],
    "CELERY_BROKER_URL": ["http://127.0.0.1", "amqp://", "sqs://a"],
    "AMQP_URL": ["http://127.0.0.1", "amqp://", "redis://a", "rabbitmq"],
    "CELERY_TASK_ALWAYS_EAGER": ["sometimes"],
    "API_OPEN": ["ajar"],
    "API_THROTTLE_SEND": ["0/min", "600", "600/fortnight", "ten/min", "-1/s", "1.5/s", "6 /s", "9" * 10 + "/d", "on"],
    "API_THROTTLE_RECIPIENT": ["0", "-1", "ten", "1.5", "20/h", "on"],
    "API_THROTTLE_DAY": ["0", "-1", "ten", "1.5", "20/d", "9" * 12],
    "DJANGO_ALLOWED_HOSTS": [
        "https://notifier.example.com",
        "notifier.example.com:8000",
        "a.example b.example",
        "*.a.example",
    ],
    "HOST": ["http://127.0.0.1", "127.0.0.1:8000", "two words", "[::1]"],
    "TRUSTED_PROXIES": ["proxy", "127.0.0.1/99", ","],
    "DEFAULT_CHAIN": ["email,fax", "email,email", "E-Mail", ","],
    "RETRY_DELAYS": ["30,soon", "30,,60", "0", "-30", "30;60", "nan", "inf"],
    "STEP_RETRY_SECONDS": ["0", "-5", "soon", "nan", "inf", "5 s"],
    "CIRCUIT_FAILURES": ["-1", "five", "1.5"],
    "CIRCUIT_SECONDS": ["0", "-1", "soon"],
    "NOTIFICATION_TTL": ["0", "0.5", "a day", "1e12"],
    "RETENTION_DAYS": ["0", "-1", "ever", "36501", "2147483647"],
    "SMTP_HOST": ["smtp://mail.example.com", "mail.example.com:587", "two words", "mail.example.com/"],
    "SMTP_PORT": ["0", "70000", "smtp"],
    "SMTP_USE_TLS": ["starttls"],
    "SMTP_USE_SSL": ["ssl"],
    "SMTP_TIMEOUT": ["0", "-1", "soon"],
    "DEFAULT_FROM_EMAIL": ["nobody", "Name <nobody>", "a@example.com, b@example.com", "A\nB <a@example.com>", "<>"],
    "SMTP_OVERRIDE_HOSTS": [
        "smtp://a.example",
        "a.example:smtp",
        "a.example:0",
        "a.example:65536",
        "*.a.example",
        "*:25",
    ],
    "CALLBACK_HOSTS": [
        "http://a.example",
        "a.example/hooks",
        "a.example:http",
        "a.example:65536",
        "*",
        "*.internal",
        ",",
    ],
    "PHONE_REGION": ["Germany", "ZZ", "+49", "1"],
    "TELEGRAM_PARSE_MODE": ["HTML5", "Rich"],
    "SALES_EMAIL": ["sales", "sales@localhost", "a@b.example,c@d.example", "Sales <sales@example.com>"],
    "TELEGRAM_DISABLE_WPP": ["never"],
    "TELEGRAM_TIMEOUT": ["0", "soon"],
    "TELEGRAM_API_URL": ["127.0.0.1:8081", "ftp://a", "https://a/?b"],
    "SMS_PROVIDER": ["twilio,pigeon", "http,http"],
    "SMS_MAX_PARTS": ["0", "11", "many"],
    "SMS_HTTP_URL": ["sms.example.com", "ws://a"],
    "TWILIO_API_URL": ["twilio"],
    "SMSRU_API_URL": ["sms.ru"],
    "SMSC_API_URL": ["smsc.ru"],
    "JWT_SECRET_KEY": ["short", "x" * 31],
    "LANGUAGE_CODE": ["de", "en-GB"],
    "TIME_ZONE": ["Mars/Olympus", "../../etc/passwd", "+03:00", "Europe"],
    "LOG_LEVEL": ["LOUD", "20"],
    "EMAIL_BACKUP_ENABLED": ["sometimes"],
    "EMAIL_BACKUP_RECIPIENT": ["ops", "ops@example", "a@example.com,b@", "a@example.com,a@example.com"],
    "EMAIL_BACKUP_SUBJECT_PREFIX": ["x" * 201, "a\nb", "a\u2028b"],
    "LOCAL_BACKUP_FILENAME": ["../up.sql.gz", "up/a", "a\\b", "..", ".", "a:b", "x" * 201],
    "DB_BACKUP_TIMEOUT": ["0", "0.5", "soon", "-1"],
    "BACKUP_PUBLIC_KEY": ["age1", "ssh-ed25519 AAAA", "AGE-SECRET-KEY-1QQQ"],
    "BACKUP_MAIL_LIMIT_MB": ["-1", "101", "much"],
    "BACKUP_WEBHOOK_URL": ["example.com", "ftp://example.com"],
    "BACKUP_SCHEDULE": ["daily", "0 3 * *", "60 3 * * *", "0 0 31 2 *", "@daily"],
    "SENTRY_DSN": ["key@sentry.example.com/1", "ftp://key@sentry.example.com/1"],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_wrong_value_stops_the_start_with_one_sentence(name: str, value: str) -> None:
    sentence = refusal_of(**{name: value})
    found = re.fullmatch(rf"{name} is wrong: (?P<problem>[^\n]+)\. Example: {name}=(?P<example>\S+)", sentence)
    assert found, sentence
    settings_with(**{name: found["example"]})  # the example is a right value


@pytest.mark.parametrize("name", ["HOST", "SMTP_HOST", "SMTP_OVERRIDE_HOSTS", "CALLBACK_HOSTS", "DJANGO_ALLOWED_HOSTS"])
def test_a_url_in_place_of_a_host_is_not_shown(name: str) -> None:
    assert "hunter2" not in refusal_of(**{name: "smtps://ann:hunter2@mail.example.com"})


def test_starttls_and_ssl_exclude_each_other() -> None:
    sentence = refusal_of(SMTP_USE_TLS="1", SMTP_USE_SSL="1")
    assert re.fullmatch(
        r"SMTP_USE_SSL is wrong: .*SMTP_USE_TLS.* exclude each other\. Example: SMTP_USE_SSL=0", sentence
    )


@pytest.mark.parametrize(
    ("older", "wrong"),
    [
        ("EMAIL_HOST", "a b"),
        ("EMAIL_PORT", "smtp"),
        ("EMAIL_USE_TLS", "starttls"),
        ("EMAIL_USE_SSL", "ssl"),
        ("EMAIL_TIMEOUT", "soon"),
    ],
)
def test_the_sentence_names_the_variable_that_is_set(older: str, wrong: str) -> None:
    assert refusal_of(**{older: wrong}).startswith(f"{older} is wrong: ")


@pytest.mark.parametrize("name", ["DJANGO_SECRET_KEY", "ENCRYPTION_KEYS"])
def test_a_missing_secret_stops_the_start_unless_it_is_for_development(name: str) -> None:
    sentence = refusal_of(**{name: ""})
    assert sentence.startswith(f"{name} is missing: without DJANGO_DEBUG=1 it is needed. Example: {name}=")
    assert settings_with(**{name: "", "DJANGO_DEBUG": "1"})["DEBUG"] is True


def test_who_wants_backups_by_mail_says_for_whom() -> None:
    sentence = refusal_of(EMAIL_BACKUP_ENABLED="1", EMAIL_BACKUP_RECIPIENT="")
    assert sentence.startswith("EMAIL_BACKUP_RECIPIENT is missing: ")
    both = settings_with(EMAIL_BACKUP_ENABLED="1", EMAIL_BACKUP_RECIPIENT="a@example.com, b@example.com")
    assert both["EMAIL_BACKUP_RECIPIENT"] == ("a@example.com", "b@example.com")
    assert settings_with(BACKUP_SCHEDULE="off")["BACKUP_SCHEDULE"] is None


@pytest.mark.parametrize("path", ["nowhere/notifier.log", "."])
def test_a_log_that_cannot_be_written_stops_the_start(path: str, tmp_path: Path) -> None:
    sentence = refusal_of(LOG_FILE=str(tmp_path / path))
    assert re.fullmatch(r"LOG_FILE is wrong: [^\n]+ cannot be written \([^\n]+\)\. Example: LOG_FILE=\S+", sentence)


def test_the_log_of_the_last_start_stays(tmp_path: Path) -> None:
    log = tmp_path / "notifier.log"
    log.write_text("a line\n")
    assert settings_with(LOG_FILE=str(log))["LOG_FILE"] == str(log)
    assert log.read_text() == "a line\n"


def test_the_keys_of_development_seal() -> None:
    (key,) = settings_with(DJANGO_DEBUG="1", ENCRYPTION_KEYS="")["ENCRYPTION_KEYS"]
    assert Fernet(key).decrypt(Fernet(key).encrypt(b"secret")) == b"secret"


def test_development_has_a_key_for_accounts_and_nobody_knows_the_one_that_production_lacks() -> None:
    assert len(settings_with(DJANGO_DEBUG="1")["JWT_SECRET_KEY"]) == 64
    first, second = (settings_with()["SIMPLE_JWT"]["SIGNING_KEY"] for _ in range(2))
    assert first != second
    assert settings_with(JWT_SECRET_KEY="j" * 32)["SIMPLE_JWT"]["SIGNING_KEY"] == "j" * 32


@pytest.mark.parametrize("keys", [("short",), (NEEDED["ENCRYPTION_KEYS"], "x" * 44)])
def test_an_encryption_key_that_is_none_stops_the_start(keys: tuple[str, ...], settings: Settings) -> None:
    settings.ENCRYPTION_KEYS = keys
    with pytest.raises(ConfigurationError, match=r"^ENCRYPTION_KEYS is wrong: [^\n]+\. Example: ENCRYPTION_KEYS=\S+$"):
        apps.get_app_config("notifier").ready()


def test_a_broker_over_tls_has_its_own_copy_of_the_options() -> None:
    options = settings_with(CELERY_BROKER_URL="amqps://rabbit.example.com//")["CELERY_BROKER_USE_SSL"]
    assert options == AMQP_TLS
    assert options is not AMQP_TLS  # kombu puts the host's name in, and other connections start from these


# --- What is right ---------------------------------------------------------------------------------------------------
DEFAULTS: dict[str, Any] = {
    "DEBUG": False,
    "API_OPEN": False,
    "PUBLIC_URL": "http://127.0.0.1:8000",
    "REDIS_URL": "",
    "EMBEDDED": True,
    "CELERY_TASK_ALWAYS_EAGER": False,
    "DEFAULT_CHAIN": ("email", "sms", "telegram"),
    "RETRY_DELAYS": tuple(timedelta(seconds=seconds) for seconds in (30, 120, 600, 1800, 3600)),
    "STEP_RETRY_SECONDS": timedelta(seconds=5),
    "CIRCUIT_FAILURES": 5,
    "CIRCUIT_SECONDS": timedelta(seconds=30),
    "NOTIFICATION_TTL": timedelta(hours=24),
    "RETENTION": timedelta(days=90),
    "EMAIL_BACKUP_ENABLED": False,
    "EMAIL_BACKUP_SUBJECT_PREFIX": "[Notifier] Backup",
    "LOCAL_BACKUP_DIR": ROOT / "backups",
    "LOCAL_BACKUP_FILENAME": "latest_backup.sql.gz",
    "DB_BACKUP_TIMEOUT": timedelta(seconds=300),
    "BACKUP_PUBLIC_KEY": "",
    "BACKUP_MAIL_LIMIT_MB": 15,
    "BACKUP_WEBHOOK_URL": "",
    "BACKUP_SCHEDULE": Cron.parse("0 3 * * *"),
    "SMTP_HOST": "",
    "SMTP_PORT": 587,
    "SMTP_USE_TLS": True,
    "SMTP_USE_SSL": False,
    "SMTP_TIMEOUT": timedelta(seconds=10),
    "SMTP_REPLY_TIMEOUT": timedelta(seconds=60),
    "TELEGRAM_DISABLE_WPP": True,
    "TELEGRAM_TIMEOUT": timedelta(seconds=10),
    "SMS_PROVIDER": (),
    "SMS_MAX_PARTS": 6,
    "JWT_SECRET_KEY": "",
    "LANGUAGE_CODE": "en",
    "TIME_ZONE": "UTC",
    "LOG_LEVEL": "INFO",
}


def test_the_defaults_are_those_that_were_promised() -> None:
    found = settings_with()
    assert {name: found[name] for name in DEFAULTS} == DEFAULTS
    assert found["DATABASES"]["default"]["ENGINE"].endswith("sqlite3")
    assert Path(found["DATABASES"]["default"]["NAME"]).parent == ROOT


def test_an_empty_value_counts_as_unset() -> None:
    found = settings_with(**dict.fromkeys(WRONG, ""))
    assert {name: found[name] for name in DEFAULTS} == DEFAULTS


@pytest.mark.parametrize(
    ("variables", "name", "value"),
    [
        ({"DJANGO_DEBUG": "YES"}, "DEBUG", True),
        ({"DJANGO_DEBUG": "1"}, "API_OPEN", True),
        ({"DJANGO_DEBUG": "1", "API_OPEN": "off"}, "API_OPEN", False),
        ({"SMTP_USE_SSL": "1"}, "SMTP_PORT", 465),
        ({"SMTP_USE_SSL": "1"}, "SMTP_USE_TLS", False),
        ({"SMTP_DEFAULT_USER": "ann@example.com"}, "DEFAULT_FROM_EMAIL", "ann@example.com"),
        ({"SMTP_DEFAULT_USER": "apikey"}, "DEFAULT_FROM_EMAIL", ""),
        ({"REDIS_URL": "redis://127.0.0.1:6379/1"}, "CELERY_BROKER_URL", "redis://127.0.0.1:6379/1"),
        ({"REDIS_URL": "redis://a/1", "CELERY_BROKER_URL": "amqp://b//"}, "CELERY_BROKER_URL", "amqp://b//"),
        ({"REDIS_URL": "redis://127.0.0.1"}, "EMBEDDED", False),
        ({"REDIS_URL": "redis://a/1", "CELERY_BROKER_URL": "amqp://b//"}, "AMQP_URL", "amqp://b//"),
        ({"CELERY_BROKER_URL": "amqp://b//", "AMQP_URL": "amqps://c//"}, "AMQP_URL", "amqps://c//"),
        ({"REDIS_URL": "redis://a/1"}, "AMQP_URL", ""),
        ({"REDIS_URL": "redis://a/1"}, "CELERY_TASK_DEFAULT_QUEUE", "notifier"),
        ({"CELERY_BROKER_URL": "amqp://b//"}, "CELERY_TASK_DEFAULT_QUEUE", "notifier.bells"),
        ({"RETRY_DELAYS": " 1, 2.5 "}, "RETRY_DELAYS", (timedelta(seconds=1), timedelta(seconds=2.5))),
        ({"DEFAULT_CHAIN": "telegram, sms"}, "DEFAULT_CHAIN", ("telegram", "sms")),
        ({"HOST": "0.0.0.0", "PORT": "9000"}, "PUBLIC_URL", "http://0.0.0.0:9000"),  # noqa: S104
        ({"HOST": "::1"}, "PUBLIC_URL", "http://[::1]:8000"),
        ({"DJANGO_ALLOWED_HOSTS": "*"}, "ALLOWED_HOSTS", ["*"]),
        (
            {"DJANGO_ALLOWED_HOSTS": ".a.example, [::1],127.0.0.1"},
            "ALLOWED_HOSTS",
            [".a.example", "[::1]", "127.0.0.1"],
        ),
        ({"SMTP_HOST": "::1"}, "SMTP_HOST", "::1"),
        ({"SMTP_OVERRIDE_HOSTS": "*"}, "SMTP_OVERRIDE_HOSTS", ("*",)),
        ({"SMTP_OVERRIDE_HOSTS": "почта.рф,a_b.example:25"}, "SMTP_OVERRIDE_HOSTS", ("почта.рф", "a_b.example:25")),
        ({"CALLBACK_HOSTS": "orders:8080,[::1]:80,::1"}, "CALLBACK_HOSTS", ("orders:8080", "[::1]:80", "::1")),
        ({"PHONE_REGION": "de"}, "PHONE_REGION", "DE"),
        ({"LOG_LEVEL": "info"}, "LOG_LEVEL", "INFO"),
        ({"TELEGRAM_PARSE_MODE": "markdownv2"}, "TELEGRAM_PARSE_MODE", "MarkdownV2"),
        ({"DEFAULT_FROM_EMAIL": "Shop <shop@localhost>"}, "DEFAULT_FROM_EMAIL", "Shop <shop@localhost>"),
        ({"DEFAULT_FROM_EMAIL": '"A, B" <a@b.example>'}, "DEFAULT_FROM_EMAIL", '"A, B" <a@b.example>'),
        ({"SMTP_HOST": "new", "EMAIL_HOST": "older", "SMTP_SERVER": "oldest"}, "SMTP_HOST", "new"),
        ({"EMAIL_HOST": "older", "SMTP_SERVER": "oldest"}, "SMTP_HOST", "older"),
        ({"SMTP_HOST": "", "SMTP_SERVER": "oldest"}, "SMTP_HOST", "oldest"),
        ({"EMAIL_PORT": "2525"}, "SMTP_PORT", 2525),
        ({"EMAIL_USE_TLS": "0"}, "SMTP_USE_TLS", False),
        ({"EMAIL_USE_SSL": "1"}, "SMTP_USE_SSL", True),
        ({"EMAIL_HOST_USER": "ann"}, "SMTP_DEFAULT_USER", "ann"),
        ({"SMTP_USER": "ann"}, "SMTP_DEFAULT_USER", "ann"),
        ({"EMAIL_HOST_PASSWORD": "secret"}, "SMTP_DEFAULT_PASSWORD", "secret"),
        ({"SMTP_PASSWORD": "secret"}, "SMTP_DEFAULT_PASSWORD", "secret"),
        ({"EMAIL_TIMEOUT": "2.5"}, "SMTP_TIMEOUT", timedelta(seconds=2.5)),
        ({}, "API_THROTTLE_SEND", env.Rate(600, 60)),
        ({}, "API_THROTTLE_OPEN", False),
        ({"API_THROTTLE_SEND": "600/min"}, "API_THROTTLE_OPEN", True),
        ({"API_THROTTLE_SEND": "20/s"}, "API_THROTTLE_SEND", env.Rate(20, 1)),
        ({"API_THROTTLE_SEND": "5/hour"}, "API_THROTTLE_SEND", env.Rate(5, 3600)),
        ({"API_THROTTLE_SEND": "9/d"}, "API_THROTTLE_SEND", env.Rate(9, 86400)),
        ({"API_THROTTLE_SEND": "Off"}, "API_THROTTLE_SEND", None),
        ({}, "API_THROTTLE_RECIPIENT", None),
        ({"API_THROTTLE_RECIPIENT": "20"}, "API_THROTTLE_RECIPIENT", 20),
        ({"API_THROTTLE_DAY": "off"}, "API_THROTTLE_DAY", None),
    ],
)
def test_what_a_variable_means(variables: dict[str, str], name: str, value: object) -> None:
    assert settings_with(**variables)[name] == value


def test_a_password_of_redis_may_have_any_signs() -> None:
    found = cacheops_redis("rediss://ann%40b:p%2Fw%3A@redis.example.com:6380/3")
    assert (found["username"], found["password"], found["ssl"]) == ("ann@b", "p/w:", True)
    assert (found["host"], found["port"], found["db"]) == ("redis.example.com", 6380, 3)


# --- Files -----------------------------------------------------------------------------------------------------------
def test_a_secret_may_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from a file\n", encoding="utf-8")
    (tmp_path / "empty").write_text("\n")
    found = settings_with(
        SMTP_DEFAULT_PASSWORD="from the variable",
        SMTP_DEFAULT_PASSWORD_FILE=str(tmp_path / "secret"),
        SMTP_PORT_FILE=str(tmp_path / "empty"),
        TIME_ZONE_FILE=str(tmp_path / "empty"),
    )
    assert (found["SMTP_DEFAULT_PASSWORD"], found["SMTP_PORT"], found["TIME_ZONE"]) == ("from a file", 587, "UTC")


def test_a_file_that_cannot_be_read_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for path, problem in (
        (tmp_path / "none", "cannot be read"),
        (tmp_path, "cannot be read"),
        (tmp_path / "binary", "UTF-8"),
    ):
        sentence = refusal_of(TWILIO_AUTH_TOKEN_FILE=str(path))
        assert sentence.startswith("TWILIO_AUTH_TOKEN_FILE is wrong: ")
        assert problem in sentence
        assert "\n" not in sentence


def test_env_file_names_the_file_and_the_process_has_the_last_word(tmp_path: Path) -> None:
    (tmp_path / "my.env").write_text("SMTP_HOST=from-the-file\nSMTP_PORT=2525\nSMTP_DEFAULT_PASSWORD='# p=w'\n")
    found = settings_with(ENV_FILE=str(tmp_path / "my.env"), SMTP_PORT="25")
    assert (found["SMTP_HOST"], found["SMTP_PORT"], found["SMTP_DEFAULT_PASSWORD"]) == ("from-the-file", 25, "# p=w")


@pytest.mark.parametrize(("env_file", "expected"), [(None, "beside"), ("", ""), ("other.env", "other")])
def test_the_file_beside_manage_py_is_read_unless_another_or_none_is_named(
    env_file: str | None, expected: str, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("SMTP_HOST=beside\n")
    (tmp_path / "other.env").write_text("SMTP_HOST=other\n")
    with mock.patch.dict(os.environ, {} if env_file is None else {"ENV_FILE": env_file}, clear=True):
        env.load_file(tmp_path)
        assert env.text("SMTP_HOST") == expected


def test_a_file_from_windows_is_read_too(tmp_path: Path) -> None:
    (tmp_path / "my.env").write_bytes("\ufeffSMTP_HOST=first\r\n\r\n  # a note\r\nexport SMTP_PORT=2525\r\n".encode())
    found = settings_with(ENV_FILE=str(tmp_path / "my.env"))
    assert (found["SMTP_HOST"], found["SMTP_PORT"]) == ("first", 2525)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"# a note\nSMTP_DEFAULT_PASSWORD: hunter2\n", "line 2"),
        (b"SMTP DEFAULT_PASSWORD=hunter2\n", "line 1"),
        ("SMTP_DEFAULT_PASSWORD=hunter2".encode("utf-16"), "UTF-8"),
    ],
)
def test_a_file_that_cannot_be_understood_stops_the_start_and_shows_no_secret(
    content: bytes, problem: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "my.env").write_bytes(content)
    sentence = refusal_of(ENV_FILE=str(tmp_path / "my.env"))
    assert re.fullmatch(r"ENV_FILE is wrong: [^\n]+\. Example: ENV_FILE=\.env", sentence)
    assert problem in sentence
    assert "hunter2" not in sentence + caplog.text


# --- A real start ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("variables", "begins"),
    [
        ({"RETRY_DELAYS": "soon"}, "RETRY_DELAYS is wrong: "),
        ({"DJANGO_SECRET_KEY": ""}, "DJANGO_SECRET_KEY is missing: "),
        ({"ENCRYPTION_KEYS": "short"}, "ENCRYPTION_KEYS is wrong: "),
    ],
)
def test_a_start_ends_with_the_sentence_alone(variables: dict[str, str], begins: str) -> None:
    for arguments in (["manage.py", "check"], ["-m", "celery", "-A", "notifier", "report"]):
        ended = subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], **NEEDED, **variables},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert ended.returncode == 1
        assert ended.stdout == ""
        assert ended.stderr.startswith(begins)
        assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "read",
    [
        lambda: env.boolean("NAME", default=True),
        lambda: env.whole("NAME", default=7),
        lambda: env.seconds("NAME", default=7),
        lambda: env.words("NAME", default="a,b"),
        lambda: env.one_of("NAME", ["a"], default="a"),
        lambda: env.url("NAME", ["http"], default="http://a", example="http://a"),
        lambda: env.text("NAME", default="a"),
    ],
)
def test_every_reader_gives_its_default(read: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAME", " ")
    assert read() in (True, 7, timedelta(seconds=7), ("a", "b"), "a", "http://a")
