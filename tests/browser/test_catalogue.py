"""The Russian catalogue: whole, compiled, and knowing everything that the page says."""

import gettext
import re
from pathlib import Path

import pytest
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po
from django.test import RequestFactory
from django.utils import translation

from sandbox.page import demo_page

ROOT = Path(__file__).resolve().parent.parent.parent
CATALOGUE = ROOT / "locale" / "ru" / "LC_MESSAGES" / "django.po"
SAYING = re.compile(r"""{%\s*translate "([^"]+)"(?: context "([^"]+)")?""")
PLACE = re.compile(r"{\w*}|%\(\w+\)s")


def entries() -> dict[str, list[str]]:
    """The translations by their text, with the context before it as in a compiled catalogue: one, or each plural."""
    with CATALOGUE.open("rb") as file:
        catalogue = read_po(file)
    found = {}
    for message in catalogue:
        if message.id:
            text = message.id if isinstance(message.id, str) else message.id[0]
            russian = [message.string] if isinstance(message.string, str) else list(message.string or ())
            found[f"{message.context}\x04{text}" if message.context else text] = russian
    return found


def test_every_text_is_translated_with_its_places() -> None:
    assert "fuzzy" not in CATALOGUE.read_text(encoding="utf-8")
    assert [key for key, forms in entries().items() if not all(forms)] == []
    wrong = {
        key
        for key, forms in entries().items()
        for russian in forms
        if len(forms) == 1 and sorted(PLACE.findall(key)) != sorted(PLACE.findall(russian))
    }
    assert wrong == set()


def test_the_compiled_catalogue_is_that_of_the_source() -> None:
    with CATALOGUE.with_suffix(".mo").open("rb") as file:
        compiled = gettext.GNUTranslations(file)
    for key, forms in entries().items():
        context, _, text = key.rpartition("\x04")
        if len(forms) > 1:
            told = {compiled.ngettext(text, text, number) for number in range(100)}
            assert told <= set(forms)
            assert text not in told
        else:
            assert (compiled.pgettext(context, text) if context else compiled.gettext(text)) == forms[0]


TEMPLATES = ROOT / "templates"


def translated_by_django(text: str) -> bool:
    """Whether its own catalogue has it."""
    with translation.override("ru"):
        return translation.gettext(text) != text


@pytest.mark.parametrize(
    "template",
    sorted(path for path in TEMPLATES.rglob("*.*") if path.suffix in {".html", ".txt"}),
    ids=lambda path: str(path.relative_to(TEMPLATES)),
)
def test_the_catalogue_knows_what_a_template_says(template: Path) -> None:
    said = {
        f"{context}\x04{text}" if context else text
        for text, context in SAYING.findall(template.read_text(encoding="utf-8"))
    }
    assert {one for one in said - set(entries()) if not translated_by_django(one)} == set()


@pytest.mark.parametrize("package", ["accounts", "api", "backup", "deadlines", "notifier", "sandbox"])
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
