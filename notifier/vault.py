"""Secrets at rest: encrypted by the first of `ENCRYPTION_KEYS`, decrypted by any of them (Fernet, so authenticated)."""

import json
from functools import lru_cache
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings


class VaultError(Exception):
    """The secret cannot be read: none of today's keys encrypted it, or it was altered."""


@lru_cache(maxsize=4)
def _ring(keys: tuple[str, ...]) -> MultiFernet:
    return MultiFernet([Fernet(key) for key in keys])


def check_keys(keys: tuple[str, ...]) -> None:
    """ValueError where one of these is no Fernet key (32 bytes in URL-safe base64)."""
    _ring(keys)


def seal(secret: dict[str, Any]) -> bytes:
    """The encrypted form of a JSON object."""
    return _ring(tuple(settings.ENCRYPTION_KEYS)).encrypt(json.dumps(secret).encode())


def unseal(sealed: bytes | memoryview) -> dict[str, Any]:
    """The JSON object that was sealed. VaultError where it cannot be read."""
    try:
        opened: dict[str, Any] = json.loads(_ring(tuple(settings.ENCRYPTION_KEYS)).decrypt(bytes(sealed)))
    except InvalidToken:
        raise VaultError("None of ENCRYPTION_KEYS opens this secret.") from None
    return opened


def reseal(sealed: bytes | memoryview) -> bytes | None:
    """The same secret under the first key. None: it is already. VaultError where no key opens it."""
    keys = tuple(settings.ENCRYPTION_KEYS)
    try:
        _ring(keys[:1]).decrypt(bytes(sealed))
    except InvalidToken:
        try:
            return _ring(keys).rotate(bytes(sealed))
        except InvalidToken:
            raise VaultError("None of ENCRYPTION_KEYS opens this secret.") from None
    return None
