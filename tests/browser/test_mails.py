"""The mails that ship, in a real browser: on a phone and at a desk, by day and by night."""

from collections.abc import Iterator
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, Page

from tests.notifier.shipped import LANGUAGES, NAMES, longest, template

LOOKS: list[tuple[int, Literal["light", "dark"]]] = [(360, "light"), (360, "dark"), (1280, "light"), (1280, "dark")]

FAINT = """() => {
  const channels = text => text.match(/[0-9.]+/g).map(Number);
  const light = parts => {
    const [r, g, b] = parts.map(part => part / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = element => {
    for (let one = element; one; one = one.parentElement) {
      const found = channels(getComputedStyle(one).backgroundColor);
      if (found.length < 4 || found[3] > 0) return found.slice(0, 3);
    }
    return [255, 255, 255];
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const faint = [];
  let seen = 0;
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility()) continue;
    seen += 1;
    const both = [light(channels(getComputedStyle(element).color).slice(0, 3)), light(ground(element))];
    const ratio = (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
    if (ratio < 4.5) faint.push(`${walker.currentNode.data.trim()}: ${ratio.toFixed(2)}`);
  }
  return seen ? faint : ["no text at all"];
}"""
"""The texts with less contrast than WCAG AA asks for, each with its ratio."""


@pytest.fixture(params=LOOKS, ids=lambda look: f"{look[0]}-{look[1]}")
def reader(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """An empty page of this width and color scheme. At its end no request may have left it."""
    width, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page, wanted = context.new_page(), []
    page.on("request", lambda asked: wanted.append(asked.url))
    yield page
    context.close()
    assert wanted == []


def sticking_out(page: Page) -> Any:
    """By how many pixels the mail is wider than the page."""
    return page.evaluate("() => document.documentElement.scrollWidth - window.innerWidth")


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_mail_fits_and_is_readable(reader: Page, language: str) -> None:
    for name in NAMES:
        reader.set_content(template(name).render(template(name).sample, language).html)
        assert sticking_out(reader) <= 0, name
        assert reader.evaluate(FAINT) == [], name
        assert reader.title(), name
        assert reader.locator("html").get_attribute("lang") == language


def test_words_without_end_break(reader: Page) -> None:
    for name in NAMES:
        reader.set_content(template(name).render(longest(name), "en").html)
        assert sticking_out(reader) <= 0, name


def test_a_failed_backup_is_readable_too(reader: Page) -> None:
    made = template("backup_report")
    context = {**made.sample, "status": "failed", "error": "The disk is full.", "remedy": "Make room."}
    reader.set_content(made.render(context, "en").html)
    assert reader.evaluate(FAINT) == []


def test_on_a_phone_an_order_is_read_from_top_to_bottom(reader: Page) -> None:
    """There each position's name stands above its price, at a desk beside it."""
    reader.set_content(template("order_request").render(template("order_request").sample, "en").html)
    name, price = reader.get_by_text("Cable, 3 m").bounding_box(), reader.get_by_text("4 × 75.50").bounding_box()
    assert name
    assert price
    below = price["y"] >= name["y"] + name["height"]
    assert below is (reader.evaluate("() => window.innerWidth") == 360)
