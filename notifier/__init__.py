"""The domain and the project: chain, ledger, delivery, and the doors to them."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from notifier.celery import app as celery_app

if TYPE_CHECKING:
    from notifier.amqp.email_service import send_email_service
    from notifier.intake import send

__all__ = ["celery_app", "send", "send_email_service"]

_LATE = {"send": "notifier.intake", "send_email_service": "notifier.amqp.email_service"}


def __getattr__(name: str) -> Any:
    """`from notifier import send`, found late: Celery imports this package before the models are ready."""
    if name in _LATE:
        return getattr(import_module(_LATE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
