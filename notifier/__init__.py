"""The domain and the project: chain, ledger, delivery, and the doors to them."""

from typing import TYPE_CHECKING, Any

from notifier.celery import app as celery_app

if TYPE_CHECKING:
    from notifier.intake import send

__all__ = ["celery_app", "send"]


def __getattr__(name: str) -> Any:
    """`from notifier import send`, found late: Celery imports this package before the models are ready."""
    if name == "send":
        from notifier.intake import send  # noqa: PLC0415

        return send
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
