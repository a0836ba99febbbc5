"""The statuses of a notification, and which may follow which. No database, no Django models."""

from enum import StrEnum


class Status(StrEnum):
    """Where a notification is."""

    QUEUED = "queued"  # stored; will be worked on at `due_at`
    SENDING = "sending"  # one worker has it, until `lease_until`
    WAITING = "waiting"  # a provider took it, the bar is higher; `due_at` is the deadline
    SENT = "sent"  # a provider took it, and that was the bar
    DELIVERED = "delivered"  # a receipt says that it arrived
    ACKNOWLEDGED = "acknowledged"  # the person confirmed
    FAILED = "failed"  # no step can reach its bar any more
    CANCELLED = "cancelled"  # stopped by the client
    EXPIRED = "expired"  # `expires_at` passed first


class Bar(StrEnum):
    """What a step must reach."""

    ACCEPTED = "accepted"
    DELIVERED = "delivered"
    ACKNOWLEDGED = "acknowledged"


class Outcome(StrEnum):
    """How one try of one step ended."""

    ACCEPTED = "accepted"
    FAILED = "failed"
    UNKNOWN = "unknown"
    SKIPPED = "skipped"


class OnUnknown(StrEnum):
    """What a step does whose message may have arrived."""

    NEXT = "next"
    RETRY = "retry"
    STOP = "stop"


class Priority(StrEnum):
    """High overtakes a backlog of low."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


OPEN = frozenset({Status.QUEUED, Status.SENDING, Status.WAITING})
DUE = frozenset({Status.QUEUED, Status.WAITING})  # open, in nobody's hands, with a `due_at`
FINAL = frozenset(Status) - OPEN

# A row: from this status to these. A final status is left only by late receipts and a manual retry.
MOVES: dict[Status, frozenset[Status]] = {
    Status.QUEUED: frozenset({Status.SENDING, Status.ACKNOWLEDGED, Status.CANCELLED, Status.EXPIRED}),
    Status.SENDING: frozenset(
        {
            Status.SENT,
            Status.WAITING,
            Status.DELIVERED,
            Status.ACKNOWLEDGED,
            Status.QUEUED,
            Status.FAILED,
            Status.EXPIRED,
        }
    ),
    Status.WAITING: frozenset(
        {
            Status.DELIVERED,
            Status.ACKNOWLEDGED,
            Status.QUEUED,
            Status.FAILED,
            Status.CANCELLED,
            Status.EXPIRED,
        }
    ),
    Status.SENT: frozenset({Status.DELIVERED, Status.ACKNOWLEDGED, Status.QUEUED, Status.FAILED}),
    Status.DELIVERED: frozenset({Status.ACKNOWLEDGED, Status.QUEUED, Status.FAILED}),
    Status.ACKNOWLEDGED: frozenset(),
    Status.FAILED: frozenset({Status.QUEUED, Status.DELIVERED, Status.ACKNOWLEDGED}),
    Status.CANCELLED: frozenset(),
    Status.EXPIRED: frozenset(),
}

CODES = frozenset(
    {
        "no_address",  # the first four are skips
        "not_configured",
        "circuit_open",
        "address_suppressed",
        "invalid_address",
        "rejected",
        "blocked",
        "authentication_failed",
        "unreachable",
        "timeout",
        "tls_failed",
        "rate_limited",
        "mailbox_full",
        "message_too_large",
        "provider_error",
        "misconfigured",
        "deadline_missed",
        "bounced",
        "complained",
        "outcome_unknown",
        "internal_error",
    }
)
"""What an attempt's `code` can be."""
