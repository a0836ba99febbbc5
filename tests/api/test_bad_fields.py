"""Bad values, field by field. `attr` names the field, nothing is stored, nothing secret is echoed."""

from typing import Any

import pytest
from django.db import connection
from rest_framework.test import APIClient

from notifier.models import Organization, Recipient
from tests.api.checks import assert_problem

pytestmark = pytest.mark.usefixtures("nothing_stored")

USERS, NOTIFICATIONS = "/api/users/", "/api/notifications/"
HELLO: dict[str, Any] = {"to": {"email": "user@example.com"}, "message": "Hello"}
NO_TEXT: list[Any] = [5, 1.5, True, False, [], {}, ["x"], {"x": "y"}]
STEP = {"channel": "email"}


def each(thing: dict[str, Any], name: str, *values: Any) -> list[Any]:
    """Lists of one thing, wrong in one place."""
    return [[{**thing, name: value}] for value in values]


def pairs(field: str, *values: Any) -> list[tuple[str, Any]]:
    """Rows for a table of fields and values."""
    return [(field, value) for value in values]


EMAILS: list[Any] = [
    *("user", "@example.com", "user@", "user@@example.com", "user@example", "user@localhost", "a@test"),
    *("user@[127.0.0.1]", "user@[IPv6:::1]", "user@127.0.0.1", "user@example..com", "user@.example.com"),
    *("user@-example.com", "user@exa_mple.com", "user@example.com.", "us er@example.com", "user@exam ple.com"),
    *("a@example.com,b@example.com", "a@example.com;b@example.com", "a@example.com b@example.com"),
    *("User <user@example.com>", "<user@example.com>", "mailto:user@example.com", '"quoted"@example.com'),
    *("user@example.com\n", "user@example.com\r\nBcc: x@y.com", "\tuser@example.com", " user@example.com "),
    *("user@example.com\x00", "user\x7f@example.com", "user@example.com\u2028", "user\u202e@example.com"),
    *("a" * 65 + "@example.com", "a@" + "b" * 64 + ".com", "a@" + ".".join(["b" * 60] * 5) + ".com"),
    *("user@xn--a.com", "user@example.local", "user@example.invalid", ".user@example.com", "us..er@example.com"),
    *("user@exa%6dple.com", "user@１２７.0.0.1", "user@example.com/path", "user＠example.com", " "),
    *NO_TEXT,
]
PHONES: list[Any] = [
    *("12345", "+", "++12025550123", "+0", "+1", "+1202555", "+120255501234567", "2025550123", "00"),
    *(
        "+1-800-FLOWERS",
        "+1202555012x",
        "+12025550123;ext=5",
        "+12025550123 ext. 5",
        "+12025550123,5",
        "tel:+12025550123",
    ),
    *("+١٢٠٢٥٥٥٠١٢٣", "＋12025550123", "+12025550123\n", "+12025550123\x00", "+1202555\u200b0123", "+999123456789"),
    *("+49123456789012345", "+1 900 555 0123", "+44 909 879 0000", "+12025550123,+12025550124", "*100#", "112", "911"),
    *("+" + "1" * 16, "1" * 33, " ", "()", "-"),
    12025550123,
    *NO_TEXT,
]
CHATS: list[Any] = [
    *("0", "-0", "-", "00123", "+123", "1e5", "1.0", "12 3", " 123", "123\n", "0x1F", "١٢٣", "9" * 20),
    *("@", "@a", "@ab", "@1abc", "@имя", "@name with space", "@" + "a" * 33, "name", "https://t.me/name", "@na-me"),
    *("123\x00", "123;drop", "me"),
    *(0, 10**19, -(10**19), 10**90, 1.5, 123.0, True, False, [], {}, [123], {"id": 123}),
]
ADDRESSES = [
    *pairs("email", *EMAILS),
    *pairs("phone", *PHONES),
    *pairs("telegram_chat_id", *CHATS),
]


@pytest.mark.parametrize(("field", "value"), ADDRESSES)
def test_addresses(api: APIClient, field: str, value: Any) -> None:
    """The same at each door: for a user, and for a person who is not stored."""
    assert_problem(api.post(USERS, {field: value}), 400, field)
    assert_problem(api.post(NOTIFICATIONS, {"message": "Hello", "to": {field: value}}), 400, f"to.{field}")


@pytest.mark.parametrize("field", ["email", "phone", "telegram_chat_id", "language"])
def test_an_address_of_a_person_who_is_not_stored_is_never_empty(api: APIClient, field: str) -> None:
    for empty in (None, ""):
        to = {"email": "user@example.com", field: empty}
        assert_problem(api.post(NOTIFICATIONS, {**HELLO, "to": to}), 400, f"to.{field}")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *pairs("name", "a\x00b", "a\nb", "a\r\nBcc: x", "\x1b[31m", "x" * 256, "a\u2028b", *NO_TEXT),
        *pairs("external_id", "", " ", "a\x00b", "a\nb", "x" * 256, *NO_TEXT),
        *pairs("language", "e", "english", "en_US", "e1", "en-", "en\n-us", "日本", "x" * 17, "../..", *NO_TEXT),
        *pairs("timezone", "Mars/Olympus", "UTC+3", "../../etc/passwd", "/etc/passwd", "a\x00", "x" * 65, *NO_TEXT),
        *pairs("channels", "email", "", {}, {"0": "email"}, 5, True, [5], [None], [[]], [""], [{}]),
        *pairs("channels", ["pigeon"], ["EMAIL"], ["email", "email"], ["email "], ["email"] * 10_000),
        *((field, 1) for field in ("id", "organization", "organization_id", "created_at", "updated_at", "pk")),
        *(
            (field, "x")
            for field in ("Email", "e-mail", "email ", "", "email[]", "email.x", "__proto__", "is_staff", "x" * 5000)
        ),
    ],
)
def test_users(api: APIClient, organization: Organization, field: str, value: Any) -> None:
    response = api.post(USERS, {"email": "user@example.com", field: value})
    assert_problem(response, 400)
    attrs = [error["attr"] or "" for error in response.json()["errors"]]
    assert any(attr == field or attr.startswith(f"{field}.") for attr in attrs), attrs


@pytest.mark.parametrize("field", ["id", "created_at", "updated_at", "organization", "nothing"])
def test_what_a_patch_cannot_change(api: APIClient, organization: Organization, field: str) -> None:
    user = Recipient.objects.create(organization=organization, email="user@example.com")
    assert_problem(api.patch(f"{USERS}{user.pk}/", {field: 5}), 400, field, "unknown_field")
    user.delete()


# --- Notifications ---------------------------------------------------------------------------------------------------
MESSAGES: list[Any] = ["", " ", "\n\t ", "\u2003", "a\x00b", "x" * 100_001, None, *NO_TEXT]
SUBJECTS: list[Any] = [
    *("a\nb", "a\rb", "a\r\nBcc: victim@example.com", "a\x00b", "a\x0bb", "a\x85b", "a\u2028b", "a\u2029b", "\x1b[1m"),
    *("x" * 256, "\n", None, *NO_TEXT),
]
CHAINS: list[Any] = [
    *([], {}, "", "email", "email,sms", 5, True, None, {"channel": "email"}, {"0": "email"}),
    *(
        [""],
        [" "],
        [5],
        [None],
        [True],
        [[]],
        [["email"]],
        [{}],
        ["pigeon"],
        ["Email"],
        ["email "],
        ["emaіl"],
        ["__class__"],
    ),
    *(["email", "email"], ["email", {"channel": "email"}], ["email"] * 10_000, ["email", "pigeon"]),
    *each(STEP, "until", "", "sent", "Accepted", None, 5, True, [], {}),
    *each(STEP, "within", -1, -0.1, 2592001, 1e308, 10**60, "60", "", True, None, [], {}),
    *([{"channel": "email", extra: 1}] for extra in ("untill", "timeout", "id", "address")),
    *([{"until": "accepted"}], [{"channel": None}], [{"channel": ["email"]}], [{"channel": {"name": "email"}}]),
]
MAPS: list[Any] = [
    [],
    "",
    "{}",
    5,
    True,
    None,
    [{}],
    {"a": "x" * 8185},
    {"ж" * 4094: 1},
    {str(n): n for n in range(1000)},
]
FILE = {"filename": "a.txt", "content_type": "text/plain", "content": "YQ=="}
FILES: list[Any] = [
    *("", "YQ==", {}, FILE, 5, True, None, [None], ["YQ=="], [[]], [{}]),
    *([{name: value for name, value in FILE.items() if name != missing}] for missing in FILE),
    *each(FILE, "filename", "", " ", "a\nb", "a\r\nX: y", "a\x00b", "x" * 256, None, 5, []),
    *each(FILE, "content_type", "", "text", "text/", "/plain", "text/plain; charset=x", "a\r\nb/c"),
    *each(FILE, "content_type", "text/plain\n", "te xt/plain", "a/b/c", "т/п", "a/" + "b" * 64, None, 5),
    *each(FILE, "content", "YQ", "YQ=", "Y Q==", "YQ==\n", "!!!!", "YQ==YQ==", "ж", "-_-_", None, 5, []),
    *([{**FILE, "url": "file:///etc/passwd"}], [{**FILE, "path": "/etc/passwd"}], [{**FILE, "message": 1, "code": 2}]),
    [FILE] * 11,
    [{**FILE, "content": "A" * (4 * (7 * 1024 * 1024 // 3 + 1))}],
]
PORTS: list[Any] = [0, -1, 65536, 10**30, 587.0, "587", "", True, None, [], {}]
FLAGS: list[Any] = ["true", "True", "1", "", 1, 0, None, [], {}]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *pairs("message", *MESSAGES),
        *pairs("subject", *SUBJECTS),
        *pairs("html", "a\x00b", "x" * 1_000_001, None, *NO_TEXT),
        *pairs("channels", *CHAINS),
        *pairs("priority", "", "urgent", "High", "high ", None, *NO_TEXT),
        *pairs("on_unknown", "", "ignore", "Next", None, *NO_TEXT),
        *pairs("reference", "x" * 256, "a\nb", "a\x00b", None, *NO_TEXT),
        *pairs("metadata", *MAPS),
        *pairs("attachments", *FILES),
        *pairs("to", "user@example.com", "", 5, True, None, [], [{}], {"x": 1}, {"Email": "a@b.cd"}),
        *pairs("to", [{"email": "user@example.com"}], {"language": "en"}, {"email": "a@example.com", "name": "A"}),
        *pairs("smtp_port", *PORTS),
        *pairs("smtp_use_tls", *FLAGS),
        *pairs("smtp_use_ssl", *FLAGS),
        *pairs("smtp_host", "", " ", "a\x00b", "a\r\nb", "x" * 300, "ho st", None, *NO_TEXT),
        *pairs("from_email", "", "me", "Me <me@example.com>", "a@b.com\r\nBcc: c@d.ee", None, *NO_TEXT),
        *pairs("smtp_user", "", " ", "a\nb", "a\x00b", "x" * 256, None, *NO_TEXT),
        *pairs("smtp_password", "", " ", "a\nb", "a\x00b", "x" * 1025, None, *NO_TEXT),
        *pairs("template", "nothing", "../../etc/passwd", "{{ x }}", "", None, *NO_TEXT),
        *pairs("callback_url", "http://127.0.0.1/", "javascript:alert(1)", "", None, *NO_TEXT),
        *((field, 1) for field in ("id", "status", "created_at", "due_at", "sent_at", "finished_at", "failure_code")),
        *(
            (field, 1)
            for field in ("attempts", "key", "organization", "credentials", "own_account", "recipient", "steps")
        ),
        *(
            (field, "x")
            for field in ("mesage", "Message", "smtp_pasword", "smtpUser", "user", "email", "send_after", "non")
        ),
    ],
)
def test_notifications(api: APIClient, organization: Organization, field: str, value: Any) -> None:
    account = {"smtp_user": "me@example.com", "smtp_password": "canary-pa55word"}
    response = api.post(
        NOTIFICATIONS, {**HELLO, **(account if "smtp" in field or field == "from_email" else {}), field: value}
    )
    assert_problem(response, 400)
    attrs = [error["attr"] or "" for error in response.json()["errors"]]
    assert any(attr == field or attr.startswith(f"{field}.") for attr in attrs), attrs
    assert "canary" not in response.content.decode()


@pytest.mark.parametrize(
    "value", [0, -1, 2**63, 2**64, 10**60, "1", "", 1.0, 1.5, True, False, None, [], [1], {}, {"id": 1}]
)
def test_user_id(api: APIClient, value: Any) -> None:
    assert_problem(api.post(NOTIFICATIONS, {"user_id": value, "message": "Hello"}), 400, "user_id")


@pytest.mark.parametrize(
    ("body", "attr"),
    [
        ({}, "user_id"),
        ({"message": "Hello"}, "user_id"),
        ({"message": "Hello", "user_id": 1, "to": {"email": "user@example.com"}}, "user_id"),
        ({"to": {"email": "user@example.com"}}, "message"),
        ({**HELLO, "context": {"a": 1}}, "context"),
        ({**HELLO, "template": "welcome", "context": {}}, "message"),
        ({"template": "welcome", "context": {}, "to": {"email": "a@example.com"}, "html": "<p>"}, "html"),
    ],
)
def test_what_does_not_go_together(api: APIClient, body: dict[str, Any], attr: str) -> None:
    assert_problem(api.post(NOTIFICATIONS, body), 400, attr)


def test_the_place_of_an_error_is_exact_however_its_neighbours_are_called(api: APIClient) -> None:
    """Fields called `message` and `code` look like one of REST framework's own errors."""
    response = api.post(NOTIFICATIONS, {**HELLO, "attachments": [FILE, {**FILE, "message": 1, "code": 2}]})
    assert {error["attr"] for error in response.json()["errors"]} == {"attachments.1.message", "attachments.1.code"}


def test_several_errors_come_together(api: APIClient) -> None:
    response = api.post(USERS, {"email": "nobody", "phone": "x", "nothing": 1, "channels": ["email", "pigeon"]})
    response_two = api.post(USERS, {"email": "nobody", "phone": "x", "channels": ["email", "pigeon"]})
    assert {error["attr"] for error in response.json()["errors"]} == {"nothing"}
    assert {error["attr"] for error in response_two.json()["errors"]} == {"email", "phone", "channels.1"}


def test_the_limits_of_the_database_are_never_met(api: APIClient) -> None:
    """What a field takes at most, its column holds; SQLite would take anything."""
    if connection.vendor != "postgresql":
        pytest.skip("PostgreSQL alone checks the length of a column")
    for number in (
        "+491234567890123",
        "+4912345678901234",
        "+43123456789012345",
        "+8612345678901234",
        "+35812345678901234",
    ):
        assert api.post(USERS, {"phone": number}).status_code in {201, 400}
    local, label = "ü" * 32, "ю" * 20
    assert api.post(USERS, {"email": f"{local}@{label}.{label}.example.com"}).status_code in {201, 400}
    Recipient.objects.all().delete()
