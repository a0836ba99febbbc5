"""The call by which older code sends an e-mail."""

from typing import Any

from django.utils.encoding import force_str

from notifier import intake
from notifier.amqp import broker
from notifier.amqp.publisher import publish
from notifier.models import Notification


def send_email_service(
    to_email: str,
    title: str,
    message: str,
    queue_name: str | None = None,
    connection_parameters: Any = None,
) -> Notification | str:
    """Send an e-mail. Returns the stored notification.

    With `queue_name` or `connection_parameters` (a URL, a host's name, or pika's ConnectionParameters) it is put into
    that queue instead, and the job's id is returned: `consume_amqp` stores it. InvalidNotificationError or BrokerError
    where it fails.
    """
    title, message = (force_str(text, strings_only=True) for text in (title, message))  # of gettext_lazy, JSON has none
    if queue_name is None and connection_parameters is None:
        return intake.send(to=to_email, subject=title, message=message, channels=["email"])
    job = {"to_email": to_email, "title": title, "message": message}
    return publish(job, queue_name or broker.QUEUE, connection_parameters)
