"""Providers that are not there: they answer as real ones would, and nothing leaves.

A test recipient has its outcome in its address; every other address gets its message. Here nothing is waited for, and
nothing is remembered: whoever calls knows whether a message was tried before.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Final, NamedTuple

from channels.base import Account, Channel, Landed, Message, Receipt
from channels.errors import ChannelError, InvalidRecipientError, TemporaryError, UnknownOutcomeError


class Fate(StrEnum):
    """What comes of a message to a test recipient. In the order of their phones and chats."""

    DELIVERED = "delivered"  # taken; a receipt says later that it arrived
    BOUNCED = "bounced"  # taken; a receipt says later that it came back
    REJECTED = "rejected"  # nobody has this address
    GREYLISTED = "greylisted"  # refused for now at the first try, taken at the next
    TIMEOUT = "timeout"  # no word before the hand-over
    UNKNOWN = "unknown"  # handed over, and no word after that


RECIPIENTS: Final[Mapping[str, Mapping[str, Fate]]] = {
    "email": {f"{fate}@simulator.test": fate for fate in Fate},
    "sms": {f"+120155501{number:02}": fate for number, fate in enumerate(Fate)},
    "telegram": {str(100 + number): fate for number, fate in enumerate(Fate)},
}
"""The test recipients of each channel."""


def fate_of(channel: str, to: str) -> Fate | None:
    """What must come of a message to `to`. None: it is no test recipient.

    A phone is known with and without its "+", a mailbox in capitals too.
    """
    address = to.strip().lower()
    if channel == "sms":
        address = f"+{address.lstrip('+')}"
    return RECIPIENTS.get(channel, {}).get(address)


class Later(NamedTuple):
    """What a provider says some time after it took a message."""

    channel: str
    provider_id: str
    kind: Fate
    """`delivered` or `bounced`, as receipts call it."""
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedAccount(Account):
    """Stands in an account's place, and holds nothing of it."""


class SimulatedChannel(Channel[Account]):
    """Stands in the place of the channel of that name. `tried`: the message was tried here before."""

    name: ClassVar[str] = "simulated"
    width = 64  # a message is back before the next one leaves

    def __init__(self, name: str, *, tried: bool = False) -> None:
        self.name = name  # type: ignore[misc]  # one class stands for all channels
        self._tried = tried

    def send(self, message: Message, account: Account) -> Receipt:
        """Take the message or not, as its address says. Its `provider_id` is the same on every try."""
        match fate_of(self.name, message.to):
            case Fate.REJECTED:
                raise InvalidRecipientError("Simulated provider: nobody has this address.")
            case Fate.GREYLISTED if not self._tried:
                raise TemporaryError("Simulated provider: greylisted, to be tried again.", code="rejected")
            case Fate.TIMEOUT:
                raise TemporaryError("Simulated provider: it did not answer in time.", code="timeout")
            case Fate.UNKNOWN:
                raise UnknownOutcomeError("Simulated provider: no answer came after the message was handed over.")
        return Receipt(self._id_of(message), "Simulated provider: taken, and nothing left the service.")

    def start(self, message: Message, account: Account, landed: Landed) -> None:
        """As `send`, at once: `landed` is told in the caller's thread."""
        try:
            came = self.send(message, account)
        except ChannelError as error:
            landed(error)
        else:
            landed(came)

    def later(self, message: Message) -> Later | None:
        """What will be said of this message once it was taken. None: nothing."""
        match fate_of(self.name, message.to):
            case Fate.BOUNCED:
                return Later(self.name, self._id_of(message), Fate.BOUNCED, "Simulated provider: it came back.")
            case Fate.DELIVERED | None:
                return Later(self.name, self._id_of(message), Fate.DELIVERED)
        return None

    def _id_of(self, message: Message) -> str:
        return f"simulated-{self.name}-{message.reference}"
