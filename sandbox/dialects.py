"""What the HTTP providers have in common: a request is read, and an answer given in the provider's own words."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar
from urllib.parse import parse_qsl

from sandbox.recipients import Outcome
from sandbox.switches import Channel


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request, read to its end. The names of `headers` are in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    def parameters(self) -> dict[str, Any]:
        """Query, form and JSON body in one, as the providers take them. Raises ValueError for an unreadable body."""
        found: dict[str, Any] = dict(parse_qsl(self.query, keep_blank_values=True))
        if self.headers.get("content-type", "").split(";")[0].strip().lower() == "application/json":
            return found | self.json()
        return found | dict(parse_qsl(self.body.decode(), keep_blank_values=True))

    def json(self) -> dict[str, Any]:
        """The body as a JSON object. Raises ValueError where it is none."""
        found = json.loads(self.body)
        if not isinstance(found, dict):
            raise ValueError("the body is no JSON object")  # noqa: TRY004 - a value from outside
        return found


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer. A `str` goes out as plain text, anything else as JSON."""

    status: int
    content: Any
    headers: Mapping[str, str] = field(default_factory=dict)


class Refused(Exception):  # noqa: N818 - an answer, no error of ours
    """The request ends here with this answer, and nothing was taken."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A message that a provider was asked to send, found to be in order."""

    to: str
    text: str
    sender: str = ""
    html: str = ""
    reference: str = ""


class Dialect(ABC):
    """One provider's protocol. Keeps no state: the server knows what comes of a message, the dialect how to say it."""

    channel: ClassVar[Channel]

    @abstractmethod
    def read(self, request: Request) -> Submission:
        """The message that the request wants sent.

        Raises Refused where login or request are not in order, and ValueError where the body cannot be read at all.
        """

    @abstractmethod
    def accepted(self, submission: Submission, number: int) -> Reply:
        """The answer to a message that was taken as the server's `number`-th."""

    @abstractmethod
    def refused(self, submission: Submission, outcome: Outcome) -> Reply:
        """The answer to a message that was not taken; `outcome` is the switch or the test recipient that decided it."""

    @abstractmethod
    def provider_id(self, submission: Submission, number: int) -> str:
        """The id under which the provider knows its `number`-th message."""
