"""Stores one notification through the service's own door: `python -m benchmarks.seed '{"to": …, "message": …}'`."""

import json
import os
import sys

import django


def main() -> None:
    """Accept it and print its id."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "notifier.settings")
    django.setup()
    from notifier import send  # noqa: PLC0415 - Django has to be set up first

    print(send(**json.loads(sys.argv[1])).pk)


if __name__ == "__main__":
    main()
