"""Lines over a socket, every step with a deadline of its own.

A socket's timeout starts anew with each byte, so a server that drips one byte a second would hold a worker for hours:
here the time that is left is set before every read and write.
"""

import socket
import ssl
from contextlib import suppress

from channels.email.replies import Reply, parse
from channels.net import Deadline

_LONGEST_LINE = 4096  # RFC 5321, section 4.5.3.1.5 allows 512
_MOST_LINES = 100
_CHUNK = 65536


class NotSmtpError(Exception):
    """What came is no SMTP reply, or more than one may be."""


class Wire:
    """One connection. TimeoutError: the deadline passed. OSError: it broke; EOFError: the server closed it."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._buffer = bytearray()

    @property
    def local_address(self) -> str:
        """Our end's address."""
        return str(self._socket.getsockname()[0]).partition("%")[0]

    def encrypt(self, context: ssl.SSLContext, name: str, deadline: Deadline) -> None:
        """Turn to TLS, the certificate checked against `name`. ssl.SSLError where that is impossible.

        NotSmtpError when the server has already sent more: an attacker in the middle could have put replies there that
        we would take for encrypted ones (RFC 3207, section 5).
        """
        if self._buffer:
            raise NotSmtpError
        self._socket.settimeout(deadline.remaining())
        self._socket = context.wrap_socket(self._socket, server_hostname=name)

    def write(self, data: bytes, deadline: Deadline) -> None:
        """Hand all of it to the kernel. After an exception the last of the bytes has not left: `send` raises only when
        it took nothing, and a TLS record that was cut short cannot be read."""
        left = memoryview(data)
        while left:
            self._socket.settimeout(deadline.remaining())
            left = left[self._socket.send(left[:_CHUNK]) :]

    def read(self, deadline: Deadline) -> Reply:
        """The next reply, whole. NotSmtpError for one that breaks the rules or the limits."""
        lines = [self._read_line(deadline)]
        while lines[-1][:3].isdigit() and lines[-1][3:4] == b"-":
            if len(lines) == _MOST_LINES:
                raise NotSmtpError
            lines.append(self._read_line(deadline))
        try:
            return parse(lines)
        except ValueError:
            raise NotSmtpError from None

    def close(self) -> None:
        """Close at once; never raises."""
        with suppress(OSError):
            self._socket.close()

    def _read_line(self, deadline: Deadline) -> bytes:
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > _LONGEST_LINE:
                raise NotSmtpError
            self._socket.settimeout(deadline.remaining())
            received = self._socket.recv(_LONGEST_LINE)
            if not received:
                raise EOFError
            self._buffer += received
        line = bytes(self._buffer[:end]).rstrip(b"\r")
        del self._buffer[: end + 1]
        return line
