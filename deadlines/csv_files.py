"""Files of deadlines, as spreadsheets write them: read whole, with what is wrong named by line; and written."""

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from typing import NamedTuple

from django.conf import settings
from django.utils import translation
from django.utils.formats import get_format
from django.utils.translation import gettext as _

from deadlines.models import LONGEST_NOTE, LONGEST_PERSON, Deadline, Kind, one_spelling, tidy_note

MOST_BYTES = 5 * 1024 * 1024
MOST_LINES = 10_000
MOST_ERRORS = 500
"""What is listed; nobody reads more of them."""

SEPARATORS = ",;\t"
COLUMNS: dict[str, tuple[str, ...]] = {
    "person": ("person", "name", "full name", "employee", "фио", "ф.и.о.", "сотрудник", "работник", "человек", "имя"),
    "kind": ("kind", "type", "вид", "тип", "вид срока"),
    "due_date": ("due_date", "due date", "due", "date", "deadline", "дата", "срок", "дата окончания", "действует до"),
    "note": ("note", "notes", "comment", "примечание", "примечания", "комментарий"),
}
KINDS: dict[str, tuple[str, ...]] = {
    Kind.MEDICAL_EXAM: ("медосмотр", "медицинский осмотр", "периодический медосмотр"),
    Kind.PSYCHIATRIC_EXAM: ("психиатрическое освидетельствование",),
    Kind.SAFETY_TRAINING: ("охрана труда", "обучение по охране труда"),
    Kind.BRIEFING: ("инструктаж", "инструктаж по охране труда"),
    Kind.FIRE_SAFETY: ("пожарная безопасность", "пожарный минимум"),
    Kind.ELECTRICAL_SAFETY: ("электробезопасность",),
    Kind.CERTIFICATE: ("удостоверение", "сертификат"),
    Kind.PROTECTIVE_EQUIPMENT: ("сиз", "средства индивидуальной защиты"),
    Kind.VEHICLE: ("техосмотр", "технический осмотр", "транспорт"),
    Kind.OTHER: ("другое", "прочее"),
}
_ISO = re.compile(r"(\d{4})-(\d{2})-(\d{2})", re.ASCII)
_DOTTED = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_START = r"""(^|[,;\t\r\n][ "]{0,2})"""  # of a cell; or within a text, where a spreadsheet separates by another sign
_FORMULA = r"(?='*[=+\-@\t\r＝＋－＠])"
_RISKY, _HARMLESS = re.compile(_START + _FORMULA), re.compile(f"{_START}'{_FORMULA}")


class Problem(NamedTuple):
    """What is wrong. `line` 0: with the file as a whole; `column` "": with the whole line."""

    line: int
    column: str
    code: str
    detail: str


class Line(NamedTuple):
    """One deadline of the file: the columns that the file has."""

    number: int
    values: dict[str, str | date | None]

    @property
    def key(self) -> tuple[str, str]:
        """What a deadline is known by within its organization."""
        return str(self.values["person"]), str(self.values["kind"])


@dataclass
class Reading:
    """What a file says. With `problems` nothing of it is to be stored."""

    lines: list[Line] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def add(self, line: int, column: str, code: str, detail: str) -> None:
        """Note what is wrong."""
        self.problems.append(Problem(line, column, code, detail))


def read(content: bytes, encoding: str = "") -> Reading:
    """The whole file. Never raises: what cannot be read is among the problems."""
    reading = Reading()
    text = _text(content, encoding)
    if text is None:
        reading.add(0, "", "encoding", _("The file is neither UTF-8 nor Windows-1251."))
        return reading
    records = _records(text, reading)
    header = next(records, None)
    if header is None:
        if not reading.problems:
            reading.add(0, "", "empty", _("The file is empty."))
        return reading
    columns = _columns(*header, reading)
    if columns:
        _read_lines(records, columns, reading)
    return reading


def _text(content: bytes, encoding: str) -> str | None:
    """UTF-8 or Windows-1251, whichever it can be; UTF-16 where it says so by its mark."""
    likely = ("utf-16",) if content.startswith((b"\xff\xfe", b"\xfe\xff")) else ("utf-8-sig", "cp1251")
    for name in (encoding,) if encoding else likely:
        try:
            return content.decode(name)
        except UnicodeDecodeError:
            continue
    return None


def _records(text: str, reading: Reading) -> Iterator[tuple[int, list[str]]]:
    """The lines that are not empty, with their numbers; a quoted cell may go over several."""
    separator, said = _separator(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    number = 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells) and not (said and number == 1):
                yield number, cells
            number = reader.line_num + 1
    except csv.Error:
        reading.add(number, "", "malformed", _("The quotation marks of this line do not fit, or a cell is too long."))


def _separator(text: str) -> tuple[str, bool]:
    """The one by which the header is best understood. True: the first line only names it (`sep=;`), as Excel does."""
    first = text.partition("\n")[0].strip()
    if re.fullmatch(r"sep=[,;\t]?", first, re.IGNORECASE):
        return (first[4:] or "\t"), True
    head = text.lstrip().partition("\n")[0]
    known = [sum(_column(cell) is not None for cell in head.split(one)) for one in SEPARATORS]
    return SEPARATORS[known.index(max(known))], False


def _column(cell: str) -> str | None:
    name = one_spelling(cell.strip().strip('"')).casefold()
    return next((column for column, names in COLUMNS.items() if name in names), None)


def _columns(number: int, cells: list[str], reading: Reading) -> list[str]:
    """The columns in the file's order. Empty: the header is not understood."""
    while cells and not cells[-1].strip():
        cells = cells[:-1]
    columns = [_column(cell) or "" for cell in cells]
    for cell, column in zip(cells, columns, strict=True):
        if not column:
            detail = _("The column “%(name)s” is not known. Known are: person, kind, due_date, note.")
            reading.add(number, "", "unknown_column", detail % {"name": one_spelling(cell)[:100]})
        elif columns.count(column) > 1 and not any(problem.column == column for problem in reading.problems):
            reading.add(number, column, "repeated", _("This column stands in the file twice."))
    if "person" not in columns:
        reading.add(number, "person", "required", _("The first line has to name the columns, “person” among them."))
    return [] if reading.problems else columns


def _read_lines(records: Iterable[tuple[int, list[str]]], columns: Sequence[str], reading: Reading) -> None:
    seen: dict[tuple[str, str], int] = {}
    for number, cells in records:
        if len(reading.lines) >= MOST_LINES:
            reading.add(number, "", "too_many", _("At most %(most)d lines at once.") % {"most": MOST_LINES})
            return
        before = len(reading.problems)
        line = Line(number, _values(number, cells, columns, reading))
        if len(reading.problems) == before and (first := seen.setdefault(line.key, number)) != number:
            detail = _("Line %(line)d has the same person and kind.") % {"line": first}
            reading.add(number, "person", "repeated", detail)
        if len(reading.problems) >= MOST_ERRORS:
            return
        reading.lines.append(line)


def _values(number: int, cells: list[str], columns: Sequence[str], reading: Reading) -> dict[str, str | date | None]:
    if len(cells) < len(columns) or any(cell.strip() for cell in cells[len(columns) :]):
        detail = _("The line has %(count)d cells, the first line %(expected)d.")
        reading.add(number, "", "cells", detail % {"count": len(cells), "expected": len(columns)})
        return {}
    values: dict[str, str | date | None] = {"kind": Kind.MEDICAL_EXAM.value}
    for column, cell in zip(columns, cells, strict=False):
        try:
            values[column] = _READ[column](_unguarded(cell))
        except _WrongError as wrong:
            reading.add(number, column, wrong.code, str(wrong))
    return values


class _WrongError(ValueError):
    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


def _checked(text: str, longest: int) -> str:
    if _CONTROL.search(text):
        raise _WrongError("unsafe", _("Control characters are not allowed."))
    if len(text) > longest:
        raise _WrongError("max_length", _("At most %(most)d characters.") % {"most": longest})
    return text


def _person(cell: str) -> str:
    person = _checked(one_spelling(cell), LONGEST_PERSON)
    if not person:
        raise _WrongError("blank", _("This field may not be blank."))
    return person


def _kind(cell: str) -> str:
    word = one_spelling(cell).casefold()
    if not word:
        return Kind.MEDICAL_EXAM.value
    if word not in _kinds():
        known = ", ".join(f"{kind} ({kind.label})" for kind in Kind)
        raise _WrongError("invalid_choice", _("There is no such kind. Known are: %(kinds)s.") % {"kinds": known})
    return _kinds()[word]


def _note(cell: str) -> str:
    return _checked(tidy_note(cell), LONGEST_NOTE)


def _due_date(cell: str) -> date | None:
    text = cell.strip()
    if not text:
        return None
    iso, dotted = _ISO.fullmatch(text), _DOTTED.fullmatch(text)
    try:
        if iso:
            return date(*map(int, iso.groups()))
        if dotted:
            return date(*map(int, dotted.groups()[::-1]))
    except ValueError:
        pass
    raise _WrongError("invalid", _("Enter a date, as in 2026-11-21 or 21.11.2026, or leave it empty."))


_READ: dict[str, Callable[[str], str | date | None]] = {
    "person": _person,
    "kind": _kind,
    "due_date": _due_date,
    "note": _note,
}


@cache
def _kinds() -> dict[str, str]:
    """Every word for a kind: its name, its label in each language, and what else people call it."""
    words = {word: str(kind) for kind, others in KINDS.items() for word in (str(kind), *others)}
    for language, _name in settings.LANGUAGES:
        with translation.override(language):
            words |= {str(kind.label).casefold(): kind.value for kind in Kind}
    return words


def write(deadlines: Iterable[Deadline]) -> str:
    """The same table for a spreadsheet, which runs nothing of it; `read` understands it again.

    With a byte order mark: without it Excel takes UTF-8 for something else. And with a semicolon where the language has
    a comma in its numbers: there Excel sees no column in commas.
    """
    out = io.StringIO()
    separator = ";" if get_format("DECIMAL_SEPARATOR") == "," else ","
    writer = csv.writer(out, delimiter=separator, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for one in deadlines:
        due = one.due_date.isoformat() if one.due_date else ""
        writer.writerow([_guarded(one.person), one.kind, due, _guarded(one.note)])
    return "\ufeff" + out.getvalue()


def _guarded(text: str) -> str:
    """With an apostrophe before what a spreadsheet would take for a formula, or for such an apostrophe."""
    return _RISKY.sub(r"\1'", text)


def _unguarded(text: str) -> str:
    return _HARMLESS.sub(r"\1", text)
