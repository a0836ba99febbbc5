"""A real Postfix with STARTTLS and logins, all of it in one temporary directory on free loopback ports.

Nothing of a Postfix that the machine may run is read or touched: own configuration, queue, data, log and processes.
"""

import os
import shutil
import socket
import subprocess
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

from tests.servers.base import SYSTEM_PATH, Server, ServerError, free_port, tail, wait_until

_MAIN = """\
compatibility_level = 3.6
mail_owner = postfix
setgid_group = postdrop
config_directory = {home}/config
queue_directory = {home}/queue
data_directory = {home}/data
maillog_file = {home}/log/postfix.log
maillog_file_prefixes = {home}/log
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mail.example.com
mydestination =
mynetworks =
local_recipient_maps =
alias_maps =
alias_database =
default_transport = error:5.4.4 nothing leaves this server
relay_transport = error:5.4.4 nothing leaves this server
virtual_mailbox_domains = example.com
virtual_mailbox_base = {home}/mail
virtual_mailbox_maps = texthash:{home}/config/mailboxes
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
virtual_minimum_uid = 1
smtpd_tls_security_level = encrypt
smtpd_tls_auth_only = yes
smtpd_tls_chain_files = {home}/config/server.pem
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = cyrus
smtpd_sasl_path = smtpd
smtpd_sasl_local_domain = mail.example.com
cyrus_sasl_config_path = {home}/config/sasl
smtpd_relay_restrictions = permit_sasl_authenticated, reject_unauth_destination
smtpd_recipient_restrictions = permit_sasl_authenticated, reject
smtpd_reject_unlisted_recipient = yes
smtputf8_enable = yes
message_size_limit = 1000000
"""
_MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
127.0.0.1:{tls_port} inet n - n - - smtpd -o smtpd_tls_wrappermode=yes
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
error unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""
_SASL = """\
pwcheck_method: auxprop
auxprop_plugin: sasldb
sasldb_path: {home}/config/sasldb2
mech_list: PLAIN LOGIN CRAM-MD5
"""


class PostfixServer(Server):
    """STARTTLS on `port`, TLS from the first byte on `tls_port`; takes mail for `user@example.com` from who logs in.

    `certificate`: private key and chain in PEM, valid for 127.0.0.1.
    """

    name = "Postfix"
    url_variable = "TEST_POSTFIX_URL"
    user = "sender@mail.example.com"
    password = "correct horse"

    def __init__(self, certificate: bytes) -> None:
        super().__init__()
        self.tls_port = 0
        self._certificate = certificate

    @classmethod
    def missing(cls) -> str:
        """It needs two Debian packages, and root, since each of its processes has a user of its own."""
        for program, package in (("postfix", "postfix"), ("saslpasswd2", "sasl2-bin")):
            if shutil.which(program, path=SYSTEM_PATH) is None:
                return f'no {program}: "apt install {package}"'
        return "" if os.geteuid() == 0 else "Postfix starts only as root"

    @property
    def url(self) -> str:
        """Submission with STARTTLS."""
        return f"smtp://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        """Postfix writes its log by itself."""
        return self.directory / "log/postfix.log"

    def received(self, *, count: int) -> list[EmailMessage]:
        """The mails of `user@example.com`, oldest first, once there are so many."""
        inbox = self.directory / "mail/user/new"
        try:
            wait_until(lambda: len(list(inbox.glob("*"))) >= count, 30, f"{count} mails are delivered")
        except ServerError as error:
            raise ServerError(f"{error}. Postfix's log:\n{tail(self.log)}") from None
        found = sorted(inbox.glob("*"), key=lambda mail: mail.stat().st_mtime_ns)
        mails = [message_from_bytes(mail.read_bytes(), policy=policy.default) for mail in found]
        return [mail for mail in mails if isinstance(mail, EmailMessage)]

    def connections(self) -> int:
        """How many connections it has had so far."""
        return self.log.read_text(errors="replace").count(": connect from")

    def _prepare(self) -> None:
        for name in ("config", "config/sasl", "queue", "data", "log", "mail"):
            (self.directory / name).mkdir()
        self.directory.chmod(0o755)  # its processes have a user of their own
        for name in ("data", "mail"):
            shutil.chown(self.directory / name, "postfix", "postfix")
        owner = (self.directory / "mail").stat()
        config = self.directory / "config"
        (config / "main.cf").write_text(_MAIN.format(home=self.directory, uid=owner.st_uid, gid=owner.st_gid))
        (config / "sasl/smtpd.conf").write_text(_SASL.format(home=self.directory))
        (config / "mailboxes").write_text("user@example.com user/\n")
        (config / "server.pem").write_bytes(self._certificate)
        (config / "server.pem").chmod(0o600)
        user, _, realm = self.user.partition("@")
        _run(["saslpasswd2", "-p", "-c", "-f", str(config / "sasldb2"), "-u", realm, user], given=self.password)
        shutil.chown(config / "sasldb2", "postfix", "postfix")

    def _launch(self) -> subprocess.Popen[bytes]:
        config = self.directory / "config"
        self.tls_port = free_port()
        (config / "master.cf").write_text(_MASTER.format(port=self.port, tls_port=self.tls_port))
        _run(["postfix", "-c", str(config), "check"])  # makes the queue's directories
        programs = _run(["postconf", "-c", str(config), "-h", "daemon_directory"]).strip()
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [f"{programs}/master", "-c", str(config), "-s"],  # `postfix start-fg` would not pass our signals on
                env={"PATH": SYSTEM_PATH, "MAIL_CONFIG": str(config)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                return connection.recv(3) == b"220"
        except OSError:
            return False


def _run(command: list[str], *, given: str = "") -> str:
    path = shutil.which(command[0], path=SYSTEM_PATH) or command[0]
    done = subprocess.run(
        [path, *command[1:]],
        env={"PATH": SYSTEM_PATH},
        input=given,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode:
        raise ServerError(f"{' '.join(command)} failed: {done.stdout}{done.stderr}")
    return done.stdout
