"""Orders and calls for a manager: where they go, how operators see them, and how they are sent again."""

import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.urls import reverse
from pytest_django.fixtures import Settings
from rest_framework.exceptions import ValidationError

from channels.errors import PermanentError, TemporaryError
from notifier import delivery, intake, message_templates, send, submissions
from notifier.models import Attachment, Membership, Notification, Organization
from notifier.states import Status
from notifier.submissions import NotAgainError, State, state_of
from sandbox.servers import Sandbox
from tests.conftest import FakeRegistry
from tests.notifier.rows import change, in_state, stored
from tests.notifier.test_secrets import mail  # noqa: F401 - a fixture

pytestmark = pytest.mark.django_db

LIST = "/admin/notifier/submission/"
CALL: dict[str, Any] = {
    "summary": "Wants a lamp",
    "priority": "low",
    "client": {"name": "Ann", "phone": "+12025550123"},
}
ORDER: dict[str, Any] = {
    "client": {"name": "Анна Петрова", "email": "anna@example.com"},
    "items": [{"code": "LMP-204", "name": "Lamp", "quantity": 2, "price": "10.50", "stock": 1}],
    "total": "21.00",
    "delivery": {"method": "Courier"},
}


@pytest.fixture(autouse=True)
def sales(settings: Settings) -> None:
    """The service's own address."""
    settings.SALES_EMAIL = "sales@example.com"


def submitted(organization: Organization, template: str = "order_request", **body: Any) -> Notification:
    context = {"order_request": ORDER, "manager_call": CALL}[template]
    row = intake.accept(organization, {"template": template, "context": context, **body}, ring=False)
    return Notification.objects.get(pk=row.pk)


# --- Where they go ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("template", ["manager_call", "order_request"])
@pytest.mark.parametrize(("own", "expected"), [("", "sales@example.com"), ("shop@acme.example", "shop@acme.example")])
def test_they_go_to_the_organizations_sales_address(
    organization: Organization, template: str, own: str, expected: str
) -> None:
    Organization.objects.filter(pk=organization.pk).update(sales_email=own)  # the object in hand is older
    row = submitted(organization, template)
    assert (row.to, row.recipient) == ({"email": expected}, None)
    assert row.steps == [{"channel": "email"}]


def test_given_addresses_and_channels_are_used(organization: Organization) -> None:
    row = submitted(organization, to={"email": "boss@example.com", "phone": "+12025550123"}, channels=["sms"])
    assert (row.to, row.steps) == ({"email": "boss@example.com", "phone": "+12025550123"}, [{"channel": "sms"}])


def test_without_any_address_the_error_says_what_to_set(organization: Organization, settings: Settings) -> None:
    settings.SALES_EMAIL = ""
    with pytest.raises(ValidationError) as refused:
        submitted(organization)
    assert refused.value.get_codes() == {"to": ["no_sales_email"]}
    assert "SALES_EMAIL" in str(refused.value.detail)
    assert Notification.objects.count() == 0


def test_other_templates_need_an_address(organization: Organization) -> None:
    with pytest.raises(ValidationError) as refused:
        intake.accept(organization, {"template": "welcome", "context": {}})
    assert refused.value.get_codes() == {"user_id": ["required"]}


@pytest.mark.parametrize(
    ("template", "urgency", "given", "expected"),
    [
        ("manager_call", "high", None, "HIGH"),
        ("manager_call", "medium", None, "NORMAL"),
        ("manager_call", "low", None, "NORMAL"),
        ("manager_call", "high", "low", "LOW"),
        ("order_request", None, None, "NORMAL"),
    ],
)
def test_an_urgent_call_overtakes(
    organization: Organization, template: str, urgency: str | None, given: str | None, expected: str
) -> None:
    body: dict[str, Any] = {"priority": given} if given else {}
    if urgency:
        body["context"] = {**CALL, "priority": urgency}
    assert submitted(organization, template, **body).priority == Notification.Rank[expected]


def test_one_comes_from_python_and_arrives(
    organization: Organization,
    mail: Sandbox,  # noqa: F811
    settings: Settings,
) -> None:
    settings.DEFAULT_FROM_EMAIL = "notifier@example.com"
    row = send(template="order_request", context=ORDER)
    delivery.deliver([row.pk])
    row.refresh_from_db()
    assert row.status == Status.SENT
    [message] = mail.inbox.messages()
    assert message.to == "sales@example.com"
    assert "LMP-204" in message.text
    assert "21.00" in message.text


# --- As operators see them -------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("status", "state"),
    [
        *((status, State.SENT) for status in (Status.SENT, Status.WAITING, Status.DELIVERED, Status.ACKNOWLEDGED)),
        *((status, State.FAILED) for status in (Status.FAILED, Status.EXPIRED, Status.CANCELLED)),
        *((status, State.QUEUED) for status in (Status.QUEUED, Status.SENDING)),
    ],
)
def test_every_status_is_one_of_three_states(status: Status, state: State) -> None:
    assert state_of(Notification(status=status)) is state


@pytest.fixture
def ann(organization: Organization) -> Client:
    """The browser of who administers the default organization."""
    user = User.objects.create_user("ann", is_staff=True)
    Membership.objects.create(user=user, organization=organization, role=Membership.Role.ADMINISTRATOR)
    client = Client()
    client.force_login(user)
    return client


def failed(organization: Organization, fakes: FakeRegistry) -> Notification:
    fakes["email"].always = PermanentError("No such mailbox.", code="invalid_address")
    row = submitted(organization)
    delivery.deliver([row.pk])
    fakes["email"].always = None
    row.refresh_from_db()
    assert row.status == Status.FAILED
    return row


def page(client: Client, address: str, status: int = 200) -> str:
    answer = client.get(address)
    assert answer.status_code == status, answer.content
    return answer.content.decode()


def listed(client: Client, query: str = "") -> list[int]:
    return sorted({int(pk) for pk in re.findall(r"/submission/(\d+)/change/", page(client, LIST + query))})


def test_the_list_says_what_became_of_each(ann: Client, organization: Organization, fakes: FakeRegistry) -> None:
    row = failed(organization, fakes)
    sent = submitted(organization, "manager_call")
    delivery.deliver([sent.pk])
    stored(subject="No submission")
    html = page(ann, LIST)
    assert listed(ann) == sorted([row.pk, sent.pk])
    assert "No submission" not in html
    for word in ("FAILED", "SENT", "invalid_address No such mailbox."):
        assert word in html
    assert "No such mailbox." in page(ann, f"{LIST}{row.pk}/change/")


def test_filters_and_search(ann: Client, organization: Organization, fakes: FakeRegistry) -> None:
    one = failed(organization, fakes)
    other = submitted(organization, "manager_call", reference="ref-17")
    found = {
        "?state=FAILED": [one.pk],
        "?state=QUEUED": [other.pk],
        "?state=SENT": [],
        "?state=nonsense": [one.pk, other.pk],
        "?kind=manager_call": [other.pk],
        "?kind=order_request": [one.pk],
        f"?organization__id__exact={organization.pk}": [one.pk, other.pk],
        "?q=ref-17": [other.pk],
        "?q=LMP-204": [one.pk],
        "?q=%2B12025550123": [other.pk],
        "?q=Петрова+Анна": [one.pk],
        "?q=Петрова+nobody": [],
        "?created_at__year=1999": [],
    }
    assert {query: listed(ann, query) for query in found} == {query: sorted(pks) for query, pks in found.items()}
    assert one.pk in listed(ann, f"?q={one.pk}")


def test_others_submissions_are_not_there(ann: Client, admin_client: Client) -> None:
    theirs = submitted(Organization.objects.create(slug="other", name="Other"))
    assert listed(ann) == []
    assert listed(admin_client) == [theirs.pk]
    for address in (f"{LIST}{theirs.pk}/change/", f"{LIST}{theirs.pk}/again/"):
        page(ann, address, 404)
        assert ann.post(address).status_code in (403, 404)
    ann.post(LIST, {"action": "send_again_selected", "_selected_action": [theirs.pk], "confirmed": "yes"})
    assert Notification.objects.count() == 1


def test_nobody_edits_one(admin_client: Client, organization: Organization) -> None:
    row = submitted(organization)
    page(admin_client, f"{LIST}add/", 403)
    for address in (f"{LIST}{row.pk}/change/", f"{LIST}{row.pk}/delete/"):
        assert admin_client.post(address, {"subject": "x"}).status_code == 403
    assert Notification.objects.get().subject == row.subject


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite plans in other words")
def test_the_list_reads_no_other_notifications(organization: Organization) -> None:
    rows = Notification.objects.filter(template__in=["manager_call", "order_request"], organization=organization)
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        assert "notification_submissions" in rows.order_by("-id")[:100].explain()


# --- Again -----------------------------------------------------------------------------------------------------------
def test_a_failed_one_goes_on_as_itself(ann: Client, organization: Organization, fakes: FakeRegistry) -> None:
    row = failed(organization, fakes)
    assert f"/submission/{row.pk}/again/" in page(ann, f"{LIST}{row.pk}/change/")
    assert "every step is tried again" in page(ann, f"{LIST}{row.pk}/again/")
    row.refresh_from_db()
    assert row.status == Status.FAILED  # looking is not sending
    assert ann.post(f"{LIST}{row.pk}/again/").url == f"{LIST}{row.pk}/change/"  # type: ignore[attr-defined]
    delivery.deliver([row.pk])
    row.refresh_from_db()
    assert (row.status, Notification.objects.count()) == (Status.SENT, 1)


def test_a_sent_one_is_sent_as_another(ann: Client, organization: Organization, fakes: FakeRegistry) -> None:
    file = {"filename": "a.txt", "content_type": "text/plain", "content": "YQ=="}
    row = submitted(organization, reference="r", metadata={"a": 1}, attachments=[file], priority="high")
    delivery.deliver([row.pk])
    assert "A new notification" in page(ann, f"{LIST}{row.pk}/again/")
    ann.post(f"{LIST}{row.pk}/again/")
    new = Notification.objects.exclude(pk=row.pk).get()
    row.refresh_from_db()
    for name in ("to", "subject", "message", "html", "template", "forms", "steps", "priority", "reference", "metadata"):
        assert getattr(new, name) == getattr(row, name), name
    assert (row.status, new.status) == (Status.SENT, Status.QUEUED)
    assert new.key != row.key
    assert [bytes(one.content) for one in Attachment.objects.filter(notification=new)] == [b"a"]


def test_one_wish_that_comes_twice_is_done_once(ann: Client, organization: Organization, fakes: FakeRegistry) -> None:
    sent, broken = submitted(organization), failed(organization, fakes)
    delivery.deliver([sent.pk])
    for row in (sent, broken):
        [asked] = re.findall(r'name="asked" value="(\w{32})"', page(ann, f"{LIST}{row.pk}/again/"))
        answers = []
        for _click in range(2):
            answers.append(ann.post(f"{LIST}{row.pk}/again/", {"asked": asked}).url)  # type: ignore[attr-defined]
            delivery.deliver(list(Notification.objects.values_list("pk", flat=True)))
        assert answers[0] == answers[1]
    assert Notification.objects.count() == 3  # one copy, and the failed one by itself
    assert len(fakes["email"].sent) == 3  # the first, its copy, and the other one


def test_the_lists_action_takes_what_a_page_shows(
    ann: Client, organization: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifier.admin.submissions.MOST_AT_ONCE", 1)
    chosen = {"action": "send_again_selected", "_selected_action": [submitted(organization).pk], "select_across": "1"}
    assert "asked" in ann.post(LIST, chosen).content.decode()
    submitted(organization)
    assert "At most 1 at once" in ann.post(LIST, chosen, follow=True).content.decode()


def test_several_are_sent_by_the_lists_action(ann: Client, organization: Organization, fakes: FakeRegistry) -> None:
    rows = [failed(organization, fakes), submitted(organization, "manager_call")]
    chosen = {"action": "send_again_selected", "_selected_action": [row.pk for row in rows]}
    html = ann.post(LIST, chosen).content.decode()
    assert "on its way already" in html
    assert Notification.objects.get(pk=rows[0].pk).status == Status.FAILED
    ann.post(LIST, {**chosen, "confirmed": "yes"})
    assert [Notification.objects.get(pk=row.pk).status for row in rows] == [Status.QUEUED, Status.QUEUED]
    assert Notification.objects.count() == 2


@pytest.mark.parametrize(
    "values",
    [
        in_state(Status.QUEUED),
        {**in_state(Status.FAILED), "own_account": True},
        {**in_state(Status.SENT), "own_account": True},
        {**in_state(Status.SENT), "to": None},
        {**in_state(Status.SENT), "forms": {"secrets": ["link"]}},
    ],
)
def test_what_cannot_be_sent_again_says_why(organization: Organization, values: dict[str, Any]) -> None:
    row = submitted(organization)
    change(row, **values)
    with pytest.raises(NotAgainError, match=r"\w"):
        submissions.send_again(row, "1")
    assert Notification.objects.count() == 1


def test_the_error_is_of_what_was_tried(organization: Organization, fakes: FakeRegistry) -> None:
    fakes["email"].always = TemporaryError("busy", code="unreachable")
    row = submitted(organization, channels=["email", "sms"])
    delivery.deliver([row.pk])
    row.refresh_from_db()
    assert [attempt.code for attempt in row.attempts.all()] == ["unreachable", "no_address"]
    assert submissions.error_of(row, row.attempts.all()) == "unreachable busy"


# --- The templates' pages --------------------------------------------------------------------------------------------
TEMPLATES = f"{LIST}templates/"


def test_the_templates_are_reached_from_the_first_page(ann: Client) -> None:
    assert TEMPLATES in page(ann, "/admin/")
    html = page(ann, TEMPLATES)
    for name in message_templates.names():
        assert f"{TEMPLATES}{name}/" in html
        assert "<iframe sandbox " in page(ann, f"{TEMPLATES}{name}/")
    page(ann, f"{TEMPLATES}nothing/", 404)


def test_who_administers_nothing_sees_no_templates(organization: Organization, client: Client) -> None:
    user = User.objects.create_user("bob", is_staff=True)
    Membership.objects.create(user=user, organization=organization, role=Membership.Role.MEMBER)
    client.force_login(user)
    assert TEMPLATES not in page(client, "/admin/")
    page(client, TEMPLATES, 404)
    page(client, f"{TEMPLATES}welcome/", 404)


def preview(client: Client, context: str, language: str = "en") -> Any:
    return client.post(f"{TEMPLATES}welcome/", {"context": context, "language": language})


def test_a_context_of_ones_own_is_shown_and_escaped(ann: Client) -> None:
    answer = preview(ann, '{"name": "<script>alert(1)</script>", "organization": "A\\"cme"}')
    html = answer.content.decode()
    assert "<script>alert(1)" not in html
    assert "&amp;lt;script&amp;gt;alert(1)" in html  # escaped in the mail, and the mail in the attribute
    policy = answer.headers["Content-Security-Policy"]
    assert "script-src 'self';" in policy
    assert "default-src 'none'" in policy


@pytest.mark.parametrize(
    ("context", "word"),
    [
        ("{", "no JSON"),
        ("[]", "Expected an object"),
        ("", "required"),
        ('{"nmae": 1}', "context.nmae"),
        ('{"name": 1, "name": 2}', "no JSON"),
        ('{"name": "\\u0000"}', "no JSON"),
        ("[" * 100_000, "no JSON"),
    ],
)
def test_what_is_wrong_with_a_context_is_said(ann: Client, context: str, word: str) -> None:
    html = preview(ann, context).content.decode()
    assert word in html
    assert "<iframe" not in html


def test_a_preview_stores_nothing(ann: Client) -> None:
    assert preview(ann, '{"name": "Ann"}', "ru").status_code == 200
    assert preview(ann, '{"name": "Ann"}', "xx").status_code == 200
    assert Notification.objects.count() == 0


def test_an_administrator_sets_the_sales_address(ann: Client, organization: Organization) -> None:
    address = reverse("admin:notifier_organization_change", args=[organization.pk])
    assert 'name="sales_email"' in page(ann, address)
    for wrong in ("nobody", "sales@localhost", "sales@[127.0.0.1]"):
        answer = ann.post(address, {"name": "Acme", "sales_email": wrong})
        assert "errorlist" in answer.content.decode(), wrong
    assert ann.post(address, {"name": "Acme", "sales_email": "new@acme.example"}).status_code == 302
    assert submitted(organization).to == {"email": "new@acme.example"}
