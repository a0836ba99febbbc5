"""Loopback ports that are ours for a whole run, listening or not."""

import os
import socket

HOST = "127.0.0.1"


def reserve(port: int = 0) -> socket.socket:
    """A socket bound to the loopback port (0: a free one) that does not listen: a connection to it is refused.

    It keeps the port from everybody else until somebody listens on it or closes it. Raises OSError that names the port
    where another program has it.
    """
    reserved = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # connections that just ended must not keep the port; on Windows this means "share it"
            reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind((HOST, port))
    except OSError as error:
        reserved.close()
        raise OSError(error.errno, f"cannot use {HOST}:{port}: {error.strerror}") from None
    return reserved


def number(bound: socket.socket) -> int:
    """The port of a bound socket."""
    port: int = bound.getsockname()[1]
    return port
