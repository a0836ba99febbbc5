"""Commands and replies on one connection, and what it means when there is none."""

from datetime import timedelta

from channels.email.account import SmtpAccount
from channels.email.replies import Phase, Reply
from channels.email.wire import NotSmtpError, Wire
from channels.errors import MisconfiguredError, TemporaryError
from channels.net import Deadline


class Dialogue:
    """A connection to the account's server; each command and each reply has the account's `timeout`.

    `phase` is the last one that was begun. `is_usable`: the dialogue is in step, another message may follow.
    `is_turned_away`: the server did not want this connection now. `extensions`: what it offered last. Raises only
    `channels.errors`.
    """

    wire: Wire

    def __init__(self, account: SmtpAccount) -> None:
        self.account = account
        self.phase = Phase.BANNER
        self.is_usable = self.is_turned_away = False
        self.extensions: dict[str, str] = {}

    async def ask(self, phase: Phase, line: str) -> Reply:
        """The reply to one command."""
        self.phase = phase
        self.wire.write(f"{line}\r\n".encode())
        return await self.read(phase)

    async def read(self, phase: Phase) -> Reply:
        """The next reply, which belongs to that phase. TemporaryError: there is none."""
        self.phase = phase
        if self.wire.replies:
            return self.wire.replies.popleft()
        try:
            return await self.wire.read(Deadline(self.account.timeout))
        except TimeoutError:
            raise self.silence() from None
        except (OSError, EOFError):
            raise self.loss() from None
        except NotSmtpError:
            if phase is Phase.BANNER:
                raise MisconfiguredError("No SMTP server answers there.") from None
            raise TemporaryError("The server answered something that is not SMTP.", code="provider_error") from None

    def silence(self) -> TemporaryError:
        """The deadline has passed."""
        return TemporaryError(f"The server did not answer in time ({self.phase.name}).", code="timeout")

    def loss(self) -> TemporaryError:
        """The connection is gone."""
        return TemporaryError(f"The server closed the connection ({self.phase.name}).", code="unreachable")


GOODBYE = timedelta(seconds=1)
"""For a reply that changes nothing any more: to QUIT, or the last words of a server that hung up."""
