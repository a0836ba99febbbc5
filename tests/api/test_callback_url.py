"""`callback_url`: where a client may be told, and where not."""

from typing import Any

import pytest
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from notifier.models import Notification, Organization
from tests.api.checks import assert_problem

URL = "/api/notifications/"
HELLO: dict[str, Any] = {"to": {"email": "user@example.com"}, "message": "Hello"}

GOOD = [
    "https://example.com",
    "https://example.com/hook?token=a%20b&c=d#top",
    "HTTPS://Hooks.Example.COM:8443/a/b",
    "https://example.com:443/",
    "https://example.com:1/",
    "https://example.com:65535/",
    "https://xn--e1afmkfd.xn--p1ai/",
    "https://93.184.216.34/hook",
    "https://[2606:2800:220:1:248:1893:25c8:1946]/hook",
]
REFUSED = {
    "another scheme": [
        *(
            "http://example.com/",
            "ftp://example.com/",
            "file:///etc/passwd",
            "gopher://example.com/",
            "javascript:alert(1)",
        ),
        *(
            "//example.com/hook",
            "example.com/hook",
            "/hook",
            "https:example.com",
            "https:/example.com",
            "https://",
            "x",
        ),
    ],
    "credentials": [
        *("https://user:secret@example.com/", "https://user@example.com/", "https://:secret@example.com/"),
        *("https://@example.com/", "https://example.com@127.0.0.1/", "https://example.com%40@127.0.0.1/"),
    ],
    "signs that two readers take differently": [
        *(
            "https://example.com\\@127.0.0.1/",
            "https:\\\\example.com\\",
            "https://example.com\\.example.net/",
            "https://example.com/a\\b",
            "https://exam ple.com/",
            "https://example.com/a b",
        ),
        *("https://example.com/\ttab", "https://example.com/<b>", 'https://example.com/"', "https://пример.рф/"),
        *(
            "https://127。0。0。1/",
            "https://①②⑦.⓪.⓪.①/",
            "https://127.0.0.1%2f.example.com/",
            "https://%31%32%37.0.0.1/",
        ),
        *("https://example.com%00.example.net/", "https://example.com/\u202ehook"),
    ],
    "loopback in every spelling": [
        *("https://127.0.0.1/", "https://127.1/", "https://127.0.1/", "https://2130706433/", "https://0x7f000001/"),
        *("https://0x7f.0.0.1/", "https://0177.0.0.1/", "https://017700000001/", "https://127.255.255.254/"),
        *("https://127.0.0.1./", "https://127.1./", "https://2130706433./", "https://0/", "https://0.0.0.0/"),
        *("https://[::1]/", "https://[::]/", "https://[0:0:0:0:0:0:0:1]/", "https://[::ffff:127.0.0.1]/"),
        *(
            "https://[::ffff:7f00:1]/",
            "https://[::127.0.0.1]/",
            "https://[64:ff9b::7f00:1]/",
            "https://[2002:7f00:1::]/",
        ),
        *("https://localhost/", "https://LOCALHOST:8443/", "https://localhost./", "https://a.localhost/"),
    ],
    "the inside of a network": [
        *(
            "https://10.0.0.1/",
            "https://172.16.0.1/",
            "https://172.31.255.255/",
            "https://192.168.0.1/",
            "https://10.1/",
        ),
        *(
            "https://169.254.169.254/latest/meta-data/",
            "https://100.64.0.1/",
            "https://198.18.0.1/",
            "https://0xa9fea9fe/",
        ),
        *("https://[fe80::1]/", "https://[fe80::1%25eth0]/", "https://[fc00::1]/", "https://[fd12:3456::1]/"),
        *("https://[::ffff:10.0.0.1]/", "https://[64:ff9b::a00:1]/", "https://[ff02::1]/", "https://224.0.0.1/"),
        *("https://255.255.255.255/", "https://240.0.0.1/", "https://192.0.2.1/", "https://[2001:db8::1]/"),
        *("https://intranet/", "https://redis:6379/", "https://printer.local/", "https://metadata.google.internal/"),
    ],
    "ports and hosts that are none": [
        *("https://example.com:0/", "https://example.com:65536/", "https://example.com:-1/", "https://example.com:x/"),
        *("https://[::1/", "https://::1/", "https://[example.com]/", "https://[]/", "https://:443/", "https:///hook"),
    ],
}


@pytest.mark.parametrize("url", GOOD)
def test_a_public_address_over_https_is_taken(api: APIClient, organization: Organization, url: str) -> None:
    assert api.post(URL, {**HELLO, "callback_url": url}).status_code == 202
    assert Notification.objects.get().callback_url == url


@pytest.mark.parametrize(
    "url", [pytest.param(url, id=f"{kind}: {url}") for kind, urls in REFUSED.items() for url in urls]
)
def test_any_other_is_refused(api: APIClient, nothing_stored: None, url: str) -> None:
    assert_problem(api.post(URL, {**HELLO, "callback_url": url}), 400, "callback_url")


@pytest.mark.parametrize(
    "value", [None, 5, True, "", " ", [], {}, "https://example.com/" + "x" * 2048, "https://a\nb.com/"]
)
def test_what_is_no_url_at_all_is_refused(api: APIClient, nothing_stored: None, value: Any) -> None:
    assert_problem(api.post(URL, {**HELLO, "callback_url": value}), 400, "callback_url")


@pytest.mark.parametrize(
    ("listed", "taken", "refused"),
    [
        (["127.0.0.1"], ["http://127.0.0.1/", "http://127.0.0.1:8000/", "https://127.0.0.1/"], ["http://127.0.0.2/"]),
        (["hooks:8000"], ["http://hooks:8000/", "https://HOOKS:8000/"], ["http://hooks/", "http://hooks:80/"]),
        (["hooks:80"], ["http://hooks/", "http://hooks:80/"], ["https://hooks/", "http://a.hooks/", "http://xhooks/"]),
        (["hooks:443"], ["https://hooks/"], ["http://hooks/"]),
        (["Example.com"], ["http://example.com/"], ["http://www.example.com/", "http://example.com.evil.com/"]),
        (["[::1]:8000", "::2"], ["http://[::1]:8000/", "http://[::2]/"], ["http://[::1]/", "http://[::3]:8000/"]),
        (
            ["hooks"],
            [],
            ["http://user@hooks/", "ftp://hooks/", "http://hooks\\@x/", "http://x@hooks/", "http://hooks:0/"],
        ),
    ],
)
def test_hosts_that_are_listed_may_be_private_and_without_tls(
    api: APIClient,
    organization: Organization,
    settings: Settings,
    listed: list[str],
    taken: list[str],
    refused: list[str],
) -> None:
    settings.CALLBACK_HOSTS = listed
    for url in taken:
        assert api.post(URL, {**HELLO, "callback_url": url}).status_code == 202, url
    for url in refused:
        assert_problem(api.post(URL, {**HELLO, "callback_url": url}), 400, "callback_url")


def test_a_bulk_names_the_one_that_is_refused(api: APIClient, nothing_stored: None) -> None:
    bodies = [HELLO, {**HELLO, "callback_url": "https://10.0.0.1/"}]
    assert_problem(
        api.post(f"{URL}bulk/", {"notifications": bodies}), 400, "notifications.1.callback_url", "not_allowed"
    )


def test_it_is_never_shown(api: APIClient, organization: Organization) -> None:
    body = {**HELLO, "callback_url": "https://example.com/hook?token=canary"}
    created = api.post(URL, body)
    shown = api.get(created.headers["Location"])
    assert b"canary" not in created.content + shown.content + api.get(URL).content
