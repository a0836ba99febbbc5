"""Looking for secrets: in every dress that hides nothing, wherever bytes are kept."""

import base64
import gzip
import html
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from urllib.parse import quote

PASSWORD = 'kanarienvogel7d1f/"+&<ß'
"""Escaped differently by JSON, HTML, URLs and SQL; its beginning is the same in all of them."""

LEAST = 12
"""Shorter secrets would be found by chance."""


def forms(secret: str) -> set[bytes]:
    """How a secret may stand somewhere and still be read by everybody."""
    raw = secret.encode()
    texts = {secret, secret[::-1], json.dumps(secret)[1:-1], html.escape(secret), quote(secret, safe=""), repr(secret)}
    texts |= {json.dumps(secret)[1:-1][::-1], "".join(f"%{byte:02x}" for byte in raw)}
    found = {text.encode() for text in texts}
    found |= {raw.hex().encode(), raw.hex().upper().encode(), secret.encode("utf-16-le")}
    plain = "".join(_first_word(secret))
    if len(plain) >= LEAST:
        found |= {plain.encode(), plain.encode().hex().encode(), plain[::-1].encode()}
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        # Inside of longer data it may begin at any of three places; its edges share a sign with their neighbours.
        found |= {encode(b"\0" * shift + raw)[4 if shift else 0 : -4] for shift in range(3)}
    return {form for form in found if len(form) >= LEAST}


def _first_word(secret: str) -> Iterator[str]:
    for sign in secret:
        if not (sign.isascii() and sign.isalnum()):
            return
        yield sign


def sightings(places: Mapping[str, bytes | str], secrets: Mapping[str, str]) -> list[str]:
    """Where which secret can be seen, with its surroundings; compressed places are looked into."""
    dressed = {name: forms(secret) for name, secret in secrets.items()}
    return [
        f"{name} in {place}: …{content[max(0, at - 60) : at + 20]!r}"
        for place, kept in places.items()
        for content in _opened(kept)
        for name, looks in dressed.items()
        if (at := _first(content, looks)) >= 0
    ]


def _first(content: bytes, looks: Iterable[bytes]) -> int:
    return max(content.find(look) for look in looks)


def _opened(kept: bytes | str) -> Iterator[bytes]:
    content = kept.encode("utf-8", "surrogatepass") if isinstance(kept, str) else kept
    yield content
    with suppress(OSError, EOFError, zlib.error):
        if content.startswith(b"\x1f\x8b"):
            yield gzip.decompress(content)
