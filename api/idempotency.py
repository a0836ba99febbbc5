"""The header `Idempotency-Key` (IETF draft of that name): a repeated request is answered as the first one was."""

from collections.abc import Callable, Sequence
from typing import Any

from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiParameter
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from api.problems import KeyReused
from notifier import intake
from notifier.callers import caller_of
from notifier.idempotency import FORM, KeyReusedError

HEADER = OpenApiParameter(
    "Idempotency-Key",
    str,
    OpenApiParameter.HEADER,
    description="1-255 printable ASCII characters, kept for a day. The same key and body: the first answer again.",
)


def once(request: Request, store: Callable[[], Sequence[Any]]) -> tuple[Sequence[Any], dict[str, str]]:
    """Store under the request's key, if it has one. Returns the notifications and the headers of the answer."""
    key = request.headers.get("Idempotency-Key")
    if key is not None and not FORM.fullmatch(key):
        raise ValidationError(_("Idempotency-Key needs 1 to 255 printable ASCII characters."), code="idempotency_key")
    caller = caller_of(request)
    # What was only rehearsed with a test key is another request: the same key would answer it, and nothing would leave.
    body = {"test": request.data} if caller.sender.is_test else request.data
    try:
        rows, replayed = intake.once(caller.organization, key or "", body, store)
    except KeyReusedError:
        raise KeyReused(_("This Idempotency-Key came with another body before.")) from None
    return rows, {"Idempotent-Replayed": "true"} if replayed else {}
