"""What stands for the secret values of a template in whatever is stored, until the message leaves."""

import re
from collections.abc import Mapping

from django.utils.html import escape

_MARKER = "⟨{name}⟩"
_MARKED = re.compile(_MARKER.format(name="([^⟨⟩]+)"))


def marker(name: str) -> str:
    """What stands for a secret variable's value."""
    return _MARKER.format(name=name)


def filled(text: str, values: Mapping[str, str], *, html: bool = False) -> str:
    """The text with these values in the place of their markers."""
    if not values:
        return text
    told = {name: str(escape(value)) if html else value for name, value in values.items()}
    return _MARKED.sub(lambda found: told.get(found[1], found[0]), text)
