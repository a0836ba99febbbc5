"""A whole installation full of secrets that must never be seen, and everything it keeps or has ever said."""

import gzip
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from cryptography.fernet import Fernet
from redis import Redis

from sandbox.servers import Sandbox
from tests.channels.http_peer import HttpPeer, answer, http_peer
from tests.channels.smtp_peer import Drop, SmtpPeer
from tests.security.canary import PASSWORD
from tests.security.client import Client
from tests.servers.base import free_port
from tests.servers.migrated import migrate
from tests.servers.postgres import PostgresServer
from tests.servers.processes import ProjectProcess, beat, manage, web, worker
from tests.servers.redis import RedisServer

DATABASE = "canary"
USER = "kanarienuser@example.com"
REDIS = "rotkehlchen51ab-redis"
TELEGRAM = "987654321:AAzaunkoenig77cd-telegram-0123456789"
SMTP = "stieglitz93ef-default"
SMS = "blaumeise20aa-gateway"
SUPERUSER = "nachtigall64bb-operator"
STORED = "kleibersittich42ca-account"
NEWER = "bachstelze18dd-retried"
DJANGO = "goldammer55ee-django-" + "x" * 40


class Installation:
    """Redis, PostgreSQL, web, worker and beat at LOG_LEVEL=DEBUG; mail servers of every kind; a Sentry."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.redis = RedisServer(options=("--requirepass", REDIS))
        self.postgres = PostgresServer()
        self.sandbox = Sandbox()
        echo = f"535 5.7.8 no such password {PASSWORD} for {USER}"
        self.mail = {
            "good": SmtpPeer(user=USER, password=PASSWORD),
            "echo": SmtpPeer({"AUTH": [echo] * 50}, user=USER, password=PASSWORD),
            "busy": SmtpPeer({"RCPT": [f"451 4.3.2 busy with {PASSWORD}"] * 500}, user=USER, password=PASSWORD),
            "lost": SmtpPeer({"END": [Drop] * 50}, user=USER, password=PASSWORD),
            "again": SmtpPeer({"AUTH": echo}, user=USER, password=NEWER),
        }
        self.keys = [Fernet.generate_key().decode() for _ in range(2)]
        self._running = ExitStack()

    @staticmethod
    def missing() -> str:
        """Why there can be none here; "" where there can."""
        return RedisServer.missing() or PostgresServer.missing()

    def __enter__(self) -> Self:
        with ExitStack() as starting:
            servers: list[AbstractContextManager[Any]] = [self.redis, self.postgres, self.sandbox]
            for server in (*servers, *self.mail.values()):
                starting.enter_context(server)
            self.callbacks: HttpPeer = starting.enter_context(http_peer(otherwise=answer(200, {})))
            self.sentry: HttpPeer = starting.enter_context(http_peer(otherwise=answer(200, {})))
            self.environment = self._environment()
            migrate(self.environment)
            self._make_people()
            self.processes: list[ProjectProcess] = [
                starting.enter_context(start(self._of(name), self.directory))
                for name, start in (("web", web), ("worker", worker), ("beat", beat))
            ]
            self.processes[0].wait_for_line("listens on", 60)
            self._running = starting.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def _environment(self) -> dict[str, str]:
        return {
            **self.sandbox.environment(),
            "DJANGO_DEBUG": "0",
            "DJANGO_SECRET_KEY": DJANGO,
            "ENCRYPTION_KEYS": ",".join(self.keys),
            "DATABASE_URL": self.postgres.create_database(DATABASE),
            "REDIS_URL": f"redis://:{REDIS}@127.0.0.1:{self.redis.port}/0",
            "SMTP_DEFAULT_PASSWORD": SMTP,
            "SMTP_OVERRIDE_HOSTS": ",".join(f"127.0.0.1:{peer.port}" for peer in self.mail.values()),
            "TELEGRAM_BOT_TOKEN": TELEGRAM,
            "SMS_HTTP_TOKEN": SMS,  # the gateway refuses it
            "CALLBACK_HOSTS": self.callbacks.url.split("/")[2],
            "SENTRY_DSN": f"{self.sentry.url.rstrip('/').replace('://', '://key@')}/1",
            "RETRY_DELAYS": "1",
            "STEP_RETRY_SECONDS": "1",
            "CIRCUIT_FAILURES": "0",
            "LOG_LEVEL": "DEBUG",
            "PORT": str(free_port()),
        }

    def _of(self, name: str) -> dict[str, str]:
        return {**self.environment, "LOG_FILE": str(self.directory / f"{name}.file.log")}

    def _make_people(self) -> None:
        """An operator and a program."""
        account = {"DJANGO_SUPERUSER_PASSWORD": SUPERUSER}
        manage(
            *("createsuperuser", "--noinput", "--username", "root", "--email", "root@example.com"),
            environment=self.environment | account,
        )
        made = manage("create_api_key", "default", "--name", "canary", environment=self.environment)
        page = f"http://127.0.0.1:{self.environment['PORT']}"
        self.client = Client(page, made.splitlines()[-1])
        self.operator = Client(page)

    def account(self, peer: str, password: str = PASSWORD) -> dict[str, Any]:
        """The fields of a request that name this mail server."""
        where = {"smtp_host": "127.0.0.1", "smtp_port": self.mail[peer].port, "smtp_use_tls": False}
        return {"smtp_user": USER, "smtp_password": password, **where}

    def ask(self, sql: str) -> str:
        """What the database answers."""
        return self.postgres.query(sql, database=DATABASE)

    def secrets(self, webhook: str) -> dict[str, str]:
        """What must not be seen, with its name."""
        return {
            "SMTP password of requests": PASSWORD,
            "SMTP password of the retry": NEWER,
            "SMTP_DEFAULT_PASSWORD": SMTP,
            "API key": self.client.key.removeprefix("ntf_live_")[9:],  # its beginning is known to everybody
            "webhook secret": webhook.removeprefix("whsec_"),
            "password of an organization's account": STORED,
            "TELEGRAM_BOT_TOKEN": TELEGRAM.partition(":")[2],
            "SMS_HTTP_TOKEN": SMS,
            "Redis's password": REDIS,
            "operator's password": SUPERUSER,
            "DJANGO_SECRET_KEY": DJANGO,
            **{f"encryption key {nth}": key for nth, key in enumerate(self.keys)},
        }

    # --- What it keeps and has said --------------------------------------------------------------------------------
    def places(self) -> dict[str, bytes | str]:
        """Everything, by where it stands."""
        found: dict[str, bytes | str] = {
            "the database": self.postgres.dump(DATABASE),
            "the database's log": self.postgres.log.read_bytes(),
            "Redis": b"\n".join(self._in_redis()),
            "Redis's log": self.redis.log.read_bytes(),
            "the sandbox's inbox": "\n".join(map(str, self.sandbox.inbox.messages())),
        }
        for process in self.processes:
            found[f"what {process.name} printed"] = process.output
            found[f"the log file of {process.name}"] = (self.directory / f"{process.name}.file.log").read_bytes()
        for name, peer in self.mail.items():
            found[f"mail at {name}"] = b"\n".join(taken.raw for taken in peer.taken)
        for name, requests in (("callbacks", self.callbacks.requests), ("Sentry", self.sentry.requests)):
            for nth, request in enumerate(requests):
                body = gzip.decompress(request.body) if request.body.startswith(b"\x1f\x8b") else request.body
                found[f"{name} {nth}"] = f"{request.path} {request.headers}\n".encode() + body
        for name, client in (("API", self.client), ("admin", self.operator)):
            found |= {f"answer {nth} of the {name}": text for nth, text in enumerate(client.answers)}
        return found

    def _in_redis(self) -> Iterator[bytes]:
        """Every key and value of every database."""
        with self.to_redis() as redis:
            for key in redis.scan_iter():
                kind = redis.type(key).decode()
                yield key
                yield from map(_as_bytes, _members(redis, kind, key))
            yield str(redis.slowlog_get(128)).encode()

    def to_redis(self) -> Redis:
        """A connection of our own."""
        return Redis.from_url(f"redis://:{quote(REDIS)}@127.0.0.1:{self.redis.port}/0")


def _members(redis: Any, kind: str, key: bytes) -> Any:
    match kind:
        case "string":
            return [redis.get(key)]
        case "list":
            return redis.lrange(key, 0, -1)
        case "set":
            return redis.smembers(key)
        case "zset":
            return redis.zrange(key, 0, -1)
        case "hash":
            return [part for pair in redis.hgetall(key).items() for part in pair]
        case "stream":
            return redis.xrange(key)
        case "none":
            return []  # the worker took it meanwhile
    raise AssertionError(f"{kind} is not looked into")


def _as_bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()
