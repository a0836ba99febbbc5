"""Logging: one line a record, whatever stands in it; no body, no address, no token."""

import logging
import time
from collections.abc import Mapping
from typing import Any

from notifier.scrubbing import HIDDEN, names_a_secret, scrubbed, without_secrets

# What may be shown of a record's `extra`; libraries put whole requests and task arguments there.
_EXTRAS = ("notification_id", "channel", "organization", "count")
_ESCAPES = {code: f"\\x{code:02x}" for code in [*range(32), *range(127, 160)]} | {
    ord("\n"): "\\n",
    ord("\r"): "\\r",
    ord("\t"): "\\t",
    # What ends a line, or turns the direction in which one is read.
    **{code: f"\\u{code:04x}" for code in (0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))},
}
_IN_A_TRACEBACK = {**_ESCAPES, ord("\n"): "\n  "}
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
_plain = logging.Formatter()


class SecretFilter(logging.Filter):
    """Takes the secrets out of a record, whatever level it has: out of its message, extras and traceback.

    It lets every record pass; one whose words and arguments do not fit is shown in its parts.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record where it holds a secret, for every handler after this one."""
        self._clean_message(record)
        if record.exc_info:
            record.exc_text = scrubbed(record.exc_text or _plain.formatException(record.exc_info))
        if record.stack_info:
            record.stack_info = scrubbed(record.stack_info)
        for name in vars(record).keys() - _STANDARD:
            value = getattr(record, name)
            setattr(record, name, HIDDEN if names_a_secret(name) else without_secrets(value))
        return True

    def _clean_message(self, record: logging.LogRecord) -> None:
        """Words without secrets stay apart from their arguments: by them the alike are known."""
        arguments = record.args
        each = arguments.values() if isinstance(arguments, Mapping) else arguments or ()
        nested = isinstance(arguments, Mapping) or any(
            isinstance(one, Mapping | list | tuple | set | frozenset) for one in each
        )
        if nested:
            record.args = _hidden(arguments)
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001 - logging itself would print it with all its arguments
            message, nested = f"{record.msg!r} {record.args!r}", True
        clean = scrubbed(message)
        if nested or clean != message or not isinstance(record.msg, str):
            record.msg, record.args = clean, None


def _hidden(arguments: Any) -> Any:
    """A record's arguments without secrets; two of them are no name with its value."""
    return without_secrets(arguments) if isinstance(arguments, Mapping) else tuple(map(without_secrets, arguments))


class OneLineFormatter(logging.Formatter):
    """`2026-11-20T12:00:00Z INFO notifier.delivery Sentence. notification_id=7`, control characters escaped.

    A line break in a subject cannot forge a second entry; only a traceback takes several lines, each indented.
    """

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def format(self, record: logging.LogRecord) -> str:
        extras = "".join(f" {key}={getattr(record, key)}" for key in _EXTRAS if hasattr(record, key))
        line = f"{self.formatTime(record)} {record.levelname} {record.name} {record.getMessage()}{extras}"
        line = line.translate(_ESCAPES)
        if record.exc_info:
            text = record.exc_text or self.formatException(record.exc_info)
            line += "\n  " + text.translate(_IN_A_TRACEBACK)
        return line


def logging_config(level: str, file: str) -> dict[str, Any]:
    """Django's LOGGING: everything to standard error, and to `file` too where one is named."""
    as_all: dict[str, Any] = {"formatter": "line", "filters": ["secrets"]}
    handlers: dict[str, Any] = {"console": {"class": "logging.StreamHandler", **as_all}}
    if file:
        handlers["file"] = {
            "class": "logging.handlers.RotatingFileHandler",
            "filename": file,
            "maxBytes": 20_000_000,
            "backupCount": 5,
            "encoding": "utf-8",
            **as_all,
        }
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"secrets": {"()": SecretFilter}},
        "formatters": {"line": {"()": OneLineFormatter}},
        "handlers": handlers,
        "root": {"handlers": list(handlers), "level": level},
        "loggers": {
            # Without handlers of its own, so that each line is written once, and in our form.
            "django": {"handlers": [], "propagate": True},
            "django.server": {"handlers": [], "propagate": True},
            "django.request": {"level": "ERROR"},  # a client's mistakes are the client's to see
            # A line or two for every bell; and at DEBUG these print task arguments, broker frames and bodies.
            "celery.worker.strategy": {"level": "WARNING"},
            "celery.app.trace": {"level": "WARNING"},
            "celery": {"level": "INFO" if level == "DEBUG" else level},
            "kombu": {"level": "INFO" if level == "DEBUG" else level},
            "amqp": {"level": "INFO" if level == "DEBUG" else level},
            "urllib3": {"level": "INFO" if level == "DEBUG" else level},
            "uvicorn": {"level": "WARNING" if level == "INFO" else level},
        },
    }
