"""How many parts an SMS takes, and how to shorten a text to a number of parts.

GSM 03.38 (3GPP TS 23.038): of the 7-bit alphabet 160 signs fit into one part, 153 into each of several; a sign of the
extension table counts twice. One sign outside (a curly quote, any Cyrillic letter, an emoji) turns the whole text into
UCS-2: 70 signs, 67 into each of several; an emoji counts twice. Such a pair is never divided between two parts, so that
a part may stay one short: `parts` packs as a phone network does, it does not divide lengths.
"""

import re
from dataclasses import dataclass

from channels.text import utf16_units

GSM_BASIC = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
GSM_EXTENSION = "\f^{}\\[~]|€"

_GSM_RUN = re.compile(f"[{re.escape(GSM_BASIC + GSM_EXTENSION)}]*")


@dataclass(frozen=True, slots=True)
class Alphabet:
    """What fits into one part, what into each of several, and what shows that something is missing."""

    single: int
    joined: int
    mark: str


GSM_7 = Alphabet(single=160, joined=153, mark="...")
UCS_2 = Alphabet(single=70, joined=67, mark="…")


def alphabet_of(text: str) -> Alphabet:
    """The alphabet the whole text travels in."""
    return GSM_7 if _GSM_RUN.fullmatch(text) else UCS_2


def units(text: str) -> int:
    """The text's length in units of its alphabet: septets, or 16 bits."""
    return sum(_sizes(text, alphabet_of(text)))


def parts(text: str) -> int:
    """How many parts the text takes. An empty one still takes one."""
    alphabet = alphabet_of(text)
    sizes = _sizes(text, alphabet)
    if sum(sizes) <= alphabet.single:
        return 1
    full, filled = 0, 0
    for size in sizes:
        if filled + size > alphabet.joined:
            full, filled = full + 1, 0
        filled += size
    return full + 1


def _sizes(text: str, alphabet: Alphabet) -> list[int]:
    if alphabet is GSM_7:
        return [2 if sign in GSM_EXTENSION else 1 for sign in text]
    return [utf16_units(sign) for sign in text]


def shorten(text: str, max_parts: int) -> str:
    """The text, or its longest beginning with a mark at the end, so that it takes at most `max_parts` parts.

    A text whose first foreign sign stands far behind is cut before it where this keeps more: a part of GSM-7 holds more
    than twice as many signs.
    """
    if max_parts < 1:
        raise ValueError("An SMS has at least one part.")
    most = max_parts * GSM_7.single  # a sign takes one unit at least
    if len(text) <= most and parts(text) <= max_parts:
        return text
    plain = _GSM_RUN.match(text[:most])
    plain_beginning = _beginning(plain.group() if plain else "", GSM_7.mark, max_parts)
    if alphabet_of(text) is GSM_7:
        return plain_beginning + GSM_7.mark
    beginning = _beginning(text[:most], UCS_2.mark, max_parts)
    if len(plain_beginning) > len(beginning):
        return plain_beginning + GSM_7.mark
    return beginning + UCS_2.mark


def _beginning(text: str, mark: str, max_parts: int) -> str:
    """The longest beginning that fits together with the mark, without spaces at its end."""
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if parts(text[:middle] + mark) <= max_parts:
            low = middle
        else:
            high = middle - 1
    return text[:low].rstrip()
