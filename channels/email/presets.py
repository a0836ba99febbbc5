"""What is known of the submission servers that people name most: host, port, encryption."""

import re
from dataclasses import dataclass

from channels.email.account import Security


@dataclass(frozen=True, slots=True)
class Preset:
    """One provider's server, as its help pages name it. `other_hosts`: further names of the same service."""

    key: str
    title: str
    host: str
    port: int
    security: Security
    other_hosts: tuple[str, ...] = ()
    app_passwords_at: str = ""
    """Where the provider's app passwords are made, if it wants one in place of the account's password."""


PRESETS = (
    Preset(
        "gmail",
        "Gmail",
        "smtp.gmail.com",
        587,
        "starttls",
        app_passwords_at="https://myaccount.google.com/apppasswords",
    ),
    Preset(
        "yandex",
        "Yandex",
        "smtp.yandex.ru",
        465,
        "ssl",
        other_hosts=("smtp.yandex.com",),
        app_passwords_at="https://id.yandex.ru/security/app-passwords",
    ),
    Preset(
        "mailru",
        "Mail.ru",
        "smtp.mail.ru",
        465,
        "ssl",
        app_passwords_at="https://account.mail.ru/user/2-step-auth/passwords",
    ),
    Preset("office365", "Office 365", "smtp.office365.com", 587, "starttls"),
    Preset("outlook", "Outlook", "smtp-mail.outlook.com", 587, "starttls"),
    Preset("sendgrid", "SendGrid", "smtp.sendgrid.net", 587, "starttls"),
    Preset("mailgun", "Mailgun", "smtp.mailgun.org", 587, "starttls", other_hosts=("smtp.eu.mailgun.org",)),
)

HOSTS = tuple(host for preset in PRESETS for host in (preset.host, *preset.other_hosts))
"""Every name of them."""

# Gmail shows an app password as four groups of four letters; the spaces are not part of it.
_GMAIL_APP_PASSWORD = re.compile(r"[a-z]{4}( [a-z]{4}){3}")


def of_host(host: str) -> Preset | None:
    """The provider whose server this is."""
    name = host.strip().lower().rstrip(".")
    return next((preset for preset in PRESETS if name in {preset.host, *preset.other_hosts}), None)


def without_spaces(password: str) -> str:
    """The password as the provider means it: an app password that was copied with its spaces loses them."""
    return password.replace(" ", "") if _GMAIL_APP_PASSWORD.fullmatch(password) else password
