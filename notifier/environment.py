"""Reading the environment: every variable is read once, checked, and refused with one sentence that helps.

Values come from the process environment, else from the file `.env` beside manage.py (`ENV_FILE` names another, empty:
none), else the default. An empty value counts as unset. Where `NAME_FILE` is set, the value is that file's content
(container secrets).
"""

import importlib
import ipaddress
import os
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import environ

from channels.errors import MisconfiguredError
from notifier.addresses import normal
from notifier.cron import Cron

T = TypeVar("T")
SHORTEST_KEY = 32
"""Bytes of a secret that nobody guesses."""
TRUE, FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


# The one of age's own README.
_AGE_KEY = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"


class ConfigurationError(SystemExit):
    """A setting is missing or wrong. It ends the start of whatever reads the settings, with its sentence alone."""


def load_file(base: Path) -> None:
    """Fill the process environment from the `.env` file, without overriding what is already there."""
    named = os.environ.get("ENV_FILE")
    path = base / ".env" if named is None else base / named
    if path.is_file():
        environ.Env.read_env(StringIO(_assignments(path)))
    elif named:
        raise wrong("ENV_FILE", f"there is no file {path}", ".env")


def _assignments(path: Path) -> str:
    """The lines of the file that set a variable. What is no such line is named by its number: it may hold a secret."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()  # Windows likes to begin a file with a mark
    except OSError as error:
        raise wrong("ENV_FILE", f"{path} cannot be read ({error.strerror})", ".env") from None
    except UnicodeDecodeError:
        raise wrong("ENV_FILE", f"{path} is no text in UTF-8", ".env") from None
    found = []
    for number, line in enumerate(map(str.strip, lines), start=1):
        if line and not line.startswith("#"):
            if not re.match(r"(export )?[A-Za-z_0-9]+=", line, re.ASCII):
                raise wrong("ENV_FILE", f"line {number} of {path} is neither NAME=value nor a comment", ".env")
            found.append(line)
    return "\n".join(found)


def text(*names: str, default: str = "") -> str:
    """The first of these variables that is set (the first name is the one to use, the others are older), stripped."""
    for name in names:
        file_name = os.environ.get(f"{name}_FILE", "")
        value = _content(f"{name}_FILE", file_name) if file_name else os.environ.get(name, "").strip()
        if value:
            return value
    return default


def _content(name: str, path: str) -> str:
    """What stands in that file, stripped."""
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise wrong(name, f"{path} cannot be read ({error.strerror})", "/run/secrets/key") from None
    except UnicodeDecodeError:
        raise wrong(name, f"{path} is no text in UTF-8", "/run/secrets/key") from None


def _set(names: Sequence[str]) -> str:
    """The one of these variables that the value came from, so that a sentence names what somebody wrote."""
    return next((name for name in names if text(name)), names[0])


def boolean(*names: str, default: bool) -> bool:
    """1/true/yes/on or 0/false/no/off."""
    value = text(*names).lower()
    if value and value not in TRUE + FALSE:
        raise wrong(_set(names), f"{value!r} is neither yes nor no", "1")
    return value in TRUE if value else default


def whole(*names: str, default: int, least: int = 0, most: int = 2**31 - 1) -> int:
    """A whole number within these bounds, both included."""
    value = text(*names)
    if not value:
        return default
    if not value.isascii() or not value.isdigit() or len(value) > 12 or not least <= int(value) <= most:
        raise wrong(_set(names), f"{value!r} is no whole number from {least} to {most}", str(default))
    return int(value)


def seconds(*names: str, default: float, least: float = 0.001) -> timedelta:
    """A span in seconds; fractions are allowed."""
    value = text(*names)
    try:
        span = float(value or default)
    except ValueError:
        span = -1.0
    if not least <= span <= 10**9:
        raise wrong(_set(names), f"{value!r} is no number of seconds from {least:g} to {10**9}", f"{default:g}")
    return timedelta(seconds=span)


def spans(name: str, *, default: str) -> tuple[timedelta, ...]:
    """Spans in seconds, separated by commas; at least one."""
    try:
        numbers = [float(part) for part in text(name, default=default).split(",")]
    except ValueError:
        numbers = [-1.0]
    if any(not 0 < number <= 10**9 for number in numbers):
        raise wrong(name, "it must be numbers of seconds with commas between them", default)
    return tuple(timedelta(seconds=number) for number in numbers)


@dataclass(frozen=True, slots=True)
class Rate:
    """So many in so many seconds."""

    count: int
    seconds: int


def rate(name: str, *, default: str) -> Rate | None:
    """As in `600/min`, by second, minute, hour or day. None for `off`."""
    value = text(name, default=default)
    if value.lower() == "off":
        return None
    form = re.fullmatch(r"([0-9]{1,9})/(s|sec|second|m|min|minute|h|hour|d|day)", value, re.ASCII)
    if form is None or not int(form[1]):
        raise wrong(name, f"{value!r} is neither a rate as in 600/min nor off", "600/min")
    return Rate(int(form[1]), {"s": 1, "m": 60, "h": 3600, "d": 86400}[form[2][0]])


def limit(name: str, *, example: int) -> int | None:
    """A whole number from 1. None for `off`, which is the default."""
    return None if text(name).lower() in {"", "off"} else whole(name, default=example, least=1)


def words(name: str, *, default: str = "", known: Sequence[str] | None = None, example: str = "") -> tuple[str, ...]:
    """Words with commas between them, none twice; with `known`, only those."""
    value = text(name, default=default)
    found = tuple(part.strip() for part in value.split(",") if part.strip())
    if value and not found:
        raise wrong(name, "there is nothing between its commas", example or default)
    for word in found:
        if known is not None and word not in known:
            raise wrong(name, f"{word!r} is not one of {', '.join(known)}", example or default)
    if len(set(found)) != len(found):
        raise wrong(name, "a word stands in it twice", example or default)
    return found


def host(*names: str, default: str = "", example: str) -> str:
    """A host's name or address, without scheme, port and path. A wrong one is not shown: a URL may hold a password."""
    value = text(*names, default=default)
    if value and not (_is_name(value) or _is_ipv6(value)):
        raise wrong(_set(names), "it must be the name of a host or its address, without scheme and port", example)
    return value


def hosts(name: str, *, default: str = "", with_port: bool = False, any_host: bool = False) -> tuple[str, ...]:
    """Hosts with commas between them; `with_port`: `host:port` too, `any_host`: `*` too."""
    example = "mail.example.com:587" if with_port else "notifier.example.com,127.0.0.1"
    found = words(name, default=default, example=example)
    for word in found:
        before, _, port = word.rpartition(":")
        named = before if with_port and re.fullmatch("[0-9]{1,5}", port) and 0 < int(port) < 65536 else word
        known = _is_name(named) or _is_ipv6(named.removeprefix("[").removesuffix("]")) or _is_ipv6(word)
        if not known and not (any_host and word == "*"):
            forms = "names of hosts" + ", as they are or with :port" * with_port + ", or *" * any_host
            raise wrong(name, f"it must be {forms}, without scheme and path, with commas between them", example)
    return found


def _is_name(value: str) -> bool:
    """Whether it looks like a host's name or IPv4 address."""
    return re.fullmatch(r"[\w.-]+", value) is not None


def _is_ipv6(value: str) -> bool:
    try:
        ipaddress.IPv6Address(value)
    except ValueError:
        return False
    return True


def networks(name: str) -> tuple[str, ...]:
    """Addresses and networks with commas between them."""
    example = "127.0.0.1,10.0.0.0/8"
    found = words(name, example=example)
    for word in found:
        try:
            ipaddress.ip_network(word)
        except ValueError:
            raise wrong(name, f"{word!r} is neither an address nor a network", example) from None
    return found


def secret(name: str, *, default: str = "") -> str:
    """A secret that signs: of at least `SHORTEST_KEY` bytes."""
    value = text(name, default=default)
    if value and len(value.encode()) < SHORTEST_KEY:
        problem = f"it needs {SHORTEST_KEY} bytes, and has {len(value.encode())}"
        raise wrong(name, problem, "a-long-random-text-of-32-bytes-or-more")
    return value


def one_of(name: str, known: Sequence[str], *, default: str = "") -> str:
    """One of these words, however it is capitalized, or the default."""
    value = text(name, default=default)
    found = {word.lower(): word for word in known}.get(value.lower(), "")
    if value and not found:
        raise wrong(name, f"{value!r} is not one of {', '.join(known)}", known[0])
    return found


def schedule(name: str, *, default: str) -> Cron | None:
    """Moments as cron's five fields name them. None for `off`."""
    value = text(name, default=default)
    if value.lower() == "off":
        return None
    problem = f"{value!r} is neither off nor a schedule of cron, as 0 3 * * * is"
    return checked(name, Cron.parse, default=default, problem=problem, example="off")


def file_name(name: str, *, default: str) -> str:
    """A file's name without a directory."""
    value = text(name, default=default)
    if value in {".", ".."} or len(value) > 200 or re.search(r'[\\/:*?"<>|\x00-\x1f]', value):
        raise wrong(name, "it must be the name of a file, without a directory", default)
    return value


def email(name: str, *, example: str) -> str:
    """One e-mail address, or none."""
    value = text(name)
    try:
        return normal(value) if value else ""
    except ValueError:
        raise wrong(name, f"{value!r} is no e-mail address", example) from None


def emails(name: str) -> tuple[str, ...]:
    """E-mail addresses with commas between them."""
    found = words(name, example="admin@example.com")
    for word in found:
        try:
            normal(word)
        except ValueError:
            raise wrong(name, f"{word!r} is no e-mail address", "admin@example.com") from None
    return found


def line(name: str, *, default: str, longest: int) -> str:
    """Text of one line."""
    value = text(name, default=default)
    if len(value) > longest or not value.isprintable():
        raise wrong(name, f"it must be one line of at most {longest} characters", default.split(maxsplit=1)[0])
    return value


def sender(name: str, *, default: str) -> str:
    """An address that mails come from, also as `Name <address>`."""
    value = text(name)
    if value:
        mailboxes = importlib.import_module("channels.email.addresses")  # who names no sender does not load it
        try:
            mailboxes.sender(value, "")
        except MisconfiguredError:
            value = ""
        if not value.isprintable() or not value:
            raise wrong(name, "it must be one e-mail address, or `Name <address>`", "notifier@example.com")
    return value or default


def region(name: str) -> str:
    """A country by the two letters of ISO 3166, in capitals."""
    value = text(name).upper()
    # Who names none does not load the phone numbers of the world.
    if value and value not in importlib.import_module("phonenumbers").SUPPORTED_REGIONS:
        raise wrong(name, f"{value!r} is no country's two letters", "GB")
    return value


def log_file(name: str) -> str:
    """A file that can be written to."""
    value = text(name)
    try:
        if value:
            Path(value).open("a", encoding="utf-8").close()
    except OSError as error:
        raise wrong(name, f"{value} cannot be written ({error.strerror})", "notifier.log") from None
    return value


def age_key(name: str) -> str:
    """A public key of age, for encrypting."""
    value = text(name)
    if value:
        age = importlib.import_module("pyrage")  # who has no key does not load it
        try:
            age.x25519.Recipient.from_str(value)
        except age.RecipientError:
            raise wrong(name, "it must be a public key of age (`age-keygen` prints it)", _AGE_KEY) from None
    return value


def url(name: str, schemes: Sequence[str], *, default: str = "", example: str, is_beginning: bool = False) -> str:
    """A URL with one of these schemes and a host. `is_beginning`: of other URLs, so it ends with its path."""
    value = text(name, default=default)
    if not value:
        return ""
    try:
        parts = urlsplit(value)
        usable = parts.scheme in schemes and bool(parts.hostname or parts.scheme == "memory") and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise wrong(name, f"it must be a URL that begins with {' or '.join(s + '://' for s in schemes)}", example)
    if is_beginning and set("?#@") & set(value):
        raise wrong(name, "it must end with its path, and name no user", example)
    return value


def database(name: str, *, default: str) -> dict[str, Any]:
    """Django's database settings from `postgres://user:password@host:port/name` or `sqlite:///path`."""
    value = text(name, default=default)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it would show the URL's parts, the password among them
            settings: dict[str, Any] = dict(environ.Env.db_url_config(value))
    except (ValueError, KeyError, environ.ImproperlyConfigured):
        settings = {}
    known = settings.get("ENGINE") in {"django.db.backends.postgresql", "django.db.backends.sqlite3"}
    if not (known and settings.get("NAME")):
        raise wrong(
            name,
            "it must be a postgres:// or sqlite:/// URL that names a database",
            "postgres://user:password@127.0.0.1:5432/notifier",
        )
    return settings


def checked(name: str, check: Callable[[str], T], *, default: str, problem: str, example: str) -> T:
    """The value as `check` makes it; its ValueError, LookupError or OSError becomes our sentence."""
    try:
        return check(text(name, default=default))
    except (ValueError, LookupError, OSError):  # the last for a time zone that is a folder of them
        raise wrong(name, problem, example) from None


def wrong(name: str, problem: str, example: str) -> ConfigurationError:
    """The sentence for a wrong value: the variable, what is wrong with it, an example."""
    return ConfigurationError(f"{name} is wrong: {problem}. Example: {name}={example}")


def missing(name: str, reason: str, example: str) -> ConfigurationError:
    """The sentence for a missing value."""
    return ConfigurationError(f"{name} is missing: {reason}. Example: {name}={example}")
