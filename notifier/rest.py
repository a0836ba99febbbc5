"""What the REST doors of all clients of the domain have in common: filters, row numbers, documented answers."""

import re
from datetime import datetime
from typing import Any, Self

from drf_spectacular.utils import OpenApiResponse
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.serializers import BaseSerializer

from notifier.inputs.fields import Moment, StrictSerializer
from notifier.outputs import ProblemOutput

CONTENT_TYPE = "application/problem+json"
PROBLEMS = {
    400: "The input is refused; `errors` names each field. Nothing was stored.",
    401: "No credentials, or wrong ones.",
    403: "Whoever asks may not do this.",
    404: "No such thing in your organization.",
    406: "Only JSON is spoken here.",
    409: "The notification is in a state in which this cannot be done.",
    413: "The body is over 10 MB.",
    415: "Only JSON is read here.",
    422: "The idempotency key came with another body before.",
    429: "Too many requests; `Retry-After` says when to come back.",
    503: "The database is out; nothing was stored, try again.",
}


def problems(*statuses: int) -> dict[tuple[int, str], OpenApiResponse]:
    """The documented errors of a view: these, and those that every view can give."""
    every = (*statuses, 401, 403, 406, 503)
    return {(status, CONTENT_TYPE): OpenApiResponse(ProblemOutput, PROBLEMS[status]) for status in dict.fromkeys(every)}


def page_of(output: type[BaseSerializer[Any]]) -> dict[tuple[int, str], BaseSerializer[Any]]:
    """A list's documented answer. drf-spectacular takes the smallest key for it, so it is a pair as the errors are."""
    return {(200, "application/json"): output(many=True)}


class Query(serializers.Serializer[Any]):
    """A list's filters. An empty one asks for nothing, as forms send it."""

    @classmethod
    def of(cls, request: Request) -> Self:
        """The request's filters, checked."""
        query = cls(data={name: value for name, value in request.query_params.items() if value})
        query.is_valid(raise_exception=True)
        return query


class Exact(serializers.CharField):
    """Exactly this text."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(required=False, trim_whitespace=False, **kwargs)


class QueryMoment(Moment):
    """A moment, also with the + of its offset unescaped, which a query string reads as a space."""

    def to_internal_value(self, value: Any) -> datetime:
        return super().to_internal_value(re.sub(r" (?=[0-9:]+$)", "+", value))


class RowId(serializers.IntegerField):
    """A row's number, in plain digits."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(required=False, min_value=1, max_value=2**63 - 1, **kwargs)

    def to_internal_value(self, data: Any) -> int:
        if not re.fullmatch(r"[0-9]+", data, re.ASCII):
            self.fail("invalid")
        return super().to_internal_value(data)


def refuse_any_field(request: Request) -> None:
    """For what takes no fields: 400 for a body that gives some, 415 for a form, as everywhere."""
    StrictSerializer(data=request.data).is_valid(raise_exception=True)


def row_id(digits: str) -> int:
    """A path's number; one that no row can have becomes 0, which none has."""
    number = int(digits) if len(digits) < 20 else 0
    return number if number < 2**63 else 0
