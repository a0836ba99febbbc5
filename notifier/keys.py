"""Keys that begin with the time (RFC 9562, section 5.7): what is new stands together in an index, however long that is.

With random ones each new entry is written into another page of an index that is larger than PostgreSQL's memory.
"""

import secrets
import time
from uuid import UUID

_RANDOM = (1 << 62) - 1

NEW_KEY = (
    "overlay(gen_random_uuid()::text PLACING (SELECT left(now, 8) || '-' || right(now, 4) || '-7'"
    " FROM lpad(to_hex(trunc(extract(epoch FROM statement_timestamp()) * 1000)::bigint), 12, '0') AS now)"
    " FROM 1 FOR 15)::uuid"
)
"""The same in PostgreSQL's words, another one for each row; the time is read once a statement."""


def uuid7() -> UUID:
    """A new one: the milliseconds since 1970, then 74 random bits."""
    random = secrets.randbits(74)
    head = (time.time_ns() // 1_000_000 << 16 | 0x7000 | random >> 62) << 64
    return UUID(int=head | 0b10 << 62 | random & _RANDOM)
