"""Every failure of an account has a remedy in plain words, and the likeliest comes first."""

import itertools
import re
from typing import Any

import pytest
from django.utils import translation

from channels.email import SmtpAccount
from channels.email.check import Failure, Stage
from channels.email.presets import PRESETS
from notifier import diagnosis, trials
from notifier.states import CODES

DETAILS = ["The server refused the login (535 5.7.8).", "The server's certificate is not valid: expired.", ""]
SECURITIES = [(465, "ssl"), (587, "starttls"), (25, "none"), (465, "starttls"), (587, "ssl"), (465, "none")]
HOSTS = ["mail.acme.example", *(preset.host for preset in PRESETS)]


def account(host: str = "mail.acme.example", port: int = 587, security: Any = "starttls", **more: Any) -> SmtpAccount:
    return SmtpAccount(host=host, port=port, security=security, **{"user": "u", "password": "p", **more})


@pytest.mark.parametrize("language", ["en", "ru"])
@pytest.mark.parametrize("stage", list(Stage))
def test_every_failure_has_a_remedy(stage: Stage, language: str) -> None:
    with translation.override(language):
        assert trials.stage_name(stage)
        for code, host, (port, security), detail in itertools.product(CODES, HOSTS, SECURITIES, DETAILS):
            found = diagnosis.remedies(Failure(stage, code, detail), account(host, port, security))
            assert found
            assert len(set(found)) == len(found)
            for one in found:
                is_link = one.startswith("https://")
                assert is_link or re.fullmatch(r"[A-ZА-ЯЁ].{10,}[.]", one), one
                assert "{" not in one


ROWS: list[tuple[Stage, str, str, dict[str, Any], str]] = [
    (Stage.DNS, "unreachable", "", {}, "spelling"),
    (Stage.DNS, "misconfigured", "", {}, "superuser"),
    (Stage.CONNECT, "unreachable", "", {}, "firewall"),
    (Stage.CONNECT, "timeout", "", {"port": 465}, "Port 465 expects SSL"),
    (Stage.CONNECT, "timeout", "", {"host": "smtp.yandex.ru"}, "Yandex expects smtp.yandex.ru, port 465, SSL."),
    (Stage.CONNECT, "timeout", "", {"port": 25, "security": "ssl"}, "may not begin with SSL"),
    (Stage.CONNECT, "misconfigured", "", {}, "not as an SMTP server"),
    (Stage.CONNECT, "provider_error", "", {}, "not as an SMTP server"),
    (Stage.TLS, "tls_failed", "The server's certificate is not valid: expired.", {}, "SSL_CERT_FILE"),
    (Stage.TLS, "tls_failed", "The server offers no STARTTLS.", {}, "offers no TLS"),
    (Stage.TLS, "tls_failed", "", {"security": "ssl"}, "Port 587 expects TLS"),
    (Stage.LOGIN, "authentication_failed", "", {"host": "smtp.gmail.com"}, "app password"),
    (Stage.LOGIN, "authentication_failed", "", {"host": "smtp.gmail.com"}, "without spaces"),
    (Stage.LOGIN, "authentication_failed", "", {"host": "smtp.gmail.com"}, "2FA"),
    (Stage.LOGIN, "authentication_failed", "", {"host": "smtp.sendgrid.net"}, "apikey"),
    (Stage.LOGIN, "authentication_failed", "", {}, "Check user and password"),
    (Stage.LOGIN, "misconfigured", "", {"security": "none"}, "A login needs TLS or SSL"),
    (Stage.LOGIN, "misconfigured", "", {"security": "none", "auth_in_clear": True}, "offers no login"),
    (Stage.LOGIN, "provider_error", "", {}, "try again in some minutes"),
    (Stage.SENDER, "misconfigured", "", {}, "from address"),
    (Stage.RECIPIENT, "misconfigured", "", {"user": "", "password": ""}, "without a login"),
    (Stage.RECIPIENT, "invalid_address", "", {}, "recipient's address"),
    (Stage.MESSAGE, "rejected", "", {}, "spam"),
    (Stage.MESSAGE, "outcome_unknown", "", {}, "may have arrived"),
]


@pytest.mark.parametrize(("stage", "code", "detail", "options", "first"), ROWS)
def test_the_likeliest_comes_first(stage: Stage, code: str, detail: str, options: dict[str, Any], first: str) -> None:
    found = diagnosis.remedies(Failure(stage, code, detail), account(**options))
    assert first.casefold() in found[0].casefold()


@pytest.mark.parametrize(
    ("host", "port", "security", "expected"),
    [
        ("smtp.gmail.com", 587, "starttls", ""),
        ("SMTP.GMAIL.COM.", 465, "ssl", "Gmail expects smtp.gmail.com, port 587, TLS."),
        ("mail.acme.example", 465, "starttls", "Port 465 expects SSL: switch SSL on and TLS off."),
        ("mail.acme.example", 587, "ssl", "Port 587 expects TLS: switch TLS on and SSL off."),
        ("mail.acme.example", 587, "none", "Port 587 expects TLS: switch TLS on and SSL off."),
        ("mail.acme.example", 25, "none", ""),
        ("mail.acme.example", 2525, "starttls", ""),
    ],
)
def test_what_does_not_fit_together(host: str, port: int, security: Any, expected: str) -> None:
    assert diagnosis.mismatch(host, port, security) == expected


@pytest.mark.parametrize("language", ["en", "ru"])
@pytest.mark.parametrize("code", sorted(CODES))
def test_every_answer_of_a_provider_has_a_remedy(code: str, language: str) -> None:
    with translation.override(language):
        stage, found = diagnosis.of_provider(code)
        assert stage in diagnosis.STAGES
        assert len(stage) <= 16  # the column
        assert all(re.fullmatch(r"[A-ZА-ЯЁ].{10,}[.]", one) for one in found)
