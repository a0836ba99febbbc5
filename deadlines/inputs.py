"""What comes in and goes out over REST: strict, as everywhere."""

import re
from collections.abc import Mapping
from datetime import date
from typing import Any

from django.utils.translation import gettext_lazy as _
from rest_framework import serializers
from rest_framework.exceptions import APIException, UnsupportedMediaType
from rest_framework.parsers import BaseParser

from deadlines.csv_files import MOST_BYTES
from deadlines.models import LONGEST_NOTE, LONGEST_PERSON, Deadline, Kind, one_spelling, tidy_note
from deadlines.states import State, state_of
from notifier.inputs.fields import Choice, StrictSerializer, Text
from notifier.outputs import Moment
from notifier.rest import Exact, Query

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_CHARSET = re.compile(r';\s*charset\s*=\s*"?([^";\s]*)', re.IGNORECASE)
ENCODINGS = {"": "", "utf-8": "utf-8-sig", "utf8": "utf-8-sig", "windows-1251": "cp1251", "cp1251": "cp1251"}
"""Of a file, by what its sender calls it; "" finds out."""


class Day(serializers.DateField):
    """A date, as in 2026-11-21, and nothing that could mean one."""

    default_error_messages = {"day": _("Enter a date, as in 2026-11-21.")}

    def to_internal_value(self, value: Any) -> date:
        try:
            if not isinstance(value, str) or not _DAY.fullmatch(value):
                self.fail("day")
            return date.fromisoformat(value)
        except ValueError:
            self.fail("day")


class DeadlineInput(StrictSerializer):
    """A deadline, as a client describes one."""

    person = Text(max_length=LONGEST_PERSON, one_line=True)
    kind = Choice(Kind.choices, required=False)
    due_date = Day(required=False, allow_null=True)
    note = Text(required=False, allow_blank=True, max_length=LONGEST_NOTE)

    def validate_person(self, value: str) -> str:
        """In the one spelling, which may be longer."""
        person = one_spelling(value)
        if len(person) > LONGEST_PERSON:
            self.fields["person"].fail("max_length", max_length=LONGEST_PERSON)
        return person

    def validate_note(self, value: str) -> str:
        """In the one spelling."""
        return tidy_note(value)


class DeadlineOutput(serializers.ModelSerializer[Deadline]):
    """A deadline, and where it stands today."""

    state = serializers.SerializerMethodField(help_text="On the organization's calendar, today.")
    created_at = Moment()
    updated_at = Moment()

    class Meta:
        model = Deadline
        fields = ("id", "person", "kind", "due_date", "note", "state", "created_at", "updated_at")

    def get_state(self, row: Deadline) -> State:
        """By the calendar that the view hands over."""
        return state_of(row.due_date, self.context["today"], self.context["horizon"])


class DeadlineQuery(Query):
    """The filters of the list."""

    person = Exact(help_text="Exactly this person.")
    kind = serializers.ChoiceField(choices=Kind.choices, required=False)
    state = serializers.ChoiceField(choices=State.choices, required=False)
    due_after = Day(required=False, help_text="Due later than this day.")
    due_before = Day(required=False, help_text="Due earlier than this day.")

    def validate_person(self, value: str) -> str:
        """In the one spelling."""
        return one_spelling(value)


class ImportQuery(StrictSerializer):
    """Whether to store anything. What is misspelt or empty is refused: nobody who wants a dry run gets a real one."""

    dry_run = serializers.ChoiceField(
        choices=["0", "1", "false", "true"], required=False, help_text="1: only say what would be done."
    )

    @property
    def is_dry(self) -> bool:
        """Whether nothing is to be stored."""
        return self.validated_data.get("dry_run") in {"1", "true"}


class ImportOutput(serializers.Serializer[Any]):
    """What an import did, or would do."""

    created = serializers.IntegerField()
    changed = serializers.IntegerField()
    unchanged = serializers.IntegerField()
    dry_run = serializers.BooleanField(help_text="Nothing was stored.")


class TooLarge(APIException):
    """The file is larger than is read."""

    status_code = 413
    default_code = "too_large"
    default_detail = _("The file may have at most 5 MB.")


class CsvParser(BaseParser):
    """A file as it is: its bytes, and its encoding where it is named."""

    media_type = "text/csv"

    def parse(
        self, stream: Any, media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        request = (parser_context or {})["request"]
        if (coding := request.headers.get("Content-Encoding", "identity")).lower() != "identity":
            raise UnsupportedMediaType(coding)
        named = _CHARSET.search(media_type or "")
        encoding = named.group(1).lower() if named else ""
        if encoding not in ENCODINGS:
            raise UnsupportedMediaType(media_type or "")
        content = stream.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise TooLarge
        return {"content": content, "encoding": ENCODINGS[encoding]}
