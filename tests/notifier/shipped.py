"""Contexts for the templates that ship: what their schemas allow at the most, at the least, and of the worst kind."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from notifier import message_templates
from notifier.message_templates import Template

ROOT = Path(__file__).parents[2] / "templates" / "messages"
NAMES = sorted(path.parent.name for path in ROOT.glob("*/template.json"))
LANGUAGES = ("en", "ru")
HOSTILE = "<script>\"'&{{7*7}}{%x%}"


def template(name: str) -> Template:
    """The one of that name."""
    found = message_templates.find(name)
    assert found is not None
    return found


def declared(name: str) -> Any:
    """Its `template.json`."""
    return json.loads((ROOT / name / "template.json").read_text(encoding="utf-8"))


def hostile(name: str) -> Any:
    """The sample with every text hostile that may be any text."""
    return _changed(template(name).variables, template(name).sample, lambda _schema: HOSTILE)


def longest(name: str) -> Any:
    """The sample with every text that may be any text one word, as long as it may be; links and addresses too."""
    return _changed(template(name).variables, template(name).sample, _longest_text)


def _longest_text(schema: Mapping[str, Any]) -> str:
    most: int = schema["maxLength"]
    beginning = {"uri": "https://", "email": f"{'w' * 64}@"}.get(schema.get("format", ""), "")
    return beginning + "W" * (most - len(beginning))


def is_free(schema: Mapping[str, Any]) -> bool:
    """Whether it may be any text of one line."""
    return (
        schema.get("type") == "string"
        and "format" not in schema
        and bool(re.search(schema.get("pattern", ""), HOSTILE))
    )


def _changed(schema: Any, value: Any, text: Callable[[Any], str]) -> Any:
    if isinstance(value, dict):
        return {name: _changed(schema["properties"][name], one, text) for name, one in value.items()}
    if isinstance(value, list):
        return [_changed(schema["items"], one, text) for one in value]
    return (
        text(schema)
        if is_free(schema) or (text is _longest_text and schema.get("format") in ("uri", "email"))
        else value
    )


def least(name: str) -> Any:
    """The sample without anything that may be left out."""
    return _needed(template(name).variables, template(name).sample)


def _needed(schema: Any, value: Any) -> Any:
    if isinstance(value, dict):
        kept = {name: one for name, one in value.items() if name in schema["required"]}
        return {name: _needed(schema["properties"][name], one) for name, one in kept.items()}
    if isinstance(value, list):
        return [_needed(schema["items"], one) for one in value]
    return value
