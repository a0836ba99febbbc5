"""`manage.py consume_amqp`: jobs by RabbitMQ."""

import logging
import signal
from argparse import ArgumentParser
from threading import Event
from typing import Any

from django.core.management import BaseCommand, CommandError
from django.db import DatabaseError, connection

from notifier.amqp import broker, dead_letters
from notifier.amqp.broker import BrokerError
from notifier.amqp.consumer import JobConsumer
from notifier.models import DEFAULT_SLUG, Organization

log = logging.getLogger(__name__)
PAUSE = 2.0


class Command(BaseCommand):
    """Take them until SIGTERM or Ctrl+C."""

    help = "Take notifications from a queue of RabbitMQ until SIGTERM or Ctrl+C."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--url", help="amqp://user:password@host:5672//; default: AMQP_URL, else CELERY_BROKER_URL")
        parser.add_argument("--queue", default=broker.QUEUE, help=f"default: {broker.QUEUE}")
        parser.add_argument("--organization", default=DEFAULT_SLUG, metavar="SLUG", help="whose notifications they are")
        parser.add_argument(
            "--requeue-dead", action="store_true", help="put the queue's dead letters back into it, and end"
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        stop = Event()
        before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            queue = broker.checked_name(options["queue"])
            address = options["url"] or broker.default_url()
            if options["requeue_dead"]:
                moved = dead_letters.requeue(address, queue, stop)
                self.stdout.write(f"{moved} dead letters are back in {queue}.")
                return
            organization = _organization(options["organization"], stop)
            if organization is not None:
                JobConsumer(address, queue, organization, stop).run()
        except BrokerError as error:
            raise CommandError(str(error)) from None
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _organization(slug: str, stop: Event) -> Organization | None:
    """The organization, as soon as the database answers. None: stopped before."""
    while not stop.is_set():
        try:
            return Organization.objects.get(slug=slug)
        except Organization.DoesNotExist:
            raise CommandError(f"There is no organization {slug!r}.") from None
        except DatabaseError as error:
            connection.close()
            log.warning("The database does not answer (%s); trying again in %.1f s.", type(error).__name__, PAUSE)
            stop.wait(PAUSE)
    return None
