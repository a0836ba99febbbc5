"""What the forms of accounts take, and what they say to the rest; and that the model says the same by itself."""

from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.forms import modelform_factory

from notifier.admin.provider_forms import EmailSettingsForm, ProviderForm, SmsSettingsForm, TelegramSettingsForm
from notifier.models import EmailSettings, Organization, ProviderSettings, SmsSettings, TelegramSettings
from notifier.organization_accounts import seal_secret, secret_of
from tests.notifier.provider_rows import EMAIL, SMS, TELEGRAM, changed, email_row, sms_row, telegram_row

pytestmark = pytest.mark.django_db

FORMS: dict[type[ProviderSettings], type[ProviderForm]] = {
    EmailSettings: EmailSettingsForm,
    SmsSettings: SmsSettingsForm,
    TelegramSettings: TelegramSettingsForm,
}
BODIES = {EmailSettings: EMAIL, SmsSettings: SMS, TelegramSettings: TELEGRAM}
ROWS = {EmailSettings: email_row, SmsSettings: sms_row, TelegramSettings: telegram_row}


def filled(
    model: type[ProviderSettings],
    organization: Organization,
    row: ProviderSettings | None = None,
    *,
    by_superuser: bool = False,
    **fields: Any,
) -> ProviderForm:
    """A form as the admin makes it: the organization of stored settings is not on it."""
    form = FORMS[model]
    if row is not None:
        form = modelform_factory(model, form, exclude=["organization"])  # type: ignore[assignment]
    form = type(form.__name__, (form,), {"by_superuser": by_superuser})
    body = changed(BODIES[model], organization=str(organization.pk), **fields)
    return form(body, instance=row)


def made(form: ProviderForm) -> Any:
    """The row that a form without faults makes."""
    assert told(form) == {}
    return form.save()


def told(form: ProviderForm) -> dict[str, str]:
    """What is wrong, by field."""
    return {name: " ".join(str(one) for one in errors) for name, errors in form.errors.items()}


# --- What the model refuses by itself, and the form with the same words ----------------------------------------------
MANY = "\n".join(f"u{number}@acme.example" for number in range(51))
REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"use_tls": "on"}, "use_ssl", "TLS and SSL exclude each other"),
    ({"port": "0"}, "port", "greater than or equal to 1"),
    ({"port": "65536"}, "port", "less than or equal to 65535"),
    ({"host": ""}, "host", "Name the server"),
    ({"host": "https://smtp.acme.example"}, "host", "Only the server's name"),
    ({"host": "smtp.acme.example/x"}, "host", "Only the server's name"),
    ({"host": "robot@acme.example"}, "host", "Only the server's name"),
    ({"host": "smtp acme example"}, "host", "Only the server's name"),
    ({"host": "smtp.acme.example:465"}, "host", "port has a field of its own"),
    ({"from_email": "nobody"}, "from_email", "Give an address, or Name <address>."),
    ({"from_email": "a@acme.example, b@acme.example"}, "from_email", "Give an address"),
    ({"user": "robot"}, "from_email", "the user is none"),
    ({"recipients": "good@acme.example\nbad one\n\nuser@localhost"}, "recipients", "Line 4 is no e-mail address: user"),
    ({"recipients": "good@acme.example\nuser@localhost"}, "recipients", "Line 2 is no e-mail address: user@localhost"),
    ({"recipients": "A@acme.example\na@acme.example"}, "recipients", "twice"),
    ({"recipients": "a@acme.example, b@acme.example"}, "recipients", "Line 1 is no e-mail address"),
    ({"recipients": MANY}, "recipients", "At most 50"),
    ({"host": "127.0.0.1"}, "host", "Only a superuser"),
    ({"host": "0x7f.1"}, "host", "Only a superuser"),
    ({"host": "10.0.0.7"}, "host", "Only a superuser"),
    ({"host": "::1"}, "host", "Only a superuser"),
    ({"use_ssl": None, "port": "25"}, "use_tls", "A login needs TLS or SSL"),
]


@pytest.mark.parametrize(("fields", "where", "words"), REFUSED)
def test_form_and_model_refuse_with_the_same_words(
    organization: Organization, fields: dict[str, Any], where: str, words: str
) -> None:
    form = filled(EmailSettings, organization, secret_text="secret", **fields)
    assert list(told(form)) == [where]
    assert words in told(form)[where]
    body = changed(EMAIL, **fields)
    row = email_row(organization, may_be_inside=False)
    for name in ("host", "user", "from_email", "recipients"):
        setattr(row, name, body[name])
    row.port, row.use_tls, row.use_ssl = int(body["port"]), "use_tls" in body, "use_ssl" in body
    with pytest.raises(ValidationError) as raised:
        row.full_clean()
    said = {name: " ".join(found) for name, found in raised.value.message_dict.items()}
    assert {name: words.replace("This field cannot be blank. ", "") for name, words in said.items()} == told(form)


def test_what_was_typed_is_tidied(organization: Organization) -> None:
    typed: dict[str, Any] = {
        "host": " SMTP.Acme.Example. ",
        "recipients": " a@ACME.example \r\n\r\n b@acme.example",
        "from_email": " ",
    }
    form = filled(EmailSettings, organization, secret_text=" abcd efgh ijkl mnop ", **typed)
    row = made(form)
    assert (row.host, row.recipient_list()) == ("smtp.acme.example", ["a@acme.example", "b@acme.example"])
    assert (row.from_email, secret_of(row)) == ("", "abcd efgh ijkl mnop")


# --- The preset, with and without the page's script ------------------------------------------------------------------
GMAIL = ("smtp.gmail.com", 587, True, False)
YANDEX = ("smtp.yandex.ru", 465, False, True)
ACME = ("smtp.acme.example", 465, False, True)


@pytest.mark.parametrize(
    ("stored", "typed", "expected"),
    [
        (None, {"preset": "gmail", "host": "", "use_ssl": None, "use_tls": "on"}, GMAIL),
        (None, {"preset": "yandex", "host": "", "port": "587", "use_ssl": None, "use_tls": "on"}, YANDEX),
        (None, {"preset": "", "host": "smtp.acme.example"}, ACME),
        ("acme", {"preset": "gmail"}, GMAIL),  # chosen; the old server is still in the field
        ("acme", {"preset": "gmail", "host": ""}, GMAIL),
        ("gmail", {"preset": "gmail", "host": "smtp.acme.example"}, ACME),  # typed; the old choice is still there
        ("gmail", {"preset": "gmail", "host": "", "port": "465"}, GMAIL),
        ("gmail", {"preset": "", "host": "smtp.acme.example"}, ACME),
        (
            "acme",
            {"preset": "gmail", "host": "smtp.gmail.com", "port": "465", "use_tls": None, "use_ssl": "on"},
            ("smtp.gmail.com", 465, False, True),  # as the script left it, and then changed on purpose
        ),
    ],
)
def test_the_preset_fills_in_what_the_script_did_not(
    organization: Organization, stored: str | None, typed: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    gmail = {"host": "smtp.gmail.com", "port": 587, "use_tls": True, "use_ssl": False}
    row = email_row(organization, **(gmail if stored == "gmail" else {})) if stored else None
    form = filled(EmailSettings, organization, row, secret_text="again", **typed)
    saved = made(form)
    assert (saved.host, saved.port, saved.use_tls, saved.use_ssl) == expected


@pytest.mark.parametrize("stored", [True, False])
def test_a_provider_with_another_server_is_pointed_out(organization: Organization, *, stored: bool) -> None:
    row = email_row(organization, host="old.acme.example") if stored else None
    form = filled(EmailSettings, organization, row, preset="gmail", secret_text="again")
    assert list(told(form)) == ["preset"]
    assert "smtp.gmail.com" in told(form)["preset"]


# --- Where the stored secret goes ------------------------------------------------------------------------------------
@pytest.mark.parametrize("by_superuser", [True, False])
@pytest.mark.parametrize(
    ("model", "fields"),
    [
        (EmailSettings, {"host": "smtp.thief.example"}),
        (EmailSettings, {"port": "2465"}),
        (EmailSettings, {"use_ssl": None, "use_tls": "on"}),
        (EmailSettings, {"use_ssl": None}),
        (EmailSettings, {"preset": "gmail"}),
        (EmailSettings, {"preset": "gmail", "host": ""}),
        (SmsSettings, {"provider": "smsc"}),
        (SmsSettings, {"login": "AC2"}),
        (SmsSettings, {"provider": "http", "login": "", "url": "https://thief.example/"}),
    ],
)
def test_it_goes_nowhere_else_unless_it_is_entered_again(
    organization: Organization, model: type[ProviderSettings], fields: dict[str, Any], *, by_superuser: bool
) -> None:
    row = ROWS[model](organization)
    form = filled(model, organization, row, by_superuser=by_superuser, **fields)
    assert "Enter it again" in told(form)["secret_text"]
    row.refresh_from_db()
    again = filled(model, organization, row, by_superuser=True, secret_text="entered", **fields)
    assert secret_of(made(again)) == "entered"


@pytest.mark.parametrize("model", list(FORMS))
def test_an_empty_field_keeps_it_and_never_shows_it(organization: Organization, model: type[ProviderSettings]) -> None:
    row = ROWS[model](organization)
    before = secret_of(row)
    form = filled(model, organization, row, is_active=None)
    saved = made(form)
    assert (saved.is_active, secret_of(saved)) == (False, before)
    for shown in (FORMS[model](instance=saved), filled(model, organization, saved, secret_text="typed", port="x")):
        assert before not in shown.as_p()
        assert "typed" not in shown.as_p()


@pytest.mark.parametrize(
    ("model", "fields", "where"),
    [
        (EmailSettings, {}, "secret_text"),
        (EmailSettings, {"user": "", "from_email": "a@acme.example", "secret_text": "x"}, "user"),
        (SmsSettings, {}, "secret_text"),
        (SmsSettings, {"provider": "twilio", "login": "", "secret_text": "x"}, "login"),
        (SmsSettings, {"provider": "twilio", "sender": "", "secret_text": "x"}, "sender"),
        (SmsSettings, {"provider": "smsc", "login": "", "secret_text": "x"}, "login"),
        (SmsSettings, {"provider": "smsru", "url": "https://x.example/", "secret_text": "x"}, "url"),
        (SmsSettings, {"provider": "pigeon", "secret_text": "x"}, "provider"),
        (TelegramSettings, {}, "secret_text"),
        (TelegramSettings, {"parse_mode": "BBCode", "secret_text": "x"}, "parse_mode"),
    ],
)
def test_what_an_account_lacks_is_named(
    organization: Organization, model: type[ProviderSettings], fields: dict[str, Any], where: str
) -> None:
    assert list(told(filled(model, organization, **fields))) == [where]


def test_a_relay_without_login_drops_the_secret(organization: Organization) -> None:
    row = email_row(organization)
    form = filled(EmailSettings, organization, row, user="", from_email="a@acme.example", host="relay.acme.example")
    assert made(form).secret is None


# --- Who may lead messages into our own network -----------------------------------------------------------------------
def test_a_superuser_allows_a_private_address_until_somebody_else_moves_it(organization: Organization) -> None:
    inside: dict[str, Any] = {"host": "10.0.0.7", "port": "25", "use_ssl": None}
    row = made(filled(EmailSettings, organization, by_superuser=True, secret_text="x", **inside))
    assert row.may_be_inside
    form = filled(EmailSettings, organization, row, **inside, recipients="other@acme.example")
    assert made(form).may_be_inside  # the administrator of the organization looks after the rest
    moved = filled(EmailSettings, organization, row, secret_text="x", **{**inside, "host": "10.0.0.8"})
    assert "Only a superuser" in told(moved)["host"]
    row.refresh_from_db()
    away = made(filled(EmailSettings, organization, row, secret_text="x"))
    assert not away.may_be_inside


def test_a_superuser_who_only_switches_it_off_allows_nothing(organization: Organization) -> None:
    row = email_row(organization, may_be_inside=False)
    assert not made(filled(EmailSettings, organization, row, by_superuser=True, is_active=None)).may_be_inside
    assert made(filled(EmailSettings, organization, row, by_superuser=True, secret_text="x")).may_be_inside


def test_a_gateway_is_a_superusers(organization: Organization) -> None:
    gateway: dict[str, Any] = {"provider": "http", "login": "", "url": "http://10.0.0.7/sms"}
    assert list(told(filled(SmsSettings, organization, **gateway))) == ["provider"]
    odd = filled(SmsSettings, organization, by_superuser=True, **{**gateway, "url": "ftp://10.0.0.7/"})
    assert list(told(odd)) == ["url"]
    row = made(filled(SmsSettings, organization, by_superuser=True, **gateway))
    assert row.secret is None
    kept = filled(SmsSettings, organization, row, **gateway, sender="Acme", is_active=None)
    made(kept)
    moved = filled(SmsSettings, organization, row, **{**gateway, "url": "http://169.254.169.254/"}, secret_text="x")
    assert list(told(moved)) == ["provider"]


def test_an_organization_has_one_of_each(organization: Organization) -> None:
    email_row(organization)
    assert list(told(filled(EmailSettings, organization, secret_text="x"))) == ["organization"]


def test_another_password_of_the_same_place(organization: Organization) -> None:
    row = email_row(organization, secret=seal_secret("old"))
    form = filled(EmailSettings, organization, row, secret_text="new", user="x@acme.example")
    assert secret_of(made(form)) == "new"
