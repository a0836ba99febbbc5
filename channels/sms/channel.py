"""SMS: one channel, several providers in a row."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar, TypeVar

from channels.base import Account, Channel, Message, Receipt
from channels.errors import ChannelError, InvalidRecipientError, MisconfiguredError, TemporaryError
from channels.sms.provider import Provider, Sms, Standing
from channels.sms.segments import shorten
from channels.web import WebClient

E164 = re.compile(r"\+[1-9][0-9]{6,14}")

NextProviderError = TemporaryError | MisconfiguredError
AnyError = ChannelError | MisconfiguredError
ErrorT = TypeVar("ErrorT", bound=AnyError)


@dataclass(frozen=True, slots=True, kw_only=True)
class SmsAccount(Account):
    """`providers`: tried in this order. `max_parts`: the longest SMS, in parts; longer texts are shortened."""

    providers: tuple[Provider, ...]
    max_parts: int = 6


class SmsChannel(Channel[SmsAccount]):
    """Sends through the first provider that takes the message.

    Where the provider is the trouble (a temporary failure, a misconfiguration), the next one is tried at once. Where
    the message is (a wrong number, a refused text), the next one would say the same, and the try ends. So it does with
    an unknown outcome, since asking the next one could send twice.
    """

    name: ClassVar[str] = "sms"

    def __init__(self) -> None:
        self._web = WebClient()

    def send(self, message: Message, account: SmsAccount) -> Receipt:
        if not E164.fullmatch(message.to):
            raise InvalidRecipientError("The phone number is not in the international form, + and 7 to 15 digits.")
        sms = Sms(message.to, shorten(message.text, account.max_parts), message.reference)
        failures: list[NextProviderError] = []
        for provider in account.providers:
            try:
                provider_id = provider.send(sms, self._web)
            except (TemporaryError, MisconfiguredError) as error:
                failures.append(error)
            except ChannelError as error:
                raise _retold(error, [*failures, error]) from None
            else:
                return Receipt(provider_id, _remarks(provider, sms, message, account, failures))
        raise _most_hopeful(failures)

    def check(self, provider: Provider) -> Standing:
        """Whether this provider lets us in: `Provider.check`."""
        return provider.check(self._web)

    def close(self) -> None:
        self._web.close()


def _remarks(
    provider: Provider, sms: Sms, message: Message, account: SmsAccount, failures: list[NextProviderError]
) -> str:
    remarks = []
    if failures:
        remarks.append(f"Sent through {provider.name} ({_details(failures)}).")
    if sms.text != message.text:
        remarks.append(f"Shortened to {account.max_parts} {'part' if account.max_parts == 1 else 'parts'}.")
    return " ".join(remarks)


def _most_hopeful(failures: list[NextProviderError]) -> AnyError:
    """What all providers' failures come to: a temporary one means that waiting helps, the soonest one says how long."""
    if not failures:
        return MisconfiguredError("No SMS provider is configured.")
    temporary = [error for error in failures if isinstance(error, TemporaryError)]
    if not temporary:
        return _retold(failures[0], failures)
    return _retold(min(temporary, key=lambda error: error.retry_after or timedelta()), failures)


def _retold(error: ErrorT, all_of_them: Sequence[AnyError]) -> ErrorT:
    """The same error with the details of all, each of which begins with its provider's name."""
    detail = _details(all_of_them)
    if isinstance(error, TemporaryError):
        return type(error)(detail, code=error.code, retry_after=error.retry_after)
    return type(error)(detail, code=error.code)


def _details(errors: Sequence[AnyError]) -> str:
    return "; ".join(error.detail for error in errors)
