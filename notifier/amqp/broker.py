"""How we speak to RabbitMQ: which address, which queues, for how long at most, and in what words it failed."""

import socket
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import amqp
from amqp import exceptions
from django.conf import settings
from kombu import Connection

from notifier.amqp.frames import tolerant_frame_handler
from notifier.brokers import AMQP_TLS, amqp_options
from notifier.scrubbing import scrubbed

QUEUE = "email_queue"
"""Where jobs are looked for, unless somebody says otherwise."""

SCHEMES = ("amqp://", "amqps://")
NO_ADDRESS = (
    "The address must be a URL that begins with amqp:// or amqps://, as in amqp://user:password@127.0.0.1:5672//"
)
LONGEST_NAME = 250  # bytes; with ".dead" a name may have 255
CONNECT_SECONDS, ANSWER_SECONDS = 3, 5

REFUSED = (
    exceptions.AccessRefused,  # wrong password, or no right to the queue
    exceptions.NotAllowed,  # no such virtual host
    exceptions.ResourceLocked,  # somebody's own queue
    exceptions.PreconditionFailed,
)
"""What trying again doesn't mend."""


class BrokerError(Exception):
    """The broker cannot be used; the text says why and holds no password."""


def dead(queue: str) -> str:
    """Where the messages of this queue go that are no jobs."""
    return f"{queue}.dead"


def checked_name(queue: str) -> str:
    """The queue's name; BrokerError where there can be none of that name."""
    if not queue or len(queue.encode("utf-8", "replace")) > LONGEST_NAME or "\0" in queue:
        raise BrokerError(f"A queue's name has 1 to {LONGEST_NAME} bytes.")
    return queue


def default_url() -> str:
    """The broker of the settings. BrokerError where there is none."""
    if not settings.AMQP_URL:
        raise BrokerError("No RabbitMQ is named: set AMQP_URL, as in amqp://user:password@127.0.0.1:5672//")
    return str(settings.AMQP_URL)


def connection(address: Any, *, heartbeat: float = 0) -> Connection:
    """To an `amqp://` URL, a host's name, or what has `host`, `port`, `virtual_host` and `credentials`, as pika's
    ConnectionParameters do. Not open yet; whatever is done with it then ends, also where the broker hangs."""
    options = {**amqp_options(ANSWER_SECONDS), "frame_handler": tolerant_frame_handler}
    where = _where(address)
    try:
        made = Connection(**where, connect_timeout=CONNECT_SECONDS, heartbeat=heartbeat, transport_options=options)
    except (TypeError, ValueError):  # a port that is no number, options that nobody knows
        raise BrokerError(NO_ADDRESS) from None
    return made


def _where(address: Any) -> dict[str, Any]:
    if isinstance(address, str):
        if "://" in address:
            if not all(one.strip().startswith(SCHEMES) for one in address.split(";")):
                raise BrokerError(NO_ADDRESS)
            return {"hostname": address, "ssl": dict(AMQP_TLS) if "amqps://" in address else False}
        return _where(_url_of(address))
    credentials = getattr(address, "credentials", None)
    host = getattr(address, "host", None)
    if not isinstance(host, str) or not host:
        raise BrokerError("Connection parameters are a URL, a host's name, or an object with a host.")
    return {
        "transport": "amqp",
        "hostname": host,
        "port": getattr(address, "port", None),
        "virtual_host": getattr(address, "virtual_host", None) or "/",
        "userid": getattr(credentials, "username", None),
        "password": getattr(credentials, "password", None),
        "ssl": dict(AMQP_TLS) if getattr(address, "ssl_options", None) else False,
    }


def _url_of(host: str) -> str:
    """AMQP_URL where that is this host's, since `guest` may enter on its own machine only."""
    known = urlsplit(settings.AMQP_URL)
    is_known = known.hostname is not None and host in {known.hostname, known.netloc.rpartition("@")[2]}
    return str(settings.AMQP_URL) if is_known else f"amqp://{host}//"


def open_now(made: Connection) -> None:
    """Connect, to each of its hosts once; the error of the last one where none answers."""

    def forget_the_host(*_: Any) -> None:
        # kombu has put its name there, and would look for it in the next one's certificate.
        if isinstance(made.ssl, dict):
            made.ssl["server_hostname"] = None

    made.ensure_connection(
        forget_the_host,
        max_retries=len(made.alt or ()),
        interval_start=0,
        interval_step=0,
        reraise_as_library_errors=False,
    )


def channel(made: Connection) -> Any:
    """A channel that hands messages over as they come. Left to themselves py-amqp decodes a body by whatever its
    `content_encoding` names; kombu's own consumers also unpack it, as large as it may become."""
    opened: Any = made.channel()
    opened.auto_decode = False
    return opened


def drop(made: Connection) -> None:
    """Close it without a word to the broker, for whose answer one would wait again."""
    with suppress(Exception):
        made.collect()


def declare(made: Connection, queue: str) -> None:
    """See to it that this queue and its dead letters' are there; those that exist are used as they are.

    Ours are quorum queues, which outlive the loss of a node. Such a queue gives a message up that came back too often
    (in RabbitMQ 4 after 20 times, a look with a tool included), so the limit is set high, and what reaches it goes to
    the dead letters.
    """
    _declare(made, dead(queue), {"x-delivery-limit": 1_000_000})
    limit = {"x-delivery-limit": 1000, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead(queue)}
    _declare(made, queue, limit)


def _declare(made: Connection, name: str, limit: dict[str, Any]) -> None:
    if not exists(made, name):
        opened = channel(made)
        opened.queue_declare(queue=name, durable=True, auto_delete=False, arguments={"x-queue-type": "quorum", **limit})
        opened.close()


def exists(made: Connection, name: str) -> bool:
    """Whether there is a queue of this name."""
    return waiting(made, name) is not None


def waiting(made: Connection, name: str) -> int | None:
    """How many messages wait in it. None: there is no such queue."""
    opened = channel(made)
    try:
        count = int(opened.queue_declare(queue=name, passive=True).message_count)
    except exceptions.NotFound:  # the broker has closed the channel
        return None
    opened.close()
    return count


def put(where: Any, queue: str, message: amqp.Message) -> None:
    """Put it into this queue and wait until the broker has it for good. An error: it may be there or not, and the
    connection is of no use any more."""
    where.basic_publish(message, exchange="", routing_key=queue, mandatory=True, confirm_timeout=ANSWER_SECONDS)


def explained(error: BaseException) -> str:
    """What went wrong, in a few words without a password."""
    if isinstance(error, exceptions.AccessRefused):
        return "RabbitMQ refuses the user or the password, or the right to the queue"
    if isinstance(error, exceptions.NotAllowed):
        return "RabbitMQ has no such virtual host, or refuses it to this user"
    if isinstance(error, TimeoutError | socket.timeout):
        return "RabbitMQ does not answer in time"
    if isinstance(error, exceptions.AMQPError):
        return scrubbed(f"RabbitMQ says: {error.reply_text or type(error).__name__}"[:300])
    return f"RabbitMQ cannot be reached ({type(error).__name__})"
