"""What is wrong with the values that a template is given: found by its JSON Schema, said in our own words.

jsonschema's sentences are English, and repeat the value.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from itertools import islice
from typing import Any, NamedTuple, cast

from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from jsonschema import Draft202012Validator, FormatChecker, validators
from jsonschema.exceptions import ValidationError

from notifier import addresses

MOST = 50
"""Mistakes told at once."""

DEEPEST = 16
"""Objects and lists within each other."""

LONGEST_NAME = 64
"""Of a field that nobody knows."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class Mistake(NamedTuple):
    """One thing that is wrong. `path`: dotted, below the context; "" for the context itself."""

    path: str
    code: str
    text: str


def validator_of(schema: Mapping[str, Any]) -> Draft202012Validator:
    """What checks contexts; `jsonschema.SchemaError` for what is no schema."""
    Draft202012Validator.check_schema(schema)
    return _Validator(schema, format_checker=_FORMATS)  # type: ignore[no-any-return]  # they are made at run time


def _items(validator: Any, wanted: Any, entries: Any, schema: Any) -> Iterator[ValidationError]:
    """None of a list that is too long anyway: 20,000 good ones take a second."""
    if not isinstance(entries, list) or len(entries) <= schema.get("maxItems", len(entries)):
        yield from Draft202012Validator.VALIDATORS["items"](validator, wanted, entries, schema)


_Validator = validators.extend(Draft202012Validator, {"items": _items})  # type: ignore[no-untyped-call]


def mistakes(validator: Draft202012Validator, context: Any) -> list[Mistake]:
    """At most `MOST` of them, each field's first ones."""
    if not isinstance(context, Mapping):
        return [Mistake("", "invalid", _("Expected an object."))]
    if _is_deep(context):
        return [Mistake("", "too_deep", _("It is nested too deeply."))]
    found: dict[Mistake, None] = {}
    for error in validator.iter_errors(context):
        found.update(dict.fromkeys(islice(_told(error), MOST)))
        if len(found) >= MOST:
            break
    return list(found)[:MOST]


def texts_of(value: Any) -> Iterator[str]:
    """Every text in it, its fields' names left out."""
    rest = [value]
    while rest:
        one = rest.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, Mapping):
            rest.extend(one.values())
        elif isinstance(one, list):
            rest.extend(one)


def _is_deep(value: Any) -> bool:
    level = [value]
    for _depth in range(DEEPEST):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, Mapping) else outer)
            if isinstance(inner, Mapping | list)
        ]
        if not level:
            return False
    return True


def joined(*parts: Any) -> str:
    """A dotted path."""
    return ".".join(str(part)[:LONGEST_NAME] for part in parts)


def _told(error: ValidationError) -> Iterator[Mistake]:
    path = list(error.absolute_path)
    told, wanted, schema = (cast("Any", one) for one in (error.instance, error.validator_value, error.schema))
    match error.validator:
        case "required":
            for name in wanted:
                if name not in told:
                    yield Mistake(joined(*path, name), "required", _("This variable is required."))
        case "additionalProperties":
            for name in told:
                if name not in schema.get("properties", {}):
                    yield Mistake(joined(*path, name), "unknown_field", _("The template has no such variable."))
        case "pattern":
            yield Mistake(joined(*path), "invalid", _misshapen(told, wanted, schema))
        case _:
            code, sentence = _SENTENCES.get(str(error.validator), _OTHER)
            yield Mistake(joined(*path), code, sentence(wanted))


def _type(wanted: Any) -> str:
    names = [wanted] if isinstance(wanted, str) else wanted
    return _("Expected {type}.").format(type=_(" or ").join(str(_TYPES.get(name, name)) for name in names))


def _least_signs(count: int) -> str:
    return _("It may not be empty.") if count == 1 else _("Characters: at least {number}.").format(number=count)


def _format(name: str) -> str:
    sentences = {
        "email": _("Enter a valid e-mail address."),
        "uri": _("Enter an http:// or https:// address."),
        "date": _("Enter a date, as in 2026-11-20."),
        "decimal": _("Expected a decimal, as in 1234.50, without an exponent."),
        "phone": _("Enter a valid phone number, as in +12025550123."),
        "date-time": _("Enter a date and time with its offset, as in 2026-11-20T12:00:00Z."),
    }
    return sentences.get(name) or _malformed(name)


def _misshapen(text: str, pattern: str, schema: Mapping[str, Any]) -> str:
    if _CONTROL.search(text) and not re.search(pattern, "\n"):
        return _("Line breaks and control characters are not allowed.")
    return _format(schema.get("format", ""))


def _malformed(_wanted: Any) -> str:
    return _("It has not the form that the template asks for.")


_TYPES = {
    "string": gettext_lazy("a text"),
    "number": gettext_lazy("a number"),
    "integer": gettext_lazy("a whole number"),
    "boolean": gettext_lazy("true or false"),
    "array": gettext_lazy("a list"),
    "object": gettext_lazy("an object"),
    "null": gettext_lazy("null"),
}
_OTHER: tuple[str, Callable[[Any], str]] = ("invalid", _malformed)
_SENTENCES: dict[str, tuple[str, Callable[[Any], str]]] = {
    "type": ("invalid", _type),
    "format": ("invalid", _format),
    "minLength": ("min_length", _least_signs),
    "maxLength": ("max_length", lambda most: _("Characters: at most {number}.").format(number=most)),
    "minItems": ("min_length", lambda least: _("Entries: at least {number}.").format(number=least)),
    "maxItems": ("max_length", lambda most: _("Entries: at most {number}.").format(number=most)),
    "minimum": ("min_value", lambda least: _("At least {number}.").format(number=least)),
    "maximum": ("max_value", lambda most: _("At most {number}.").format(number=most)),
    "exclusiveMinimum": ("min_value", lambda bound: _("More than {number}.").format(number=bound)),
    "exclusiveMaximum": ("max_value", lambda bound: _("Less than {number}.").format(number=bound)),
    "enum": ("invalid_choice", lambda known: _("One of: {choices}.").format(choices=", ".join(map(str, known)))),
    "const": ("invalid_choice", lambda known: _("One of: {choices}.").format(choices=known)),
    "uniqueItems": ("repeated", lambda _wanted: _("An entry stands in it twice.")),
}

# --- Formats: JSON Schema leaves their checking to us -----------------------------------------------------------------
_FORMATS = FormatChecker(formats=())


@_FORMATS.checks("email", raises=ValueError)
def _is_email(value: Any) -> bool:
    return not isinstance(value, str) or bool(len(value) <= addresses.LONGEST and addresses.normal(value))


@_FORMATS.checks("uri")
def _is_uri(value: Any) -> bool:
    """Of the web: a link in a mail must be nothing that runs."""
    return not isinstance(value, str) or (value.startswith(("http://", "https://")) and value.isprintable())


@_FORMATS.checks("date", raises=ValueError)
def _is_date(value: Any) -> bool:
    return not isinstance(value, str) or bool(date.fromisoformat(value))


@_FORMATS.checks("date-time", raises=ValueError)
def _is_moment(value: Any) -> bool:
    moment = parse_datetime(value) if isinstance(value, str) else None
    return not isinstance(value, str) or (moment is not None and moment.tzinfo is not None)
