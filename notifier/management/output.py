"""What commands print, on streams that cannot show every sign: output that is redirected has the system's encoding."""

import io

from django.core.management.base import OutputWrapper


def forgiving(output: OutputWrapper) -> None:
    """From now on a sign that the stream lacks becomes a question mark, instead of ending the command."""
    stream = getattr(output, "_out", None)
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="replace")


def bears(output: OutputWrapper, text: str) -> bool:
    """Whether the stream can show it."""
    try:
        text.encode(getattr(getattr(output, "_out", None), "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True
