"""Telegram's markup: what a reader sees, and what cannot be parsed."""

import pytest

from sandbox.markup import MarkupError, plain


@pytest.mark.parametrize(
    ("text", "mode", "expected"),
    [
        ("<b>*_{{ x }}</b>", "", "<b>*_{{ x }}</b>"),
        ("<b>bold <i>both</i></b> &amp; plain", "HTML", "bold both & plain"),
        ('<a href="https://example.com/?a=1&amp;b=2">link</a>', "HTML", "link"),
        ('<span class="tg-spoiler">x</span><TG-SPOILER>y</TG-SPOILER>', "html", "xy"),
        ("2 > 1 and &lt;tag&gt;", "HTML", "2 > 1 and <tag>"),
        (r"*bold _both_* and 1\.5 [link](https://example\.com) ||no||", "MarkdownV2", "bold both and 1.5 link no"),
        ("`a.b`", "MarkdownV2", "a.b"),
        ("*bold* _slanted_ `code` [link](https://example.com) 1.5!", "Markdown", "bold slanted code link 1.5!"),
        (r"snake\_case", "Markdown", "snake_case"),
    ],
)
def test_markup_is_read(text: str, mode: str, expected: str) -> None:
    assert plain(text, mode) == expected


@pytest.mark.parametrize(
    ("text", "mode", "complaint"),
    [
        ("<b>x", "HTML", 'Can\'t find end tag corresponding to start tag "b"'),
        ("x</b>", "HTML", "Unexpected end tag at byte offset 1"),
        ("<b>x</i>", "HTML", 'Unmatched end tag at byte offset 4, expected "</b>", found "</i>"'),
        ("ж <user@example.com>", "HTML", 'Unsupported start tag "user@example.com" at byte offset 3'),
        ("a < b", "HTML", 'Unsupported start tag "" at byte offset 2'),
        ("<p>x</p>", "HTML", 'Unsupported start tag "p" at byte offset 0'),
        ("1.5", "MarkdownV2", r"Character '.' is reserved and must be escaped with the preceding '\'"),
        ("*x", "MarkdownV2", "Can't find end of Bold entity at byte offset 0"),
        ("snake_case", "Markdown", "Can't find end of the entity starting at byte offset 5"),
    ],
)
def test_what_cannot_be_parsed_is_refused(text: str, mode: str, complaint: str) -> None:
    with pytest.raises(MarkupError) as refused:
        plain(text, mode)
    assert str(refused.value) == complaint


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(LookupError):
        plain("x", "XML")
