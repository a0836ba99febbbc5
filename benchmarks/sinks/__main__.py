"""A sink as a process of its own: `python -m benchmarks.sinks smtp|sms`.

It prints its port, then answers each line of JSON on stdin with one on stdout, and ends where stdin does: it cannot
outlive whoever started it.
"""

import asyncio
import json
import ssl
import sys
from argparse import ArgumentParser
from typing import Any

from benchmarks.sinks.manners import Manners
from benchmarks.sinks.sms import SmsSession
from benchmarks.sinks.smtp import SmtpSession
from benchmarks.sinks.tally import Tally


def answer(wish: dict[str, Any], tally: Tally, manners: Manners) -> dict[str, Any]:
    """Do what the owner asks for."""
    match wish["do"]:
        case "summary":
            return dict(tally.summary())
        case "arrivals":
            return dict(tally.arrivals)
        case "reset":
            tally.reset()
        case "behave":
            for name, value in wish["manners"].items():
                setattr(manners, name, value)
    return {}


async def serve(kind: str, certificate: str) -> None:
    """Listen on a free port until stdin ends."""
    loop, tally, manners = asyncio.get_running_loop(), Tally(), Manners()
    tls = None
    if certificate:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(certificate)

    def session() -> asyncio.Protocol:
        return SmtpSession(tally, manners, tls) if kind == "smtp" else SmsSession(tally, manners)

    server = await loop.create_server(session, "127.0.0.1", 0, backlog=1024)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    wishes = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(wishes), sys.stdin)
    while line := await wishes.readline():
        print(json.dumps(answer(json.loads(line), tally, manners)), flush=True)


def main() -> None:
    """Read the arguments and serve."""
    parser = ArgumentParser(prog="python -m benchmarks.sinks")
    parser.add_argument("kind", choices=["smtp", "sms"])
    parser.add_argument("--certificate", default="", help="PEM with key and chain: STARTTLS is offered")
    options = parser.parse_args()
    try:
        import uvloop  # noqa: PLC0415 - half the cost where it happens to be there
    except ImportError:
        asyncio.run(serve(options.kind, options.certificate))
    else:
        uvloop.run(serve(options.kind, options.certificate))


if __name__ == "__main__":
    main()
