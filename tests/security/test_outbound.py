"""Nobody makes the service knock at a door inside: not by a server's name, not by a URL, not by what either turns into.

Over the real API and the real delivery: a trap on loopback counts who comes, and every attempt to connect is on record.
"""

import json

import pytest
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from notifier import callbacks, delivery, vault
from notifier.models import Callback, Notification, Organization
from tests.api.checks import assert_problem, stored
from tests.notifier.hooks import make_all_due
from tests.security.outbound import PASSWORD, URL, by_mail, delivered, told
from tests.security.trap import Line, Trap

pytestmark = pytest.mark.django_db

NAME = "mail.somewhere.example"

INSIDE_SPELT = [
    *("127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "017700000001"),
    *("0", "0.0.0.0", "0x0", "00", "127.0.0.1.", "127.1.", "127.255.255.254", "localhost", "localhost."),  # noqa: S104
    *("::1", "::", "0:0:0:0:0:0:0:1", "::ffff:127.0.0.1", "::ffff:7f00:1", "::127.0.0.1", "64:ff9b::7f00:1"),
    *("2002:7f00:1::", "fe80::1%lo", "①②⑦.⓪.⓪.①", "127。0。0。1", "１２７.0.0.1", "127.0.0.1%25lo"),
]
"""Every way to write loopback, or this machine, that some reader of names understands."""

INSIDE = [
    *("127.0.0.1", "127.9.9.9", "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "172.16.0.1"),  # noqa: S104
    *("172.31.255.255", "172.16.255.1"),
    *("192.168.0.1", "169.254.169.254", "100.64.0.1", "100.127.255.255", "192.88.99.1", "198.18.0.1", "192.0.0.8"),
    *("224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255"),
    *("::1", "::", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::7f00:1"),
    *("64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2002:a00:1::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%lo"),
    *("fec0::1", "ff02::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "100::1", "2001:db8::1"),
]
"""What a name may turn out to be, and must not."""


# --- The trap works --------------------------------------------------------------------------------------------------
def test_a_server_that_the_operator_listed_is_reached(
    api: APIClient, organization: Organization, inside: Trap, line: Line, settings: Settings
) -> None:
    """Also where it stands inside: this is what the others must not manage."""
    settings.SMTP_OVERRIDE_HOSTS = (f"{NAME}:{inside.port}",)
    line.name(NAME, ["127.0.0.1"])
    delivered(by_mail(api, NAME, inside.port))
    assert inside.caught == 1


def test_a_callback_host_that_the_operator_listed_is_reached(
    organization: Organization, inside: Trap, line: Line, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.CALLBACK_HOSTS = [NAME]
    line.name(NAME, ["127.0.0.1"])
    told(organization, f"http://{NAME}:{inside.port}/")
    assert inside.caught == 1


# --- What is written -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("host", INSIDE_SPELT)
def test_no_spelling_of_a_mail_server_reaches_inside(
    api: APIClient, organization: Organization, inside: Trap, line: Line, host: str
) -> None:
    """A name is taken at the door, since names are looked up when they are used; and then it leads nowhere."""
    response = by_mail(api, host, inside.port)
    if response.status_code == 202:
        assert host.startswith("localhost")
        assert delivered(response)["attempts"][-1]["code"] == "misconfigured"
    else:
        assert_problem(response, 400, "smtp_host")
    assert (inside.caught, line.connects) == (0, [])


@pytest.mark.parametrize("host", INSIDE_SPELT)
def test_what_was_let_in_before_the_rules_changed_reaches_nothing_either(
    organization: Organization, inside: Trap, line: Line, host: str
) -> None:
    """The rules are asked again when it is sent."""
    row = stored(organization, channels=["email"])
    secret = {"user": "me@example.com", "password": PASSWORD, "host": host, "port": inside.port, "security": None}
    Notification.objects.filter(pk=row.pk).update(own_account=True, credentials=vault.seal(secret))
    delivery.deliver([row.pk])
    assert row.attempts.get().code in {"not_configured", "misconfigured", "unreachable"}
    assert (inside.caught, line.connects) == (0, [])


@pytest.mark.parametrize("host", INSIDE_SPELT)
def test_no_spelling_of_a_callbacks_host_reaches_inside(
    organization: Organization, inside: Trap, line: Line, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stored behind the API's back, which refuses most of them: the connector alone keeps them out."""
    name = f"[{host}]" if ":" in host else host
    for scheme in ("https", "http"):
        told(organization, f"{scheme}://{name}:{inside.port}/")
    assert Callback.objects.count() == 2
    assert (inside.caught, line.connects) == (0, [])


@pytest.mark.parametrize(
    "url",
    [
        "http://listed.example\\@127.0.0.1:{port}/",
        "http://listed.example:80\\@127.0.0.1:{port}/",
        "http://listed.example@127.0.0.1:{port}/",
        "http://listed.example:x@127.0.0.1:{port}/",
        "http://127.0.0.1:{port}\\@listed.example/",
        "http://127.0.0.1:{port}#@listed.example/",
        "http://127.0.0.1:{port}?@listed.example/",
        "http://listed.example%40127.0.0.1:{port}/",
        "http://listed.example%2f@127.0.0.1:{port}/",
        "http://listed.example\t@127.0.0.1:{port}/",
        "http://listed.example\n.127.0.0.1:{port}/",
        "http:127.0.0.1:{port}//listed.example/",
        "http:\\\\127.0.0.1:{port}\\listed.example/",
        "http://[::1]:{port}@listed.example/",
        "http://listed.example:{port}:80@[::1]:{port}/",
        "gopher://127.0.0.1:{port}/_x",
        "file://127.0.0.1:{port}/etc/passwd",
        "https://127.0.0.1:{port}/",
        "http://listed.example.127.0.0.1:{port}/",
        "http://127.0.0.1:{port}/listed.example",
    ],
)
def test_no_url_that_two_readers_take_differently_reaches_inside(
    api: APIClient,
    organization: Organization,
    inside: Trap,
    line: Line,
    url: str,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.CALLBACK_HOSTS = ["listed.example"]
    line.name("listed.example", ["198.41.0.4"])
    wanted = url.format(port=inside.port)
    body = {"to": {"email": "user@example.com"}, "message": "Hello", "callback_url": wanted}
    assert_problem(api.post(URL, body), 400, "callback_url")
    told(organization, wanted)  # and were it stored all the same
    assert inside.caught == 0
    assert all(address[0] == "198.41.0.4" for address in line.connects)


# --- What a name turns into ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", [NAME, f"{NAME}."])
@pytest.mark.parametrize("address", INSIDE)
def test_a_mail_servers_name_that_leads_inside_is_not_followed(
    api: APIClient, organization: Organization, inside: Trap, line: Line, name: str, address: str
) -> None:
    line.name(NAME, [address])
    shown = delivered(by_mail(api, name, inside.port))
    assert [attempt["code"] for attempt in shown["attempts"]] == ["misconfigured"]
    assert line.asked == [NAME]
    assert (inside.caught, line.connects) == (0, [])
    assert address not in json.dumps(shown), "what a name resolves to is nobody's business"


@pytest.mark.parametrize("address", INSIDE)
def test_a_callbacks_name_that_leads_inside_is_not_followed(
    organization: Organization, inside: Trap, line: Line, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    line.name(NAME, [address])
    told(organization, f"https://{NAME}:{inside.port}/")
    assert (line.asked, Callback.objects.get().tries) == ([NAME], 1)
    assert (inside.caught, line.connects) == (0, [])


@pytest.mark.parametrize(
    "answers",
    [
        ["198.41.0.4", "127.0.0.1"],
        ["127.0.0.1", "198.41.0.4"],
        ["2606:4700::1111", "::1"],
        ["198.41.0.4"] * 20 + ["10.0.0.1"],
        ["198.41.0.4", "::ffff:127.0.0.1"],
    ],
)
def test_one_address_inside_forbids_all_of_a_names(
    api: APIClient,
    organization: Organization,
    inside: Trap,
    line: Line,
    answers: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    line.name(NAME, answers)
    assert delivered(by_mail(api, NAME, inside.port))["attempts"][-1]["code"] == "misconfigured"
    told(organization, f"https://{NAME}:{inside.port}/")
    assert (inside.caught, line.connects) == (0, [])


def test_a_name_that_changes_between_the_check_and_the_connection_gains_nothing(
    api: APIClient, organization: Organization, inside: Trap, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked once, and the address that was checked is the one that is called."""
    line.name(NAME, ["198.41.0.4"], ["127.0.0.1"])
    assert delivered(by_mail(api, NAME, inside.port))["attempts"][-1]["code"] == "unreachable"
    assert (line.asked, line.connects) == ([NAME], [("198.41.0.4", inside.port)])
    line.connects.clear()
    line.name("hooks.example.com", ["198.41.0.4"], ["127.0.0.1"])
    told(organization, f"https://hooks.example.com:{inside.port}/")
    assert line.connects == [("198.41.0.4", inside.port)]
    make_all_due()
    callbacks.deliver_due()  # the second try is checked anew
    assert line.asked == [NAME, "hooks.example.com", "hooks.example.com"]
    assert line.connects == [("198.41.0.4", inside.port)]
    assert inside.caught == 0
