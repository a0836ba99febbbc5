"""Fields that coerce nothing: `true` is no number, 5 is no text, a moment without a zone is no moment."""

import json
import re
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache, cached_property
from typing import Any, NamedTuple, cast
from zoneinfo import available_timezones

import phonenumbers
from django.conf import settings
from django.core.validators import ProhibitNullCharactersValidator
from django.utils.datastructures import MultiValueDict
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.validators import ProhibitSurrogateCharactersValidator

from notifier import addresses

MAX_E164 = 16  # "+" and 15 digits
_UNSAFE = re.compile(r"[\x00\ud800-\udfff]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SIGN_BY_SIGN = (ProhibitNullCharactersValidator, ProhibitSurrogateCharactersValidator)
_CHAT = re.compile(r"-?[1-9][0-9]{0,18}|@[A-Za-z][A-Za-z0-9_]{3,31}", re.ASCII)


class Reader(NamedTuple):
    """How a form reads one of its fields."""

    field: Any
    takes: Callable[[Any], bool] | None
    """Whether a value is fine just as it was given. None: the field always has to look closely."""
    check: Callable[[Any], Any] | None
    """The form's own check of this field."""


class StrictSerializer(serializers.Serializer[Any]):
    """An object with known fields only: a misspelt `smtp_pasword` must not be lost in silence."""

    default_error_messages = {
        "unknown_field": _("There is no such field."),
        "invalid": _("Expected an object."),
    }

    @property
    def surroundings(self) -> dict[str, Any]:
        """What the caller gave beside the data. REST framework's `context`, a name that the API gives to a field."""
        return cast("dict[str, Any]", getattr(self.root, "_context", {}))

    def run_validation(self, data: Any = serializers.empty) -> Any:
        """As REST framework does, which asks every field what its absence means: 47 us of processor for a body of three
        of the 23 fields, and 2 so. It is left to refuse what is refused: then each field is asked, in their order.
        """
        if isinstance(data, MultiValueDict):
            data = {}  # an empty body that calls itself a form, in which each Flag would count as not ticked
        if type(data) is dict:
            try:
                values = self._read(data)
                if values is not None:
                    return self.validate(values)
            except (serializers.ValidationError, serializers.SkipField):
                pass
        return super().run_validation(data)

    def _read(self, data: dict[str, Any]) -> dict[str, Any] | None:
        """The fields that are there. None: there is another, or one is missing."""
        values = {}
        readers = self._readers
        for name, value in data.items():
            if name not in readers:
                return None
            field, takes, check = readers[name]
            if takes is None or not takes(value):
                value = field.run_validation(value)  # noqa: PLW2901 - as the field understands it
            values[name] = value if check is None else check(value)
        return values if self.partial or self._needed <= values.keys() else None

    @cached_property
    def _readers(self) -> dict[str, Reader]:
        return {
            name: Reader(field, getattr(field, "takes", None), getattr(self, f"validate_{name}", None))
            for name, field in self.fields.items()
            if not field.read_only
        }

    @cached_property
    def _needed(self) -> set[str]:
        """None of ours has a default, or another source than its name."""
        return {name for name, reader in self._readers.items() if reader.field.required}

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, Mapping):
            raise serializers.ValidationError({"non_field_errors": [self.error_messages["invalid"]]}, code="invalid")
        unknown = {
            str(name): [serializers.ErrorDetail(str(self.error_messages["unknown_field"]), code="unknown_field")]
            for name in data
            if name not in self._readers
        }
        if unknown:
            raise serializers.ValidationError(unknown)
        return super().to_internal_value(data)


class Text(serializers.CharField):
    """Text as it was given, not trimmed. `one_line`: no line breaks, no control characters."""

    default_error_messages = {
        "unsafe": _("NUL and lone surrogates are not allowed."),
        "one_line": _("Line breaks and control characters are not allowed."),
        "blank": _("This field may not be blank."),
    }

    def __init__(self, *, one_line: bool = False, **kwargs: Any) -> None:
        self.one_line = one_line
        kwargs.setdefault("trim_whitespace", False)
        super().__init__(**kwargs)
        # `_UNSAFE` looks for the same; REST framework's own goes through the text sign by sign in Python.
        self.validators = [one for one in self.validators if not isinstance(one, _SIGN_BY_SIGN)]
        self._lengths = range(self.min_length or 1, (self.max_length or sys.maxsize) + 1)
        self._has_more_to_say = type(self).to_internal_value is not Text.to_internal_value

    def takes(self, data: Any) -> bool:
        """Whether nothing at all is wrong with it. False: it has to be looked at closely."""
        if type(data) is not str or len(data) not in self._lengths or data.isspace() or self._has_more_to_say:
            return False
        if self.one_line:
            return data.isprintable()  # no control character is, no surrogate, and few others are not
        return "\0" not in data and (data.isascii() or not _UNSAFE.search(data))

    def run_validation(self, data: Any = serializers.empty) -> Any:
        if isinstance(data, str) and not data.strip() and not self.allow_blank:
            self.fail("blank")
        return super().run_validation(data)

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        if _UNSAFE.search(data):
            self.fail("unsafe")
        if self.one_line and _CONTROL.search(data):
            self.fail("one_line")
        return data


class Email(Text):
    """An address that mail can be sent to, its domain in lower case. No display name, no literal, no local host."""

    default_error_messages = {"email": _("Enter a valid e-mail address.")}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(one_line=True, max_length=addresses.LONGEST, **kwargs)

    def to_internal_value(self, data: Any) -> str:
        address = super().to_internal_value(data)
        try:
            return addresses.normal(address)
        except ValueError:
            self.fail("email")


class Phone(Text):
    """A phone number, made E.164 (`+12025550123`); national forms need `PHONE_REGION`. Premium numbers are refused."""

    default_error_messages = {
        "phone": _("Enter a valid phone number, as in +12025550123."),
        "premium": _("Messages to premium-rate numbers are not sent."),
    }

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(one_line=True, max_length=32, **kwargs)

    def to_internal_value(self, data: Any) -> str:
        given = super().to_internal_value(data)
        if not re.fullmatch(r"\+?[0-9()\-./ ]+", given, re.ASCII):
            self.fail("phone")
        try:
            number = phonenumbers.parse(given, settings.PHONE_REGION or None)
        except phonenumbers.NumberParseException:
            self.fail("phone")
        if not phonenumbers.is_possible_number(number):
            self.fail("phone")
        if phonenumbers.number_type(number) == phonenumbers.PhoneNumberType.PREMIUM_RATE:
            self.fail("premium")
        formatted = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
        if len(formatted) > MAX_E164:  # national plans know longer ones, which no provider takes
            self.fail("phone")
        return formatted


@extend_schema_field({"oneOf": [{"type": "integer"}, {"type": "string", "pattern": _CHAT.pattern}]})
class ChatId(serializers.Field):  # type: ignore[type-arg]
    """A Telegram chat: its number (a number or text), or a channel's @name. Comes back as text."""

    default_error_messages = {"chat": _("Enter a chat's number or a channel's @name.")}

    def __init__(self, *, allow_blank: bool = False, **kwargs: Any) -> None:
        self.allow_blank = allow_blank
        super().__init__(**kwargs)

    def to_internal_value(self, data: Any) -> str:
        given = str(data) if type(data) is int else data
        if given == "" and self.allow_blank:
            return ""
        if not isinstance(given, str) or not _CHAT.fullmatch(given):
            self.fail("chat")
        return given

    def to_representation(self, value: Any) -> Any:
        return value


class Number(serializers.IntegerField):
    """A whole number that came as a number."""

    def takes(self, data: Any) -> bool:
        """Whether nothing at all is wrong with it."""
        return type(data) is int and (self.min_value or 0) <= data <= (self.max_value or sys.maxsize)

    def to_internal_value(self, data: Any) -> int:
        if type(data) is not int:
            self.fail("invalid")
        return int(data)


@extend_schema_field({"type": "number", "minimum": 0, "maximum": 2592000})
class Seconds(serializers.Field):  # type: ignore[type-arg]
    """A span in seconds, at most 30 days; fractions are allowed."""

    default_error_messages = {"seconds": _("Enter a number of seconds from 0 to 2592000.")}

    def to_internal_value(self, data: Any) -> Any:
        if type(data) not in (int, float) or not 0 <= data <= 30 * 24 * 3600:
            self.fail("seconds")
        return data

    def to_representation(self, value: Any) -> Any:
        return value


class Flag(serializers.BooleanField):
    """true or false, nothing that means it."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


class Choice(serializers.ChoiceField):
    """One of these words."""

    def takes(self, data: Any) -> bool:
        """Whether nothing at all is wrong with it."""
        return type(data) is str and data in self.choices

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, str):
            self.fail("invalid_choice", input="…")
        return super().to_internal_value(data)


class Moment(serializers.DateTimeField):
    """An ISO 8601 date and time with its offset: `2026-11-20T12:00:00Z`."""

    default_error_messages = {"moment": _("Enter a date and time with its offset, as in 2026-11-20T12:00:00Z.")}

    def to_internal_value(self, value: Any) -> datetime:
        try:
            moment = parse_datetime(value) if isinstance(value, str) and value.isascii() else None
            if moment is None or moment.tzinfo is None or "T" not in value.upper():
                self.fail("moment")
            return moment.astimezone(UTC)  # the first and last hours of the calendar are no moment there
        except (ValueError, OverflowError):
            self.fail("moment")


class JSONObject(serializers.JSONField):
    """A JSON object of at most `max_bytes` as compact UTF-8."""

    default_error_messages = {
        "object": _("Expected an object."),
        "no_json": _(
            "Expected what JSON has: texts, numbers, true, false, null, lists, objects. A decimal goes as a text."
        ),
        "too_large": _("It may have at most {max_bytes} bytes as JSON."),
        "unsafe": _("NUL and lone surrogates are not allowed."),
    }

    def __init__(self, *, max_bytes: int, **kwargs: Any) -> None:
        self.max_bytes = max_bytes
        super().__init__(**kwargs)

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, dict):
            self.fail("object")
        try:
            text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            self.fail("no_json")
        if _UNSAFE.search(text) or r"\u0000" in text.replace(r"\\", ""):  # JSON writes a NUL as an escape
            self.fail("unsafe")
        if len(text.encode("utf-8", "surrogatepass")) > self.max_bytes:
            self.fail("too_large", max_bytes=self.max_bytes)
        return data


@cache
def time_zones() -> frozenset[str]:
    """The names of the time zones that this machine knows."""
    return frozenset(available_timezones())
