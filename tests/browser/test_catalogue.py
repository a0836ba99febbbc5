"""The Russian catalogue: whole, compiled, and knowing everything that the page says."""

import gettext
import re
from ast import literal_eval
from pathlib import Path

import pytest
from babel.messages.extract import extract_from_dir
from django.test import RequestFactory
from django.utils import translation

from sandbox.page import demo_page

ROOT = Path(__file__).resolve().parent.parent.parent
CATALOGUE = ROOT / "locale" / "ru" / "LC_MESSAGES" / "django.po"
FIELD = re.compile(r'^(msgctxt|msgid|msgstr) ((?:".*"\n?)+)', re.MULTILINE)
SAYING = re.compile(r"""{%\s*translate "([^"]+)"(?: context "([^"]+)")?""")
PLACE = re.compile(r"{\w*}|%\(\w+\)s")


def entries() -> dict[str, str]:
    """The translations by their text, with the context before it as in a compiled catalogue."""
    found = {}
    for block in CATALOGUE.read_text(encoding="utf-8").split("\n\n")[1:]:
        fields = {
            name: "".join(literal_eval(line) for line in lines.split("\n") if line)
            for name, lines in FIELD.findall(block)
        }
        found["\x04".join(fields[name] for name in ("msgctxt", "msgid") if name in fields)] = fields["msgstr"]
    return found


def test_every_text_is_translated_with_its_places() -> None:
    text = CATALOGUE.read_text(encoding="utf-8")
    assert "fuzzy" not in text
    assert [key for key, russian in entries().items() if not russian] == []
    wrong = [key for key, russian in entries().items() if sorted(PLACE.findall(key)) != sorted(PLACE.findall(russian))]
    assert wrong == []


def test_the_compiled_catalogue_is_that_of_the_source() -> None:
    with CATALOGUE.with_suffix(".mo").open("rb") as file:
        compiled = gettext.GNUTranslations(file)
    for key, russian in entries().items():
        context, _, text = key.rpartition("\x04")
        assert (compiled.pgettext(context, text) if context else compiled.gettext(text)) == russian


@pytest.mark.parametrize(
    "template", sorted((ROOT / "templates" / "sandbox").glob("*.html")), ids=lambda path: path.name
)
def test_the_catalogue_knows_what_a_template_says(template: Path) -> None:
    said = {
        f"{context}\x04{text}" if context else text
        for text, context in SAYING.findall(template.read_text(encoding="utf-8"))
    }
    assert said - set(entries()) == set()


@pytest.mark.parametrize("package", ["api", "deadlines", "notifier", "sandbox"])
def test_the_catalogue_knows_what_the_code_says(package: str) -> None:
    found = extract_from_dir(str(ROOT / package), [("**.py", "python")], keywords={"_": None})
    said = {message for _, _, message, _, _ in found if isinstance(message, str)}
    assert said - set(entries()) == set()


@pytest.mark.parametrize(("language", "note"), [("en", "No sandbox runs here"), ("ru", "Песочницы здесь нет")])
def test_without_a_sandbox_the_page_says_so_and_has_no_switches(language: str, note: str) -> None:
    with translation.override(language):
        page = demo_page(RequestFactory().get("/")).content.decode()
    assert note in page
    assert 'data-sandbox="no"' in page
    assert "data-scenario" not in page
    assert 'id="boxes"' not in page
    assert "ada@example.com" in page  # as a placeholder only: nobody is written to by accident
    assert 'value="ada@example.com"' not in page
