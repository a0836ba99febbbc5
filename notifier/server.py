"""Starting the web process, for every command that does."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from socket import AF_INET, AF_INET6, SO_REUSEADDR, SOCK_STREAM, SOL_SOCKET, socket
from threading import Thread

import uvicorn
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connections
from django.utils.module_loading import import_string
from uvicorn.supervisors.multiprocess import Multiprocess, Process

from notifier.heads import BoundedHeads, BoundedSockets

STOP_SECONDS = 30
"""How long a stop waits for requests under way."""


START_SECONDS = 60.0
"""How long each of several web processes may take until it serves."""


def collect_static_files() -> None:
    """Gather what the pages need where whitenoise serves it."""
    call_command("collectstatic", interactive=False, verbosity=0)


class WebServer(uvicorn.Server):
    """uvicorn, which calls `when_up` in a thread of its own once it listens."""

    def __init__(self, config: uvicorn.Config, when_up: Callable[[], None] | None = None) -> None:
        super().__init__(config)
        self._when_up = when_up

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """As uvicorn does; then call."""
        await super().startup(sockets)
        if self.started and self._when_up is not None:
            Thread(target=self._when_up, name="when-up", daemon=True).start()

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """As uvicorn does, which would wait for streams to end by themselves."""
        # By its name: in one of several processes this module is imported before Django is ready.
        import_string("notifier.hub.hub").close()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn does, but without raising the signal again afterwards: a stop that was asked for ends with 0."""
        with super().capture_signals():
            yield
            self._captured_signals.clear()

    def end(self) -> None:
        """Stop as if by SIGTERM."""
        self.should_exit = True


class WebProcess(Process):
    """One of several, which ends cleanly, and also when the one that started it is gone."""

    @property
    def server(self) -> uvicorn.Server:
        """Ours."""
        if self._server is None:
            self._server = WebServer(self.config)
        return self._server

    def target(self, sockets: list[socket] | None = None) -> None:
        """In the child: with our own copy of the parent's end open, its death would never show."""
        self.parent_conn.close()
        super().target(sockets)

    def always_pong(self) -> None:
        """Answer the parent until it is gone."""
        with suppress(OSError, EOFError):
            super().always_pong()
        self.server.should_exit = True


class WebServers(Multiprocess):
    """Several web processes at one port; calls `when_up` once all of them serve. One that dies is replaced."""

    def __init__(self, config: uvicorn.Config, sockets: list[socket], when_up: Callable[[], None]) -> None:
        super().__init__(config, sockets)
        self._when_up = when_up

    def init_processes(self) -> None:
        """Start them and wait for all."""
        self.processes = [WebProcess(self.config, self.sockets) for _ in range(self.processes_num)]
        for process in self.processes:
            process.start()
        if all(process.wait_until_ready(START_SECONDS) for process in self.processes):
            self._when_up()


def serve(host: str, port: int, when_up: Callable[[], None], *, workers: int) -> None:
    """Serve until SIGTERM or Ctrl+C, with so many processes. CommandError where it has to be one."""
    if workers == 1:
        web_server(host, port, when_up).run()
    elif settings.EMBEDDED:
        raise CommandError(
            f"Without a broker the one web process works the ledger too, and cannot be {workers}. "
            "Set REDIS_URL or CELERY_BROKER_URL, or WEB_CONCURRENCY=1."
        )
    else:
        connections.close_all()
        config = _config(host, port, workers)
        WebServers(config, [config.bind_socket()], when_up).run()


def web_server(host: str, port: int, when_up: Callable[[], None] | None = None) -> WebServer:
    """The web process, ready to `run()`.

    It serves until SIGTERM or Ctrl+C; requests under way are answered then, and the embedded worker brings its messages
    home.
    """
    return WebServer(_config(host, port, workers=1), when_up)


def _config(host: str, port: int, workers: int) -> uvicorn.Config:
    return uvicorn.Config(
        "notifier.asgi:application",
        host=host,
        port=port,
        lifespan="on",
        http=BoundedHeads,
        ws=BoundedSockets,
        ws_max_size=4096,  # nothing that clients say there is needed
        ws_per_message_deflate=False,
        log_config=None,
        access_log=logging.getLogger().isEnabledFor(logging.DEBUG),
        server_header=False,
        proxy_headers=bool(settings.TRUSTED_PROXIES),  # otherwise anybody may say where he comes from
        forwarded_allow_ips=list(settings.TRUSTED_PROXIES),
        timeout_graceful_shutdown=STOP_SECONDS,
        workers=workers,
    )


def refuse_taken_port(host: str, port: int) -> None:
    """CommandError with a way out where another program has that port."""
    family = AF_INET6 if ":" in host else AF_INET
    with socket(family, SOCK_STREAM) as probe:
        probe.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise CommandError(
                f"Port {port} of {host} cannot be used ({error.strerror}). Try --port {port + 1}."
            ) from None
