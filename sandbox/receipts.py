"""Receipts of the sandbox's providers, where the ledger is in the same process."""

import logging
from concurrent.futures import ThreadPoolExecutor

from django.db import connection

from channels.simulated import Later
from notifier import receipts

log = logging.getLogger(__name__)

# A thread of its own: the mail server's event loop must not wait for a database.
_writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sandbox-receipts")


def tell_ledger(later: Later) -> None:
    """Have the ledger told in a moment; returns at once."""
    _writer.submit(_store, later)


def _store(later: Later) -> None:
    try:
        receipts.foretell([later])
    except Exception:
        log.exception("A receipt of the sandbox is lost.", extra={"channel": later.channel})
    finally:
        connection.close()
