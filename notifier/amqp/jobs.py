"""What a message of the queue asks for, in the words of `POST /api/notifications/`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.utils.translation import gettext_lazy as _
from rest_framework.exceptions import APIException, ErrorDetail, ValidationError

from notifier import idempotency
from notifier.amqp.frames import UNREADABLE
from notifier.details import flat
from notifier.strict_json import strict_json

ENCODINGS = {"", "utf-8", "utf8", "us-ascii", "ascii", "identity", "binary", "8bit"}
"""What `content_encoding` says of plain UTF-8; kombu says `binary` of bytes that it did not make itself."""

PACKED = "compression"
"""The header with which kombu says how it has packed a body."""

ALIASES = {"title": "subject", "template_data": "context"}
"""What fields are called beside `to_email`."""

MOST_ERRORS, LONGEST_ERROR = 8, 1000
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Job:
    """What one message asks for."""

    body: Any
    """As `POST /api/notifications/` takes it."""
    key: str
    """The idempotency key; "" for none."""
    asked: Any
    """What is the same through whichever door it comes: the body, without what the short form implies."""
    names: Mapping[str, str] = field(default_factory=dict)
    """What the message itself calls the fields of the body."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a message is no job, in one sentence and in codes."""

    sentence: str
    codes: str

    @classmethod
    def of(cls, error: APIException, names: Mapping[str, str]) -> "Refusal":
        """The fields under the names that the message gave them. Never a value of a field that holds a secret."""
        errors = list(flat(error.get_full_details()))
        told = [_told(one["detail"], _own_name(one["attr"] or "", names)) for one in errors[:MOST_ERRORS]]
        sentence = "; ".join(told) + (f"; and {len(errors) - MOST_ERRORS} more" if errors[MOST_ERRORS:] else "")
        if len(sentence) > LONGEST_ERROR:
            sentence = f"{sentence[: LONGEST_ERROR - 1]}…"
        return cls(sentence, ",".join(dict.fromkeys(one["code"] for one in errors))[:255])


def read(content: bytes, properties: Mapping[str, Any]) -> Job:
    """A message's job; APIException where it is none."""
    headers = properties.get("application_headers") or {}
    if UNREADABLE in headers:
        raise ValidationError(_("The message's properties cannot be read."), code="unreadable")
    encoding = str(properties.get("content_encoding") or "").lower()
    if encoding not in ENCODINGS or headers.get(PACKED):
        raise ValidationError(_("The body is encoded or packed; plain UTF-8 is expected."), code="unsupported_encoding")
    if len(content) > settings.MAX_BODY_BYTES:
        raise ValidationError(_("The body may have at most 10 MB."), code="too_large")
    body = strict_json(content)
    if not isinstance(body, dict):
        return Job(body, "", body)
    key = _key(str(properties.get("message_id") or ""), body)
    if "to_email" in body:
        return _mail(body, key)
    return Job(body, key, body)


def _key(property_id: str, body: dict[str, Any]) -> str:
    """The idempotency key; the field is taken out of the body."""
    if "message_id" not in body:
        key = property_id
    else:
        key = body.pop("message_id")
        if property_id and key != property_id:
            raise _error("message_id", _("The property and the field differ."), "invalid")
        if not key:
            raise _error("message_id", _("It needs 1 to 255 printable ASCII characters."), "invalid")
    if key and not (isinstance(key, str) and idempotency.FORM.fullmatch(key)):
        raise _error("message_id", _("It needs 1 to 255 printable ASCII characters."), "invalid")
    return str(key)


def _mail(given: dict[str, Any], key: str) -> Job:
    """The short form of an e-mail: `to_email`, and two fields under older names."""
    for name in ("to", "user_id"):
        if name in given:
            raise _error("to_email", _("Give exactly one of to_email, to and user_id."), "invalid")
    names = {"to": "to_email", "to.email": "to_email"}
    body = {name: value for name, value in given.items() if name != "to_email"}
    if "template" not in body and "template_data" in body:
        body["message"] = _message(body)
        del body["template_data"]
        names["message"] = "template_data.message"
    for alias, name in ALIASES.items():
        if alias in body:
            if name in body:
                raise _same(alias, name)
            body[name] = body.pop(alias)
            names[name] = alias
    asked = {"to": {"email": given["to_email"]}, **body}
    # To this person by another channel there is no way: no need to try and to put on record that it was skipped.
    return Job({"channels": ["email"], **asked}, key, asked, names)


def _message(body: Mapping[str, Any]) -> Any:
    """The text where `template_data` comes without a template."""
    data = body["template_data"]
    if not isinstance(data, dict):
        raise _error("template_data", _("Expected an object."), "invalid")
    if "message" in body:
        raise _same("template_data", "message")
    unknown = {
        name: [ErrorDetail(str(_("Without a template there is only message.")), code="unknown_field")]
        for name in data
        if name != "message"
    }
    if unknown:
        raise ValidationError({"template_data": unknown})
    if "message" not in data:
        raise ValidationError({"template_data": {"message": [_("This field is required.")]}}, code="required")
    return data["message"]


def _error(name: str, text: Any, code: str) -> ValidationError:
    return ValidationError({name: [ErrorDetail(str(text), code=code)]})


def _same(name: str, other: str) -> ValidationError:
    return _error(name, _("Give either this or {other}.").format(other=other), "repeated")


def key_reused() -> ValidationError:
    """The refusal of a key that came with another body before."""
    return _error("message_id", _("It came with another body before."), "idempotency_key_reused")


def _own_name(path: str, names: Mapping[str, str]) -> str:
    """A path of the body as the message wrote it; the longest known beginning counts."""
    for name in sorted(names, key=len, reverse=True):
        if path == name or path.startswith(f"{name}."):
            return names[name] + path[len(name) :]
    return path


def _told(detail: str, path: str) -> str:
    shown = f"{path[:100]}: {detail}" if path else detail
    return _UNPRINTABLE.sub("�", shown)
