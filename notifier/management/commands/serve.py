"""`manage.py serve`: the web process, as `scripts/start_web` starts it."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management import BaseCommand

from notifier import server
from notifier.management.database import check_migrations


class Command(BaseCommand):
    """Collect the static files, check the migrations, serve."""

    help = "Serve the API, the admin and the pages; without a broker also work the ledger."
    requires_system_checks = "__all__"

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default=settings.HOST, help="default: HOST, else 127.0.0.1")
        parser.add_argument("--port", type=int, default=settings.PORT, help="default: PORT, else 8000")

        parser.add_argument(
            "--workers",
            type=int,
            choices=range(1, 65),
            metavar="N",
            default=settings.WEB_CONCURRENCY,
            help="processes; default: WEB_CONCURRENCY, else 1",
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        host, port = options["host"], options["port"]
        check_migrations()
        server.refuse_taken_port(host, port)
        server.collect_static_files()

        def announce() -> None:
            self.stdout.write(f"Notifier listens on http://{host}:{port}/")
            self.stdout.flush()

        server.serve(host, port, announce, workers=options["workers"])
