"""Message templates: what they are given, what is refused, and what comes out."""

import json
from collections.abc import Callable
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.utils import translation
from pytest_django.fixtures import Settings

from notifier import message_templates
from notifier.markers import filled
from notifier.message_templates import Template
from notifier.orders import KINDS, amount

VARIABLES: dict[str, Any] = {
    "type": "object",
    "required": ["client", "link"],
    "additionalProperties": False,
    "properties": {
        "client": {
            "type": "object",
            "required": ["name"],
            "additionalProperties": False,
            "properties": {
                "name": {"type": "string", "minLength": 1, "maxLength": 20},
                "email": {"type": "string", "format": "email"},
                "age": {"type": "integer", "minimum": 1, "maximum": 150},
                "born": {"type": "string", "format": "date"},
                "code": {"type": "string", "pattern": "^[A-Z]+$"},
            },
        },
        "link": {"type": "string", "format": "uri"},
        "mood": {"enum": ["good", "bad"]},
        "tags": {"type": "array", "minItems": 1, "maxItems": 3, "items": {"type": "string"}},
        "seen_at": {"type": "string", "format": "date-time"},
    },
}
SAMPLE: dict[str, Any] = {"client": {"name": "Ann"}, "link": "https://example.com/?a=1&b=2"}
FILES = {
    "subject.txt": "For {{ client.name }}\n\n",
    "text.txt": "{% load i18n %}{% translate 'Yes' %}, {{ client.name }}: {{ link }}\n",
    "body.html": (
        "<!doctype html><html><head><style>p { color: red } @media (max-width: 480px) { p { color: blue } }</style>"
        '</head><body><p title="{{ client.name }}">{{ client.name }}</p><a href="{{ link }}">{{ link }}</a></body>'
    ),
    "sms.txt": "{{ client.name }} {{ link }}",
}
Maker = Callable[..., Template]


@pytest.fixture
def make(tmp_path: Path, settings: Settings) -> Maker:
    """Makes a template of one's own."""
    settings.MESSAGE_TEMPLATES = tmp_path

    def made(name: str = "own", files: dict[str, str] | None = None, **declared: Any) -> Template:
        folder = tmp_path / name
        folder.mkdir()
        known = {"description": {"en": "Mine", "ru": "Моё"}, "channels": ["email", "sms"], "variables": VARIABLES}
        (folder / "template.json").write_text(json.dumps({**known, "sample": SAMPLE, **declared}))
        for file, text in {**FILES, **(files or {})}.items():
            (folder / file).write_text(text)
        found = message_templates.find(name)
        assert found is not None
        return found

    return made


# --- Found -----------------------------------------------------------------------------------------------------------
def test_every_template_that_ships_is_sound() -> None:
    assert message_templates.check_templates() == []


@pytest.mark.parametrize(
    "name", ["", "nothing", "_layout", "../own", "own/", "OWN", "own\n", "о", "." * 200, "a" * 5000]
)
def test_what_is_no_templates_name_finds_none(name: str, make: Maker) -> None:
    make()
    assert message_templates.find(name) is None


def test_shared_pieces_are_no_templates(make: Maker, tmp_path: Path) -> None:
    make("second")
    make("first")
    (tmp_path / "_shared").mkdir()
    (tmp_path / "_shared" / "template.json").write_text("{}")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    assert message_templates.find("file") is None
    assert message_templates.names() == ["first", "second"]


@pytest.mark.parametrize(
    ("declared", "word"),
    [
        ({"variables": {"type": "nonsense"}}, "JSON Schema"),
        ({"secret": ["client"]}, "secrets"),
        ({"kind": "nonsense"}, "kind"),
        ({"colour": "green"}, "template.json"),
        ({"sample": {}}, "sample"),
    ],
)
def test_a_template_that_is_declared_wrongly_says_so(make: Maker, declared: dict[str, Any], word: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=word):
        make(**declared)
    [complaint] = message_templates.check_templates()
    assert word in complaint.msg


@pytest.mark.parametrize(
    ("files", "word"),
    [
        ({"text.txt": "{% nonsense %}"}, "rendered"),
        ({"body.html": '{% extends "../nothing.html" %}'}, "rendered"),
        ({"sms.txt": "{{ nothing }}"}, "empty sms"),
        ({"text.txt": "{{ link|upper }}"}, "filter"),
    ],
)
def test_a_template_that_makes_nothing_of_its_sample_says_so(make: Maker, files: dict[str, str], word: str) -> None:
    make(files=files, secret=["link"])
    [complaint] = message_templates.check_templates()
    assert word in complaint.msg


def test_the_description_speaks_the_active_language(make: Maker) -> None:
    template = make()
    assert template.description == "Mine"
    with translation.override("ru"):
        assert template.description == "Моё"


# --- What is wrong with a context ------------------------------------------------------------------------------------
WRONG = [
    ({}, "client", "required"),
    ({"client": {}, "link": "https://a.b"}, "client.name", "required"),
    ({**SAMPLE, "client": {"name": ""}}, "client.name", "min_length"),
    ({**SAMPLE, "client": {"name": "a" * 21}}, "client.name", "max_length"),
    ({**SAMPLE, "client": {"name": 5}}, "client.name", "invalid"),
    ({**SAMPLE, "client": None}, "client", "invalid"),
    ({**SAMPLE, "client": {"name": "Ann", "nmae": 1}}, "client.nmae", "unknown_field"),
    ({**SAMPLE, "nonsense": 1}, "nonsense", "unknown_field"),
    ({**SAMPLE, "client": {"name": "Ann", "email": "nobody"}}, "client.email", "invalid"),
    ({**SAMPLE, "client": {"name": "Ann", "age": True}}, "client.age", "invalid"),
    ({**SAMPLE, "client": {"name": "Ann", "age": 1.5}}, "client.age", "invalid"),
    ({**SAMPLE, "client": {"name": "Ann", "age": 0}}, "client.age", "min_value"),
    ({**SAMPLE, "client": {"name": "Ann", "age": 151}}, "client.age", "max_value"),
    ({**SAMPLE, "client": {"name": "Ann", "born": "31.12.1999"}}, "client.born", "invalid"),
    ({**SAMPLE, "client": {"name": "Ann", "code": "a"}}, "client.code", "invalid"),
    ({**SAMPLE, "link": "javascript:alert(1)"}, "link", "invalid"),
    ({**SAMPLE, "link": "data:text/html,x"}, "link", "invalid"),
    ({**SAMPLE, "mood": "so so"}, "mood", "invalid_choice"),
    ({**SAMPLE, "tags": []}, "tags", "min_length"),
    ({**SAMPLE, "tags": ["a"] * 4}, "tags", "max_length"),
    ({**SAMPLE, "tags": ["a", 1]}, "tags.1", "invalid"),
    ({**SAMPLE, "seen_at": "2026-11-20T12:00:00"}, "seen_at", "invalid"),
    ([], "", "invalid"),
    ("text", "", "invalid"),
]


@pytest.mark.parametrize(("context", "path", "code"), WRONG)
def test_a_wrong_context_is_told_by_its_place(make: Maker, context: Any, path: str, code: str) -> None:
    found = make().errors(context)
    assert (path, code) in [(one.path, one.code) for one in found]
    assert all(one.text for one in found)


def test_several_mistakes_are_told_at_once_and_none_twice(make: Maker) -> None:
    found = [(one.path, one.code) for one in make().errors({"x": 1, "client": {"age": "old"}})]
    assert sorted(found) == [
        ("client.age", "invalid"), ("client.name", "required"), ("link", "required"), ("x", "unknown_field"),
    ]  # fmt: skip


def nested(depth: int, *, lists: bool = False) -> Any:
    value: Any = {}
    for _level in range(depth):
        value = [value] if lists else {"a": value}
    return value


@pytest.mark.timeout(100)
@pytest.mark.parametrize(
    "context",
    [
        {"client": {"name": "a" * 1_000_000}},
        {"tags": ["a"] * 100_000},
        {"tags": [{}] * 10_000},
        {f"k{number}": number for number in range(50_000)},
        {"client": nested(100_000)},
        {"tags": nested(100_000, lists=True)},
        {"k" * 500_000: 1},
    ],
    ids=["long", "many", "many wrong", "unknown", "deep", "deep lists", "a long name"],
)
def test_however_large_or_deep_a_context_is_it_is_refused_soon(make: Maker, context: Any) -> None:
    found = make().errors({**SAMPLE, **context})
    assert 0 < len(found) <= 50
    assert all(len(one.path) < 200 and len(one.text) < 200 for one in found)


def test_what_stands_in_a_list_that_is_too_long_is_not_looked_at(make: Maker) -> None:
    assert [one.path for one in make().errors({**SAMPLE, "tags": [1] * 4})] == ["tags"]


# --- What comes out --------------------------------------------------------------------------------------------------
class Tags(HTMLParser):
    """What a browser would see."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, Any]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note it."""
        self.found.append((tag, dict(attrs)))


HOSTILE = "{{ link }}<b>&\"'{% now 'Y' %}"


def test_values_are_data_and_escaped_in_html_alone(make: Maker) -> None:
    made = make().render({**SAMPLE, "client": {"name": HOSTILE}}, "en")
    assert made.subject == f"For {HOSTILE}"
    assert made.text == f"Yes, {HOSTILE}: {SAMPLE['link']}"
    assert made.sms == f"{HOSTILE} {SAMPLE['link']}"
    assert made.telegram == made.text
    tags = Tags()
    tags.feed(made.html)
    assert ("p", {"title": HOSTILE, "style": "color: red;"}) in tags.found
    assert "b" not in dict(tags.found)
    assert "{{ link }}&lt;b&gt;&amp;" in made.html
    assert 'href="https://example.com/?a=1&amp;b=2"' in made.html


def test_styles_are_inlined_and_those_for_narrow_screens_stay(make: Maker) -> None:
    html = make().render(SAMPLE, "en").html
    assert 'style="color: red;"' in html
    assert "@media (max-width: 480px)" in html


@pytest.mark.parametrize(
    ("language", "word"), [("ru", "Да"), ("RU", "Да"), ("ru-BY", "Да"), ("en", "Yes"), ("fr", "Yes"), ("", "Yes")]
)
def test_the_language_is_the_wanted_one_or_the_services(make: Maker, language: str, word: str) -> None:
    with translation.override("ru"):
        assert make().render(SAMPLE, language).text.startswith(word)


def test_the_services_language_may_be_another(make: Maker, settings: Settings) -> None:
    settings.LANGUAGE_CODE = "ru"
    assert make().render(SAMPLE, "fr").text.startswith("Да")


@pytest.mark.parametrize("name", ["a\nBcc: x@example.com", "a\r\nb", "a\u2028b", "a\x00b", "a" * 300])
def test_a_subject_is_one_line_that_fits(make: Maker, name: str) -> None:
    template = make(files={"subject.txt": "{{ client.name }}"}, variables={"type": "object"})
    subject = template.render({"client": {"name": name}}, "en").subject
    assert len(subject) <= 255
    assert subject.isprintable()


# --- Secrets ---------------------------------------------------------------------------------------------------------
def test_a_marker_stands_for_a_secret_until_it_is_filled_in(make: Maker) -> None:
    template = make(secret=["link"])
    made = template.render(template.masked(SAMPLE), "en")
    assert made.text == "Yes, Ann: ⟨link⟩"
    values = template.secrets_of(SAMPLE)
    assert filled(made.text, values) == f"Yes, Ann: {SAMPLE['link']}"
    assert filled(made.html, values, html=True) == template.render(SAMPLE, "en").html


@pytest.mark.parametrize("context", [{"client": {"name": "⟨link⟩"}}, {"tags": ["a", "b ⟨link⟩"]}])
def test_no_other_value_may_hold_the_marker(make: Maker, context: dict[str, Any]) -> None:
    template = make(secret=["link"])
    assert [one.code for one in template.errors({**SAMPLE, **context})] == ["invalid"]
    assert make("open").errors({**SAMPLE, **context}) == []


def test_what_a_secret_holds_is_not_filled_in_again() -> None:
    assert filled("⟨a⟩ ⟨b⟩ ⟨c⟩", {"a": "⟨b⟩", "b": "<"}) == "⟨b⟩ < ⟨c⟩"
    assert filled("⟨a⟩", {"a": "<"}, html=True) == "&lt;"


# --- Goods and money -------------------------------------------------------------------------------------------------
def order(*lines: tuple[Any, Any], total: Any = None) -> dict[str, Any]:
    items = [{"code": "A", "name": "Lamp", "quantity": quantity, "price": price} for quantity, price in lines]
    return {"items": items, **({} if total is None else {"total": total})}


def wrong(context: dict[str, Any], kind: str = "order") -> list[tuple[str, str]]:
    return [(one.path, one.code) for one in KINDS[kind].mistakes(context)]


@pytest.mark.parametrize(
    ("lines", "total"),
    [
        ([(1, "0.10"), (1, "0.20")], "0.30"),
        ([(1, 0.1), (1, 0.2)], 0.3),
        ([(3, 19.99)], 59.97),
        ([("3", "19.99")], "59.97"),
        ([("0.5", "0.01")], "0.01"),  # half up
        ([("1.5", "2.33")], 3.5),
        ([(3, "0.3333")], "1.00"),
        ([(1, "0.005"), (1, "0.005")], "0.01"),  # rounded once
        ([(999999999999, "999999999999.9999")], None),
        ([(2, "5")], 10),
        ([(1, 0)], "0"),
        ([(1, 1)] * 100, "100"),
    ],
)
def test_a_total_is_the_sum_to_the_cent(lines: list[tuple[Any, Any]], total: Any) -> None:
    assert total is None or wrong(order(*lines, total=total)) == []
    assert wrong({"order": order(*lines, total=total)}, "call") == []


@pytest.mark.parametrize(
    ("total", "right"),
    [("0.31", "0.30"), (0.29, "0.30"), ("30", "0.30"), (0, "0.30")],
)
def test_another_total_is_refused_with_the_right_one(total: Any, right: str) -> None:
    context = order((1, 0.1), (1, "0.2"), total=total)
    found = KINDS["order"].mistakes(context)
    assert [(one.path, one.code) for one in found] == [("total", "total")]
    assert right in found[0].text
    assert wrong({"order": context}, "call") == [("order.total", "total")]


BAD_AMOUNTS: list[Any] = [
    *(1e22, 1e-7, 0.1 + 0.2, float("nan"), float("inf"), True, None, [], {}, "", " 1", "1 ", "1,5", "1e3", "NaN"),
    *("Infinity", "0x10", "١", "+1", ".5", "5.", "1_000", "1" * 13, 10**12, 10**5000, "1" * 5000, "1.23456", "-0.01"),
    *(-1, "--1", "1.2.3", "1\n"),
]


@pytest.mark.parametrize("value", BAD_AMOUNTS, ids=lambda value: repr(value)[:20] if type(value) is not int else "int")
@pytest.mark.parametrize("field", ["quantity", "price", "total", "stock"])
def test_what_is_no_plain_decimal_is_refused(field: str, value: Any) -> None:
    context = order((1, 1), total=1)
    if field == "total":
        context["total"] = value
    else:
        context["items"][0][field] = value
    found = wrong(context)
    if field == "stock" and value is None:
        assert found == []
    else:
        assert (field if field == "total" else f"items.0.{field}", "decimal") in found


@pytest.mark.parametrize(
    ("field", "fine", "too_fine"), [("price", "1.2345", "1.23456"), ("quantity", "1.234", "1.2345")]
)
def test_how_many_digits_there_may_be_after_the_point(field: str, fine: str, too_fine: str) -> None:
    for value, path in ((fine, "total"), (too_fine, f"items.0.{field}")):
        context = order((1, 1), total="0")
        context["items"][0][field] = value
        assert wrong(context)[0][0] == path


def test_nothing_of_something_is_no_order_line() -> None:
    assert wrong(order(("0", 1), total=0)) == [("items.0.quantity", "min_value")]


def test_a_total_is_needed_where_the_template_says_so() -> None:
    assert wrong(order((1, 1))) == [("total", "required")]
    assert wrong({"order": order((1, 1))}, "call") == []
    assert wrong({}, "call") == []


@pytest.mark.parametrize(
    ("language", "expected"),
    [("en", ("1,234.5", "2,500.00", "3,086,250.00")), ("ru", ("1 234,5", "2 500,00", "3 086 250,00"))],
)
def test_amounts_are_shown_as_people_of_a_language_write_them(language: str, expected: tuple[str, ...]) -> None:
    context = order(("1234.500", 2500), total="3086250.00")
    context["items"][0]["stock"] = 1000
    with translation.override(language):
        shown = KINDS["order"].shown(context)
    item = shown["items"][0]
    told = (item["quantity_shown"], item["price_shown"], item["sum_shown"])
    assert tuple(text.replace("\xa0", " ") for text in told) == expected
    assert shown["total_shown"] == item["sum_shown"]
    assert (item["is_short"], item["stock"]) == (True, 1000)


def test_a_missing_total_is_computed() -> None:
    shown = KINDS["call"].shown({"order": order((2, "10.25"), (1, "0.5"))})["order"]
    assert shown["total_shown"] == "21.00"
    assert (shown["items"][0]["stock"], shown["items"][0]["is_short"]) == (None, False)


def test_a_float_is_what_is_written() -> None:
    assert amount(0.1, 2) == Decimal("0.1")
