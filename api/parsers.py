"""Strict JSON as the body of a request."""

import re
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.utils.translation import gettext_lazy as _
from rest_framework.exceptions import UnsupportedMediaType
from rest_framework.parsers import BaseParser

from api.problems import TooLarge
from notifier.strict_json import strict_json


class StrictJSONParser(BaseParser):
    """UTF-8 JSON of at most `MAX_BODY_BYTES`: no repeated keys, NaN, NUL, lone surrogates, deep nests, huge numbers."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        charset = _parameter(media_type or "", "charset")
        if charset and charset.lower() not in {"utf-8", "utf8"}:
            raise UnsupportedMediaType(media_type or "")
        encoding = (parser_context or {})["request"].headers.get("Content-Encoding", "identity")
        if encoding.lower() != "identity":
            raise UnsupportedMediaType(encoding)
        body = stream.read(settings.MAX_BODY_BYTES + 1)
        if len(body) > settings.MAX_BODY_BYTES:
            raise TooLarge(_("The body may have at most 10 MB."))
        return strict_json(body)


def _parameter(media_type: str, name: str) -> str:
    match = re.search(rf';\s*{name}\s*=\s*"?([^";\s]*)', media_type, re.IGNORECASE)
    return match.group(1) if match else ""
