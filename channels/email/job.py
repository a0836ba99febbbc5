"""One message on its way."""

import logging

from channels.base import Landed, Message, Receipt
from channels.email.account import SmtpAccount
from channels.email.compose import Mail

_logger = logging.getLogger(__name__)


class Job:
    """A message, and who is told of its end. `mail` is set before it is given to a connection."""

    __slots__ = ("_landed", "account", "mail", "message", "was_given_up", "was_turned_away")

    mail: Mail

    def __init__(self, message: Message, account: SmtpAccount, landed: Landed) -> None:
        self.message, self.account, self._landed = message, account, landed
        self.was_given_up = False  # by a kept connection: a new one is its last chance
        self.was_turned_away = False  # by a server with too many connections: it waits for an open one, once

    def land(self, came: Receipt | Exception) -> None:
        """The end of it. A listener that fails must not take the other messages with it."""
        try:
            self._landed(came)
        except Exception:
            _logger.exception("Nobody could be told what came of a message.")
