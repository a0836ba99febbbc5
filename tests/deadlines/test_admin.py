"""Deadlines in the admin: lists, forms, files in and out, each operator's own."""

from datetime import date, timedelta
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from deadlines.models import Deadline, DigestRun, DigestSettings, ImportDraft
from notifier.models import Organization
from tests.deadlines.conftest import TODAY, administrator, calendar, deadline, people

LIST = "/admin/deadlines/deadline/"
IMPORT, EXPORT = f"{LIST}import/", f"{LIST}export/"
GOOD = b"person;kind;due_date;note\nAda;medical_exam;2027-03-01;=1\nAlan;;;\n"
BAD = "ФИО;Дата\nИванов;31.02.2027\n;01.01.2027\nПетров;\n"


@pytest.fixture
def root(client: Client, django_user_model: Any) -> Client:
    """A superuser's browser."""
    client.force_login(django_user_model.objects.create_superuser("root", "root@example.com", "pass"))
    return client


@pytest.fixture
def ann(django_user_model: Any, organization: Organization) -> Client:
    """The browser of who administers the default organization."""
    client = Client()
    client.force_login(administrator(django_user_model, organization, "ann"))
    return client


def page(client: Client, address: str, status: int = 200) -> str:
    """What it shows."""
    answer = client.get(address)
    assert answer.status_code == status, answer.content
    return answer.content.decode()


def upload(client: Client, organization: Organization, content: bytes, name: str = "people.csv") -> Any:
    """The answer to this file."""
    return client.post(IMPORT, {"organization": organization.pk, "file": SimpleUploadedFile(name, content)})


def names() -> list[str]:
    """Who is stored."""
    return list(Deadline.objects.order_by("id").values_list("person", flat=True))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", "later upcoming overdue without other"),
        ("?state=without_date", "without"),
        ("?state=overdue", "overdue other"),
        ("?state=upcoming", "upcoming"),
        ("?state=later", "later"),
        ("?state=nonsense", "later upcoming overdue without other"),
        ("?kind__exact=vehicle", "overdue"),
        ("?q=over", "overdue"),
        ("?organization__id__exact=OTHER", "other"),
        ("?organization__id__exact=OTHER&state=overdue", "other"),
        ("?due_date__year=YEAR", "other"),
    ],
)
def test_the_list_and_its_filters(
    root: Client, organization: Organization, other: Organization, query: str, expected: str
) -> None:
    today = timezone.localdate()
    calendar(organization, days_ahead=10)
    deadline(other, "other", date(1999, 5, 5))
    deadline(organization, "without")
    deadline(organization, "overdue", today - timedelta(days=1), kind="vehicle")
    deadline(organization, "upcoming", today + timedelta(days=10))
    deadline(organization, "later", today + timedelta(days=11))
    answer: Any = root.get(LIST + query.replace("OTHER", str(other.pk)).replace("YEAR", "1999"))
    assert answer.status_code == 200
    assert [row.person for row in answer.context["cl"].result_list] == expected.split()


def test_a_list_asks_nothing_for_each_row(root: Client, organization: Organization) -> None:
    def queries(count: int) -> int:
        Deadline.objects.all().delete()
        people(organization, count, 1)
        with CaptureQueriesContext(connection) as seen:
            page(root, LIST)
        return len(seen)

    assert queries(2) == queries(90)


def test_a_deadline_is_made_and_changed(root: Client, organization: Organization, other: Organization) -> None:
    fields = {"organization": organization.pk, "person": " Ada  Lovelace ", "kind": "vehicle", "due_date": "2027-03-01"}
    assert root.post(f"{LIST}add/", fields).status_code == 302
    row = Deadline.objects.get()
    assert (row.person, row.due_date) == ("Ada Lovelace", date(2027, 3, 1))
    change = f"{LIST}{row.pk}/change/"
    moved = {"organization": other.pk, "person": "Ada", "kind": "other", "due_date": "", "note": "x"}
    assert root.post(change, moved).status_code == 302
    row.refresh_from_db()
    assert (row.organization, row.person, row.due_date, row.note) == (organization, "Ada", None, "x")


@pytest.mark.parametrize(
    ("change", "wrong"),
    [({"organization": ""}, "organization"), ({"person": "\u0958" * 255}, "person"), ({"person": ""}, "person")],
)
def test_what_is_wrong_is_said_once(root: Client, organization: Organization, change: Any, wrong: str) -> None:
    answer: Any = root.post(
        f"{LIST}add/", {"organization": organization.pk, "person": "Ada", "kind": "other", **change}
    )
    errors = answer.context["adminform"].form.errors
    assert {name: len(said) for name, said in errors.items()} == {wrong: 1}


def test_a_file_is_shown_first_and_imported_on_a_yes(root: Client, organization: Organization) -> None:
    deadline(organization, "Alan", note="old")
    answer = upload(root, organization, GOOD)
    assert answer.status_code == 302
    shown = page(root, answer.url)
    assert "<b>1</b> to be created" in shown
    assert "<b>1</b> to be changed" in shown
    assert "=1" in shown
    assert names() == ["Alan"]
    done: Any = root.post(answer.url, follow=True)
    assert "1 created, 1 changed, 0 unchanged" in done.content.decode()
    assert names() == ["Alan", "Ada"]
    assert not ImportDraft.objects.exists()
    assert root.post(answer.url).status_code == 404  # twice is once


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1251"])
def test_errors_are_shown_by_line_and_nothing_is_imported(
    root: Client, organization: Organization, encoding: str
) -> None:
    answer = upload(root, organization, BAD.encode(encoding))
    for shown in (page(root, answer.url), root.post(answer.url).content.decode()):
        assert "Nothing was imported. Errors: 2." in shown
        assert "<td>2</td><td>due date</td>" in shown
        assert "<td>3</td><td>person</td>" in shown
        assert 'value="Import"' not in shown
    assert names() == []


def test_what_is_in_a_file_stays_text(root: Client, organization: Organization) -> None:
    answer = upload(root, organization, b'person,note\n<script>alert(1)</script>,"<b>x"\n')
    assert "<script>alert" not in page(root, answer.url)
    root.post(answer.url)
    assert "<script>alert" not in page(root, LIST)
    wrong = upload(root, organization, b"person,<script>alert(1)</script>\nAda,x\n")
    assert "<script>alert" not in page(root, wrong.url)


@pytest.mark.parametrize("content", [b"", b"\0\x01\x02", b"\x98", b"person\n" + b"a" * (5 * 1024 * 1024)])
def test_a_file_that_is_none(root: Client, organization: Organization, content: bytes) -> None:
    answer = upload(root, organization, content, "../../etc/passwd")
    shown = page(root, answer.url) if answer.status_code == 302 else answer.content.decode()
    assert 'class="errorlist"' in shown or "Nothing was imported" in shown
    assert names() == []
    assert root.post(IMPORT, {}).status_code == 200


def test_a_draft_is_its_operators_alone_and_does_not_stay(
    root: Client, ann: Client, organization: Organization, other: Organization
) -> None:
    first, second = upload(root, organization, GOOD), upload(root, other, GOOD)
    page(root, first.url, 404)
    page(root, second.url)
    page(ann, second.url, 404)
    assert ann.post(second.url).status_code == 404
    hers = upload(ann, organization, GOOD)
    page(root, hers.url, 404)  # a superuser too has only what he uploaded himself
    ImportDraft.objects.update(created_at=timezone.now() - timedelta(days=2))
    upload(ann, organization, GOOD)
    assert ImportDraft.objects.count() == 1


def test_an_export_of_what_the_list_shows(root: Client, organization: Organization, other: Organization) -> None:
    deadline(organization, "=cmd|' /C calc'!A0", date(2027, 3, 1))
    deadline(other, "Иванов Иван")
    people(organization, 150, 1)
    answer = root.get(EXPORT)
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"].startswith("attachment;")
    text = answer.content.decode("utf-8")
    assert text.startswith("\ufeffperson,kind,due_date,note\r\n")
    assert len(text.splitlines()) == 153
    assert "\r\n'=cmd|' /C calc'!A0,medical_exam,2027-03-01,\r\n" in text
    filtered = root.get(f"{EXPORT}?organization__id__exact={other.pk}").content.decode()
    assert filtered.splitlines()[1:] == ["Иванов Иван,medical_exam,,"]
    assert root.get(f"{EXPORT}?due_date__year=x").url == LIST  # type: ignore[attr-defined]  # as the list does
    chosen = {"action": "export_selected", "_selected_action": [Deadline.objects.get(organization=other).pk]}
    assert root.post(LIST, chosen).content.decode() == filtered


def test_an_administrator_sees_his_own(
    ann: Client, organization: Organization, other: Organization, django_user_model: Any
) -> None:
    mine, theirs = deadline(organization, "Mine"), deadline(other, "Theirs", -1)
    run = DigestRun.objects.create(organization=other, date=TODAY)
    kept = calendar(other)
    assert "Mine" in page(ann, LIST)
    for address in (LIST, f"{LIST}?organization__id__exact={other.pk}", EXPORT, IMPORT, f"{LIST}add/"):
        shown = ann.get(address).content.decode()
        assert "Theirs" not in shown
        assert "Other" not in shown.replace("Other deadline", "").replace("other deadline", "")
    for address in (
        f"{LIST}{theirs.pk}/change/",
        f"{LIST}{theirs.pk}/delete/",
        f"{LIST}{theirs.pk}/history/",
        f"/admin/deadlines/digestrun/{run.pk}/change/",
        f"/admin/deadlines/digestsettings/{kept.pk}/change/",
    ):
        page(ann, address, 404)
    page(ann, f"{LIST}{mine.pk}/change/")
    ann.post(LIST, {"action": "delete_selected", "_selected_action": [theirs.pk], "post": "yes"})
    assert upload(ann, other, GOOD).status_code == 200  # no such choice
    fields = {"organization": other.pk, "person": "Mallory", "kind": "other"}
    assert ann.post(f"{LIST}add/", fields).status_code == 200
    assert names() == ["Mine", "Theirs"]
    assert upload(ann, organization, GOOD).status_code == 302


@pytest.mark.parametrize("address", [LIST, IMPORT, f"{IMPORT}1/", EXPORT, f"{LIST}add/"])
def test_nobody_else_comes_in(client: Client, organization: Organization, django_user_model: Any, address: str) -> None:
    assert client.get(address).status_code == 302
    client.force_login(django_user_model.objects.create_user("staff", "s@example.com", "pass", is_staff=True))
    for answer in (client.get(address), client.post(address)):
        assert answer.status_code in {403, 404}


@pytest.mark.parametrize(
    ("change", "is_good"),
    [
        ({}, True),
        ({"hour": 0, "days_ahead": 0, "timezone": "Asia/Vladivostok"}, True),
        ({"hour": 24}, False),
        ({"hour": -1}, False),
        ({"days_ahead": 3651}, False),
        ({"timezone": "Mars/Olympus"}, False),
    ],
)
def test_settings_of_a_digest(root: Client, organization: Organization, change: dict[str, Any], is_good: bool) -> None:
    fields = {"organization": organization.pk, "is_active": "on", "hour": 8, "timezone": "UTC", "days_ahead": 30}
    answer = root.post("/admin/deadlines/digestsettings/add/", {**fields, **change})
    assert answer.status_code == (302 if is_good else 200)
    assert DigestSettings.objects.count() == is_good


def test_runs_are_shown_and_only_deleted(root: Client, organization: Organization) -> None:
    run = DigestRun.objects.create(organization=organization, date=TODAY, mails=2)
    assert "Nov. 21, 2026" in page(root, "/admin/deadlines/digestrun/")
    page(root, "/admin/deadlines/digestrun/add/", 403)
    assert root.post(f"/admin/deadlines/digestrun/{run.pk}/delete/", {"post": "yes"}).status_code == 302
    assert not DigestRun.objects.exists()


def test_an_organization_takes_its_deadlines_along(root: Client, other: Organization) -> None:
    deadline(other, "Ada")
    DigestRun.objects.create(organization=other, date=TODAY)
    calendar(other)
    assert root.post(f"/admin/notifier/organization/{other.pk}/delete/", {"post": "yes"}).status_code == 302
    assert not Deadline.objects.exists()
