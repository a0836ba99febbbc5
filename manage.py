#!/usr/bin/env python
"""The door to every command: `python manage.py help` lists them."""

import os
import sys


def main() -> None:
    """Run the command that the command line names."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "notifier.settings")
    if sys.argv[1:2] == ["demo"]:
        # The demo is the service with an environment that points at the sandbox, so the sandbox comes first.
        from sandbox.demo import prepare  # noqa: PLC0415

        prepare(sys.argv[2:])
    from django.conf import settings  # noqa: PLC0415
    from django.core.management import execute_from_command_line  # noqa: PLC0415

    _ = settings.INSTALLED_APPS  # a wrong setting ends the start here, with its own sentence
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
