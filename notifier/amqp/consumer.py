"""Takes jobs from a queue for as long as it is let: each is stored, or refused with a reason, and then acknowledged.

Nothing else ends a message's stay in the queue. A broker that is away is called again for ever; while the database is
away the messages wait where they are.
"""

import logging
import time
from threading import Event
from typing import Any

from django.conf import settings
from django.db import DatabaseError, DataError, IntegrityError, InterfaceError, close_old_connections, connection
from rest_framework.exceptions import APIException

from notifier import idempotency, intake
from notifier.amqp import broker, jobs
from notifier.amqp.broker import BrokerError
from notifier.amqp.jobs import Refusal
from notifier.amqp.session import Session, content_of
from notifier.idempotency import KeyReusedError
from notifier.models import Organization

log = logging.getLogger(__name__)

LONGEST_PAUSE = 10.0
"""Seconds between two tries, of the broker or of the database, that began with half a second."""

MOST_TRIES = 3
"""How often the database may fail over one message although it takes others between."""

REPORT_SECONDS = 10.0
INTERNAL = Refusal("internal_error: the service failed over this message; its log says why.", "internal_error")


class _Pause:
    """How long to wait after failures in a row."""

    def __init__(self) -> None:
        self._next = 0.0

    def longer(self) -> float:
        """The pause that is due now."""
        self._next = min(self._next * 2 or 0.5, LONGEST_PAUSE)
        return self._next

    def over(self) -> None:
        """It works again."""
        self._next = 0.0


class JobConsumer:
    """One process's; `accepted` and `dead` count what became of the messages."""

    def __init__(self, address: Any, queue: str, organization: Organization, stop: Event) -> None:
        self._address, self._queue, self._organization, self._stop = address, queue, organization, stop
        self.accepted = self.dead = 0
        self._broker_pause, self._database_pause = _Pause(), _Pause()
        self._was_connected = False
        self._resume_at = 0.0
        self._tried: dict[int, tuple[int, int]] = {}
        self._reported, self._report_at = (0, 0), 0.0

    def run(self) -> None:
        """Until `stop`. BrokerError where the broker refuses us at the first meeting."""
        while not self._stop.is_set():
            session = Session(self._address, self._queue)
            try:
                self._work(session)
            except Exception as error:  # noqa: BLE001 - brokers fail in many ways, and each time we call again
                self._after(error)
            finally:
                session.close()
        self._report(now=True)

    def _work(self, session: Session) -> None:
        session.open()
        self._was_connected = True
        self._tried.clear()
        log.info("Taking jobs from the queue %s for the organization %s.", self._queue, self._organization.slug)
        while not self._stop.is_set():
            wait = min(max(self._resume_at - time.monotonic(), 0), 1) if session.inbox else 1
            session.listen(wait)
            if not wait:
                self._deal_with(session, session.inbox[0])
                self._broker_pause.over()
            elif not session.inbox:
                close_old_connections()
            self._report()

    def _after(self, error: Exception) -> None:
        told = broker.explained(error)
        if isinstance(error, broker.REFUSED) and not self._was_connected:
            raise BrokerError(f"{told}.") from None
        pause = self._broker_pause.longer()
        log.warning("%s; trying again in %.1f s.", told, pause)
        self._stop.wait(pause)

    def _deal_with(self, session: Session, message: Any) -> None:
        """Store or refuse it. It stays in the inbox while the database is away."""
        refusal = None
        try:
            refusal = self._stored(message)
            self._database_pause.over()
        except (DatabaseError, InterfaceError) as error:
            if not isinstance(error, IntegrityError | DataError) and self._is_tried_again(message, error):
                session.inbox.rotate(-1)
                return
            refusal = _failed(error)
        except Exception as error:  # noqa: BLE001 - a bug must neither lose the message nor stop the queue
            refusal = _failed(error)
        session.inbox.popleft()
        self._tried.pop(message.delivery_tag, None)
        if refusal is None:
            session.acknowledge(message)
            self.accepted += 1
        elif refusal is INTERNAL and not message.delivery_info["redelivered"]:
            session.give_back(message)
        else:
            session.bury(message, refusal)
            self.dead += 1
            log.warning("A message is no job: it is among the dead letters of %s (%s).", self._queue, refusal.codes)

    def _stored(self, message: Any) -> Refusal | None:
        """None: it is committed, now or when it came before."""
        job = None
        try:
            job = jobs.read(content_of(message), message.properties)
            accept(self._organization, job)
        except APIException as error:
            return Refusal.of(error, job.names if job else {})
        return None

    def _is_tried_again(self, message: Any, error: DatabaseError | InterfaceError) -> bool:
        """Whether it is, after a pause and after the others. Where these get through between its tries, the fault is
        not the database's, however it calls it."""
        connection.close()
        accepted_before, tries = self._tried.get(message.delivery_tag, (-1, 0))
        tries += self.accepted > accepted_before
        self._tried[message.delivery_tag] = self.accepted, tries
        if tries >= MOST_TRIES:
            return False
        pause = self._database_pause.longer()
        self._resume_at = time.monotonic() + pause
        log.warning("The database does not take jobs (%s); trying again in %.1f s.", type(error).__name__, pause)
        return True

    def _report(self, *, now: bool = False) -> None:
        counted = (self.accepted, self.dead)
        if counted != self._reported and (now or time.monotonic() >= self._report_at):
            log.info("Jobs so far: %d accepted, %d dead letters.", *counted)
            self._reported, self._report_at = counted, time.monotonic() + REPORT_SECONDS


def _failed(error: Exception) -> Refusal:
    """After a bug: what the message is put aside with, unless it comes for the first time and gets a second chance."""
    log.error("A job failed.", exc_info=error)
    connection.close()
    return INTERNAL


def accept(organization: Organization, job: jobs.Job) -> None:
    """Store what the job asks for, once for its key. ValidationError for one that is refused."""
    # With no broker the workers are another process's threads: of bells that nobody hears this one's memory would fill.
    ring = settings.CELERY_TASK_ALWAYS_EAGER or not settings.EMBEDDED
    if not job.key:
        intake.accept(organization, job.body, ring=ring)
        return
    try:
        # Not by `intake.once`, which looks first whether the key is known: here it hardly ever is, and of the time for
        # a job that look takes a quarter.
        idempotency.once(organization, job.key, job.asked, lambda: [intake.accept(organization, job.body, ring=ring)])
    except KeyReusedError:
        raise jobs.key_reused() from None
