"""What a channel is: a name and one method. Nothing here knows Django, the database or the settings."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Generic, Literal, TypeVar

AccountOrigin = Literal["request", "organization", "default"]
"""Whose account it is: the request's own, the organization's, the environment's."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that goes with an e-mail."""

    filename: str
    content_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Message:
    """One message to one person, as a channel carries it.

    `reference` is the same on every try of the same notification (1-64 characters of `A-Za-z0-9-`): channels turn it
    into a Message-ID or a provider's own reference, so that a provider or a reader can tell a repeat.
    `literal`: no markup is read in the text, whatever the account would have.
    """

    to: str
    text: str
    reference: str
    subject: str = ""
    html: str = ""
    attachments: tuple[Attachment, ...] = ()
    literal: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What a channel sends with. Subclasses hide their secrets from `repr`, so that no log or traceback shows them."""

    origin: AccountOrigin = "default"


@dataclass(frozen=True, slots=True)
class Receipt:
    """The provider took the message.

    `detail`: what a person should know of it (text shortened, another provider stepped in), "" for nothing.
    `new_address`: the recipient moved there for good, says the provider (a Telegram group that became a supergroup).
    """

    provider_id: str = ""
    detail: str = ""
    new_address: str = ""


AccountT = TypeVar("AccountT", bound=Account)

Landed = Callable[[Receipt | Exception], None]
"""Told once what came of a message: its receipt, or what `send` would have raised. Called in any thread; returns at
once and never raises."""


class Channel(ABC, Generic[AccountT]):
    """One way for a message to leave. Keeps no state but its connections, and is safe to use from several threads."""

    name: ClassVar[str]

    width: int = 16
    """Messages that one account takes at once in one process; more of them wait with the caller."""

    behind: int = 0
    """How many more it can take while the provider answers, to follow the others without a pause: at most."""

    @abstractmethod
    def send(self, message: Message, account: AccountT) -> Receipt:
        """Hand the message to the provider and return its receipt.

        Raises one of `channels.errors`: a ChannelError or MisconfiguredError. Anything else that escapes is a bug and
        is recorded as `internal_error`.
        """

    def start(self, message: Message, account: AccountT, landed: Landed) -> None:
        """Begin to hand the message over and return at once; the end of it goes to `landed`.

        Here `send` in a thread. A channel that can wait for many answers in one thread does that instead.
        """

        def work() -> None:
            try:
                came = self.send(message, account)
            except Exception as error:  # noqa: BLE001 - whoever is told decides what it means
                landed(error)
            else:
                landed(came)

        self._threads.submit(work)

    def close(self) -> None:
        """Close kept connections. The channel may be used again afterwards."""

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(max_workers=4 * self.width, thread_name_prefix=f"send-{self.name}")
