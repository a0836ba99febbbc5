"""What a list is asked for, in its query string."""

import re
from typing import Any, Self

from rest_framework import serializers
from rest_framework.request import Request


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


class RowId(serializers.IntegerField):
    """A row's number, in plain digits."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(required=False, min_value=1, max_value=2**63 - 1, **kwargs)

    def to_internal_value(self, data: Any) -> int:
        if not re.fullmatch(r"[0-9]+", data, re.ASCII):
            self.fail("invalid")
        return super().to_internal_value(data)
