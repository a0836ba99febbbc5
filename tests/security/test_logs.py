"""No secret reaches a log: by whatever name it goes, in whatever form it is logged, at whatever level."""

import io
import logging
import logging.config
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from notifier.logs import OneLineFormatter, SecretFilter, logging_config
from notifier.scrubbing import scrubbed, without_secrets
from tests.security.canary import PASSWORD, sightings

SECRET = "kanarienvogel7d1f"
KEY = f"ntf_live_AbCd1234_{SECRET * 2}kanarienv"
BOT = "123456789:AAkanarienvogel7d1f_kanarien-vogel"

TEXTS = [
    f"password={SECRET}",
    f"SMTP_DEFAULT_PASSWORD = {SECRET}",
    f"passwd:{SECRET} of ann",
    f"SMTP_PASS={SECRET}",
    f"psw={SECRET}&phones=1",
    f"token={SECRET}",
    f"?token={SECRET}&after=1",
    f"/ws/?user=1&token={SECRET} HTTP/1.1",
    f"smtp_password%3D{SECRET}%26smtp_user",
    f"{{'smtp_password': '{SECRET}', 'user': 'ann'}}",
    f"{{'smtp_password': \"it's {SECRET}\", 'user': 'ann'}}",
    f"{{'smtp_password': 'it\\'s \"x\" {SECRET}', 'user': 'ann'}}",
    f'{{"smtp_password": "a\\"b, {SECRET}", "user": "ann"}}',
    f'{{"smtp_password":"{SECRET}"',  # cut off
    f'{{"smtp_password": "{SECRET}',
    f'b\'{{"smtp_password": "x {SECRET} y"}}\'',
    f'"{{\\"smtp_password\\": \\"x {SECRET}\\", \\"user\\": 1}}"',
    f'"\\"{{\\\\\\"smtp_password\\\\\\": \\\\\\"x {SECRET}\\\\\\"}}\\""',
    f"{{'credentials': {{'user': 'ann', 'what': '{SECRET}'}}}}",
    f"ENCRYPTION_KEYS=('first', '{SECRET}')",
    f"SmtpAccount(user='ann', password='{SECRET}', host='mail')",
    f"Authorization: Bearer {SECRET}",
    f"authorization: basic {SECRET}",
    f"Authorization={SECRET}",
    f"Bearer {SECRET}",
    f"(b'authorization', b'Bearer {SECRET}')",
    f"['cookie', 'sessionid={SECRET}']",
    f"Cookie: sessionid={SECRET}",
    f"X-API-Key: {SECRET}",
    f"x_api_key='{SECRET}'",
    f"WHERE \"session_key\" = '{SECRET}'",
    KEY,
    f"key {KEY.replace('live', 'test')}, and more",
    f"whsec_{SECRET}+/=",
    f"https://api.telegram.org/bot{BOT}/sendMessage",
    f"the bot {BOT} is gone",
    f"redis://:{SECRET}@127.0.0.1:6379/0",
    f"postgres://notifier:{SECRET}@db/notifier?sslmode=require",
    f"amqp://u:p%40{SECRET}@h//",
    f"https://{SECRET}@sentry.example.com/1",
    f"SENTRY_DSN=https://{SECRET}@sentry.example.com/1",
    f"AUTH PLAIN {SECRET}",
    f"auth login {SECRET}",
    f"pbkdf2_sha256$1000000${SECRET}$x=",
    "smtp_password=kana rien voge lsev",  # Gmail shows an app password so
    f"Cookie: a=1; sid={SECRET}",
    f"authorization: ApiKey {SECRET}",
    f"Authorization: Digest user=a, response={SECRET}",
    f'Authorization: Digest username="a", response="{SECRET}"',
    f"[('password', '{SECRET}')]",
    f"(b'x-api-key', b'{SECRET}')",
    f'["smtp_password", "it\'s {SECRET}"]',
    f"['--password', '{SECRET}']",
    f"manage --password {SECRET} --to ann",
    f"manage --smtp-password 'a {SECRET}'",
    f"amqp://u:{SECRET}#x@h",
    f"amqp://u:x#{SECRET}@h",
    f"postgres://u:a/{SECRET}@h",
    f"redis://:1/{SECRET}@h",
    f"<password>{SECRET}</password>",
    f"<ns:smtpPassword type='text'>{SECRET}</ns:smtpPassword>",
    f"<password><![CDATA[{SECRET}]]></password>",
    f'A rule was broken\nDETAIL:  Failing row contains (405, {{"email": "{SECRET}"}}, 7).',
    f"A rule was broken\nDETAIL:  Failing row contains (405, two\n\nlines and {SECRET}).",
    f'It failed\nCONTEXT:  COPY users, line 1: "ann {SECRET}"\nand line 2: {SECRET}',
    repr(f"A rule was broken\nDETAIL:  Key (email)=({SECRET}) already exists."),
]
HARMLESS = [
    "Settled 128 notifications in 12 ms.",
    "ntf_live_AbCd1234… was used",
    "http://127.0.0.1:8000/api/notifications/?status=sent",
    "GET /api/users/7/ HTTP/1.1 200",
    "https://example.com/@ann and ann@example.com",
    "Notification 7 failed: authentication_failed",
    "Ask again in 5 s; it was 12:30:15.",
    "The provider refused the password.",
    "http://127.0.0.1:8000/api/users/?email=ann@example.com",
    "http://[::1]:8000/@ann",
    "no detail: none was given",
    "manage --password --to ann",
]


def record(message: Any, *arguments: Any, level: int = logging.DEBUG, **more: Any) -> logging.LogRecord:
    """A record as a logger makes it."""
    return logging.getLogger("any").makeRecord(
        "any", level, "file.py", 1, message, arguments, **{"exc_info": None} | more
    )


def line(one: logging.LogRecord) -> str:
    """What our handlers write of it."""
    assert SecretFilter().filter(one)
    return OneLineFormatter().format(one)


def fails(error: Exception, cause: Exception | None = None) -> NoReturn:
    raise error from cause


def seen(text: str) -> bool:
    return SECRET in text or "kana rien" in text


@pytest.mark.parametrize("text", TEXTS)
def test_a_secret_in_a_text_is_hidden_by_its_name_or_its_form(text: str) -> None:
    assert seen(text)
    clean = scrubbed(text)
    assert not seen(clean)
    assert "***" in clean
    assert scrubbed(clean) == clean


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_no_secret_stays_as_it_is(text: str) -> None:
    assert scrubbed(text) == text
    assert line(record(text)).endswith(text)


def test_what_stands_beside_a_secret_stays() -> None:
    assert scrubbed(f"{{'smtp_password': '{SECRET}', 'user': 'ann'}}") == "{'smtp_password': '***', 'user': 'ann'}"
    assert scrubbed(f"redis://me:{SECRET}@127.0.0.1:6379/0 is out") == "redis://me:***@127.0.0.1:6379/0 is out"
    assert scrubbed(f"{KEY} is over") == "ntf_live_AbCd1234*** is over"
    assert scrubbed(f"password={SECRET} refused by mail.example.com") == "password=*** refused by mail.example.com"


BODY = {"to": {"email": "ann@example.com"}, "smtp_password": PASSWORD, "deep": [{"token": [PASSWORD]}]}
LOGGED: list[tuple[Any, tuple[Any, ...]]] = [
    ("Got %s", (BODY,)),
    ("Got %s and %r", ([BODY], (BODY, 1))),
    ("Got %(smtp_password)s", (BODY,)),
    ("Got %(deep)r", (BODY,)),
    (BODY, ()),
    ("Headers %s", ([("Authorization", PASSWORD), ("x-api-key", PASSWORD)],)),
    ("Headers %s", ({b"Authorization": PASSWORD.encode()},)),
    ("Got %s", ({"x": b"password=" + SECRET.encode()},)),
    ("Got %s", ({("password", PASSWORD)},)),
    ("password=%s", (SECRET,)),
    ("Too %s many %d", (BODY,)),
    ("Not a number: %d", (BODY,)),
    ("%s tasks", ({"args": [BODY], "kwargs": {"password": PASSWORD}},)),
    (ValueError(f"password={SECRET}"), ()),
]


@pytest.mark.parametrize(("message", "arguments"), LOGGED)
def test_a_secret_in_what_is_logged_is_hidden(message: Any, arguments: tuple[Any, ...]) -> None:
    shown = line(record(message, *arguments))
    assert not sightings({"the line": shown}, {"password": PASSWORD, "secret": SECRET})
    assert "***" in shown


def test_data_is_hidden_by_name_at_any_depth() -> None:
    deep: Any = {"password": PASSWORD}
    for _ in range(50):
        deep = {"more": [deep, (deep,)]} if isinstance(deep, dict) and len(str(deep)) < 500 else {"more": deep}
    assert not sightings({"data": str(without_secrets(deep))}, {"password": PASSWORD})
    assert without_secrets({"to": "ann", "password": None, 7: [1, 2.5]}) == {
        "to": "ann",
        "password": "***",
        7: [1, 2.5],
    }


def test_bytes_and_sets_are_data_too() -> None:
    assert without_secrets({"x": f"Ж password=Р{SECRET}".encode()}) == {"x": "Ж password=***".encode()}
    assert without_secrets({"x": b"\xff password=" + SECRET.encode()}) == {"x": b"\xff password=***"}
    assert without_secrets(({f"token={SECRET}"}, frozenset({("password", PASSWORD)}))) == (
        ["token=***"],
        [("password", "***")],
    )


def test_two_arguments_are_no_name_and_its_value() -> None:
    assert line(record("%s: %d tries", "token", 5)).endswith("*** tries")
    assert line(record("%s and %s", "password", "name")).endswith("password and name")


def test_extras_are_hidden_by_name_and_form() -> None:
    one = record("Got it", extra={"smtp_password": PASSWORD, "body": BODY, "channel": f"token={SECRET}", "count": 3})
    shown = line(one)
    assert shown.endswith("channel=token=*** count=3")
    assert not sightings({"record": str(vars(one))}, {"password": PASSWORD, "secret": SECRET})


def test_exceptions_and_stacks_are_scrubbed() -> None:
    try:
        row = RuntimeError(f"It failed\nDETAIL:  Failing row contains ({SECRET}, two\nlines of {SECRET}).")
        row.__cause__ = KeyError({"smtp_password": PASSWORD})
        fails(ValueError(f"https://api.telegram.org/bot{BOT}/getMe"), row)
    except ValueError as error:
        one = record("It failed.", exc_info=(type(error), error, error.__traceback__), sinfo=f"password={SECRET}")
    shown = line(one)
    assert "ValueError: https://api.telegram.org/bot123456789:***/getMe" in shown
    assert "KeyError: {'smtp_password': '***'}" in shown
    assert "in fails" in shown
    assert "DETAIL:  ***" in shown, "a row ends where the next exception begins"
    # A handler with a formatter of its own shows no more than ours does.
    for text in (shown, logging.Formatter("%(message)s").format(one)):
        assert not sightings({"log": text}, {"password": PASSWORD, "secret": SECRET})


def test_a_line_break_forges_no_second_entry() -> None:
    shown = line(record("Subject %s", "x\n2026-01-01T00:00:00.000Z ERROR forged \x1b[31m \r\0\x7f"))
    assert len(shown.splitlines()) == 1
    assert "\\n2026-01-01" in shown
    assert shown.isprintable()


@pytest.fixture
def handlers(tmp_path: Path) -> Iterator[list[logging.Handler]]:
    """Our own handlers as they are at DEBUG with a file: the console, which writes into a buffer, and the file."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    logging.config.dictConfig(logging_config("DEBUG", str(tmp_path / "notifier.log")) | {"loggers": {}})
    made = root.handlers[:]
    root.handlers[:], root.level = before, level
    console = made[0]
    assert isinstance(console, logging.StreamHandler)
    console.setStream(io.StringIO())
    yield made
    for handler in made:
        handler.close()


def test_neither_standard_error_nor_the_file_shows_a_secret(handlers: list[logging.Handler], tmp_path: Path) -> None:
    records = [record(text) for text in TEXTS]
    records += [record(message, *arguments) for message, arguments in LOGGED]
    failure = RuntimeError(f"Authorization: Bearer {SECRET}")
    records.append(record("Failed with %s", BODY, exc_info=(RuntimeError, failure, None), extra={"password": PASSWORD}))
    for one in records:
        for handler in handlers:
            handler.handle(one)
    printed: Any = handlers[0]
    written = {"console": printed.stream.getvalue(), "file": (tmp_path / "notifier.log").read_text(encoding="utf-8")}
    assert written["console"] == written["file"]
    assert written["file"].count("***") >= len(records)
    assert not sightings(written, {"password": PASSWORD, "secret": SECRET})


HOSTILE: list[Callable[[int], str]] = [
    lambda size: "a" * size,
    lambda size: "token" * (size // 5),
    lambda size: "password" + " " * size,
    lambda size: "password" + "\\" * size,
    lambda size: 'password="' * (size // 10),
    lambda size: "password='" + "\\'" * (size // 2),
    lambda size: "password=[" * (size // 10),
    lambda size: "secret-_" * (size // 8),
    lambda size: "://" * (size // 3),
    lambda size: "://a:" * (size // 5),
    lambda size: "://" + "@a:" * (size // 3),
    lambda size: "auth" + " " * size,
    lambda size: "auth plain" * (size // 10),
    lambda size: "bearer " * (size // 7),
    lambda size: "/bot " + "1" * size,
    lambda size: "ntf_live_" * (size // 9),
    lambda size: "pbkdf2_" * (size // 7),
    lambda size: "'cookie', '" * (size // 11),
    lambda size: "cookie: " * (size // 8),
    lambda size: "'password', " * (size // 12),
    lambda size: "DETAIL: \n\n" * (size // 10),
    lambda size: "DETAIL:\n\nThe above exception" * (size // 28),
    lambda size: "--password " * (size // 11),
    lambda size: " --" + "a-" * (size // 2) + "password",
    lambda size: " --aaaaaaaaaa" * (size // 13) + "password",
    lambda size: "<password " * (size // 10),
    lambda size: "<password>" * (size // 10),
    lambda size: "<password><![CDATA[" * (size // 19),
    lambda size: "<aaaaaaaaaaaaaaaaaaaa" * (size // 21) + "password",
    lambda size: "://a:b#" * (size // 7),
]


@pytest.mark.parametrize("made", HOSTILE)
def test_a_hostile_line_takes_no_longer_than_its_length(made: Callable[[int], str]) -> None:
    text = made(200_000)
    begun = time.process_time()
    scrubbed(text)
    # A step for each sign takes a tenth of a second; one for each pair of signs would take hours.
    assert time.process_time() - begun < 5
