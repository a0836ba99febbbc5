"""What can go wrong when a message leaves, named by what the caller does next.

ChannelError                  the provider did not take the message
    TemporaryError            try again; may carry `retry_after`
        RateLimitedError      the provider asked us to slow down
            RepeatedError     it had this text for this address already
    UnknownOutcomeError       it may have arrived: a second try may be a duplicate
    PermanentError            the same message will be refused again
        InvalidRecipientError every message to this address will be

MisconfiguredError            our account, sender or certificate is wrong. Outside the tree, so that a handler for
                              "the provider said no" never swallows it: it is recorded, and an operator is told.

Each error carries a `code` for machines (the attempt's code) and a `detail` for people, which never holds a secret and
never more of a foreign server's words than its own reply.
"""

from datetime import timedelta


class _ExplainedError(Exception):
    """An error with the attempt's `code` and `detail`."""

    default_code = "provider_error"

    def __init__(self, detail: str, *, code: str = "") -> None:
        super().__init__(detail)
        self.code = code or self.default_code
        self.detail = detail


class ChannelError(_ExplainedError):
    """The provider did not take the message, or may not have."""


class TemporaryError(ChannelError):
    """The same message may be taken later. `retry_after`: what the provider asked for, if it did."""

    def __init__(self, detail: str, *, code: str = "", retry_after: timedelta | None = None) -> None:
        super().__init__(detail, code=code)
        self.retry_after = retry_after


class RateLimitedError(TemporaryError):
    """The provider asked us to slow down."""

    default_code = "rate_limited"


class RepeatedError(RateLimitedError):
    """The provider had this text for this address a moment ago and does not take it twice: a try of which nobody knew
    has arrived."""


class UnknownOutcomeError(ChannelError):
    """The message was handed over and no answer came: it may have arrived."""

    default_code = "outcome_unknown"


class PermanentError(ChannelError):
    """The same message will be refused again."""

    default_code = "rejected"


class InvalidRecipientError(PermanentError):
    """Every message to this address will be refused."""

    default_code = "invalid_address"


class MisconfiguredError(_ExplainedError):
    """Our account, sender or certificate is wrong: an operator can mend it."""

    default_code = "misconfigured"
