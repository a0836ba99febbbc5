"""The templates that ship: each speaks both languages, shows what it was given, and lets nothing hostile in."""

import re
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from typing import Any

import pytest
from django.utils import translation

from channels.sms.segments import parts
from notifier.message_templates import Rendered
from tests.notifier.shipped import HOSTILE, LANGUAGES, NAMES, declared, hostile, is_free, least, longest, template

PARTIES = ("manager_call", "order_request")
AMOUNTS = {"quantity", "price", "stock", "total"}
MEANT = {"status", "priority", "state"}
"""Values that decide what is said, and are not said themselves."""

every = pytest.mark.parametrize("name", NAMES)
both = pytest.mark.parametrize("language", LANGUAGES)


class Page(HTMLParser):
    """The tags, the words outside of style sheets, and where links lead."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.words, self._tag = "", ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        """Remember it."""
        self._tag = tag
        self.tags.append(tag)
        self.words += "\n" * (tag == "br")
        assert not any(name.startswith("on") or name in ("src", "background") for name, _value in attrs)
        self.links.extend(value or "" for name, value in attrs if name == "href")

    def handle_endtag(self, tag: str) -> None:
        """What follows is no style sheet."""
        self._tag = ""

    def handle_data(self, data: str) -> None:
        """Words."""
        if self._tag != "style":
            self.words += data


def forms(made: Rendered) -> dict[str, str]:
    """All that was made, by name."""
    return {name: getattr(made, name) for name in made.__slots__}


def changed(name: str, path: str, value: Any) -> Any:
    """The sample with another value there."""

    def inside(one: Any, keys: list[str]) -> Any:
        if not keys:
            return value
        if isinstance(one, list):
            return [inside(entry, keys[1:]) if str(place) == keys[0] else entry for place, entry in enumerate(one)]
        return {**one, keys[0]: inside(one.get(keys[0], {}), keys[1:])}

    return inside(dict(template(name).sample), path.split("."))


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that holds no others, with its name."""
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield from leaves(one, key)
    elif isinstance(value, list):
        for one in value:
            yield from leaves(one, name)
    else:
        yield name, value


def test_these_ship() -> None:
    assert NAMES == [
        "account_exists",
        "activation",
        "backup_report",
        "deadline_digest",
        "manager_call",
        "order_request",
        "password_change",
        "welcome",
    ]


@every
def test_it_says_what_it_is_for_and_what_it_takes(name: str) -> None:
    told, made = declared(name), template(name)
    assert set(told["description"]) == set(LANGUAGES)
    assert set(told["channels"]) == {"email", *(form for form in ("sms", "telegram") if f"{form}.txt" in made.forms)}
    for variable in told["variables"]["properties"].values():
        assert variable["description"]


@every
def test_every_value_of_it_has_bounds(name: str) -> None:
    rest = [template(name).variables]
    while rest:
        schema = rest.pop()
        kind = schema.get("type")
        if kind == "object":
            assert schema["additionalProperties"] is False
            rest.extend(schema["properties"].values())
        elif kind == "array":
            assert schema["maxItems"] <= 200
            rest.append(schema["items"])
        elif kind == "string":
            assert schema["maxLength"] <= 4000
        elif kind == "boolean" or "enum" in schema:
            continue
        else:
            assert schema["maximum"] > schema["minimum"] >= 0


@every
@both
@pytest.mark.parametrize("make", [lambda name: template(name).sample, least, longest])
def test_every_form_is_whole(name: str, language: str, make: Any) -> None:
    context = make(name)
    if make is not longest:  # a text of one word is no total
        assert template(name).errors(context) == []
    made = template(name).render(context, language)
    for form, text in forms(made).items():
        assert text.strip(), form
        assert not re.search(r"\{\{|\{%|%\(|None", text), form
    assert "\n" not in made.subject
    assert len(made.subject) <= 255
    assert f'<html lang="{language}">' in made.html
    for text in (made.text, made.telegram):
        assert "\n\n\n" not in text
        assert [line for line in text.splitlines() if line != "-- " and line != line.rstrip()] == []
    assert not re.search(r", \.|\(\)|: ?,", made.sms)


@every
@both
def test_the_text_and_the_page_show_every_value(name: str, language: str) -> None:
    sample = template(name).sample
    made = template(name).render(sample, language)
    words = re.sub(r"\s+", " ", Page(made.html).words)
    for key, value in leaves(sample):
        if key in AMOUNTS | MEANT or isinstance(value, bool | int):
            continue
        assert value in made.text
        if key != "url":  # there it is a link
            assert re.sub(r"\s+", " ", value) in words


@every
@both
def test_a_sample_fits_into_two_sms(name: str, language: str) -> None:
    if "sms.txt" in template(name).forms:
        assert parts(template(name).render(template(name).sample, language).sms) <= 2


@every
@both
def test_nothing_hostile_gets_in(name: str, language: str) -> None:
    context = hostile(name)
    assert template(name).errors(context) == []
    made = template(name).render(context, language)
    page = Page(made.html)
    typed = sum(value == HOSTILE for _key, value in leaves(context))
    assert page.words.count(HOSTILE) >= typed
    assert made.text.count(HOSTILE) >= typed
    harmless = Page(template(name).render(template(name).sample, language).html)
    assert set(page.tags) == set(harmless.tags)
    assert set(page.links) <= set(harmless.links)
    assert {"script", "img", "link", "iframe", "form", "base", "object"} & set(page.tags) == set()
    assert not re.search(r"url\(|@import|expression\(", made.html)


@every
def test_a_line_stays_one_line(name: str) -> None:
    schema = template(name).variables["properties"]
    for key, value in template(name).sample.items():
        if is_free(schema[key]) and not re.search(schema[key].get("pattern", ""), "a\nb"):
            for wrong in ("a\nb", "a\n", "a\x00b", "a\u2028b", "a\x1b[2J"):
                assert [one.path for one in template(name).errors({**template(name).sample, key: wrong})] == [key], (
                    value
                )


@pytest.mark.parametrize(
    ("name", "path"),
    [(name, "link") for name in ("welcome", "activation", "password_change", "account_exists")]
    + [("deadline_digest", "groups.1.url")]
    + [(name, f"client.{field}") for name in PARTIES for field in ("phone", "email")],
)
@pytest.mark.parametrize(
    "value",
    [
        "javascript:alert(1)",
        "JavaScript:alert(1)//https://a.example/",
        "data:text/html,x",
        "//evil.example/",
        " https://a.example/",
        "https://a.example/\n",
        "+1 202\n555",
        "tel:+12025550123",
        "a@b@c.example",
        "a@example.com\nBcc: b@example.com",
    ],
)
def test_a_link_leads_to_nothing_that_runs(name: str, path: str, value: str) -> None:
    assert {one.path for one in template(name).errors(changed(name, path, value))} == {path}


def test_phone_and_mail_are_links() -> None:
    context = changed("order_request", "client.phone", "+7 (999) 123-45-67")
    for name in PARTIES:
        links = Page(template(name).render({**template(name).sample, "client": context["client"]}, "en").html).links
        assert links == ["tel:+7999123-45-67", "mailto:anna@example.com"]


def test_a_name_does_not_turn_the_sum_around() -> None:
    made = template("order_request").render(changed("order_request", "client.name", "\u202eAnn\u2067"), "en")
    assert made.subject == "Order: Ann, total 104,681.80"
    assert "<bdi>\u202eAnn\u2067</bdi> · 104,681.80" in made.html


@pytest.mark.parametrize(
    ("name", "path", "value", "color"),
    [
        *((name, "client.name", "Ann", "#26a65b") for name in PARTIES),
        ("backup_report", "status", "ok", "#17697f"),
        ("backup_report", "status", "failed", "#b3362b"),
        ("welcome", "name", "Ann", "#17697f"),
    ],
)
def test_the_header_has_its_color(name: str, path: str, value: str, color: str) -> None:
    html = template(name).render(changed(name, path, value), "en").html
    head = re.search(r'<td class="head[^>]* style="([^"]*)"', html)
    assert head is not None
    assert f"background-color: {color}" in head[1]


@pytest.mark.parametrize(
    ("priority", "color", "word"),
    [
        ("high", "#b3362b", "High priority"),
        ("medium", "#8a5300", "Medium priority"),
        ("low", "#5c6b73", "Low priority"),
    ],
)
def test_the_priority_is_a_colored_word(priority: str, color: str, word: str) -> None:
    made = template("manager_call").render(changed("manager_call", "priority", priority), "en")
    assert re.search(f'<b class="[a-z]+" style="color: {color};?">{word}</b>', made.html)
    assert word.lower() in made.subject


@pytest.mark.parametrize(
    ("language", "shown"),
    [
        ("en", ["2 × 1,249.90", "2,499.80", "12 × 8,490.00", "101,880.00", "104,681.80"]),
        ("ru", ["2 × 1 249,90", "2 499,80", "12 × 8 490,00", "101 880,00", "104 681,80"]),
    ],
)
@pytest.mark.parametrize("name", PARTIES)
def test_an_order_shows_its_sums_and_what_is_short(name: str, language: str, shown: list[str]) -> None:
    made = template(name).render(template(name).sample, language)
    for text in (made.text, Page(made.html).words, made.telegram):
        flat = text.replace("\xa0", " ")
        assert [one for one in shown if one not in flat] == []
    assert made.html.count('<b class="red"') == 1 + (name == "manager_call")
    with translation.override(language):
        assert translation.gettext("only %(stock)s in stock") % {"stock": 5} in made.html


def test_a_backup_that_failed_says_what_to_do() -> None:
    context = {
        **least("backup_report"),
        "status": "failed",
        "error": "Refused.",
        "remedy": "Start it.",
        "note": "Kept.",
    }
    made = template("backup_report").render(context, "en")
    assert "FAILED" in made.subject
    for text in (made.text, made.telegram, Page(made.html).words):
        assert "Refused." in text
        assert "Start it." in text
        assert "attached" not in text
    assert "Refused." in made.sms


def test_a_digest_without_news_says_so() -> None:
    groups = [{"state": "overdue", "title": "Overdue", "count": 0, "rows": []}]
    made = template("deadline_digest").render({**template("deadline_digest").sample, "groups": groups}, "en")
    for text in (made.text, Page(made.html).words):
        assert "Nothing is due within the next days (30)." in text


@pytest.mark.parametrize("name", ["activation", "password_change"])
def test_the_token_of_a_link_is_never_stored_readably(name: str) -> None:
    made = template(name)
    assert made.secret == ("link",)
    token = made.sample["link"].partition("=")[2]
    assert token
    for form, text in forms(made.render(made.masked(made.sample), "en")).items():
        assert token not in text, form
