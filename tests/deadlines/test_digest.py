"""The digest: counted and listed on a day, as a mail that any program shows."""

import re
from datetime import UTC, date, datetime
from html.parser import HTMLParser
from typing import Any

import pytest
from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries
from pytest_django.fixtures import Settings

from deadlines import digest, sending
from deadlines.models import Deadline, DigestSettings
from deadlines.states import State, matching_everywhere, state_of
from notifier import message_templates
from notifier.message_templates import Rendered
from notifier.models import Organization
from tests.deadlines.conftest import TODAY, calendar, deadline, people

CUT = 102 * 1024
"""Where Gmail cuts a mail's HTML."""

HOSTILE = "<script>alert('1')</script> {{ x }} & \"q\""


def mail_of(organization: Organization) -> Rendered:
    """What leaves on that day."""
    return rendered(digest.collect(organization, TODAY))


def rendered(told: digest.Digest) -> Rendered:
    """What the template makes of it, in the service's language."""
    template, context = message_templates.find(digest.TEMPLATE), digest.context_of(told)
    assert template is not None
    assert template.errors(context) == []
    return template.render(context, settings.LANGUAGE_CODE)


class Page(HTMLParser):
    """The tags, and the words that are not hidden."""

    VOID = {"meta", "br"}

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        """Remember it."""
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """It ends the last one that is open."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Words, but no style sheet's."""
        if "style" not in self.open:
            self.words += data


@pytest.mark.parametrize(
    ("due", "state"),
    [
        (None, State.WITHOUT_DATE),
        (date.min, State.OVERDUE),
        (date(2026, 11, 20), State.OVERDUE),
        (TODAY, State.UPCOMING),
        (date(2026, 12, 1), State.UPCOMING),
        (date(2026, 12, 2), State.LATER),
        (date.max, State.LATER),
    ],
)
def test_each_due_date_is_in_one_state(organization: Organization, due: date | None, state: State) -> None:
    mine = calendar(organization, days_ahead=10)
    deadline(organization, "Ada", due)
    told = digest.collect(organization, TODAY)
    assert state_of(due, TODAY, mine.horizon(TODAY)) == state
    assert {one: told.count(one) for one in digest.GROUPS} == {one: int(one == state) for one in digest.GROUPS}
    assert told.total == 1
    assert told.has_news is (state != State.LATER)


@pytest.mark.parametrize(("day", "days"), [(date.max, 30), (date.min, 3650), (date(9999, 12, 1), 3650), (TODAY, 0)])
def test_every_day_of_the_calendar_has_a_digest(organization: Organization, day: date, days: int) -> None:
    calendar(organization, days_ahead=days)
    for number, due in enumerate((date.min, TODAY, date.max, None)):
        deadline(organization, f"Person {number}", due)
    told = digest.collect(organization, day)
    assert rendered(told).text
    assert told.count(State.WITHOUT_DATE) == 1


def test_without_settings_thirty_days_are_upcoming(organization: Organization, other: Organization) -> None:
    calendar(other, days_ahead=1)
    deadline(other, "Theirs", 1)
    for days in (30, 31):
        deadline(organization, f"in {days}", days)
    told = digest.collect(organization, TODAY)
    assert [row.person for row in told.groups[State.UPCOMING].rows] == ["in 30"]


def test_many_organizations_each_by_its_own_calendar(
    organization: Organization, other: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timezone, "now", lambda: datetime(2026, 11, 20, 22, tzinfo=UTC))
    calendar(other, days_ahead=1, timezone="Asia/Vladivostok")
    for owner in (organization, other):
        deadline(owner, f"{owner.slug} yesterday", date(2026, 11, 20))
        deadline(owner, f"{owner.slug} soon", date(2026, 12, 1))

    def found(state: State) -> set[str]:
        return set(Deadline.objects.filter(matching_everywhere(state)).values_list("person", flat=True))

    assert found(State.OVERDUE) == {"other yesterday"}
    assert found(State.UPCOMING) == {"default yesterday", "default soon"}
    assert found(State.LATER) == {"other soon"}
    assert found(State.WITHOUT_DATE) == set()


@pytest.mark.parametrize("count", [1, 10_000])
def test_a_digest_costs_five_queries_however_many_people_there_are(
    organization: Organization, django_assert_num_queries: DjangoAssertNumQueries, count: int
) -> None:
    for due in (None, -3, 5, 50):
        people(organization, count // 4 or 1, due)
    with django_assert_num_queries(5):
        told = digest.collect(organization, TODAY)
        mail = rendered(told)
    assert told.total == max(count, 4)
    assert told.count(State.OVERDUE) == max(count // 4, 1)
    assert len(mail.html) < 200_000


def test_the_mail_says_who_what_and_when(organization: Organization) -> None:
    deadline(organization, "Zoe", -3, note="Bring\nthe results.")
    deadline(organization, "Ada", -10, kind="vehicle")
    deadline(organization, "Alan", 0)
    deadline(organization, "Grace", 7)
    deadline(organization, "Nobody")
    deadline(organization, "Later", 100)
    mail = mail_of(organization)
    assert mail.subject == "Deadlines of Default, 21 Nov 2026: overdue 2, upcoming 2, without date 1"
    for words in (mail.text, Page(mail.html).words):
        places = [words.index(name) for name in ("Ada", "Zoe", "Alan", "Grace", "Nobody")]
        assert places == sorted(places)  # the oldest first
        assert "Later" not in words
        for said in ("18 Nov 2026", "days overdue: 3", "today", "days left: 7", "vehicle inspection"):
            assert said in words
        assert "Bring the results." in words
    assert "Overdue: 2\nUpcoming: 2\nWithout date: 1\n" in mail.text


def test_in_russian(organization: Organization, settings: Settings) -> None:
    settings.LANGUAGE_CODE = "ru"
    deadline(organization, "Иванов Иван", -3)
    deadline(organization, "Петров Пётр", 1, kind="fire_safety")
    mail = mail_of(organization)
    assert "21.11.2026" in mail.subject
    assert "просроченные 1" in mail.subject
    for words in (mail.text, Page(mail.html).words):
        for said in ("18.11.2026", "медицинский осмотр", "пожарная безопасность", "Просроченные", "Предстоящие"):
            assert said in words
    assert '<html lang="ru">' in mail.html
    assert not re.search(r"\b(overdue|Upcoming|Deadlines|days)\b", mail.text + Page(mail.html).words)


def test_what_people_typed_stays_text(organization: Organization) -> None:
    organization.name = f"{HOSTILE}\r\nBcc: x@example.com"
    organization.save()
    deadline(organization, HOSTILE, -1, note=HOSTILE)
    mail = mail_of(organization)
    assert "\n" not in mail.subject
    page = Page(mail.html)
    assert "script" not in {tag for tag, _ in page.tags}
    assert page.words.count(HOSTILE) >= 3
    assert mail.text.count(HOSTILE) == 3


def test_the_html_is_whole_and_needs_nothing_from_elsewhere(organization: Organization) -> None:
    for due in (None, -3, 5):
        people(organization, 101, due)
    html = mail_of(organization).html
    page = Page(html)
    assert page.open == []
    assert {tag for tag, _ in page.tags} & {"img", "link", "script", "form", "iframe"} == set()
    assert not any("src" in attrs for _, attrs in page.tags)
    assert not re.search(r"url\(|@import", html)
    links = [str(attrs["href"]) for tag, attrs in page.tags if tag == "a"]
    assert len(links) == 3
    assert all(re.match(r"http://127\.0\.0\.1:8000/admin/deadlines/deadline/\?org.*state=", link) for link in links)
    assert len(re.findall(r"and [0-9]+ more", page.words)) == 3


def test_a_mail_of_long_names_and_notes_is_still_taken(organization: Organization) -> None:
    long = "&" * 240
    rows = [
        Deadline(organization=organization, person=f"{group}-{one}{long}", due_date=due, note=long * 4)
        for group, due in enumerate((None, date(2026, 11, 1), date(2026, 11, 30)))
        for one in range(200)
    ]
    Deadline.objects.bulk_create(rows)
    told = digest.collect(organization, TODAY)
    mail = rendered(told)
    accepted = sending.accept(told, ["a@example.com"], ring=False)
    assert accepted.refused == {}
    assert accepted.rows["a@example.com"].message == mail.text
    assert all(0 < len(group.rows) < digest.MOST_ROWS for group in told.groups.values())
    assert all(group.more == 200 - len(group.rows) for group in told.groups.values())
    assert len(mail.text) < 80_000
    assert len(mail.html.encode()) < CUT


def test_a_mail_of_many_people_is_not_cut_by_mail_programs(organization: Organization) -> None:
    for count, due in ((100, -3), (100, 5), (7, None)):
        people(organization, count, due, name="Константинопольский Александр Владимирович")
    told = digest.collect(organization, TODAY)
    assert 80_000 < len(rendered(told).html.encode()) < CUT
    overdue, upcoming, without_date = (len(told.groups[state].rows) for state in digest.GROUPS)
    assert without_date == 7  # what a small group leaves, the large ones share
    assert 60 < overdue < 100
    assert abs(overdue - upcoming) <= 1
    assert told.groups[State.OVERDUE].more == 100 - overdue


def test_one_that_comes_while_they_are_counted(organization: Organization, monkeypatch: pytest.MonkeyPatch) -> None:
    aggregate = QuerySet.aggregate

    def late(self: Any, **wanted: Any) -> Any:
        counts = aggregate(self, **wanted)
        deadline(organization, "Late", -1)
        return counts

    monkeypatch.setattr(QuerySet, "aggregate", late)
    overdue = digest.collect(organization, TODAY).groups[State.OVERDUE]
    assert (overdue.count, overdue.more) == (1, 0)


def test_control_characters_of_a_name_are_no_reason_to_be_refused(organization: Organization) -> None:
    organization.name = "A\x07B\x1b[2J\u2028C"
    deadline(organization, "Ada", -1)
    mail = mail_of(organization)
    assert mail.subject.startswith("Deadlines of A B [2J C, ")


def test_nothing_to_do_is_said(organization: Organization) -> None:
    deadline(organization, "Later", 100)
    mail = mail_of(organization)
    assert "Nothing is due" in mail.text
    assert "Nothing is due" in Page(mail.html).words


def test_a_zone_that_is_gone_is_the_services_own() -> None:
    gone = DigestSettings(timezone="Mars/Olympus")
    assert (
        gone.local(datetime(2026, 11, 21, tzinfo=UTC)).utcoffset()
        == DigestSettings().local(datetime(2026, 11, 21, tzinfo=UTC)).utcoffset()
    )
