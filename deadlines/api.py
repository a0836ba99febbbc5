"""`/api/deadlines/`: people and their due dates. All of it needs the scope `manage`: it is personnel data."""

from collections.abc import Iterable, Sequence
from typing import Any, cast

from django.db import models, transaction
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_view
from rest_framework import status
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.generics import GenericAPIView, get_object_or_404
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer

from deadlines import csv_files, imports
from deadlines.csv_files import Problem
from deadlines.imports import NamesakesError
from deadlines.inputs import CsvParser, DeadlineInput, DeadlineOutput, DeadlineQuery, ImportOutput, ImportQuery
from deadlines.models import Deadline, DigestSettings, Kind
from deadlines.states import matching
from notifier.api_keys import Scope
from notifier.callers import organization_of
from notifier.models import Organization
from notifier.rest import page_of, problems, row_id

DEADLINE = OpenApiExample(
    "A medical examination",
    {"person": "Ada Lovelace", "kind": "medical_exam", "due_date": "2027-03-01", "note": "Bring the old results."},
    request_only=True,
)
WITHOUT_DATE = OpenApiExample("The date is not known yet", {"person": "Alan Turing"}, request_only=True)
CHANGE = OpenApiExample("It is done: the next date", {"due_date": "2028-03-01"}, request_only=True)
REPLACE = OpenApiExample("All of it", {"person": "Grace Hopper", "kind": "certificate"}, request_only=True)
FILE = OpenApiExample(
    "A file",
    "person;kind;due_date;note\r\nAda Lovelace;medical_exam;2027-03-01;\r\nAlan Turing;;;not known yet\r\n",
    request_only=True,
    media_type="text/csv",
)


class DeadlineViews(GenericAPIView[Deadline]):
    """What all share: the caller's own deadlines."""

    serializer_class = DeadlineOutput
    reading_needs = writing_needs = Scope.MANAGE
    queryset = Deadline.objects.none()  # for the schema; every request has its own

    @property
    def organization(self) -> Organization:
        """The caller's."""
        return organization_of(self.request)

    def get_queryset(self) -> models.QuerySet[Deadline]:
        """The organization's deadlines, and nobody else's."""
        return Deadline.objects.filter(organization=self.organization)

    def shown(self, what: Deadline | Sequence[Deadline] | None) -> BaseSerializer[Any]:
        """One or many, on the organization's calendar."""
        calendar = DigestSettings.of(self.organization)
        today = calendar.today()
        context = {"today": today, "horizon": calendar.horizon(today)}
        return DeadlineOutput(what, many=not isinstance(what, Deadline), context=context)

    def store(self, row: Deadline, *, partial: bool) -> Deadline:
        """Check the body and write it; what a whole body leaves out is as in a new deadline."""
        wanted = DeadlineInput(row, data=self.request.data, partial=partial)
        wanted.is_valid(raise_exception=True)
        values = wanted.validated_data
        if not partial:
            values = {"kind": Kind.MEDICAL_EXAM, "due_date": None, "note": "", **values}
        for name, value in values.items():
            setattr(row, name, value)
        row.save()
        return row


@extend_schema_view(
    get=extend_schema(
        summary="List deadlines",
        description="Those of the organization, the newest first.",
        parameters=[DeadlineQuery],
        responses={**page_of(DeadlineOutput), **problems(400)},
    ),
    post=extend_schema(
        summary="Create a deadline",
        request=DeadlineInput,
        responses={201: DeadlineOutput, **problems(400, 413, 415)},
        examples=[DEADLINE, WITHOUT_DATE],
    ),
)
class DeadlinesView(DeadlineViews):
    """All deadlines of the organization."""

    def get(self, request: Request) -> Response:
        """A page, newest first."""
        wanted: dict[str, Any] = dict(DeadlineQuery.of(request).validated_data)
        rows, state = self.get_queryset(), wanted.pop("state", None)
        if state:
            calendar = DigestSettings.of(self.organization)
            today = calendar.today()
            rows = rows.filter(matching(state, today, calendar.horizon(today)))
        lookups = {"due_after": "due_date__gt", "due_before": "due_date__lt"}
        rows = rows.filter(**{lookups.get(name, name): value for name, value in wanted.items()})
        return self.get_paginated_response(self.shown(self.paginate_queryset(rows)).data)

    def post(self, request: Request) -> Response:
        """Create one: 201."""
        row = self.store(Deadline(organization=self.organization), partial=False)
        headers = {"Location": f"/api/deadlines/{row.pk}/"}
        return Response(self.shown(row).data, status=status.HTTP_201_CREATED, headers=headers)


@extend_schema_view(
    get=extend_schema(summary="Read a deadline", responses={200: DeadlineOutput, **problems(404)}),
    put=extend_schema(
        summary="Replace a deadline",
        request=DeadlineInput,
        responses={200: DeadlineOutput, **problems(400, 404, 413, 415)},
        examples=[REPLACE],
    ),
    patch=extend_schema(
        summary="Change a deadline",
        request=DeadlineInput,
        responses={200: DeadlineOutput, **problems(400, 404, 413, 415)},
        examples=[CHANGE],
    ),
    delete=extend_schema(summary="Delete a deadline", responses={204: None, **problems(404)}),
)
class DeadlineView(DeadlineViews):
    """One deadline."""

    def get(self, request: Request, pk: str) -> Response:
        """The deadline."""
        return Response(self.shown(get_object_or_404(self.get_queryset(), pk=row_id(pk))).data)

    def put(self, request: Request, pk: str) -> Response:
        """Write all of it anew."""
        return self._change(pk, partial=False)

    def patch(self, request: Request, pk: str) -> Response:
        """Change what is given."""
        return self._change(pk, partial=True)

    def delete(self, request: Request, pk: str) -> Response:
        """Delete it."""
        get_object_or_404(self.get_queryset(), pk=row_id(pk)).delete()
        return Response(status=status.HTTP_204_NO_CONTENT)

    def _change(self, pk: str, *, partial: bool) -> Response:
        with transaction.atomic():  # locked: else a change would undo another one
            row = get_object_or_404(self.get_queryset().select_for_update(no_key=True), pk=row_id(pk))
            return Response(self.shown(self.store(row, partial=partial)).data)


class ImportView(DeadlineViews):
    """A file of deadlines."""

    parser_classes = [CsvParser]

    @extend_schema(
        summary="Import deadlines",
        description=(
            "CSV with a header line; columns `person`, `kind`, `due_date`, `note` (or their Russian names), separated "
            "by comma, semicolon or tab, in UTF-8 or Windows-1251, at most 10,000 lines and 5 MB. All of it is stored "
            "or nothing; errors name line and column, as in `line.3.due_date`. A person's deadline of the same kind is "
            "changed, and none is deleted; so importing a file twice changes nothing. A line that could mean several "
            "people is refused."
        ),
        parameters=[ImportQuery],
        request={"text/csv": OpenApiTypes.STR},
        responses={200: ImportOutput, **problems(400, 413, 415)},
        examples=[FILE],
    )
    def post(self, request: Request) -> Response:
        """Store the file's lines: 200, with what was done."""
        query = ImportQuery(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        # Of an empty body REST framework asks no parser.
        data = cast("dict[str, Any]", request.data)
        reading = csv_files.read(data.get("content", b""), data.get("encoding", ""))
        if reading.problems:
            raise ValidationError(_by_line(reading.problems))
        try:
            counts = imports.store(self.organization, reading.lines, dry_run=query.is_dry)
        except NamesakesError as error:
            raise ValidationError(_by_line(error.problems)) from None
        return Response({**counts.as_dict(), "dry_run": query.is_dry})


def _by_line(found: Iterable[Problem]) -> dict[str, Any]:
    """As REST framework nests errors: `line.3.due_date`, `line.3`, or the file as a whole."""
    whole: list[ErrorDetail] = []
    lines: dict[str, dict[str, list[ErrorDetail]]] = {}
    for one in found:
        detail = ErrorDetail(one.detail, code=one.code)
        if one.line:
            lines.setdefault(str(one.line), {}).setdefault(one.column or "non_field_errors", []).append(detail)
        else:
            whole.append(detail)
    return {**({"line": lines} if lines else {}), **({"non_field_errors": whole} if whole else {})}
