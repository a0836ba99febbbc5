"""An SMTP server over a real socket that does at each step what a test tells it to."""

import hmac
import os
import socket
import ssl
import struct
import threading
from base64 import b64decode
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self


class Hang:
    """Say nothing more until the peer is closed."""


class Held:
    """Behave, but not before the test says `go_on`."""


class Drop:
    """Close the connection."""


class Reset:
    """Break the connection: RST instead of FIN."""


@dataclass
class Drip:
    """Send the line one byte at a time."""

    line: str
    every: float = 0.1


Action = str | bytes | type[Hang] | type[Held] | type[Drop] | type[Reset] | Drip
"""A str is a reply, its CRLF is added; bytes go out as they are."""

_LINGER = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)  # on close: no waiting, RST

STEPS = ("connect", "EHLO", "HELO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "body", "END", "RSET", "QUIT")
_ROUTINE = {
    "connect": "220 peer.test ESMTP",
    "HELO": "250 peer.test",
    "STARTTLS": "220 2.0.0 go ahead",
    "MAIL": "250 2.1.0 ok",
    "RCPT": "250 2.1.5 ok",
    "DATA": "354 go ahead",
    "END": "250 2.0.0 taken",
    "RSET": "250 2.0.0 ok",
    "QUIT": "221 2.0.0 bye",
}


@dataclass
class Taken:
    """A message that was answered with 250 (or whatever the script said at END)."""

    connection: int
    sender: str
    recipient: str
    content: bytes
    raw: bytes = field(repr=False)
    behind: bytes = b""  # what had come with its last octets


class _GoneError(Exception):
    """This connection is over."""


class SmtpPeer:
    """Listens on a free loopback port from the start until `close`. A context manager.

    `script`: by step an action, or a list of them for the first, second … time that the step is reached; afterwards,
    and for steps without a script, it behaves. `tls`: with `implicit_tls` from the first byte, else after STARTTLS.
    Above `most_connections` at a time it says 421. `user` and `password`: the only login that is taken; without them
    AUTH is not offered.
    """

    def __init__(
        self,
        script: Mapping[str, Action | Sequence[Action]] | None = None,
        *,
        extensions: Sequence[str] = ("PIPELINING", "SIZE 10000000", "8BITMIME", "ENHANCEDSTATUSCODES"),
        tls: ssl.SSLContext | None = None,
        implicit_tls: bool = False,
        user: str = "",
        password: str = "",
        mechanisms: str = "PLAIN LOGIN",
        port: int = 0,
        most_connections: int = 1000,
    ) -> None:
        self._script = {step: _listed(actions) for step, actions in (script or {}).items()}
        assert set(self._script) <= set(STEPS)
        self.extensions = list(extensions)
        self.tls, self.implicit_tls = tls, implicit_tls
        self.user, self.password, self.mechanisms = user, password, mechanisms
        self.taken: list[Taken] = []
        self.commands: list[str] = []
        self.connections = 0
        self.most_connections = most_connections
        self.released = threading.Event()
        self.go_on = threading.Event()
        self.is_silent = threading.Event()  # a step came to `Hang` or `Drip`
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        self._serve_in_thread(self._accept)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening and break what is open."""
        self.released.set()
        self.go_on.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop_connections()
        for thread in self._threads:
            thread.join(5)

    def drop_connections(self) -> None:
        """Hang up on everybody, as a server does that restarts."""
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def next_action(self, step: str) -> Action | None:
        """What the script says about this step now. None: behave."""
        actions = self._script.get(step)
        return actions.pop(0) if actions else None

    def _serve_in_thread(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # each reply goes out at once
            self.connections += 1
            is_one_too_many = len(self._open) >= self.most_connections
            if not is_one_too_many:
                self._open.add(connection)
            if self.released.is_set():
                self.drop_connections()
            self._serve_in_thread(self._serve, connection, self.connections, is_one_too_many)

    def _serve(self, connection: socket.socket, number: int, is_one_too_many: bool) -> None:
        dialogue = _Dialogue(self, connection, number)
        try:
            if is_one_too_many:
                connection.sendall(b"421 4.7.0 too many connections\r\n")
                return
            dialogue.run()
        except (_GoneError, OSError):
            pass
        finally:
            self._open.discard(connection)
            dialogue.close()


def _listed(actions: Action | Sequence[Action]) -> list[Action]:
    return list(actions) if isinstance(actions, (list, tuple)) else [actions]  # type: ignore[list-item]


class _Dialogue:
    def __init__(self, peer: SmtpPeer, connection: socket.socket, number: int) -> None:
        self._peer, self._connection, self._number = peer, connection, number
        self._buffer = b""
        self._secure = False
        self._sender = self._recipient = ""

    def run(self) -> None:
        if self._peer.implicit_tls:
            self._encrypt()
        self._do("connect")
        while True:
            line = self._line()
            self._peer.commands.append(line)
            verb = line.split(" ")[0].upper()
            handler = getattr(self, f"_on_{verb.lower()}", None)
            if handler is not None:
                handler(line)
            elif verb in STEPS:
                self._do(verb)
            else:
                self._send("500 5.5.1 what?")
            if verb == "QUIT":
                return

    def close(self) -> None:
        with suppress(OSError):
            self._connection.close()

    def _on_ehlo(self, _: str) -> None:
        words = [*self._peer.extensions]
        if self._peer.tls and not self._secure:
            words.append("STARTTLS")
        if self._peer.user:
            words.append(f"AUTH {self._peer.mechanisms}")
        lines = ["peer.test", *words]
        marks = ["-"] * (len(lines) - 1) + [" "]
        self._do("EHLO", "\r\n".join(f"250{mark}{line}" for mark, line in zip(marks, lines, strict=True)))

    def _on_starttls(self, _: str) -> None:
        self._do("STARTTLS")
        self._encrypt()

    def _on_auth(self, line: str) -> None:
        mechanism, _, initial = line.removeprefix("AUTH ").partition(" ")
        action = self._peer.next_action("AUTH")
        if action is not None:
            self._act(action)
            return
        user, password = self._peer.user.encode(), self._peer.password.encode()
        right = False
        if mechanism == "PLAIN":
            right = b64decode(initial or self._ask("")) == b"\0%b\0%b" % (user, password)
        elif mechanism == "LOGIN":
            given = b64decode(self._ask("VXNlcm5hbWU6")), b64decode(self._ask("UGFzc3dvcmQ6"))
            right = given == (user, password)
        else:
            digest = hmac.new(password, b"<1@peer.test>", "md5").hexdigest()
            right = b64decode(self._ask("PDFAcGVlci50ZXN0Pg==")) == user + b" " + digest.encode()
        self._send("235 2.7.0 welcome" if right else "535 5.7.8 no")

    def _on_mail(self, line: str) -> None:
        self._sender = line.partition("<")[2].partition(">")[0]
        self._do("MAIL")

    def _on_rcpt(self, line: str) -> None:
        self._recipient = line.partition("<")[2].rpartition(">")[0]
        self._do("RCPT")

    def _on_data(self, _: str) -> None:
        action = self._peer.next_action("DATA")
        self._act(action or _ROUTINE["DATA"])
        if action is not None and not str(action).startswith("354"):
            return
        action = self._peer.next_action("body")
        if action is not None:
            self._receive()
            self._act(action)
            raise _GoneError
        seen = 0
        while b"\r\n.\r\n" not in self._buffer[seen:]:
            seen = max(0, len(self._buffer) - 4)
            self._receive()
        end = self._buffer.index(b"\r\n.\r\n") + 2
        raw, self._buffer = self._buffer[:end], self._buffer[end + 3 :]
        behind = self._buffer
        content = raw.replace(b"\r\n..", b"\r\n.")
        self._peer.taken.append(Taken(self._number, self._sender, self._recipient, content, raw, behind))
        self._do("END")

    def _ask(self, challenge: str) -> str:
        self._send(f"334 {challenge}")
        return self._line()

    def _encrypt(self) -> None:
        assert self._peer.tls is not None
        self._peer._open.discard(self._connection)
        self._connection = self._peer.tls.wrap_socket(self._connection, server_side=True)
        self._peer._open.add(self._connection)
        self._secure = True

    def _do(self, step: str, routine: str = "") -> None:
        action = self._peer.next_action(step)
        if action is Held:
            self._peer.go_on.wait()
            action = None
        self._act(action or routine or _ROUTINE[step])

    def _act(self, action: Action) -> None:
        if action is Hang or isinstance(action, Drip):
            self._peer.is_silent.set()
        match action:
            case str():
                self._send(action)
            case bytes():
                self._connection.sendall(action)
            case Drip():
                for byte in f"{action.line}\r\n".encode():
                    self._connection.sendall(bytes([byte]))
                    if self._peer.released.wait(action.every):
                        raise _GoneError
            case _ if action is Hang:
                self._peer.released.wait()
                raise _GoneError
            case _:
                if action is Reset:
                    self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
                raise _GoneError

    def _send(self, text: str) -> None:
        self._connection.sendall(f"{text}\r\n".encode())

    def _line(self) -> str:
        while b"\r\n" not in self._buffer:
            self._receive()
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line.decode()

    def _receive(self) -> None:
        received = self._connection.recv(65536)
        if not received:
            raise _GoneError
        self._buffer += received
