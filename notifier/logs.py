"""Logging: one line a record, whatever stands in it; no body, no address, no token."""

import logging
import time
from typing import Any

# What may be shown of a record's `extra`; libraries put whole requests and task arguments there.
_EXTRAS = ("notification_id", "channel", "organization", "count")
_ESCAPES = {code: f"\\x{code:02x}" for code in [*range(32), 127]} | {
    ord("\n"): "\\n",
    ord("\r"): "\\r",
    ord("\t"): "\\t",
}


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
            line += "\n  " + self.formatException(record.exc_info).replace("\n", "\n  ")
        return line


def logging_config(level: str, file: str) -> dict[str, Any]:
    """Django's LOGGING: everything to standard error, and to `file` too where one is named."""
    handlers: dict[str, Any] = {"console": {"class": "logging.StreamHandler", "formatter": "line"}}
    if file:
        handlers["file"] = {
            "class": "logging.handlers.RotatingFileHandler",
            "filename": file,
            "maxBytes": 20_000_000,
            "backupCount": 5,
            "encoding": "utf-8",
            "formatter": "line",
        }
    return {
        "version": 1,
        "disable_existing_loggers": False,
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
