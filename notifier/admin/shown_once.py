"""A secret between the request that made it and the page that shows it: sealed, in the session of who made it."""

import time

from django.http import HttpRequest

from notifier import vault

SECONDS = 600.0
"""How long the page may be waited for; a redirect takes a moment, and what nobody opened is not to lie there."""


def keep(request: HttpRequest, name: str, secret: str) -> None:
    """Keep it for this operator's next page."""
    sealed = vault.seal({"name": name, "secret": secret, "until": time.time() + SECONDS})
    request.session[_slot(name)] = sealed.decode()


def take(request: HttpRequest, name: str) -> str | None:
    """The secret. None: it was taken before, or waited too long, or somebody else made it."""
    sealed = request.session.pop(_slot(name), None)
    if sealed is None:
        return None
    try:
        kept = vault.unseal(sealed.encode())
    except vault.VaultError:
        return None
    return str(kept["secret"]) if kept["name"] == name and time.time() < kept["until"] else None


def _slot(name: str) -> str:
    return f"shown_once:{name}"
