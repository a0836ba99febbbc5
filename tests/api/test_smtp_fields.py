"""A request's own SMTP account: which fields go together, where it may lead, what becomes of the password."""

import json
from typing import Any, cast

import pytest
from django.db import connection
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from channels.email import SmtpAccount
from notifier.models import Notification
from notifier.provider_accounts import account_for
from tests.api.checks import assert_problem

URL = "/api/notifications/"
PASSWORD = "canary-pa55word"
BODY: dict[str, Any] = {
    "to": {"email": "user@example.com"},
    "message": "Hello",
    "smtp_user": "me@example.com",
    "smtp_password": PASSWORD,
}


@pytest.fixture(autouse=True)
def server(settings: Settings) -> None:
    """The configured server, and the hosts that a request may name."""
    settings.SMTP_HOST = "mail.example.com"
    settings.SMTP_PORT = 587
    settings.SMTP_USE_TLS, settings.SMTP_USE_SSL = True, False
    settings.DEFAULT_FROM_EMAIL = "Notifier <notifier@example.com>"
    settings.SMTP_OVERRIDE_HOSTS = ()


def accepted(api: APIClient, **fields: Any) -> SmtpAccount:
    """The account that this notification would be sent with."""
    response = api.post(URL, {**BODY, **fields})
    assert response.status_code == 202, response.json()
    return cast("SmtpAccount", account_for("email", Notification.objects.get(pk=response.json()["id"])))


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("fields", "host", "port", "security"),
    [
        ({}, "mail.example.com", 587, "starttls"),
        ({"smtp_host": "mail.example.com"}, "mail.example.com", 587, "starttls"),
        ({"smtp_host": "smtp.gmail.com"}, "smtp.gmail.com", 587, "starttls"),
        ({"smtp_host": "SMTP.Gmail.com."}, "smtp.gmail.com", 587, "starttls"),
        ({"smtp_host": "smtp.gmail.com", "smtp_use_ssl": True}, "smtp.gmail.com", 465, "ssl"),
        ({"smtp_host": "smtp.gmail.com", "smtp_port": 465}, "smtp.gmail.com", 465, "ssl"),
        ({"smtp_host": "smtp.gmail.com", "smtp_port": 25}, "smtp.gmail.com", 25, "starttls"),
        ({"smtp_host": "smtp.gmail.com", "smtp_port": 2525, "smtp_use_tls": True}, "smtp.gmail.com", 2525, "starttls"),
        (
            {"smtp_host": "smtp.gmail.com", "smtp_use_tls": True, "smtp_use_ssl": False},
            "smtp.gmail.com",
            587,
            "starttls",
        ),
        ({"smtp_host": "smtp.gmail.com", "smtp_use_tls": False}, "smtp.gmail.com", 587, "none"),  # it is listed by name
        ({"smtp_use_tls": False}, "mail.example.com", 587, "none"),
        ({"smtp_use_ssl": True}, "mail.example.com", 587, "ssl"),
    ],
)
def test_where_it_leads(api: APIClient, fields: dict[str, Any], host: str, port: int, security: str) -> None:
    account = accepted(api, **fields)
    assert (account.host, account.port, account.security) == (host, port, security)
    assert (account.origin, account.user, account.password) == ("request", "me@example.com", PASSWORD)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("fields", "sender"),
    [
        ({}, "me@example.com"),
        ({"smtp_host": "smtp.gmail.com"}, "me@example.com"),
        ({"from_email": "Ada@Example.COM"}, "Ada@example.com"),
        ({"smtp_user": "login"}, "Notifier <notifier@example.com>"),
    ],
)
def test_the_sender(api: APIClient, fields: dict[str, Any], sender: str) -> None:
    assert accepted(api, **fields).from_email == sender


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("given", "used"), [("abcd efgh ijkl mnop", "abcdefghijklmnop"), ("pass word", "pass word"), ("пароль", "пароль")]
)
def test_the_password_goes_as_it_is_but_for_gmails_spaces(api: APIClient, given: str, used: str) -> None:
    assert accepted(api, smtp_password=given).password == used


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("fields", "attr"),
    [
        ({"smtp_password": None}, "smtp_password"),
        ({"smtp_user": None}, "smtp_user"),
        ({"smtp_user": ""}, "smtp_user"),
        ({"smtp_password": ""}, "smtp_password"),
        ({"smtp_use_tls": True, "smtp_use_ssl": True}, "smtp_use_ssl"),
        ({"smtp_host": "smtp.gmail.com", "smtp_use_tls": True, "smtp_use_ssl": True}, "smtp_use_ssl"),
        ({"smtp_host": "evil.example.com"}, "smtp_host"),
        ({"smtp_host": "smtp.gmail.com.evil.example.com"}, "smtp_host"),
        ({"smtp_host": "evil.smtp.gmail.com"}, "smtp_host"),
        ({"smtp_host": "smtp.gmail.com", "smtp_port": 80}, "smtp_host"),
        ({"smtp_host": "smtp.gmail.com", "smtp_port": 6379}, "smtp_host"),
        ({"smtp_port": 22}, "smtp_port"),
    ],
)
def test_what_is_refused(api: APIClient, nothing_stored: None, fields: dict[str, Any], attr: str) -> None:
    response = api.post(URL, {**BODY, **fields})
    assert_problem(response, 400, attr)
    assert PASSWORD not in response.content.decode()


@pytest.mark.django_db
@pytest.mark.parametrize("half", ["smtp_user", "smtp_password"])
def test_half_an_account_is_none(api: APIClient, nothing_stored: None, half: str) -> None:
    other = {"smtp_user": "smtp_password", "smtp_password": "smtp_user"}[half]
    response = api.post(URL, {name: value for name, value in BODY.items() if name != half})
    assert_problem(response, 400, half, "required")
    assert BODY[other] not in response.content.decode()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("smtp_host", "smtp.gmail.com"),
        ("smtp_port", 587),
        ("smtp_use_tls", True),
        ("smtp_use_tls", False),
        ("smtp_use_ssl", False),
        ("from_email", "me@example.com"),
    ],
)
def test_the_rest_goes_only_beside_the_credentials(
    api: APIClient, nothing_stored: None, field: str, value: Any
) -> None:
    body = {"to": BODY["to"], "message": "Hello", field: value}
    assert_problem(api.post(URL, body), 400, field)


# --- SMTP_OVERRIDE_HOSTS ---------------------------------------------------------------------------------------------
LISTED = ("relay.example.net", "odd.example.net:1025", "10.0.0.5")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("listed", "fields", "allowed"),
    [
        (LISTED, {"smtp_host": "relay.example.net"}, True),
        (LISTED, {"smtp_host": "RELAY.example.net", "smtp_port": 25}, True),
        (LISTED, {"smtp_host": "relay.example.net", "smtp_port": 26}, False),
        (LISTED, {"smtp_host": "odd.example.net", "smtp_port": 1025}, True),
        (LISTED, {"smtp_host": "odd.example.net"}, False),
        (LISTED, {"smtp_host": "10.0.0.5", "smtp_use_tls": False}, True),
        (LISTED, {"smtp_host": "10.0.0.6"}, False),
        (LISTED, {"smtp_host": "smtp.gmail.com"}, False),  # a list replaces the presets
        (LISTED, {"smtp_host": "mail.example.com"}, True),  # SMTP_HOST with its port, always
        (LISTED, {"smtp_host": "mail.example.com", "smtp_port": 2525}, False),
        (LISTED, {"smtp_port": 2525}, False),
        (("*",), {"smtp_host": "anything.example.org"}, True),
        (("*",), {"smtp_host": "anything.example.org", "smtp_port": 465}, True),
        (("*",), {"smtp_host": "anything.example.org", "smtp_port": 1025}, False),
        (("*",), {"smtp_host": "anything.example.org", "smtp_use_tls": False}, False),
        (("*",), {"smtp_host": "8.8.8.8"}, True),
        (("*", "10.0.0.5"), {"smtp_host": "10.0.0.5"}, True),
    ],
)
def test_which_hosts_a_request_may_name(
    api: APIClient, settings: Settings, listed: tuple[str, ...], fields: dict[str, Any], allowed: bool
) -> None:
    settings.SMTP_OVERRIDE_HOSTS = listed
    response = api.post(URL, {**BODY, **fields})
    if allowed:
        assert response.status_code == 202, response.json()
    else:
        assert_problem(response, 400)


INSIDE = [
    *("127.0.0.1", "127.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "0", "0.0.0.1", "127.0.0.1."),
    *("10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "169.254.169.254", "224.0.0.1", "255.255.255.255"),
    *(
        "::1",
        "::",
        "::ffff:127.0.0.1",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "fe80::1",
        "fc00::1",
        "ff02::1",
    ),
    *("[::1]", "localhost@evil.example.com", "mail.example.com:25", "mail.example.com/x", "http://mail.example.com"),
    *(
        "mail example.com",
        "mail.example.com\r\nRCPT TO:<x@y>",
        "a" * 64 + ".example.com",
        ".example.com",
        "-",
        "м.example",
    ),
]


@pytest.mark.django_db
@pytest.mark.parametrize("host", INSIDE)
def test_no_spelling_of_an_address_reaches_inside(
    api: APIClient, settings: Settings, nothing_stored: None, host: str
) -> None:
    for listed in ((), ("*",)):
        settings.SMTP_OVERRIDE_HOSTS = listed
        assert_problem(api.post(URL, {**BODY, "smtp_host": host}), 400, "smtp_host")


# --- The password ----------------------------------------------------------------------------------------------------
@pytest.mark.django_db
def test_the_credentials_never_come_back_and_lie_encrypted(api: APIClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    response = api.post(URL, {**BODY, "smtp_host": "smtp.gmail.com"})
    place = response.headers["Location"]
    shown = response.content + api.get(place).content + api.get(URL).content + api.post(f"{place}cancel/").content
    assert not {name for name in json.loads(response.content) if name.startswith("smtp") or name == "credentials"}
    api.post(URL, {**BODY, "smtp_host": "smtp.gmail.com"})
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM notifier_notification")
        kept = repr([tuple(bytes(v) if isinstance(v, memoryview) else v for v in row) for row in cursor.fetchall()])
    for where in (shown.decode(), kept, caplog.text):
        assert PASSWORD not in where
        assert "me@example.com" not in where


@pytest.mark.django_db
def test_a_refused_body_echoes_no_secret(api: APIClient, nothing_stored: None) -> None:
    wrong: list[dict[str, Any]] = [
        {"smtp_pasword": PASSWORD},
        {"smtp_password": [PASSWORD]},
        {"smtp_password": {"value": PASSWORD}},
        {"smtp_password": PASSWORD + "\x00"},
        {"smtp_password": PASSWORD + "\n"},
        {"smtp_password": PASSWORD * 100},
        {"smtp_user": PASSWORD + "\r\n"},
        {"smtp_use_tls": PASSWORD},
        {"smtp_port": PASSWORD},
        {"smtp_host": PASSWORD},
        {"from_email": PASSWORD},
    ]
    for fields in wrong:
        response = api.post(URL, {**BODY, **fields})
        assert_problem(response, 400)
        assert PASSWORD not in response.content.decode()
