"""What each SMS provider's codes mean: (code, our error, our code, delay), one row for each that the channel knows."""

from datetime import timedelta

from channels.errors import (
    InvalidRecipientError,
    MisconfiguredError,
    PermanentError,
    RateLimitedError,
    RepeatedError,
    TemporaryError,
)

Row = tuple[int | str, type[Exception], str, timedelta | None]

HOUR = timedelta(hours=1)

TWILIO: list[Row] = [
    (21211, InvalidRecipientError, "invalid_address", None),
    (21614, InvalidRecipientError, "invalid_address", None),
    (21612, InvalidRecipientError, "invalid_address", None),
    (21265, InvalidRecipientError, "invalid_address", None),
    (30005, InvalidRecipientError, "invalid_address", None),
    (30006, InvalidRecipientError, "invalid_address", None),
    (21610, InvalidRecipientError, "blocked", None),
    (30004, InvalidRecipientError, "blocked", None),
    (20003, MisconfiguredError, "authentication_failed", None),
    (21212, MisconfiguredError, "misconfigured", None),
    (21408, MisconfiguredError, "misconfigured", None),
    (21603, MisconfiguredError, "misconfigured", None),
    (21606, MisconfiguredError, "misconfigured", None),
    (21608, MisconfiguredError, "misconfigured", None),
    (21659, MisconfiguredError, "misconfigured", None),
    (21660, MisconfiguredError, "misconfigured", None),
    (30002, MisconfiguredError, "misconfigured", None),
    (21602, PermanentError, "rejected", None),
    (21617, PermanentError, "message_too_large", None),
    (30007, PermanentError, "rejected", None),
    (20429, RateLimitedError, "rate_limited", None),
    (21611, RateLimitedError, "rate_limited", None),
    (30001, RateLimitedError, "rate_limited", None),
    (30003, TemporaryError, "rejected", None),  # the phone is off: no reason to think badly of Twilio
    (30008, TemporaryError, "provider_error", None),
]
SMSRU: list[Row] = [
    (150, InvalidRecipientError, "invalid_address", None),
    (202, InvalidRecipientError, "invalid_address", None),
    (207, InvalidRecipientError, "invalid_address", None),
    (214, InvalidRecipientError, "invalid_address", None),
    (209, InvalidRecipientError, "blocked", None),
    (215, InvalidRecipientError, "blocked", None),
    (203, PermanentError, "rejected", None),
    (205, PermanentError, "message_too_large", None),
    (216, PermanentError, "rejected", None),
    (217, PermanentError, "rejected", None),
    (206, RateLimitedError, "rate_limited", HOUR),
    (230, RateLimitedError, "rate_limited", HOUR),
    (231, RepeatedError, "rate_limited", HOUR),
    (232, RepeatedError, "rate_limited", HOUR),
    (233, RateLimitedError, "rate_limited", HOUR),
    *((code, RateLimitedError, "rate_limited", None) for code in range(501, 507)),
    (220, TemporaryError, "provider_error", None),
    (500, TemporaryError, "provider_error", None),
    (200, MisconfiguredError, "authentication_failed", None),
    (300, MisconfiguredError, "authentication_failed", None),
    (301, MisconfiguredError, "authentication_failed", None),
    (302, MisconfiguredError, "authentication_failed", None),
    (201, MisconfiguredError, "misconfigured", None),
    (204, MisconfiguredError, "misconfigured", None),
    (210, MisconfiguredError, "misconfigured", None),
    (211, MisconfiguredError, "misconfigured", None),
    (212, MisconfiguredError, "misconfigured", None),
    (221, MisconfiguredError, "misconfigured", None),
    (550, MisconfiguredError, "misconfigured", None),
]
SMSC: list[Row] = [
    (1, PermanentError, "rejected", None),
    (2, MisconfiguredError, "authentication_failed", None),
    (3, MisconfiguredError, "misconfigured", None),
    (4, TemporaryError, "provider_error", timedelta(minutes=10)),
    (5, PermanentError, "rejected", None),
    (6, PermanentError, "rejected", None),
    (7, InvalidRecipientError, "invalid_address", None),
    (8, InvalidRecipientError, "invalid_address", None),
    (9, RateLimitedError, "rate_limited", timedelta(minutes=1)),
]
GATEWAY: list[Row] = [
    ("invalid_address", InvalidRecipientError, "invalid_address", None),
    ("blocked", InvalidRecipientError, "blocked", None),
    ("rejected", PermanentError, "rejected", None),
    ("message_too_large", PermanentError, "message_too_large", None),
    ("misconfigured", MisconfiguredError, "misconfigured", None),
    ("authentication_failed", MisconfiguredError, "authentication_failed", None),
    ("rate_limited", RateLimitedError, "rate_limited", None),
    ("provider_error", TemporaryError, "provider_error", None),
]

# Where the code is missing or unknown: (HTTP status, our error, our code)
BY_STATUS = [
    (302, MisconfiguredError, "misconfigured"),
    (400, PermanentError, "rejected"),
    (401, MisconfiguredError, "authentication_failed"),
    (403, MisconfiguredError, "authentication_failed"),
    (404, MisconfiguredError, "misconfigured"),
    (408, TemporaryError, "provider_error"),
    (413, PermanentError, "message_too_large"),
    (422, PermanentError, "rejected"),
    (429, RateLimitedError, "rate_limited"),
    (500, TemporaryError, "provider_error"),
    (503, TemporaryError, "provider_error"),
]
