"""A real RabbitMQ, as Debian packages it, run by any user: the inner script, with every directory of its own."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import amqp

from tests.servers.base import SYSTEM_PATH, Server, end, free_port, guard, is_listening, wait_until

SCRIPTS = (
    "/usr/lib/rabbitmq/bin/rabbitmq-server",
    "/opt/homebrew/sbin/rabbitmq-server",
    "/usr/local/sbin/rabbitmq-server",
)


class RabbitServer(Server):
    """User and password are `guest`; durable queues outlive a restart."""

    name = "RabbitMQ"
    url_variable = "TEST_RABBITMQ_URL"

    def __init__(self) -> None:
        super().__init__()
        self._names: subprocess.Popen[bytes] | None = None
        self._names_port = self._distribution_port = 0

    @classmethod
    def missing(cls) -> str:
        """RabbitMQ is not to be had as a wheel: only where the system has it."""
        found = find_script() and shutil.which("epmd", path=SYSTEM_PATH)
        return "" if found else 'no RabbitMQ: "apt install rabbitmq-server"'

    @property
    def url(self) -> str:
        """The virtual host `/`."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def stop(self) -> None:
        """End it and its name server."""
        directory, self.directory = self.directory, Path()
        super().stop()
        if self._names is not None:
            end(self._names)
            self._names = None
        if directory != Path():
            shutil.rmtree(directory, ignore_errors=True)

    def _prepare(self) -> None:
        """Start Erlang's name server ourselves: RabbitMQ would start one for the whole machine, and leave it behind."""
        self._distribution_port, self._names_port = free_port(), free_port()
        (self.directory / "rabbitmq.conf").write_text("loopback_users.guest = true\nlog.console = true\n")
        (self.directory / "enabled_plugins").write_text("[].\n")
        with self.log.open("ab") as log:
            self._names = subprocess.Popen(
                [str(shutil.which("epmd", path=SYSTEM_PATH)), "-address", "127.0.0.1", "-port", str(self._names_port)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        guard(self._names, signal.SIGTERM)
        wait_until(lambda: is_listening(self._names_port), 30, "Erlang's name server listens")

    def _launch(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [str(find_script())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=self.directory,
                env=self._environment(),
            )

    def _environment(self) -> dict[str, str]:
        here = str(self.directory)
        # What the machine's own RabbitMQ is told must not reach this one.
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("RABBITMQ_", "ERL_", "NOTIFY_"))
        }
        return {
            **inherited,
            "HOME": here,
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self._names_port),
            "RABBITMQ_NODENAME": f"test{self._names_port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_CONF_ENV_FILE": f"{here}/none.conf",
            "RABBITMQ_CONFIG_FILE": f"{here}/rabbitmq.conf",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{here}/enabled_plugins",
            "RABBITMQ_MNESIA_BASE": f"{here}/data",
            "RABBITMQ_LOG_BASE": f"{here}/log",
            "RABBITMQ_LOGS": "-",
            # Makes the script become the server. Otherwise it stays as a parent that leaves after the first pause.
            "RUNNING_UNDER_SYSTEMD": "1",
            "RABBITMQ_PID_FILE": f"{here}/rabbit.pid",
            "RABBITMQ_GENERATED_CONFIG_DIR": f"{here}/config",
            # One test's worth of work: few schedulers start faster, and leave the machine to the tests.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 +sbwt none",
        }

    def _answers(self) -> bool:
        try:
            with amqp.Connection(
                f"127.0.0.1:{self.port}", userid="guest", password="guest", connect_timeout=2, read_timeout=5
            ):
                return True
        except (OSError, amqp.AMQPError):
            return False


def find_script() -> Path | None:
    """The script that runs the server itself: Debian's outer one insists on being root or the user `rabbitmq`."""
    return next((Path(path) for path in SCRIPTS if os.access(path, os.X_OK)), None)
