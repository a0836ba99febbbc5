"""What an operator can do about an account that does not work, in plain words, in the reader's language."""

from collections.abc import Callable, Iterator
from typing import Final

from django.utils.functional import Promise
from django.utils.translation import gettext as now_translated
from django.utils.translation import gettext_lazy as _

from channels.email import SmtpAccount
from channels.email.account import Security
from channels.email.check import Failure, Stage
from channels.email.presets import Preset, of_host

ACCOUNT: Final = "account"
"""The stage of a provider's refusal that is about the account and not the login."""

STAGES: Final[dict[str, Promise]] = {
    Stage.DNS: _("finding the server (DNS)"),
    Stage.CONNECT: _("connecting"),
    Stage.TLS: _("encryption (TLS)"),
    Stage.LOGIN: _("login"),
    Stage.SENDER: _("sender"),
    Stage.RECIPIENT: _("recipient"),
    Stage.MESSAGE: _("message"),
    ACCOUNT: _("account"),
}
"""The stages as people read them."""

_FIREWALL = _("A firewall may be in the way: outgoing connections to this port must be allowed.")
_SSL_ON_465 = _("Port 465 expects SSL: switch SSL on and TLS off.")
_TLS_ON_587 = _("Port 587 expects TLS: switch TLS on and SSL off.")
_CERTIFICATE = _(
    "The certificate must be valid and name this server: use the name that stands in it, and not an IP address. A "
    "company's own authority is named by SSL_CERT_FILE."
)


def remedies(failure: Failure, account: SmtpAccount) -> list[str]:
    """What to do about this failure, the likeliest first."""
    return [str(remedy) for remedy in _REMEDIES[failure.stage](failure, account)]


def mismatch(host: str, port: int, security: Security) -> str:
    """What this server or port expects instead, "" where all fits as far as is known."""
    preset = of_host(host)
    if preset is not None:
        return "" if (port, security) == (preset.port, preset.security) else _expected(preset)
    if port == 465 and security != "ssl":
        return str(_SSL_ON_465)
    if port == 587 and security != "starttls":
        return str(_TLS_ON_587)
    return ""


def spam_hint() -> str:
    """What to look for where the server took the mail and nobody sees it."""
    return now_translated(
        "Nothing in the inbox? Look into the spam folder; the sender's domain needs SPF and DKIM records that allow "
        "this server, and a DMARC record."
    )


def _dns(failure: Failure, account: SmtpAccount) -> Iterator[Promise | str]:
    if failure.code == "misconfigured":
        yield _("The server stands inside a private network: a superuser has to enter the password to allow that.")
    else:
        yield _("Check the spelling of the server's name, and that this machine can look names up.")


def _connect(failure: Failure, account: SmtpAccount) -> Iterator[Promise | str]:
    if odd := mismatch(account.host, account.port, account.security):
        yield odd
    elif account.security == "ssl" and account.port != 465:
        yield _("This port may not begin with SSL: switch TLS on and SSL off, or take port 465.")
    if failure.code in {"misconfigured", "provider_error"}:
        yield _("Something answers there, but not as an SMTP server that wants us: check server and port.")
        return
    yield _FIREWALL
    yield _("Check server and port: 587 with TLS, 465 with SSL; many networks block port 25.")


def _tls(failure: Failure, account: SmtpAccount) -> Iterator[Promise | str]:
    if odd := mismatch(account.host, account.port, account.security):
        yield odd
    if "certificate" in failure.detail:
        yield _CERTIFICATE
    elif account.security == "starttls":
        yield _("The server offers no TLS on this port. Port 465 with SSL may work.")
    else:
        yield _("The server does not speak SSL on this port: take port 465, or TLS on port 587.")


_LOGINS: Final[dict[str, Promise]] = {
    "gmail": _(
        "Gmail wants an app password: switch two-step verification (2FA) on, then make a password of 16 letters and "
        "enter it without spaces. The account's own password does not work."
    ),
    "yandex": _("Yandex wants an app password for mail, and in the mailbox's settings access for mail programs."),
    "mailru": _("Mail.ru wants a password for external applications, made in the account's security settings."),
    "office365": _("SMTP AUTH must be switched on for this mailbox by the administrator of Office 365."),
    "outlook": _("Outlook.com may refuse logins by password: make an app password, or take another account."),
    "sendgrid": _("For SendGrid the user is the word apikey, and the password an API key with the right to send."),
    "mailgun": _("For Mailgun user and password are those of the domain's SMTP credentials, not of the account."),
}


def _login(failure: Failure, account: SmtpAccount) -> Iterator[Promise | str]:
    if account.user and account.security == "none" and not account.auth_in_clear:
        yield _("A login needs TLS or SSL: the password would be readable on the way.")
        return
    if failure.code in {"unreachable", "timeout", "provider_error"}:
        yield _("The server has trouble of its own, or had too many logins: try again in some minutes.")
        return
    preset = of_host(account.host)
    if preset is not None:
        yield _LOGINS[preset.key]
        if preset.app_passwords_at:
            yield preset.app_passwords_at
    if failure.code == "misconfigured":
        yield _("The server offers no login here: leave user and password empty, or take port 587 with TLS.")
    else:
        yield _("Check user and password: the user is mostly the whole e-mail address, without spaces around it.")


def _sender(failure: Failure, account: SmtpAccount) -> Iterator[Promise | str]:
    yield _("The from address must be one that this account may send from, mostly the user's own.")


def _recipient(failure: Failure, account: SmtpAccount) -> Iterator[Promise | str]:
    if failure.code == "misconfigured":
        yield _("The server passes nothing on to strangers without a login: enter user and password.")
    else:
        yield _("Check the recipient's address; greylisting lets a second try through after some minutes.")


def _message(failure: Failure, account: SmtpAccount) -> Iterator[Promise | str]:
    if failure.code == "outcome_unknown":
        yield _("The mail may have arrived all the same: look into the inbox before the next try.")
        return
    yield _("The server took sender and recipient and refused the content, mostly as spam.")
    yield _("The sender's domain needs SPF and DKIM records that allow this server.")


def _expected(preset: Preset) -> str:
    mode = "SSL" if preset.security == "ssl" else "TLS"
    return now_translated("{provider} expects {host}, port {port}, {mode}.").format(
        provider=preset.title, host=preset.host, port=preset.port, mode=mode
    )


_REMEDIES: Final[dict[Stage, Callable[[Failure, SmtpAccount], Iterator[Promise | str]]]] = {
    Stage.DNS: _dns,
    Stage.CONNECT: _connect,
    Stage.TLS: _tls,
    Stage.LOGIN: _login,
    Stage.SENDER: _sender,
    Stage.RECIPIENT: _recipient,
    Stage.MESSAGE: _message,
}

# --- Accounts that are asked over HTTP --------------------------------------------------------------------------------
_REACH = (Stage.CONNECT, _("Check the address; a firewall or the provider's own trouble may be in the way."))

_BY_CODE: Final[dict[str, tuple[str, Promise]]] = {
    "authentication_failed": (
        Stage.LOGIN,
        _("Check login and token or password: the provider does not let us in."),
    ),
    "tls_failed": (Stage.TLS, _CERTIFICATE),
    "rate_limited": (Stage.CONNECT, _("The provider has had too many requests: try again in some minutes.")),
    **dict.fromkeys(("unreachable", "timeout", "provider_error", "outcome_unknown"), _REACH),
}
_ANY_OTHER = (ACCOUNT, _("Look into the account at the provider: money, approval, sender, limits."))


def of_provider(code: str) -> tuple[str, list[str]]:
    """The stage and the remedies of a provider's answer with this code of an attempt."""
    stage, remedy = _BY_CODE.get(code, _ANY_OTHER)
    return stage, [str(remedy)]
