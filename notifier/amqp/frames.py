"""Messages whose properties nobody can read: they come without any, instead of ending the connection.

A broker checks no property. py-amqp fails at text that is no UTF-8, at a moment beyond the calendar, at a table that is
nested too deeply; the connection is lost with that, and the message comes back on the next one, for ever.
"""

from collections.abc import Callable
from struct import pack
from typing import Any

from amqp.basic_message import Message
from amqp.method_framing import frame_handler
from amqp.serialization import dumps

UNREADABLE = "x-unreadable-properties"
"""The header that stands in their place."""

_CONTENT_HEADER = 2
_FIXED = 12  # bytes of class, weight and size of the body
_ONLY_HEADERS = pack(">H", 1 << 13) + dumps("F", ({UNREADABLE: True},))


def tolerant_frame_handler(
    connection: Any, callback: Callable[[int, tuple[int, int], bytes, Any], None]
) -> Callable[[tuple[int, int, Any]], bool]:
    """py-amqp's, for messages as they come."""
    handle = frame_handler(connection, callback)

    def on_frame(frame: tuple[int, int, Any]) -> bool:
        kind, channel, content = frame
        if kind == _CONTENT_HEADER and not _is_readable(content):
            frame = kind, channel, bytes(content[:_FIXED]) + _ONLY_HEADERS
        return bool(handle(frame))

    return on_frame


def _is_readable(content: Any) -> bool:
    try:
        message: Any = Message()
        message.inbound_header(content)
    except Exception:  # noqa: BLE001 - as many kinds as there are kinds of nonsense
        return False
    return True
