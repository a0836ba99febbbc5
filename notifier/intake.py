"""The one way in: REST, Python and the command line all end here."""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from itertools import chain
from typing import Any, TypeVar, cast
from uuid import uuid4

from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.models import TextField
from django.db.models.functions import Cast
from django.utils import timezone
from django.utils.translation import gettext as _
from rest_framework.exceptions import ValidationError

from notifier import bell, errands, idempotency, insertion, ledger, limits, message_templates, webhook_secrets
from notifier.breaker import Breaker, key_of
from notifier.composing import Composer
from notifier.gathering import Gathering
from notifier.inputs import NotificationInput, Wanted
from notifier.insertion import Stored, Wish
from notifier.limits import OURSELVES, Sender
from notifier.models import DEFAULT_SLUG, Attachment, Notification, Organization, Recipient
from notifier.outputs import masked_address, shown_step

T = TypeVar("T")

MOST = 10_000
"""Notifications in one bulk."""

MOST_BYTES = 100 * 1024 * 1024
"""Files of all notifications of one bulk together."""

MOST_SIGNS = 1024**3
"""Of the texts of one content for many users, together."""

AT_ONCE = 500
"""Notifications that a bulk stores by one statement, where each has a text of its own from a template."""


class InvalidNotificationError(ValueError):
    """The notification is refused; nothing was stored. `errors`: what is wrong, by field."""

    def __init__(self, errors: Any) -> None:
        super().__init__(str(errors))
        self.errors = errors


def accept(organization: Organization, body: Any, *, ring: bool = True, sender: Sender = OURSELVES) -> Notification:
    """Store what the body of `POST /api/notifications/` asks for, and ring once it is committed.

    ValidationError for a body that is refused, `limits.TooManyError` for one message too many; nothing is stored then.
    `ring=False`: the caller delivers it by himself.
    """
    return _surely(lambda: _accept(organization, body, ring=ring, sender=sender))


def _accept(organization: Organization, body: Any, *, ring: bool, sender: Sender) -> Notification:
    wanted = NotificationInput.shared().read(organization, body, timezone.now(), test=sender.is_test)
    wanted.values["key"] = uuid4()
    its_chain_matters = wanted.user is not None and limits.looks_at_addresses(sender)
    if wanted.files or wanted.draft or its_chain_matters or connection.vendor != "postgresql":
        recipient = _user(organization, wanted.user)
        columns = Composer(organization).columns(wanted, recipient)
        with limits.admitted(organization, sender, [columns]):
            stored = _store(organization, [columns], [wanted.files], ring=ring)[0]
    else:
        columns = wanted.columns()
        with limits.admitted(organization, sender, [columns]):
            stored, recipient = _store_one(organization, wanted, columns, ring=ring)
        columns = wanted.columns(recipient.channels if recipient else ())
    row = insertion.row_of(columns, stored)
    row.organization, row.recipient = organization, recipient
    return row


def _user(organization: Organization, pk: int | None) -> Recipient | None:
    """The organization's own; ValidationError where there is none of that number."""
    if pk is None:
        return None
    found = Recipient.objects.filter(organization=organization, pk=pk).first()
    if found is None:
        raise NotificationInput.shared().no_user()
    return found


def _store_one(
    organization: Organization, wanted: Wanted, columns: insertion.Values, *, ring: bool
) -> insertion.Granted:
    """By the statement that looks the user up too; with those of other requests, if there are some at this moment."""
    _make_secret(organization, [columns])
    wish = Wish(columns, own_chain=wanted.user is not None and wanted.chain is None)
    granted = insertion.insert_one(wish) if connection.in_atomic_block else _door.do(wish)
    if granted is None:
        raise NotificationInput.shared().no_user()
    if ring:
        bell.ring_after_commit([granted[0].pk])
    return granted


def _is_refusal(error: BaseException) -> bool:
    """Whether PostgreSQL itself said no: then it has stored nothing. What a lost connection means nobody knows."""
    return isinstance(error, DatabaseError) and getattr(error.__cause__, "pgcode", None) is not None


_door = Gathering(insertion.insert_some, insertion.insert_one, is_refusal=_is_refusal, most=64)


def once(
    organization: Organization, key: str, body: Any, store: Callable[[], Sequence[Any]]
) -> tuple[Sequence[Any], bool]:
    """Store under an idempotency key, "" for none. Returns what `store` did, which has a `pk` each.

    The second value says that the key's first request did so before, and these are its notifications.
    `idempotency.KeyReusedError` where it came with another body then.
    """
    if not key:
        return store(), False
    known = idempotency.first_answer(organization, key, body)
    return (known, True) if known is not None else idempotency.once(organization, key, body, store)


def accept_many(organization: Organization, bodies: Sequence[Any], *, sender: Sender = OURSELVES) -> list[Stored]:
    """Store all of these or none; returns their ids. ValidationError names the index: `notifications.3.user_id`."""
    return _surely(lambda: _accept_many(organization, bodies, sender))


def accept_for_each(
    organization: Organization, content: Mapping[str, Any], users: Sequence[Any], *, sender: Sender = OURSELVES
) -> list[Stored]:
    """As `accept_many` of the same content for each of these users, but it is read once: a bulk of 1,000 takes half
    of the processor time. Where anything is wrong with it, each is read, so that the errors are the same."""
    return _surely(
        lambda: (
            _accept_for_each(organization, content, users, sender)
            or _accept_many(organization, [{**content, "user_id": user} for user in users], sender)
        )
    )


def _accept_many(organization: Organization, bodies: Sequence[Any], sender: Sender) -> list[Stored]:
    form, now, composer = NotificationInput.shared(), timezone.now(), Composer(organization)
    users = [body.get("user_id") for body in bodies if isinstance(body, Mapping)]
    chains = _chains(organization, users)
    has_templates = any("template" in body for body in bodies if isinstance(body, Mapping))
    languages = _languages(organization, users) if has_templates else {}
    rows: list[dict[str, Any]] = []
    files, errors, size = [], {}, 0
    for index, body in enumerate(bodies):
        try:
            wanted = form.read(organization, body, now, test=sender.is_test)
            if wanted.user is not None and wanted.user not in chains:
                raise form.no_user()
            own_chain = chains[wanted.user] if wanted.user is not None else ()
            columns = composer.columns_in(wanted, own_chain, languages.get(wanted.user, ""))
        except ValidationError as error:
            errors[str(index)] = error.detail
            continue
        rows.append(columns)
        files.append(wanted.files)
        size += sum(len(file.content) for file in wanted.files)
        if size > MOST_BYTES:  # one content with a file and 10,000 users would fill memory and disk
            raise ValidationError(
                {"attachments": [_("The copies of the files are too large together.")]}, code="too_large"
            )
    if errors:
        raise ValidationError({"notifications": errors})
    with limits.admitted(organization, sender, rows):
        if not has_templates:
            return _store(organization, rows, files, ring=True)
        with transaction.atomic():  # in parts, since each of its own HTML in one statement fills the memory
            parts = range(0, len(rows), AT_ONCE)
            stored = [
                _store(organization, rows[at : at + AT_ONCE], files[at : at + AT_ONCE], ring=True) for at in parts
            ]
        return list(chain.from_iterable(stored))


def _accept_for_each(
    organization: Organization, content: Mapping[str, Any], users: Sequence[Any], sender: Sender
) -> list[Stored] | None:
    """None: something is wrong, or not the same for each."""
    form, first = NotificationInput.shared(), {**content, "user_id": users[0]}
    try:
        wanted = form.read(organization, first, timezone.now(), test=sender.is_test)
    except ValidationError as error:
        if "template" in content:  # to check a large context for each of them takes too long
            raise ValidationError({"notifications": {"0": error.detail}}) from None
        return None
    chains = _chains(organization, users)
    if wanted.draft is not None:
        return _draft_for_each(organization, wanted, users, chains, sender)
    if wanted.files or any(type(user) is not int or user not in chains for user in users):
        return None
    shared = wanted.columns()
    own = {"recipient_id": users, "steps": [wanted.columns(chains[user])["steps"] for user in users]}
    _make_secret(organization, [shared])
    rows = ({"recipient_id": user, "steps": steps} for user, steps in zip(users, own["steps"], strict=True))
    with limits.admitted(organization, sender, rows), _at_once():
        made = insertion.insert_table(shared, own)
        bell.ring_after_commit([stored.pk for stored in made])
    return made


def _draft_for_each(
    organization: Organization, wanted: Wanted, users: Sequence[Any], chains: Mapping[Any, list[str]], sender: Sender
) -> list[Stored]:
    """The template is rendered once for each language among them."""
    known = [type(user) is int and user in chains for user in users]
    if not all(known):
        nobody = NotificationInput.shared().no_user().detail
        raise ValidationError({"notifications": {str(at): nobody for at, fine in enumerate(known) if not fine}})
    spoken = _languages(organization, users)
    groups: dict[str, list[int]] = {}
    for at, user in enumerate(users):
        groups.setdefault(message_templates.language_of(spoken.get(user, "")), []).append(at)
    composer, made = Composer(organization), dict[int, Stored]()
    shared = {}
    for language, places in groups.items():
        try:
            shared[language] = composer.columns_in(wanted, (), language)
        except ValidationError as error:
            raise ValidationError({"notifications": {str(places[0]): error.detail}}) from None
    _check_copies(wanted, [(len(places), shared[language]) for language, places in groups.items()])
    _make_secret(organization, list(shared.values()))
    steps = [wanted.columns(chains[user])["steps"] for user in users]
    rows = ({"recipient_id": user, "steps": own} for user, own in zip(users, steps, strict=True))
    with limits.admitted(organization, sender, rows), transaction.atomic():
        for language, places in groups.items():
            own = {"recipient_id": [users[at] for at in places], "steps": [steps[at] for at in places]}
            made.update(zip(places, insertion.insert_table(shared[language], own), strict=True))
        stored = [made[at] for at in range(len(users))]
        copies = [[copy(file) for file in wanted.files] for _user in users]
        ledger.attach(stored, copies)
        bell.ring_after_commit([one.pk for one in stored])
    return stored


def _check_copies(wanted: Wanted, groups: Sequence[tuple[int, insertion.Values]]) -> None:
    copies = sum(count for count, _columns in groups)
    texts = sum(count * (len(columns["message"]) + len(columns["html"])) for count, columns in groups)
    for name, is_large in (
        ("attachments", copies * sum(len(file.content) for file in wanted.files) > MOST_BYTES),
        ("context", texts > MOST_SIGNS),
    ):
        if is_large:
            raise ValidationError({name: [_("The copies of it are too large together.")]}, code="too_large")


def _languages(organization: Organization, users: Sequence[Any]) -> dict[Any, str]:
    """Of those of these users that have one: by one query."""
    ids = {pk for pk in users if type(pk) is int and 0 < pk < 2**63}
    found = Recipient.objects.filter(organization=organization, pk__among=ids).exclude(language="")
    return dict(found.values_list("pk", "language")) if ids else {}


def _chains(organization: Organization, users: Sequence[Any]) -> dict[int, list[str]]:
    """The chains of their own, if any, of the users that a bulk names: by one query."""
    ids = {pk for pk in users if type(pk) is int and 0 < pk < 2**63}
    if not ids:
        return {}
    found = Recipient.objects.filter(organization=organization, pk__among=ids)  # of a list Django looks at each
    # As text: most have none, and 1,000 of them take a millisecond to read.
    chains = found.values_list("pk", Cast("channels", TextField()))
    return {pk: [] if own == "[]" else json.loads(own) for pk, own in chains}


def _surely(store: Callable[[], T]) -> T:
    try:
        return store()
    except IntegrityError:  # a person was erased after they were looked up: the second look says so
        return store()


def _store(
    organization: Organization, rows: Sequence[insertion.Values], files: Sequence[Sequence[Attachment]], *, ring: bool
) -> list[Stored]:
    _make_secret(organization, rows)
    with transaction.atomic() if any(files) else _at_once():
        made = ledger.accept(rows, files)
        if ring:
            bell.ring_after_commit([stored.pk for stored in made])
    return made


def _at_once() -> AbstractContextManager[None]:
    """Around one statement, which is a transaction by itself: BEGIN and COMMIT would be two more trips."""
    return nullcontext() if connection.vendor == "postgresql" else transaction.atomic()


def _make_secret(organization: Organization, rows: Sequence[insertion.Values]) -> None:
    """Of the organization's callbacks: made now, so that the client can ask for it before the first one."""
    if any(row.get("callback_url") for row in rows):
        webhook_secrets.current(organization)


def send(
    *,
    organization: str | Organization = DEFAULT_SLUG,
    to: str | Mapping[str, Any] | None = None,
    idempotency_key: str = "",
    **body: Any,
) -> Notification:
    """Send from Python: `send(to="user@example.com", message="Hello")`.

    `to`: an e-mail address, or what the API's `to` takes; or `user_id=…`. Everything else is a field of
    `POST /api/notifications/`. Returns the stored notification (the first one, where `idempotency_key` was used
    before); InvalidNotificationError where it is refused.
    """
    owner = organization if isinstance(organization, Organization) else _named(organization)
    if to is not None:
        body["to"] = {"email": to} if isinstance(to, str) else dict(to)
    wanted = {name: value for name, value in body.items() if value is not None}
    if idempotency_key and not idempotency.FORM.fullmatch(idempotency_key):
        raise InvalidNotificationError({"idempotency_key": "It needs 1 to 255 printable ASCII characters."})
    try:
        rows, _replayed = once(owner, idempotency_key, wanted, lambda: [accept(owner, wanted)])
    except ValidationError as error:
        raise InvalidNotificationError(error.detail) from None
    except idempotency.KeyReusedError:
        raise InvalidNotificationError({"idempotency_key": "It came with another body before."}) from None
    if not rows:
        raise InvalidNotificationError({"idempotency_key": "The notification of this key was deleted."})
    return cast("Notification", rows[0])


def _named(slug: str) -> Organization:
    try:
        return Organization.objects.get(slug=slug)
    except Organization.DoesNotExist:
        raise InvalidNotificationError({"organization": f"There is no organization {slug!r}."}) from None


def plan(organization: Organization, body: Any, *, sender: Sender = OURSELVES) -> list[dict[str, Any]]:
    """What would become of this body now, step by step; stores nothing. ValidationError for a body that is refused."""
    wanted = NotificationInput.shared().read(organization, body, timezone.now(), test=sender.is_test)
    recipient = _user(organization, wanted.user)
    row = Notification(**Composer(organization).columns(wanted, recipient))
    row.organization, row.recipient = organization, recipient
    breaker = Breaker()
    return [{**shown_step(step), **_foretold(row, step["channel"], breaker)} for step in row.steps]


def _foretold(row: Notification, channel: str, breaker: Breaker) -> dict[str, Any]:
    """Whether this step would run, through which account and where to; else the code and detail of its skip."""
    way = errands.way_of(row, channel)
    if isinstance(way, errands.NoWay):
        return {"runs": False, "to": None, "account": None, "code": way.code, "detail": way.detail}
    is_open = breaker.is_open(key_of(channel, way.account))
    told = {"to": masked_address(channel, way.address), "account": way.account.origin}
    if is_open:
        return {"runs": False, **told, "code": "circuit_open", "detail": errands.CIRCUIT_OPEN}
    return {"runs": True, **told, "code": None, "detail": None}
