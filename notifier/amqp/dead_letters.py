"""Dead letters, once what was wrong is mended: back to where they came from."""

from threading import Event
from typing import Any

from notifier.amqp import broker
from notifier.amqp.broker import BrokerError
from notifier.amqp.session import revived


def requeue(address: Any, queue: str, stop: Event) -> int:
    """Put those that are there now back into the queue, each under its own `message_id`; returns how many.

    BrokerError where it does not go to the end: no letter is lost then, the last one may stand in both queues.
    """
    moved = 0
    connection = broker.connection(address)
    try:
        broker.open_now(connection)
        broker.declare(connection, queue)
        count = broker.waiting(connection, broker.dead(queue)) or 0
        channel = broker.channel(connection)
        while moved < count and not stop.is_set():
            letter = channel.basic_get(broker.dead(queue))
            if letter is None:
                break
            broker.put(channel, queue, revived(letter))
            channel.basic_ack(letter.delivery_tag)
            moved += 1
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the broker's
        raise BrokerError(f"{broker.explained(error)}; {moved} letters were put back before.") from None
    finally:
        connection.release()
    return moved
