"""The plain view under our own server: `python -m benchmarks.reference.serve PORT PROCESSES`.

uvicorn with the options of `notifier/server.py`, and the same bridge and pool of threads as `notifier/asgi.py`, which
cannot be imported without the service's settings. Under a2wsgi the plain view answers a quarter less (`bridge.py`).
"""

import sys
from typing import Any

import uvicorn
from django.core.wsgi import get_wsgi_application

from notifier.bridge import Event, ThreadedWSGI

THREADS = 16  # as `notifier.asgi.THREADS`

_django = ThreadedWSGI(get_wsgi_application(), threads=THREADS)


async def application(scope: Event, receive: Any, send: Any) -> None:
    """The body whole, then Django."""
    body, more = b"", True
    while more:
        event = await receive()
        body += event.get("body", b"")
        more = event.get("more_body", False)
    await _django(scope, body, send)


def main() -> None:
    """Serve until SIGTERM."""
    uvicorn.run(
        f"{__spec__.name}:application",
        host="127.0.0.1",
        port=int(sys.argv[1]),
        workers=int(sys.argv[2]),
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=5,
    )


if __name__ == "__main__":
    main()
