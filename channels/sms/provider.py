"""What an SMS provider is, and the words for its refusals that all providers share."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, ClassVar

from channels.errors import (
    ChannelError,
    InvalidRecipientError,
    MisconfiguredError,
    PermanentError,
    RateLimitedError,
    RepeatedError,
    TemporaryError,
)
from channels.text import quoted
from channels.web import Reply, WebClient

TIMEOUT = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Sms:
    """One SMS: a number in E.164 form, a text that already has its final length, the notification's reference."""

    to: str
    text: str
    reference: str

    @property
    def digits(self) -> str:
        """The number without its plus sign."""
        return self.to.removeprefix("+")


@dataclass(frozen=True, slots=True)
class Standing:
    """What a provider tells of an account that it lets in; "" for what it does not."""

    name: str = ""
    balance: str = ""


class Provider(ABC):
    """An account at one provider. Subclasses are frozen dataclasses that hide their secrets from `repr`.

    `api_url` is where the provider's API begins; its path is appended: http://127.0.0.1:9999 for a test double.
    """

    __slots__ = ()
    name: ClassVar[str]

    @abstractmethod
    def send(self, sms: Sms, web: WebClient) -> str:
        """Hand one SMS over and return the provider's id for it.

        Raises one of `channels.errors`, with a detail that begins with `name`.
        """

    @abstractmethod
    def check(self, web: WebClient) -> Standing:
        """Ask whether the account is let in, without sending anything.

        Raises as `send` does.
        """


@dataclass(frozen=True, slots=True)
class Refusal:
    """What one answer of a provider means to us. The providers' tables consist of these."""

    error: type[ChannelError] | type[MisconfiguredError]
    code: str
    retry_after: timedelta | None = None

    def after(self, **span: float) -> "Refusal":
        """The same, not to be tried again before that time."""
        return replace(self, retry_after=timedelta(**span))

    def explain(self, detail: str, asked: timedelta | None = None) -> ChannelError | MisconfiguredError:
        """The error to raise. `asked`: the delay that this very answer named."""
        if issubclass(self.error, TemporaryError):
            return self.error(detail, code=self.code, retry_after=asked or self.retry_after)
        return self.error(detail, code=self.code)


WRONG_NUMBER = Refusal(InvalidRecipientError, "invalid_address")
BLOCKED = Refusal(InvalidRecipientError, "blocked")
REJECTED = Refusal(PermanentError, "rejected")
TOO_LARGE = Refusal(PermanentError, "message_too_large")
MISCONFIGURED = Refusal(MisconfiguredError, "misconfigured")
NOT_LET_IN = Refusal(MisconfiguredError, "authentication_failed")
BUSY = Refusal(RateLimitedError, "rate_limited")
REPEATED = Refusal(RepeatedError, "rate_limited")
BROKEN = Refusal(TemporaryError, "provider_error")
NOT_NOW = Refusal(TemporaryError, "rejected")  # the phone's or the number's trouble: the provider itself works

_BY_STATUS = {
    401: NOT_LET_IN,
    403: NOT_LET_IN,
    404: MISCONFIGURED,
    408: BROKEN,
    413: TOO_LARGE,
    429: BUSY,
}


def by_status(status: int) -> Refusal:
    """What an HTTP status means where the provider's own code is missing or unknown.

    A 2xx that is not in the provider's form is BROKEN: something else than the provider answered, or its API failed.
    """
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if 300 <= status < 400:
        return MISCONFIGURED  # the address is not the API's: we follow no redirects
    return REJECTED if 400 <= status < 500 else BROKEN


def code_in(answer: Mapping[str, Any], name: str) -> int | None:
    """A provider's numeric code, also where it is written as text. None: there is none."""
    value = answer.get(name)
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def explained(
    refusal: Refusal,
    reply: Reply,
    provider: Provider,
    sms: Sms | None = None,
    *,
    secrets: tuple[str, ...],
    words: object = "",
) -> ChannelError | MisconfiguredError:
    """The error for a refusal, with the provider's own words as far as they hold no secret and no phone number."""
    said = quoted(words, *secrets, *((sms.to, sms.digits) if sms else ()))
    detail = f"{provider.name}: HTTP {reply.status}{f', {said}' if said else ''}"
    return refusal.explain(detail, reply.retry_after)
