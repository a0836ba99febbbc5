"""The plain view under our own server: `python -m benchmarks.reference.serve PORT`.

uvicorn with the options of `notifier/server.py`, and the same pool of threads as `notifier/asgi.py`.
"""

import sys
from typing import Any

import uvicorn
from a2wsgi import WSGIMiddleware
from django.core.wsgi import get_wsgi_application

THREADS = 16  # as `notifier.asgi.THREADS`, which cannot be imported without the service's settings


def main() -> None:
    """Serve until SIGTERM."""
    application: Any = WSGIMiddleware(get_wsgi_application(), workers=THREADS)  # type: ignore[arg-type]
    uvicorn.run(
        application,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=5,
    )


if __name__ == "__main__":
    main()
