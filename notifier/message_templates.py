"""Message templates: a folder each below `settings.MESSAGE_TEMPLATES`, with its texts and a schema of its variables.

`docs/templates.md` tells how to write one. Values are data: never read as a template, always escaped in HTML.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Literal

import css_inline
from django.conf import settings
from django.core.checks import CheckMessage, Error
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.dispatch import receiver
from django.template.backends.django import DjangoTemplates
from django.utils import translation
from django.utils.translation import gettext as _
from jsonschema import Draft202012Validator, SchemaError

from notifier import contexts
from notifier.contexts import Mistake
from notifier.markers import filled, marker
from notifier.orders import KINDS, Kind
from notifier.states import Priority

LONGEST_SUBJECT = 255
LONGEST_TEXT, LONGEST_HTML = 100_000, 1_000_000
"""Of what comes out: as much as a message without a template may have."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}", re.ASCII)
_KEYS = {"description", "channels", "variables", "sample", "secret", "kind"}
_NEEDED = {"description", "channels", "variables", "sample"}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_TURNING = re.compile(r"[\u202a-\u202e\u2066-\u2069]")
"""What turns the direction of all that follows: a name with one would show the sum behind it backwards."""
_INLINER = css_inline.CSSInliner(keep_at_rules=True, load_remote_stylesheets=False)


@dataclass(frozen=True, slots=True)
class Rendered:
    """What a template makes of a context. `sms` and `telegram` are the text where it has no form of its own."""

    subject: str
    text: str
    html: str
    sms: str
    telegram: str

    def is_too_long(self) -> bool:
        """Whether it is more than a notification may carry."""
        texts = (self.text, self.sms, self.telegram)
        return max(map(len, texts)) > LONGEST_TEXT or len(self.html) > LONGEST_HTML


@dataclass(frozen=True, slots=True)
class Template:
    """One of them. `secret`: variables whose values are never stored readably."""

    name: str
    descriptions: Mapping[str, str]
    channels: tuple[str, ...]
    variables: Mapping[str, Any]
    sample: Mapping[str, Any]
    secret: tuple[str, ...]
    kind: Kind | None
    forms: frozenset[str]
    """Its files."""
    validator: Draft202012Validator

    @property
    def description(self) -> str:
        """What it is for, in the active language."""
        return self.descriptions.get(language_of(translation.get_language() or "")) or self.descriptions["en"]

    def errors(self, context: Any) -> list[Mistake]:
        """What is wrong with a context, by dotted paths below it; [] for nothing."""
        found = contexts.mistakes(self.validator, context)
        if not found and self.kind is not None:
            found = self.kind.mistakes(context)
        if not found and self.secret:
            found = self._misplaced(context)
        return found

    def _misplaced(self, context: Mapping[str, Any]) -> list[Mistake]:
        """A marker in another value would show the secret there."""
        told = _("It may not contain {marker}.")
        return [
            Mistake(contexts.joined(name), "invalid", told.format(marker=self.marked_in(value)))
            for name, value in context.items()
            if name not in self.secret and self.marked_in(value)
        ]

    def marked_in(self, value: Any) -> str:
        """A secret's marker that stands in this value, "" for none."""
        markers = [marker(name) for name in self.secret]
        return next((one for text in contexts.texts_of(value) for one in markers if one in text), "")

    def secrets_of(self, context: Mapping[str, Any]) -> dict[str, str]:
        """The values that must not be stored readably."""
        return {name: context[name] for name in self.secret if name in context}

    def masked(self, context: Mapping[str, Any]) -> dict[str, Any]:
        """The context with markers in the place of its secrets."""
        return {**context, **{name: marker(name) for name in self.secrets_of(context)}}

    def priority(self, context: Mapping[str, Any]) -> Priority | None:
        """What the notification's own is unless it says otherwise. None: normal."""
        return self.kind.priority(context) if self.kind else None

    def render(self, context: Mapping[str, Any], language: str) -> Rendered:
        """The texts for a context without errors; in the service's language where this one is none of ours."""
        with translation.override(language_of(language)):
            values = self.kind.shown(context) if self.kind else dict(context)
            text = self._text("text.txt", values)
            return Rendered(
                subject=_one_line(self._text("subject.txt", values)),
                text=text,
                html=_INLINER.inline(_engine("html").get_template(f"{self.name}/body.html").render(values)),
                sms=self._text("sms.txt", values) if "sms.txt" in self.forms else text,
                telegram=self._text("telegram.txt", values) if "telegram.txt" in self.forms else text,
            )

    def _text(self, file: str, values: dict[str, Any]) -> str:
        return str(_engine("text").get_template(f"{self.name}/{file}").render(values)).strip()


def names() -> list[str]:
    """Of all templates, in their order."""
    folders = Path(settings.MESSAGE_TEMPLATES).glob("*/template.json")
    return sorted(path.parent.name for path in folders if _NAME.fullmatch(path.parent.name))


def check_templates() -> list[CheckMessage]:
    """`manage.py check`, and every start that checks: a template that is declared wrongly, or fails with its sample."""
    found: list[CheckMessage] = []
    for name in names():
        try:
            if template := find(name):
                _try_out(template)
        except ImproperlyConfigured as error:
            found.append(Error(str(error), id="notifier.E100"))
    return found


def _try_out(template: Template) -> None:
    """ImproperlyConfigured for files that make nothing of the sample, or change a secret's marker."""
    wrong = f"The template {template.name}: "
    try:
        plain, masked = (template.render(one, "") for one in (template.sample, template.masked(template.sample)))
    except Exception as error:  # noqa: BLE001 - whatever a file may do wrong
        raise ImproperlyConfigured(f"{wrong}its sample cannot be rendered: {error!r}") from None
    secrets = template.secrets_of(template.sample)
    for form in fields(Rendered):
        told, marked = getattr(plain, form.name), getattr(masked, form.name)
        if not told:
            raise ImproperlyConfigured(f"{wrong}its sample makes an empty {form.name}.")
        if filled(marked, secrets, html=form.name == "html") != told:
            raise ImproperlyConfigured(f"{wrong}a filter changes the marker of a secret in its {form.name}.")


def find(name: str) -> Template | None:
    """The template of that name, None for none."""
    if not _NAME.fullmatch(name):
        return None
    return _read.__wrapped__(name) if settings.DEBUG else _read(name)


def language_of(wanted: str) -> str:
    """The one of our languages that serves who wants this one: `ru` for `ru-BY`."""
    try:
        return translation.get_supported_language_variant(wanted.lower())
    except LookupError:
        return str(settings.LANGUAGE_CODE)


def _one_line(text: str) -> str:
    line = " ".join(_CONTROL.sub(" ", _TURNING.sub("", text)).split())
    return line if len(line) <= LONGEST_SUBJECT else f"{line[: LONGEST_SUBJECT - 1].rstrip()}…"


@lru_cache(256)
def _read(name: str) -> Template | None:
    folder = Path(settings.MESSAGE_TEMPLATES) / name
    try:
        declared = json.loads((folder / "template.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise ImproperlyConfigured(f"The template {name}: template.json is no JSON ({error}).") from None
    return _made(name, declared, frozenset(path.name for path in folder.iterdir()))


def _made(name: str, declared: Any, files: frozenset[str]) -> Template:
    def wrong(what: str) -> ImproperlyConfigured:
        return ImproperlyConfigured(f"The template {name}: {what}")

    if not isinstance(declared, dict) or not _NEEDED <= declared.keys() <= _KEYS:
        raise wrong(f"template.json needs {', '.join(sorted(_NEEDED))}, and may have secret and kind.")
    if missing := {"subject.txt", "text.txt", "body.html"} - files:
        raise wrong(f"it lacks {', '.join(sorted(missing))}.")
    if "kind" in declared and declared["kind"] not in KINDS:
        raise wrong(f"its kind is none of {', '.join(KINDS)}.")
    try:
        validator = contexts.validator_of(declared["variables"])
    except SchemaError as error:
        raise wrong(f"its variables are no JSON Schema: {error.message}") from None
    properties = declared["variables"].get("properties", {})
    secret = tuple(declared.get("secret", ()))
    if any(properties.get(one, {}).get("type") != "string" for one in secret):
        raise wrong("its secrets are not variables of the type string.")
    made = Template(
        name=name,
        descriptions=declared["description"],
        channels=tuple(declared["channels"]),
        variables=declared["variables"],
        sample=declared["sample"],
        secret=secret,
        kind=KINDS[declared["kind"]] if "kind" in declared else None,
        forms=files,
        validator=validator,
    )
    if mistakes := made.errors(made.sample):
        raise wrong(f"its sample has errors: {mistakes[0]}")
    return made


@cache
def _engine(form: Literal["text", "html"]) -> DjangoTemplates:
    """Files of both are found alike; only HTML escapes."""
    loader: Any = ("django.template.loaders.filesystem.Loader", [settings.MESSAGE_TEMPLATES])
    if not settings.DEBUG:
        loader = ("django.template.loaders.cached.Loader", [loader])
    options = {"autoescape": form == "html", "loaders": [loader]}
    return DjangoTemplates({"NAME": f"messages-{form}", "DIRS": [], "APP_DIRS": False, "OPTIONS": options})


@receiver(setting_changed)
def _forget(**_: Any) -> None:
    _read.cache_clear()
    _engine.cache_clear()
