"""What is wrong with an input, as a flat list: one entry an error, whatever the depth of the field."""

from collections.abc import Iterator, Mapping
from typing import Any

WHOLE = "non_field_errors"
"""Where REST framework puts what concerns the whole input."""


def flat(details: Any, path: str = "") -> Iterator[dict[str, Any]]:
    """REST framework's nested details as a flat list with dotted paths."""
    if _is_error(details):
        yield {"code": details["code"], "detail": str(details["message"]), "attr": path or None}
    elif isinstance(details, Mapping):
        for name, inner in details.items():
            inner_path = path if name == WHOLE else f"{path}.{name}" if path else str(name)
            yield from flat(inner, inner_path)
    else:
        for index, inner in enumerate(details):
            yield from flat(inner, path if _is_error(inner) else f"{path}.{index}" if path else str(index))


def _is_error(details: Any) -> bool:
    """One error, and not the errors of two fields that are called `message` and `code`."""
    return isinstance(details, Mapping) and set(details) == {"message", "code"} and isinstance(details["code"], str)
