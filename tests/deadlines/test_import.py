"""Files of deadlines: read whole, all of it or nothing, whatever somebody has put in."""

import csv
import io
import itertools
from datetime import date
from typing import Any

import pytest
from django.db import IntegrityError
from django.utils import translation
from pytest_django import DjangoAssertNumQueries
from rest_framework.test import APIClient

from deadlines import csv_files, imports
from deadlines.models import Deadline
from notifier.models import Organization
from tests.api.checks import assert_problem, raw
from tests.deadlines.conftest import deadline

URL = "/api/deadlines/import/"
DAY = date(2027, 3, 1)


def post(api: APIClient, content: str | bytes, query: str = "", kind: str = "text/csv") -> Any:
    """The answer to this file."""
    return raw(api, "POST", URL + query, content, kind)


def stored() -> list[tuple[Any, ...]]:
    """What there is."""
    return list(Deadline.objects.order_by("id").values_list("person", "kind", "due_date", "note"))


HEADER = "person,kind,due_date,note"
RUSSIAN = "ФИО;Вид;Дата;Примечание\r\nИванов Иван;Медосмотр;01.03.2027;нет\r\n"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (f"{HEADER}\nAda,vehicle,2027-03-01,x\n", ("Ada", "vehicle", DAY, "x")),
        ("person;kind;due_date;note\r\nAda;;;\r\n", ("Ada", "medical_exam", None, "")),
        ("person\tdue_date\nAda\t1.3.2027", ("Ada", "medical_exam", DAY, "")),
        ("person\nAda", ("Ada", "medical_exam", None, "")),
        ("person\rAda\r", ("Ada", "medical_exam", None, "")),
        ("\n\nperson,note\n\n,\nAda,x\n\n", ("Ada", "medical_exam", None, "x")),
        ("sep=;\nperson;note\nAda;a,b\n", ("Ada", "medical_exam", None, "a,b")),
        ('Full name,Due date\n"Lovelace, Ada",\n', ("Lovelace, Ada", "medical_exam", None, "")),
        ('"PERSON";" Due   Date"\n"Ada";"2027-03-01"\n', ("Ada", "medical_exam", DAY, "")),
        ('person,note\nAda,"two\r\nlines ""quoted"""\n', ("Ada", "medical_exam", None, 'two\nlines "quoted"')),
        ('person,note\n"Ada\nLovelace",\n', ("Ada Lovelace", "medical_exam", None, "")),
        ("person,note,,\nAda,x,,\n", ("Ada", "medical_exam", None, "x")),
        ("person,kind\nAda,MEDICAL   Examination\n", ("Ada", "medical_exam", None, "")),
        (RUSSIAN.encode(), ("Иванов Иван", "medical_exam", DAY, "нет")),
        (RUSSIAN.encode("utf-8-sig"), ("Иванов Иван", "medical_exam", DAY, "нет")),
        (RUSSIAN.encode("cp1251"), ("Иванов Иван", "medical_exam", DAY, "нет")),
        (RUSSIAN.replace(";", "\t").encode("utf-16"), ("Иванов Иван", "medical_exam", DAY, "нет")),
        (f"{HEADER}\n=cmd|' /C calc'!A0,,,@SUM(1)\n", ("=cmd|' /C calc'!A0", "medical_exam", None, "@SUM(1)")),
        ("person\n<script>alert(1)</script>\n", ("<script>alert(1)</script>", "medical_exam", None, "")),
        ("person,note\nAda,{{ x }} %s\n", ("Ada", "medical_exam", None, "{{ x }} %s")),
    ],
)
def test_what_spreadsheets_write_is_read(
    api: APIClient, organization: Organization, content: str | bytes, expected: tuple[Any, ...]
) -> None:
    answer = post(api, content)
    assert answer.status_code == 200, answer.content
    assert answer.json() == {"created": 1, "changed": 0, "unchanged": 0, "dry_run": False}
    assert stored() == [expected]


@pytest.mark.parametrize("kind", ["text/csv; charset=windows-1251", 'text/csv; charset="CP1251"', "text/csv"])
def test_an_encoding_that_is_named(api: APIClient, organization: Organization, kind: str) -> None:
    assert post(api, RUSSIAN.encode("cp1251"), kind=kind).status_code == 200
    assert stored()[0][0] == "Иванов Иван"


@pytest.mark.parametrize(
    ("content", "attr", "code"),
    [
        (b"", None, "empty"),
        ("\ufeff", None, "empty"),
        ("\n \n", None, "empty"),
        ("Ada,2027-03-01\n", "line.1.person", "required"),
        ("due_date\n2027-03-01\n", "line.1.person", "required"),
        ("person,birthday\nAda,x\n", "line.1", "unknown_column"),
        ("person,name\nAda,x\n", "line.1.person", "repeated"),
        (f"{HEADER}\nAda,,,\n,,,x\n", "line.3.person", "blank"),
        (f"{HEADER}\n\n\nAda,,31.02.2027,\n", "line.4.due_date", "invalid"),
        (f"{HEADER}\nAda,,03/01/2027,\n", "line.2.due_date", "invalid"),
        (f"{HEADER}\nAda,,01.03.27,\n", "line.2.due_date", "invalid"),
        (f"{HEADER}\nAda,,٠١.٠٣.٢٠٢٧,\n", "line.2.due_date", "invalid"),
        (f"{HEADER}\nAda,,0000-01-01,\n", "line.2.due_date", "invalid"),
        (f"{HEADER}\nAda,,=1+1,\n", "line.2.due_date", "invalid"),
        (f"{HEADER}\nAda,birthday,,\n", "line.2.kind", "invalid_choice"),
        (f"{HEADER}\n{'a' * 256},,,\n", "line.2.person", "max_length"),
        (f"{HEADER}\nAda,,,{'a' * 1001}\n", "line.2.note", "max_length"),
        (f"{HEADER}\nA\0da,,,\n", "line.2.person", "unsafe"),
        (f"{HEADER}\nAda,,,\x1b[2J\n", "line.2.note", "unsafe"),
        (f"{HEADER}\nAda\n", "line.2", "cells"),
        (f"{HEADER}\nAda,,,,x\n", "line.2", "cells"),
        (f"{HEADER}\nAda,,,\nAlan,,,\n Ada ,,,\n", "line.4.person", "repeated"),
        (f'{HEADER}\nAda,,,"x\n', "line.2", "malformed"),
        (f'{HEADER}\n"Ada"x,,,\n', "line.2", "malformed"),
        (f'{HEADER}\nAda,,,"a\nb"\nAlan,,never,\n', "line.4.due_date", "invalid"),
        (f"{HEADER}\nAda,,,{'a' * 140_000}\n", "line.2", "malformed"),
        (b"\x98\x81", None, "encoding"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "line.1.person", "required"),
        (b"PK\x03\x04\x14\0\x06\0\x08\0!\0", "line.1.person", "required"),
        ("person\n" + "".join(f"Person {one}\n" for one in range(10_001)), "line.10002", "too_many"),
    ],
)
def test_what_is_wrong_is_named_by_line_and_nothing_is_stored(
    api: APIClient, organization: Organization, content: str | bytes, attr: str | None, code: str
) -> None:
    deadline(organization, "Grace")
    for query in ("", "?dry_run=1"):
        assert_problem(post(api, content, query), 400, attr, code)
    assert stored() == [("Grace", "medical_exam", None, "")]


def test_every_error_is_told_up_to_some_hundreds(api: APIClient, organization: Organization) -> None:
    answer = post(api, f"{HEADER}\n,birthday,never,\nAda,,,\n,,,x\n")
    told = [(one["attr"], one["code"]) for one in answer.json()["errors"]]
    assert told == [
        ("line.2.person", "blank"),
        ("line.2.kind", "invalid_choice"),
        ("line.2.due_date", "invalid"),
        ("line.4.person", "blank"),
    ]
    many = post(api, "person,kind\n" + "Ada,x\n" * 9_000).json()["errors"]
    assert len(many) == csv_files.MOST_ERRORS


def test_the_same_file_twice_changes_nothing(api: APIClient, organization: Organization, other: Organization) -> None:
    deadline(other, "Ada")
    content = f"{HEADER}\nAda,,2027-03-01,x\nAda,vehicle,,\nAlan,,,\n"
    assert post(api, content).json() == {"created": 3, "changed": 0, "unchanged": 0, "dry_run": False}
    before = list(Deadline.objects.order_by("id").values())
    assert post(api, content).json() == {"created": 0, "changed": 0, "unchanged": 3, "dry_run": False}
    assert list(Deadline.objects.order_by("id").values()) == before
    changed = f"{HEADER}\nAda,,2028-03-01,x\nAda,vehicle,,\nGrace,,,\n"
    assert post(api, changed).json() == {"created": 1, "changed": 1, "unchanged": 1, "dry_run": False}
    assert Deadline.objects.get(organization=organization, person="Ada", kind="medical_exam").pk == before[1]["id"]
    assert Deadline.objects.get(organization=other).due_date is None


@pytest.mark.parametrize("dry", ["", "?dry_run=1"])
def test_a_line_that_could_mean_several_people_is_refused(api: APIClient, organization: Organization, dry: str) -> None:
    for kind in ("medical_exam", "medical_exam", "vehicle"):
        deadline(organization, "Ada", kind=kind)
    answer = post(api, f"{HEADER}\nAlan,,,\nAda,,2027-03-01,\n", dry)
    assert_problem(answer, 400, "line.3.person", "ambiguous")
    assert Deadline.objects.count() == 3
    assert post(api, f"{HEADER}\nAda,vehicle,2027-03-01,\n").json()["changed"] == 1


def test_a_column_that_is_not_there_stays_and_an_empty_one_empties(api: APIClient, organization: Organization) -> None:
    deadline(organization, "Ada", DAY, note="keep")
    assert post(api, "person\nAda\n").json()["unchanged"] == 1
    assert post(api, "person,due_date\nAda,\n").json()["changed"] == 1
    assert stored() == [("Ada", "medical_exam", None, "keep")]


def test_what_somebody_writes_meanwhile_into_another_column_stays(
    organization: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    deadline(organization, "Ada", note="old")
    known = imports._known

    def meanwhile(*given: Any) -> Any:
        found = known(*given)
        Deadline.objects.update(note="new")
        return found

    monkeypatch.setattr(imports, "_known", meanwhile)
    assert imports.store(organization, csv_files.read(b"person,due_date\nAda,2027-03-01\n").lines).changed == 1
    assert stored() == [("Ada", "medical_exam", DAY, "new")]


@pytest.mark.parametrize("query", ["?dry_run=1", "?dry_run=true"])
def test_a_dry_run_counts_and_stores_nothing(api: APIClient, organization: Organization, query: str) -> None:
    deadline(organization, "Ada")
    before = stored()
    answer = post(api, f"{HEADER}\nAda,,2027-03-01,\nAlan,,,\n", query)
    assert answer.json() == {"created": 1, "changed": 1, "unchanged": 0, "dry_run": True}
    assert stored() == before


@pytest.mark.parametrize(
    ("query", "status"),
    [("?dry_run=0", 200), *((f"?{name}", 400) for name in ("dry_run=maybe", "dry_run=", "dry_run", "dryrun=1"))],
)
def test_dry_run_says_yes_or_no_and_nothing_else_is_taken_for_a_no(
    api: APIClient, organization: Organization, query: str, status: int
) -> None:
    assert post(api, "person\nAda\n", query).status_code == status
    assert len(stored()) == (status == 200)


@pytest.mark.parametrize(
    ("kind", "extra"),
    [
        ("application/json", {}),
        ("text/plain", {}),
        ("multipart/form-data; boundary=x", {}),
        ("text/csv; charset=koi8-r", {}),
        ("text/csv", {"HTTP_CONTENT_ENCODING": "gzip"}),
    ],
)
def test_another_kind_of_body_is_415(
    api: APIClient, organization: Organization, kind: str, extra: dict[str, str]
) -> None:
    assert_problem(raw(api, "POST", URL, "person\nAda\n", kind, **extra), 415)
    assert not stored()


def test_a_large_file_is_413(api: APIClient, organization: Organization) -> None:
    assert_problem(post(api, "person\n" + "a" * (5 * 1024 * 1024)), 413, None, "too_large")


def test_without_a_slash(api: APIClient, organization: Organization) -> None:
    assert raw(api, "POST", URL.rstrip("/"), "person\nAda\n", "text/csv").status_code == 200


def test_ten_thousand_people_cost_few_statements(
    organization: Organization, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    content = "person,due_date\n" + "".join(f"Person {one},2027-03-01\n" for one in range(10_000))
    reading = csv_files.read(content.encode())
    assert not reading.problems
    with django_assert_max_num_queries(100):
        assert imports.store(organization, reading.lines).created == 10_000
    assert Deadline.objects.count() == 10_000


def test_an_import_that_fails_half_way_leaves_nothing(
    organization: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "BATCH", 1)
    lines = csv_files.read(b"person\nAda\nAlan\n").lines
    lines[1].values["kind"] = "birthday"  # what a constraint refuses
    with pytest.raises(IntegrityError):
        imports.store(organization, lines)
    assert not stored()


@pytest.mark.parametrize("person", ["=1+1", "+7 912", "-1", "@x", "'=1", "'quoted'", "Ada", "O'Neil", 'A "B", C;D'])
def test_an_export_is_harmless_and_is_read_again(organization: Organization, person: str) -> None:
    row = deadline(organization, person, DAY, note="=HYPERLINK(1)\nmore")
    content = csv_files.write([row])
    for cell in content.splitlines()[1].split(",")[:1]:
        assert not cell.strip('"').startswith(("=", "+", "-", "@"))
    assert "'=HYPERLINK" in content
    [line] = csv_files.read(content.encode()).lines
    assert line.values == {"person": person, "kind": "medical_exam", "due_date": DAY, "note": row.note}


@pytest.mark.parametrize("language", ["en", "ru"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_an_export_is_harmless_by_whichever_sign_it_is_cut(
    organization: Organization, language: str, separator: str
) -> None:
    row = deadline(organization, 'Ada;=1+1,@x\t"=2', DAY, note='say "hi";"=HYPERLINK(1)"\n+1, -1; \'=1')
    with translation.override(language):
        content = csv_files.write([row]).removeprefix("\ufeff")
    for cells in csv.reader(io.StringIO(content), delimiter=separator):
        assert not [cell for cell in cells if cell.strip().startswith(("=", "+", "-", "@"))]
    assert {"en": "person,kind", "ru": "person;kind"}[language] in content
    [line] = csv_files.read(content.encode()).lines
    assert line.values["note"] == row.note


def test_what_guards_an_export_is_taken_away_exactly() -> None:
    for length in range(6):
        for signs in itertools.product("='\",; \ta", repeat=length):
            text = "".join(signs)
            assert csv_files._unguarded(csv_files._guarded(text)) == text


@pytest.mark.parametrize("note", ["a\r\nb", " a\r", "\n=1"])
def test_a_note_is_the_same_over_every_door(api: APIClient, organization: Organization, note: str) -> None:
    assert api.post("/api/deadlines/", {"person": "Ada", "note": note}).status_code == 201
    content = csv_files.write(Deadline.objects.all())
    assert post(api, content).json() == {"created": 0, "changed": 0, "unchanged": 1, "dry_run": False}
