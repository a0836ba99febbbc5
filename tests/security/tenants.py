"""Two organizations: one that asks, and one whose data it must neither see nor touch nor learn anything of."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.apps import apps
from django.db.models.functions import Now
from django.urls import URLPattern, URLResolver, get_resolver
from rest_framework.test import APIClient

from deadlines.models import Deadline
from notifier import api_keys, vault, webhook_secrets
from notifier.models import (
    ApiKey,
    Attachment,
    Attempt,
    Callback,
    IdempotencyKey,
    Notification,
    Organization,
    Recipient,
)
from notifier.states import Status
from tests.notifier.rows import in_state

ROOT = Path(__file__).resolve().parent.parent.parent
CANARY = "strangersword"
NOWHERE = 2**62 + 4711
"""A number that no row has, with as many digits as none of the tests' rows."""
NO_ROWS = {"name": "welcome"}
"""What paths name besides rows: a template, the same for everybody."""


@dataclass(frozen=True)
class Route:
    """One address below `/api/`."""

    name: str
    pattern: str
    groups: tuple[str, ...]
    view: Any
    methods: tuple[str, ...]

    def path(self, **values: Any) -> str:
        """The address with these values."""
        path = self.pattern
        for group, value in {**NO_ROWS, **values}.items():
            if f"(?P<{group}>" not in path:
                continue
            start = path.index(f"(?P<{group}>")
            path = path[:start] + str(value) + path[path.index(")", start) + 1 :]
        return "/" + path.replace("^", "").replace("/?$", "/").replace("$", "")


METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


def routes() -> list[Route]:
    """Every address below `/api/` that leads to a view, as the project's own resolver knows it."""
    return [route for route in _walk(get_resolver().url_patterns, "") if route.pattern.startswith("api/")]


def _walk(patterns: list[URLPattern | URLResolver], before: str) -> Iterator[Route]:
    for entry in patterns:
        here = before + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from _walk(entry.url_patterns, here)
        elif entry.name:
            view = getattr(entry.callback, "cls", None) or getattr(entry.callback, "view_class", None)
            methods = tuple(word for word in METHODS if hasattr(view, word.lower()))
            groups = tuple(group for group in entry.pattern.regex.groupindex if group not in NO_ROWS)
            yield Route(entry.name, here, groups, view, methods)


@dataclass
class Tenant:
    """An organization with one row of everything, each with the word in all of its texts."""

    organization: Organization
    user: Recipient
    deadline: Deadline
    notifications: dict[Status, Notification] = field(default_factory=dict)
    clients: dict[str, APIClient] = field(default_factory=dict)

    @property
    def ids(self) -> list[int]:
        """Of its notifications."""
        return [row.pk for row in self.notifications.values()]


ROWS: dict[str, Callable[[Tenant], list[int]]] = {
    "user": lambda one: [one.user.pk],
    "notification": lambda one: one.ids,
    "cancel": lambda one: one.ids,
    "retry": lambda one: one.ids,
    "acknowledge": lambda one: one.ids,
    "notification-events": lambda one: one.ids,
    "deadline": lambda one: [one.deadline.pk],
}
"""Whose numbers each route takes that has one in its path."""


def client_of(organization: Organization, kind: str, scopes: tuple[str, ...] = ("send", "read", "manage")) -> APIClient:
    """A client with a new key."""
    client = APIClient(raise_request_exception=False)
    made = api_keys.make(organization, kind=kind, scopes=scopes)
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {made.secret}")
    return client


def tenant(slug: str, word: str) -> Tenant:
    """A new one."""
    organization = Organization.objects.create(slug=slug, name=f"{word} Ltd")
    webhook_secrets.current(organization)
    user = Recipient.objects.create(
        organization=organization,
        email=f"{word}@example.com",
        phone=f"+120255501{len(word):02}",
        telegram_chat_id="778899",
        external_id=f"{word}-id",
        name=f"{word} Smith",
    )
    deadline = Deadline.objects.create(organization=organization, person=f"{word} Smith", note=f"{word} note")
    made = Tenant(organization, user, deadline)
    for status in Status:
        made.notifications[status] = _notification(made, word, status)
    IdempotencyKey.objects.create(
        organization=organization, key=f"{word}-key", fingerprint="0" * 64, notification_ids=made.ids[:1]
    )
    made.clients = {kind: client_of(organization, kind) for kind in ("live", "test")}
    return made


def _notification(owner: Tenant, word: str, status: Status) -> Notification:
    row = Notification.objects.create(
        organization=owner.organization,
        recipient=owner.user,
        subject=f"{word} subject",
        message=f"{word} message",
        html=f"<p>{word}</p>",
        steps=[{"channel": "email"}, {"channel": "sms"}],
        reference=f"{word}-reference",
        metadata={word: word},
        callback_url=f"https://{word}.example.com/",
        own_account=True,
        credentials=vault.seal({"user": word, "password": word}) if status in {Status.QUEUED, Status.WAITING} else None,
        expires_at="2999-01-01T00:00:00Z",
        **in_state(status),
    )
    Attempt.objects.create(
        notification=row, step=0, round=0, channel="email", outcome="failed", temporary=True, code="rejected",
        detail=f"{word} detail", provider_id=f"{word}-{row.pk}", started_at=Now(),
    )  # fmt: skip
    Attachment.objects.create(
        notification=row, filename=f"{word}.txt", content_type="text/plain", content=word.encode()
    )
    Callback.objects.create(notification=row, event=f"notification.{status}", payload={"subject": f"{word} subject"})
    row.refresh_from_db()
    return row


def our_models() -> list[type[Any]]:
    """Of every application that is part of this project."""
    ours = [config for config in apps.get_app_configs() if Path(config.path).parent == ROOT]
    return [model for config in ours for model in config.get_models()]


def dump(*, of: Tenant | None = None) -> dict[str, Any]:
    """All rows of all tables of ours, or all that are this organization's. When a key was last used does not count."""
    found: dict[str, Any] = {}
    for model in our_models():
        rows = model._default_manager.order_by("pk")
        if of is not None:
            path = _path_to_organization(model)
            if path is None:
                continue
            rows = rows.filter(**{path: of.organization.pk})
        found[model.__name__] = [_plain(model, values) for values in rows.values()]
    return found


def _plain(model: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    shown = {name: bytes(value) if isinstance(value, memoryview) else value for name, value in values.items()}
    if model is ApiKey:
        shown.pop("last_used_at")
    return shown


def _path_to_organization(model: type[Any]) -> str | None:
    names = {one.name for one in model._meta.get_fields()}
    if model is Organization:
        return "pk"
    if "organization" in names:
        return "organization"
    return "notification__organization" if "notification" in names else None
