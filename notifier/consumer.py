"""A worker's ear to the broker, that a message which nobody can read does not deafen."""

import logging
from collections.abc import Callable
from typing import Any

from celery.worker.consumer import Consumer as CeleryConsumer

log = logging.getLogger(__name__)

UNREADABLE = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What strange data lead to. Others speak of the broker; to kombu a KeyError does as well, whoever raised it."""


QUIET: dict[str, Any] = {"without_gossip": True, "without_mingle": True, "without_heartbeat": True}
"""What workers tell each other is of no use to ours, and keeps them: a worker that is told to stop goes on telling a
frozen RabbitMQ that it lives."""


class Consumer(CeleryConsumer):
    """Celery's, but it says nothing of itself to other workers, and any unreadable message is dropped.

    Celery drops those whose fault it foresees. Any other error ends the worker and gives the message back to the
    broker, from where it ends the next worker too. A bell is worth less than that.
    """

    class Blueprint(CeleryConsumer.Blueprint):  # type: ignore[misc,valid-type]
        """Celery's steps without its 28 exchanges and queues for tasks that wait in RabbitMQ: ours never do."""

        default_steps = [step for step in CeleryConsumer.Blueprint.default_steps if "delayed_delivery" not in step]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, **QUIET})

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
        """What is called with each message."""
        handle = super().create_task_handler(*args, **kwargs)

        def handle_or_drop(message: Any) -> None:
            try:
                handle(message)
            except UNREADABLE:
                log.exception("A message of the broker cannot be read: it is dropped.")
                if not message.acknowledged:
                    message.reject_log_error(log, self.connection_errors)  # type: ignore[attr-defined]

        return handle_or_drop
