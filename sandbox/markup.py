"""Telegram's markup, read as strictly as Telegram reads it: what cannot be parsed is refused, never guessed at."""

import html
import re
from typing import Final

_TAGS: Final = frozenset(
    {"b", "strong", "i", "em", "u", "ins", "s", "strike", "del", "code", "pre", "a", "span", "blockquote"}
    | {"tg-spoiler", "tg-emoji", "tg-time"}
)
_HTML: Final = re.compile(r"<(?P<end>/?)(?P<name>[^\s<>]*)(?:\s[^<>]*)?>|<")
_ESCAPED: Final = re.compile(r"\\([\x01-\x7e])")
_RESERVED: Final = frozenset("[]()>#+-=|{}.!")
_KINDS: Final = {"__": "Underline", "||": "Spoiler", "*": "Bold", "_": "Italic", "~": "Strikethrough", "`": "Code"}
_LINK: Final = re.compile(r"!?\[((?:[^\[\]\\]|\\.)*)\]\(((?:[^()\\]|\\.)*)\)")


class MarkupError(ValueError):
    """The markup cannot be parsed; the text says why, in Telegram's words."""


def plain(text: str, mode: str) -> str:
    """The text that a reader sees of `text` in parse mode `mode`.

    Raises MarkupError where Telegram could not parse it, and LookupError for a mode that does not exist.
    """
    match mode.lower():
        case "":
            return text
        case "html":
            return _plain_html(text)
        case "markdownv2":
            return _plain_markdown_v2(text)
        case "markdown":
            return _plain_markdown(text)
    raise LookupError(mode)


def _at(text: str, position: int) -> int:
    return len(text[:position].encode("utf-8", "surrogatepass"))


def _plain_html(text: str) -> str:
    opened: list[str] = []
    read: list[str] = []
    position = 0
    for tag in _HTML.finditer(text):
        read.append(html.unescape(text[position : tag.start()]))
        position = tag.end()
        name, place = (tag["name"] or "").lower(), _at(text, tag.start())
        if not tag["end"]:
            if name not in _TAGS:
                raise MarkupError(f'Unsupported start tag "{name}" at byte offset {place}')
            opened.append(name)
        elif not opened:
            raise MarkupError(f"Unexpected end tag at byte offset {place}")
        elif name not in ("", opened[-1]):
            raise MarkupError(
                f'Unmatched end tag at byte offset {place}, expected "</{opened[-1]}>", found "</{name}>"'
            )
        else:
            opened.pop()
    if opened:
        raise MarkupError(f'Can\'t find end tag corresponding to start tag "{opened[-1]}"')
    return "".join([*read, html.unescape(text[position:])])


def _plain_markdown_v2(text: str) -> str:
    """Without links inside of code and the rarer entities: enough to find an unescaped sign and an open end."""
    opened: list[str] = []
    read: list[str] = []
    position = 0
    while position < len(text):
        if escaped := _ESCAPED.match(text, position):
            piece, width = escaped[1], 2
        elif link := _LINK.match(text, position):
            piece, width = _plain_markdown_v2(link[1]), len(link[0])
        elif sign := next((sign for sign in _KINDS if text.startswith(sign, position)), ""):
            piece, width = "", len(sign)
            if opened and opened[-1] == sign:
                opened.pop()
            else:
                opened.append(sign)
        else:
            piece, width = text[position], 1
            if piece in _RESERVED and "`" not in opened:
                raise MarkupError(f"Character '{piece}' is reserved and must be escaped with the preceding '\\'")
        read.append(piece)
        position += width
    if opened:
        kind = _KINDS[opened[-1]]
        raise MarkupError(f"Can't find end of {kind} entity at byte offset {_at(text, text.rfind(opened[-1]))}")
    return "".join(read)


def _plain_markdown(text: str) -> str:
    """The old mode: pairs of `*`, `_` and backquotes, no nesting."""
    read = re.sub(r"\[([^\[\]]*)\]\(([^()]*)\)", r"\1", text)
    read = re.sub(r"(?<!\\)([*_`])((?:\\.|(?!\1)[^\\])*)\1", r"\2", read, flags=re.DOTALL)
    if lonely := re.search(r"(?<!\\)[*_`]", read):
        place = _at(text, text.find(lonely[0]))
        raise MarkupError(f"Can't find end of the entity starting at byte offset {place}")
    return re.sub(r"\\([*_`\[])", r"\1", read)
