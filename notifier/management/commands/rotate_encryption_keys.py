"""`manage.py rotate_encryption_keys`: what is stored needs only the first key afterwards."""

from typing import Any

from django.core.management import CommandError
from rich.console import Console
from rich.progress import Progress

from notifier import rotation
from notifier.management.database import DatabaseCommand
from notifier.management.output import forgiving

EXAMPLES = 20


class Command(DatabaseCommand):
    """Go through every sealed column, and tell what cannot be read."""

    help = (
        "Encrypt every stored secret anew with the first of ENCRYPTION_KEYS, while the service goes on. Put the new "
        "key first, keep the old ones behind it, restart every process, run this; when it ends with 0 the old keys "
        "can go. Exit 1 if a secret cannot be read with any key."
    )

    def handle(self, *_args: Any, **_options: Any) -> None:
        forgiving(self.stdout)
        unreadable: list[str] = []
        with Progress(console=Console(stderr=True), transient=True) as progress:
            for sealed in rotation.SEALED:
                tally = self._rotated(sealed, progress)
                self.stdout.write(f"{sealed}: {tally.resealed} encrypted anew, {len(tally.unreadable)} unreadable")
                unreadable += [f"{sealed} of #{pk}" for pk in tally.unreadable]
        if unreadable:
            shown = ", ".join(unreadable[:EXAMPLES]) + (", …" if len(unreadable) > EXAMPLES else "")
            raise CommandError(f"None of ENCRYPTION_KEYS opens {len(unreadable)} secrets: {shown}")

    def _rotated(self, sealed: str, progress: Progress) -> rotation.Tally:
        model, _ = rotation.table_of(sealed)
        task = progress.add_task(sealed, total=model._base_manager.count())
        tally = rotation.Tally()
        for tally in rotation.rotate(sealed):
            progress.update(task, completed=tally.looked_at)
        return tally
