"""Where a text that is too long for one Telegram message is cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels.telegram import MAX_PARTS, MAX_UNITS, divide
from channels.text import utf16_units

EMOJI = "😀"


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("", [0]),
        ("a" * 4096, [4096]),
        ("a" * 4097, [4096, 1]),
        (EMOJI * 2048, [4096]),
        (EMOJI * 2049, [4096, 2]),
        ("a" + EMOJI * 2048, [4095, 2]),  # never half an emoji
        ("a" * 4096 + " " + "b", [4096, 1]),
        ("a" * 3000 + "\n\n" + "b" * 500 + "\n" + "c" * 500 + " " + "d" * 500, [3000, 1502]),  # a paragraph first
        ("a" * 10 + "\n\n" + "b" * 3000 + "\n" + "c" * 3000, [3012, 3000]),  # but not one that leaves it nearly empty
        ("a" * 10 + "\n" + "b" * 4000 + " " + "c" * 3000, [4011, 3000]),
        (" " * 5000 + "a", [1]),
    ],
)
def test_where_a_text_is_cut(text: str, sizes: list[int]) -> None:
    parts, shortened = divide(text)
    assert [utf16_units(part) for part in parts] == sizes
    assert not shortened


def test_paragraphs_are_given_up_where_the_text_would_not_fit_otherwise() -> None:
    text = "\n\n".join(["a" * 2100] * 18)
    parts, shortened = divide(text)
    assert not shortened
    assert len(parts) <= MAX_PARTS


def test_a_text_that_just_fits_is_not_shortened() -> None:
    parts, shortened = divide("a" * (MAX_UNITS * MAX_PARTS))
    assert ([len(part) for part in parts], shortened) == ([MAX_UNITS] * MAX_PARTS, False)


def test_a_text_that_just_does_not_fit_is() -> None:
    parts, shortened = divide("a" * (MAX_UNITS * MAX_PARTS) + "b")
    assert shortened
    assert [len(part) for part in parts] == [MAX_UNITS] * MAX_PARTS
    assert parts[-1].endswith("a…")


def test_nothing_but_spaces_is_left_to_telegram_to_refuse() -> None:
    assert divide(" " * 5000) == ([""], False)


@given(st.lists(st.tuples(st.sampled_from(["a", "й", EMOJI, "a ", "b\n", "c\n\n"]), st.integers(1, 6000)), max_size=12))
def test_nothing_is_lost_and_nothing_too_long(pieces: list[tuple[str, int]]) -> None:
    text = "".join(piece * count for piece, count in pieces)
    parts, shortened = divide(text)
    assert len(parts) <= MAX_PARTS
    assert all(utf16_units(part) <= MAX_UNITS for part in parts)
    sent, wanted = ("".join("".join(joined).split()) for joined in (parts, [text]))
    if shortened:
        assert wanted.startswith(sent.removesuffix("…"))
    else:
        assert sent == wanted
