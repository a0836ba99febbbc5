"""The sandbox: an SMTP server, an SMS gateway and Telegram's Bot API on loopback ports, with one inbox and switches."""

import ssl
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from channels.simulated import Fate, Later, fate_of
from sandbox import ports, sms, telegram
from sandbox.inbox import Entry, Inbox
from sandbox.recipients import Greylist
from sandbox.smtp import SmtpServer
from sandbox.switches import Channel, Switches
from sandbox.web import Gateways, WebServer


class Sandbox:
    """Three small real servers, each with a port of its own so that each can refuse connections alone.

    A port is a free one unless it is given; it stays the same, and stays ours, from the first `start` to `stop`. The
    SMS providers share `http_port`, which knows Telegram's paths too; `telegram_port` is Telegram's own door.
    """

    def __init__(
        self,
        *,
        smtp_port: int = 0,
        http_port: int = 0,
        telegram_port: int = 0,
        tls_context: ssl.SSLContext | None = None,
    ) -> None:
        self.inbox = Inbox(on_arrival=self._arrived)
        self.on_receipt: Callable[[Later], None] = lambda _later: None
        """Told what will be said of a message to a test recipient, in a server's thread: it must return at once."""
        self.switches = Switches(on_change=self._switched)
        self.smtp_port, self.http_port, self.telegram_port = smtp_port, http_port, telegram_port
        self._tls_context = tls_context
        self._greylist = Greylist()
        self._doors: dict[Channel, SmtpServer | WebServer] = {}
        self._turn = threading.RLock()

    @property
    def running(self) -> bool:
        """Whether the servers run: from `start` to `stop`, also while a switch keeps one of them shut."""
        return bool(self._doors)

    def start(self) -> None:
        """Start the servers; when it returns, all of them listen that are not switched to "refused".

        Raises OSError that names the port where another program has it; then nothing runs. Nothing happens where the
        sandbox runs already.
        """
        with self._turn:
            if self._doors:
                return
            gateways = Gateways(self.inbox, self.switches, self._greylist)
            try:
                mail_door = SmtpServer(
                    self.inbox, self.switches, self._greylist, port=self.smtp_port, tls_context=self._tls_context
                )
                self._doors["email"] = mail_door
                mail_door.start()
                self._doors["sms"] = WebServer(gateways, port=self.http_port)
                self._doors["telegram"] = WebServer(gateways, port=self.telegram_port)
                for channel in self._doors:
                    self._switched(channel, self.switches.get(channel))
            except BaseException:
                self.stop()
                raise
            self.smtp_port = self._doors["email"].port
            self.http_port = self._doors["sms"].port
            self.telegram_port = self._doors["telegram"].port

    def stop(self) -> None:
        """Cut every connection, close the ports and end the threads; nothing where it has stopped already."""
        with self._turn:
            doors, self._doors = list(self._doors.values()), {}
            for door in doors:
                door.stop()

    def reset(self) -> None:
        """Everything works again, the inbox is empty, and no first try is remembered."""
        self.switches.reset()
        self._greylist.clear()
        self.inbox.clear()

    def environment(self) -> dict[str, str]:
        """The variables that point the service at these servers: by the generic SMS gateway, and with
        `SMS_PROVIDER=twilio`, `smsru` or `smsc` instead by that provider's protocol."""
        web = f"http://{ports.HOST}:{self.http_port}"
        return {
            "SMTP_HOST": ports.HOST,
            "SMTP_PORT": str(self.smtp_port),
            "SMTP_USE_TLS": "0",
            "SMTP_USE_SSL": "0",
            "SMTP_DEFAULT_USER": "notifier@sandbox.test",  # any login does, so that the switch "auth" has one to refuse
            "SMTP_DEFAULT_PASSWORD": sms.KEY,
            "DEFAULT_FROM_EMAIL": "Notifier <notifier@sandbox.test>",
            "SMTP_TIMEOUT": "3",
            "TELEGRAM_BOT_TOKEN": telegram.TOKEN,
            "TELEGRAM_API_URL": f"http://{ports.HOST}:{self.telegram_port}",
            "TELEGRAM_TIMEOUT": "3",
            "TELEGRAM_PARSE_MODE": "",
            "SMS_PROVIDER": "http",
            "SMS_SENDER": sms.SENDER,
            "SMS_HTTP_URL": f"{web}/sms",
            "SMS_HTTP_TOKEN": sms.KEY,
            "TWILIO_ACCOUNT_SID": sms.TWILIO_SID,
            "TWILIO_AUTH_TOKEN": sms.KEY,
            "TWILIO_FROM": sms.SENDER,
            "TWILIO_API_URL": web,
            "SMSRU_API_ID": sms.KEY,
            "SMSRU_API_URL": web,
            "SMSC_LOGIN": sms.LOGIN,
            "SMSC_PASSWORD": sms.KEY,
            "SMSC_API_URL": web,
        }

    def _arrived(self, entry: Entry) -> None:
        fate = fate_of(entry.channel, entry.to)
        if fate in {Fate.DELIVERED, Fate.BOUNCED}:
            # Who sends a mail knows it by its Message-ID, without the brackets.
            known_as = entry.reference.strip("<>") if entry.channel == "email" else entry.provider_id
            self.on_receipt(Later(entry.channel, known_as, fate))

    def _switched(self, channel: Channel, name: str) -> None:
        with self._turn:
            door = self._doors.get(channel)
            if door is None:
                return
            if name == "refused":
                door.refuse()
            else:
                door.listen()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


_current: Sandbox | None = None
_starting = threading.Lock()


def current() -> Sandbox | None:
    """The process's one sandbox. None: it was never started, or has stopped."""
    sandbox = _current
    return sandbox if sandbox is not None and sandbox.running else None


def start_current(*, smtp_port: int = 0, http_port: int = 0, telegram_port: int = 0) -> Sandbox:
    """The process's one sandbox, started with these ports unless it runs already."""
    global _current  # noqa: PLW0603 - one a process is the promise
    with _starting:
        running = current()
        if running is None:
            running = Sandbox(smtp_port=smtp_port, http_port=http_port, telegram_port=telegram_port)
            running.start()
            _current = running
        return running
