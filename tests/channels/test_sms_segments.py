"""Parts of an SMS, and shortening to them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels.sms.segments import GSM_7, GSM_BASIC, GSM_EXTENSION, UCS_2, alphabet_of, parts, shorten, units

EMOJI = "😀"
SIGNS = st.sampled_from([*"aZ0 \n@Ωé", *GSM_EXTENSION, "й", "«", "…", EMOJI, "\u0301"])
TEXTS = st.lists(st.tuples(st.text(SIGNS, min_size=1, max_size=4), st.integers(1, 300)), max_size=6).map(
    lambda pieces: "".join(piece * count for piece, count in pieces)
)


def test_the_alphabet_has_the_size_of_the_standard() -> None:
    assert len(set(GSM_BASIC)) == 127  # 128 less the escape
    assert len(set(GSM_EXTENSION)) == 10
    assert not set(GSM_BASIC) & set(GSM_EXTENSION)


@pytest.mark.parametrize(
    ("text", "size", "count"),
    [
        ("", 0, 1),
        ("a" * 160, 160, 1),
        ("a" * 161, 161, 2),
        ("a" * 306, 306, 2),
        ("a" * 307, 307, 3),
        ("€" * 80, 160, 1),
        ("€" * 81, 162, 2),
        ("€" * 153, 306, 3),  # not 2: a part of 153 holds 76 pairs
        ("a" * 159 + "|", 161, 2),
        ("й" * 70, 70, 1),
        ("й" * 71, 71, 2),
        ("й" * 134, 134, 2),
        ("й" * 135, 135, 3),
        (EMOJI * 35, 70, 1),
        (EMOJI * 36, 72, 2),
        (EMOJI * 66, 132, 2),
        (EMOJI * 67, 134, 3),  # not 2: a part of 67 holds 33 pairs
        ("a" * 69 + "й", 70, 1),
        ("a" * 70 + "й", 71, 2),
        ("’" + "a" * 70, 71, 2),  # one curly quote
        ("ç", 1, 1),  # only the capital one is in the alphabet
        ("[" + "й", 2, 1),  # and only GSM-7 escapes anything
    ],
)
def test_units_and_parts(text: str, size: int, count: int) -> None:
    assert (units(text), parts(text)) == (size, count)


@pytest.mark.parametrize("text", ["ç", "й", "`", EMOJI, "\t", "…", "\x1b", "\ud83d"])
def test_what_is_outside_of_gsm_7(text: str) -> None:
    assert alphabet_of(text) is UCS_2
    assert alphabet_of("Ç@{") is GSM_7


@pytest.mark.parametrize(
    ("text", "max_parts", "expected"),
    [
        ("a" * 160, 1, "a" * 160),
        ("a" * 161, 1, "a" * 157 + "..."),
        ("a" * 1000, 2, "a" * 303 + "..."),
        ("й" * 70, 1, "й" * 70),
        ("й" * 71, 1, "й" * 69 + "…"),
        ("й" * 1000, 6, "й" * 401 + "…"),
        (EMOJI * 100, 1, EMOJI * 34 + "…"),  # 68 units and one: the next emoji would need two
        ("€" * 100, 1, "€" * 78 + "..."),
        ("a" * 156 + " " + "b" * 99, 1, "a" * 156 + "..."),
        ("a" * 500 + "й", 1, "a" * 157 + "..."),  # the foreign sign is cut away, and with it the need for UCS-2
        ("a" * 20 + "й" * 500, 1, "a" * 20 + "й" * 49 + "…"),
    ],
)
def test_shorten(text: str, max_parts: int, expected: str) -> None:
    assert shorten(text, max_parts) == expected


def test_an_sms_without_parts_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="one part"):
        shorten("a", 0)


@given(TEXTS, st.integers(1, 7))
def test_shortened_texts_fit_and_begin_like_the_whole(text: str, max_parts: int) -> None:
    result = shorten(text, max_parts)
    assert parts(result) <= max_parts
    if parts(text) <= max_parts:
        assert result == text
        return
    mark = alphabet_of(result).mark
    assert result.endswith(mark)
    assert text.startswith(result.removesuffix(mark))
    result.encode("utf-16")  # no half of a pair


@given(TEXTS, st.integers(1, 7))
def test_nothing_that_would_fit_is_left_out(text: str, max_parts: int) -> None:
    result = shorten(text, max_parts)
    if result == text:
        return
    mark = alphabet_of(result).mark
    kept = len(result) - len(mark)
    longer = text[: kept + 1]
    assert (
        longer[-1].isspace()
        or parts(longer + mark) > max_parts
        or alphabet_of(longer + mark) is not alphabet_of(result)
    )


@given(TEXTS)
def test_parts_are_never_fewer_than_lengths_allow(text: str) -> None:
    alphabet = alphabet_of(text)
    size = units(text)
    least = 1 if size <= alphabet.single else -(-size // alphabet.joined)
    assert least <= parts(text) <= least + 1 + size // (alphabet.joined - 1)
