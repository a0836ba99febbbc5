"""What an operator can do about an SMTP account that does not work, in plain words, in the reader's language."""

from collections.abc import Callable, Iterator
from typing import Final

from django.utils.functional import Promise
from django.utils.translation import gettext as now_translated
from django.utils.translation import gettext_lazy as _

from channels.email import SmtpAccount
from channels.email.check import Failure, Stage
from channels.email.presets import Preset, of_host

STAGES: Final[dict[Stage, Promise]] = {
    Stage.DNS: _("finding the server (DNS)"),
    Stage.CONNECT: _("connecting"),
    Stage.TLS: _("encryption (TLS)"),
    Stage.LOGIN: _("login"),
    Stage.SENDER: _("sender"),
    Stage.RECIPIENT: _("recipient"),
    Stage.MESSAGE: _("message"),
}
"""The stages as people read them."""


def remedies(failure: Failure, account: SmtpAccount) -> list[str]:
    """What to do about this failure, the likeliest first."""
    return [str(remedy) for remedy in _REMEDIES[failure.stage](failure, account)]


def spam_hint() -> str:
    """What to look for where the server took the mail and nobody sees it."""
    return now_translated(
        "Nothing in the inbox? Look into the spam folder; the sender's domain needs SPF and DKIM records that allow "
        "this server, and a DMARC record."
    )


def _dns(failure: Failure, account: SmtpAccount) -> Iterator[Promise | str]:
    if failure.code == "misconfigured":
        yield _("The address lies inside a private network. A superuser has to save these settings.")
    else:
        yield _("Check the spelling of the server's name, and that this machine can look names up.")


def _connect(failure: Failure, account: SmtpAccount) -> Iterator[Promise | str]:
    preset = of_host(account.host)
    if preset is not None and (preset.port, preset.security) != (account.port, account.security):
        yield _expected(preset)
    elif account.port == 465 and account.security != "ssl":
        yield _("Port 465 expects SSL: switch SSL on and TLS off.")
    elif account.port in {587, 25, 2525} and account.security == "ssl":
        yield _("This port does not begin with SSL: switch TLS on and SSL off, or take port 465.")
    if failure.code == "misconfigured":
        yield _("Something answers there, but not as an SMTP server that wants us: check server and port.")
        return
    yield _("A firewall may be in the way: outgoing connections to this port must be allowed.")
    yield _("Check the port: 587 with TLS, 465 with SSL; many networks block port 25.")


def _tls(failure: Failure, account: SmtpAccount) -> Iterator[Promise | str]:
    if "STARTTLS" in failure.detail:
        yield _("The server offers no TLS on this port. Port 465 with SSL may work.")
        return
    if account.security == "ssl" and account.port != 465:
        yield _("SSL is for port 465; on port 587 switch TLS on and SSL off.")
    yield _(
        "The certificate must be valid and name this server: use the name that stands in it, and not an IP address. A "
        "company's own authority is named by SSL_CERT_FILE."
    )


_LOGINS: Final[dict[str, Promise]] = {
    "gmail": _(
        "Gmail wants an app password: switch two-step verification (2FA) on, then make a password of 16 letters and "
        "enter it without spaces. The account's own password does not work."
    ),
    "yandex": _("Yandex wants an app password for mail, and in the mailbox's settings access for mail programs."),
    "mailru": _("Mail.ru wants a password for external applications, made in the account's security settings."),
    "office365": _("SMTP AUTH must be switched on for this mailbox by the administrator of Office 365."),
    "outlook": _(
        "Outlook.com may refuse logins by password: make an app password, or take another account."
    ),
    "sendgrid": _("For SendGrid the user is the word apikey, and the password an API key with the right to send."),
    "mailgun": _("For Mailgun user and password are those of the domain's SMTP credentials, not of the account."),
}


def _login(failure: Failure, account: SmtpAccount) -> Iterator[Promise | str]:
    preset = of_host(account.host)
    if preset is not None:
        yield _LOGINS[preset.key]
    if preset is not None and preset.app_passwords_at:
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
