"""`manage.py demo`: sandbox, server, worker and beat in one process."""

import socket
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management import BaseCommand, CommandError, call_command

from notifier import server
from notifier.management.output import forgiving
from sandbox import check, servers
from sandbox.demo import LOOPBACK
from sandbox.receipts import tell_ledger

WELCOME = """
  The Notifier demo is up.

    page      {page}
    API docs  {page}api/docs/
    inbox     {page}sandbox/inbox/  (what the sandbox's mail server, SMS gateway and Telegram received)

  Try it:

    curl -X POST {page}api/notifications/ -H "Content-Type: application/json" \\
      -d '{{"to": {{"email": "user@example.com"}}, "message": "Hello via SMTP!"}}'

  Nothing leaves this machine. Ctrl+C ends it.
"""


class Command(BaseCommand):
    """Migrate the demo's database, serve on loopback and say where; with `--check` do one round trip and end."""

    help = "Run everything in one process with a sandbox instead of real providers. Nothing leaves this machine."
    requires_system_checks = "__all__"

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=int, help="the page's port; default: PORT, else 8000 (--check: a free one)")
        parser.add_argument("--check", action="store_true", help="one round trip through the whole chain: exit 0 or 1")

    def handle(self, *_args: Any, **options: Any) -> None:
        forgiving(self.stdout)
        sandbox = servers.current()
        if sandbox is None:
            raise CommandError("The sandbox is not up. Start it as: python manage.py demo")
        port = options["port"] or (_free_port() if options["check"] else settings.PORT)
        server.refuse_taken_port(LOOPBACK, port)
        call_command("migrate", interactive=False, verbosity=0)
        sandbox.on_receipt = tell_ledger
        page = f"http://{LOOPBACK}:{port}/"
        failures: list[str] = []

        def when_up() -> None:
            if options["check"]:
                failures.extend(check.round_trip(page, sandbox, self.stdout.write))
                web.end()
            else:
                self.stdout.write(WELCOME.format(page=page))
                self.stdout.flush()

        web = server.web_server(LOOPBACK, port, when_up)
        web.run()
        sandbox.stop()
        if failures:
            raise CommandError("; ".join(failures))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
