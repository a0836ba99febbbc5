"""The admin of an organization's administrator: his own organizations, and not a word of any other."""

from dataclasses import dataclass
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Group, Permission, User
from django.db.models import Model
from django.test import Client
from django.urls import reverse

from notifier import api_keys
from notifier.admin.scoped import Scoped
from notifier.models import ApiKey, Attempt, Membership, Notification, Organization, Recipient
from tests.notifier.rows import stored

WORD = "strangersword"
OURS: list[type[Model]] = [ApiKey, Notification, Organization, Recipient]
Role = Membership.Role


@dataclass
class Tenant:
    """An organization and one row of everything that the admin shows."""

    organization: Organization
    rows: dict[type[Model], Any]


def tenant(slug: str, word: str) -> Tenant:
    """A new one; the word stands in all of its texts."""
    organization = Organization.objects.create(slug=slug, name=f"{word} Ltd")
    person = Recipient.objects.create(organization=organization, email=f"{word}@example.com", name=f"{word} Smith")
    row = stored(organization=organization, recipient=person, subject=f"{word} subject", reference=f"{word}-reference")
    Attempt.objects.create(
        notification=row, step=0, round=0, channel="email", outcome="skipped", temporary=True, code="not_configured",
        detail=f"{word} detail", started_at=row.created_at,
    )  # fmt: skip
    key = api_keys.make(organization, name=f"{word} shop").row
    ApiKey.objects.filter(pk=key.pk).update(prefix=f"ntf_live_{word}")
    return Tenant(organization, {ApiKey: key, Notification: row, Organization: organization, Recipient: person})


@pytest.fixture
def mine(db: None) -> Tenant:
    return tenant("mine", "myword")


@pytest.fixture
def theirs(db: None) -> Tenant:
    return tenant("theirs", WORD)


@pytest.fixture
def operator(mine: Tenant, theirs: Tenant) -> User:
    """An administrator of the one, and a member of the other: who reads its data by the API, and not here."""
    user = User.objects.create_user("anna", is_staff=True)
    Membership.objects.create(user=user, organization=mine.organization, role=Role.ADMINISTRATOR)
    Membership.objects.create(user=user, organization=theirs.organization, role=Role.MEMBER)
    return user


@pytest.fixture
def page(client: Client, operator: User) -> Client:
    """His browser."""
    client.force_login(operator)
    return client


def snapshot() -> list[Any]:
    """All rows of ours, and of Django's users and their rights."""
    models = [*apps.get_app_config("notifier").get_models(), *apps.get_app_config("auth").get_models()]
    return [list(model._default_manager.order_by("pk").values()) for model in models]


def names(model: type[Model]) -> tuple[str, list[str]]:
    """The beginning of its pages' names, and those that are about one row."""
    model_admin = admin.site.get_model_admin(model)
    start = f"{model._meta.app_label}_{model._meta.model_name}_"
    found = [entry.name for entry in model_admin.get_urls() if entry.name and str(entry.pattern).startswith("<")]
    return start, [name.removeprefix(start) for name in found]


def address(model: type[Model], name: str, *arguments: Any) -> str:
    """Of one of the admin's pages."""
    return reverse(f"admin:{names(model)[0]}{name}", args=arguments)


def row_pages() -> list[tuple[type[Model], str]]:
    """Every page about one row."""
    return [(model, name) for model in OURS for name in names(model)[1]]


def lists() -> list[Any]:
    return [pytest.param(model, id=model.__name__) for model in OURS]


def test_all_that_belongs_to_organizations_is_scoped() -> None:
    for model, model_admin in admin.site._registry.items():
        if model._meta.app_label == "notifier":
            assert isinstance(model_admin, Scoped), model
    assert {"change", "history", "delete", "shown", "rotate", "revoke"} <= set(names(ApiKey)[1])


# --- Lists, choices, searches ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("model", lists())
def test_a_list_has_his_rows_only(page: Client, mine: Tenant, theirs: Tenant, model: type[Model]) -> None:
    foreign = {} if model is Organization else {"organization__id__exact": theirs.organization.pk}
    half, whole = WORD[:9], f"{WORD}-reference"  # the page repeats what was asked for
    for query in ({}, {"q": half}, {"q": whole}, {"q": theirs.rows[model].pk}, foreign):
        answer = page.get(address(model, "changelist"), query)
        assert answer.status_code == 200
        assert WORD not in answer.content.decode().replace(whole, "")
        assert theirs.rows[model] not in answer.context["cl"].queryset
    assert [row.pk for row in page.get(address(model, "changelist")).context["cl"].queryset] == [mine.rows[model].pk]


def test_filters_offer_his_organizations(page: Client, operator: User, theirs: Tenant) -> None:
    third = Organization.objects.create(slug="third", name="Third Ltd")
    Membership.objects.create(user=operator, organization=third, role=Role.ADMINISTRATOR)
    for model in (ApiKey, Notification, Recipient):
        answer = page.get(address(model, "changelist"))
        assert "Third Ltd" in answer.content.decode()
        assert WORD not in answer.content.decode()


@pytest.mark.parametrize("model", [ApiKey, Recipient])
def test_forms_offer_his_organizations(page: Client, mine: Tenant, theirs: Tenant, model: type[Model]) -> None:
    answer = page.get(address(model, "add"), {"organization": theirs.organization.pk})
    choices = answer.context["adminform"].form.fields["organization"].queryset
    assert list(choices) == [mine.organization]
    assert WORD not in answer.content.decode()


@pytest.mark.parametrize("model", [ApiKey, Recipient])
def test_nothing_is_stored_for_another_organization(page: Client, theirs: Tenant, model: type[Model]) -> None:
    before = snapshot()
    body = {"organization": theirs.organization.pk, "kind": "live", "may_send": "on", "expires_at_0": ""}
    answer = page.post(
        address(model, "add"), {**body, "expires_at_1": "", "email": "new@example.com", "channels": "[]"}
    )
    assert answer.status_code == 200
    assert "organization" in answer.context["adminform"].form.errors
    assert snapshot() == before


@pytest.mark.parametrize(
    ("source", "field", "found"),
    [
        ("apikey", "organization", True),
        ("recipient", "organization", True),
        ("notification", "organization", True),
        ("membership", "organization", True),
        ("notification", "recipient", True),
        ("attempt", "notification", True),
        ("membership", "user", False),  # operators are nobody's business
    ],
)
def test_autocompletion_finds_his_rows_only(
    page: Client, mine: Tenant, theirs: Tenant, source: str, field: str, found: bool
) -> None:
    for term in ("", WORD, "anna", str(theirs.rows[Notification].pk)):
        query = {"app_label": "notifier", "model_name": source, "field_name": field, "term": term}
        answer = page.get("/admin/autocomplete/", query)
        assert answer.status_code == (200 if found else 403)
        if found:
            results = answer.json()["results"]
            assert WORD not in str(results)
            own = {Recipient: mine.rows[Recipient], Notification: mine.rows[Notification], "": mine.organization}
            assert {one["id"] for one in results} <= {str(row.pk) for row in own.values()}
            assert results or term


# --- One row ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("model", "name"), row_pages())
def test_another_organizations_row_is_not_there(page: Client, theirs: Tenant, model: type[Model], name: str) -> None:
    before = snapshot()
    theirs_and_nobodys = [address(model, name, pk) for pk in (theirs.rows[model].pk, 2**40)]
    bodies: list[dict[str, Any]] = [{}, {"post": "yes"}, {"confirmed": "yes"}, {"name": "Taken", "slug": "taken"}]
    for where in theirs_and_nobodys:
        for answer in (page.get(where), *(page.post(where, body) for body in bodies)):
            # 403 where nobody may do this to any row; which tells nothing, since both get it.
            assert answer.status_code in (403, 404)
            assert WORD not in answer.content.decode()
    same = [page.get(where) for where in theirs_and_nobodys]
    assert same[0].status_code == same[1].status_code
    assert same[0].content.decode().replace(theirs_and_nobodys[0], theirs_and_nobodys[1]) == same[1].content.decode()
    assert snapshot() == before


@pytest.mark.parametrize(("model", "name"), row_pages())
def test_his_own_rows_are_there(page: Client, mine: Tenant, model: type[Model], name: str) -> None:
    never = name == "delete" and model is not Recipient
    answer = page.get(address(model, name, mine.rows[model].pk))
    assert answer.status_code == (403 if never else 200)
    assert WORD not in answer.content.decode()


@pytest.mark.parametrize("model", lists())
def test_the_old_address_of_a_row_leads_nowhere_either(page: Client, theirs: Tenant, model: type[Model]) -> None:
    answer = page.get(f"{address(model, 'changelist')}{theirs.rows[model].pk}/", follow=True)
    assert answer.status_code == 404


def test_a_notification_comes_with_its_attempts(page: Client, mine: Tenant) -> None:
    told = page.get(address(Notification, "change", mine.rows[Notification].pk)).content.decode()
    assert "myword detail" in told


# --- Actions ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("model", lists())
@pytest.mark.parametrize("action", ["delete_selected", "revoke_selected"])
@pytest.mark.parametrize("across", ["0", "1"])
def test_actions_reach_his_rows_only(
    page: Client, theirs: Tenant, model: type[Model], action: str, across: str
) -> None:
    before = theirs_as_stored(theirs)
    body = {"action": action, "_selected_action": [theirs.rows[model].pk], "select_across": across}
    for more in ({}, {"post": "yes", "confirmed": "yes"}):
        answer = page.post(address(model, "changelist"), {**body, **more})
        assert answer.status_code in (200, 302, 403)
        assert WORD not in answer.content.decode()
    assert theirs_as_stored(theirs) == before


def theirs_as_stored(theirs: Tenant) -> list[Any]:
    """Their rows."""
    return [model._default_manager.filter(pk=row.pk).values().first() for model, row in theirs.rows.items()]


def test_he_erases_his_own_people(page: Client, mine: Tenant, theirs: Tenant) -> None:
    person = mine.rows[Recipient]
    body = {"action": "delete_selected", "_selected_action": [person.pk, theirs.rows[Recipient].pk], "post": "yes"}
    page.post(address(Recipient, "changelist"), body)
    assert list(Recipient.objects.all()) == [theirs.rows[Recipient]]


# --- What he cannot become -------------------------------------------------------------------------------------------
def test_he_cannot_change_who_belongs_where(page: Client, operator: User, mine: Tenant, theirs: Tenant) -> None:
    where = address(Organization, "change", mine.organization.pk)
    assert "memberships-TOTAL_FORMS" not in page.get(where).content.decode()
    memberships = list(Membership.objects.order_by("pk").values())
    inline = {
        "memberships-TOTAL_FORMS": "1",
        "memberships-INITIAL_FORMS": "0",
        "memberships-0-user": str(User.objects.create_user("friend").pk),
        "memberships-0-organization": str(theirs.organization.pk),
        "memberships-0-role": Role.ADMINISTRATOR,
    }
    assert page.post(where, {"name": "Mine indeed", "slug": "changed", **inline}).status_code == 302
    mine.organization.refresh_from_db()
    assert (mine.organization.name, mine.organization.slug) == ("Mine indeed", "mine")
    assert list(Membership.objects.order_by("pk").values()) == memberships


def test_he_makes_no_organization_and_ends_none(page: Client, mine: Tenant) -> None:
    before = snapshot()
    where = [address(Organization, "add"), address(Organization, "delete", mine.organization.pk)]
    for one in where:
        assert page.get(one).status_code == 403
        assert page.post(one, {"name": "New", "slug": "new", "post": "yes"}).status_code == 403
    assert snapshot() == before


def test_a_person_stays_in_his_organization(client: Client, admin_user: User, mine: Tenant, theirs: Tenant) -> None:
    client.force_login(admin_user)
    person = mine.rows[Recipient]
    body = {"organization": theirs.organization.pk, "email": "new@example.com", "channels": "[]"}
    assert client.post(address(Recipient, "change", person.pk), body).status_code == 302
    person.refresh_from_db()
    assert (person.organization, person.email) == (mine.organization, "new@example.com")


@pytest.mark.parametrize("permitted", [False, True])
def test_operators_and_their_groups_are_for_superusers(page: Client, operator: User, permitted: bool) -> None:
    if permitted:  # whoever may change a user could make himself a superuser
        operator.user_permissions.set(Permission.objects.all())
    group = Group.objects.create(name="Staff")
    before = snapshot()
    rows: dict[type[Model], Any] = {User: operator, Group: group}
    for model, row in rows.items():
        pages = [address(model, name) for name in ("changelist", "add")]
        pages += [address(model, name, row.pk) for name in ("change", "history", "delete")]
        if model is User:
            pages.append(reverse("admin:auth_user_password_change", args=[row.pk]))
        for one in pages:
            assert page.get(one).status_code == 403
            assert page.post(one, {"is_superuser": "on", "name": "x", "post": "yes"}).status_code == 403
    told = page.get("/admin/").content.decode()
    assert "/admin/auth/" not in told
    assert snapshot() == before


# --- Who is let in at all --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("role", [None, Role.MEMBER])
@pytest.mark.parametrize("permitted", [False, True])
def test_without_administering_anything_there_is_nothing(
    client: Client, mine: Tenant, role: str | None, permitted: bool
) -> None:
    user = User.objects.create_user("ben", is_staff=True)
    if role:
        Membership.objects.create(user=user, organization=mine.organization, role=role)
    if permitted:
        user.user_permissions.set(Permission.objects.all())
    client.force_login(user)
    for model in OURS:
        assert client.get(address(model, "changelist")).status_code == 403
        assert client.get(address(model, "add")).status_code == 403
    for model, name in row_pages():
        assert client.get(address(model, name, mine.rows[model].pk)).status_code in (403, 404)
    assert "/admin/notifier/" not in client.get("/admin/").content.decode()


def test_an_administrator_who_is_not_staff_does_not_get_in(page: Client, operator: User) -> None:
    User.objects.filter(pk=operator.pk).update(is_staff=False)
    for model in OURS:
        answer = page.get(address(model, "changelist"))
        assert answer.status_code == 302
        assert answer.headers["Location"].startswith("/admin/login/")


def test_a_visitor_sees_the_login_page(client: Client, mine: Tenant) -> None:
    assert client.get("/admin/login/").status_code == 200


def test_what_was_his_yesterday_is_not_today(page: Client, operator: User, mine: Tenant) -> None:
    where = address(Recipient, "change", mine.rows[Recipient].pk)
    assert page.get(where).status_code == 200
    operator.memberships.update(role=Role.MEMBER)
    assert page.get(where).status_code == 404


def test_a_superuser_sees_everything(client: Client, admin_user: User, mine: Tenant, theirs: Tenant) -> None:
    client.force_login(admin_user)
    for model in OURS:
        assert WORD in client.get(address(model, "changelist")).content.decode()
        assert client.get(address(model, "change", theirs.rows[model].pk)).status_code == 200
    assert (
        "memberships-TOTAL_FORMS" in client.get(address(Organization, "change", mine.organization.pk)).content.decode()
    )
    for model in (User, Group):
        assert client.get(address(model, "add")).status_code == 200


def test_nobody_deletes_the_default_organization(client: Client, organization: Organization) -> None:
    client.force_login(User.objects.create_superuser("root"))
    address = f"/admin/notifier/organization/{organization.pk}/delete/"
    assert client.post(address, {"post": "yes"}).status_code == 403
    chosen = {"action": "delete_selected", "_selected_action": [organization.pk], "post": "yes"}
    client.post("/admin/notifier/organization/", chosen)
    assert Organization.objects.filter(pk=organization.pk).exists()
