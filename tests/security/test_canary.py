"""Secrets of every kind pass through a real installation; afterwards they stand nowhere that it keeps or shows."""

import base64
import html
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests

from tests.security.canary import PASSWORD, sightings
from tests.security.houses import NEWER, STORED, SUPERUSER, USER, Installation
from tests.servers.base import wait_until

pytestmark = [pytest.mark.real_server, pytest.mark.timeout(900)]

HELLO: dict[str, Any] = {"to": {"email": "person@example.com"}, "message": "Hello", "channels": ["email"]}
NOTIFICATIONS, BULK, PLAN = "/api/notifications/", "/api/notifications/bulk/", "/api/notifications/plan/"
ACCEPTED, OK, REFUSED = 202, 200, (400, 401, 404, 413, 415, 422)
PAGES = 400


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Up and running."""
    if reason := Installation.missing():
        pytest.skip(reason)
    with Installation(tmp_path_factory.mktemp("canary")) as running:
        yield running


def accepted(house: Installation, peer: str, **more: Any) -> int:
    """The id of a notification through an account of its own."""
    body = {**HELLO, **house.account(peer), "callback_url": f"{house.callbacks.url.rstrip('/')}/hook", **more}
    answer = house.client.post(NOTIFICATIONS, body)
    assert answer.status_code == ACCEPTED, answer.text
    return int(answer.json()["id"])


def send_everything(house: Installation) -> dict[str, int]:
    """Accept messages that succeed, fail, and end in the unknown; wait for their ends."""
    ids = {peer: accepted(house, peer) for peer in ("good", "echo", "lost", "again")}
    ids["busy"] = accepted(house, "busy", on_unknown="stop")
    ids["later"] = accepted(house, "good", send_at="2027-02-01T00:00:00Z", expires_at="2027-02-02T00:00:00Z")
    bulk = house.client.post(BULK, {"notifications": [{**HELLO, **house.account("good")}] * 3})
    assert bulk.status_code == ACCEPTED, bulk.text
    chain = {"to": {"email": "p@example.com", "phone": "+12025550123", "telegram_chat_id": "4711"}, "message": "Hi"}
    for channels in (["email"], ["sms", "telegram"], ["telegram"]):
        assert house.client.post(NOTIFICATIONS, {**chain, "channels": channels}).status_code == ACCEPTED
    assert house.client.post(PLAN, {**HELLO, **house.account("good")}).status_code == OK
    for body in (house.account("good"), house.account("good"), house.account("echo")):
        house.client.post(NOTIFICATIONS, {**HELLO, **body}, headers={"Idempotency-Key": "canary"})
    wait_until(lambda: still_open(house) == "2", 60, "all but those that wait are final")
    return ids


def still_open(house: Installation) -> str:
    return house.ask("SELECT count(*) FROM notifier_notification WHERE finished_at IS NULL")


def status_of(house: Installation, pk: int) -> str:
    return house.ask(f"SELECT status FROM notifier_notification WHERE id = {pk}")  # noqa: S608 - our own number


def retry(house: Installation, pk: int) -> None:
    """New credentials; the first ones were wiped."""
    path = f"{NOTIFICATIONS}{pk}/retry/"
    assert house.client.post(path, {"smtp_password": NEWER}).status_code in REFUSED
    assert house.client.post(path, house.account("again", NEWER)).status_code == ACCEPTED
    wait_until(lambda: status_of(house, pk) in {"sent", "failed"}, 60, "the retry's end")


def bad_bodies() -> list[Any]:
    """Refused, for the credentials' sake or for another's."""
    secret = json.dumps(PASSWORD)
    good = {**HELLO, "smtp_user": USER, "smtp_password": PASSWORD}
    wrong: list[dict[str, Any]] = [{"message": ""}, {"channels": ["pigeon"]}, {"to": {}}, {"smtp_pasword": PASSWORD}]
    wrong += [{"smtp_password": value} for value in ([PASSWORD], {"a": PASSWORD}, PASSWORD * 60, f"{PASSWORD}\r\nX: y")]
    wrong += [{"smtp_password": f"{PASSWORD}{end}"} for end in ("\0", "\ud800")]
    wrong += [{"smtp_user": None}, {"smtp_host": PASSWORD}, {"smtp_host": "10.0.0.1"}, {"smtp_port": PASSWORD}]
    return [
        *({**good, **one} for one in wrong),
        {**HELLO, "smtp_password": PASSWORD},
        f'{{"message": "x", "smtp_password": {secret}, "smtp_password": {secret}}}',
        f'{{"message": "x", "smtp_password": {secret}',
        f'{{"message": "x", "smtp_password": {secret[:-1]}',
        f'{{"smtp_password": {secret}, "x": NaN}}',
        f"smtp_password={quote(PASSWORD)}",
        [good],
        PASSWORD,
    ]


def be_refused(house: Installation) -> None:
    """Every kind of refusal, with the secret in the body, the headers, and where nobody should put it."""
    retried = f"{NOTIFICATIONS}999999/retry/"
    for path in (NOTIFICATIONS, PLAN, retried):
        for body in bad_bodies():
            answer = house.client.post(path, body)
            assert answer.status_code in REFUSED, answer.text
    for body in bad_bodies():
        assert house.client.post(BULK, {"notifications": [body]}).status_code in REFUSED
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    house.client.post(NOTIFICATIONS, f"smtp_password={quote(PASSWORD)}", headers=form)
    assert house.client.post(NOTIFICATIONS, "x" * 11_000_000 + PASSWORD).status_code in REFUSED
    key = house.client.key
    asked = f"?token={key}&smtp_password={quote(PASSWORD)}"
    for path in (NOTIFICATIONS, "/api/users/", "/api/nothing/", "/nothing/", "/health/live"):
        house.client.get(f"{path}{asked}")
    for wrong in (f"Bearer {key}x", f"Bearer {key[:-1]}", f"Basic {base64.b64encode(key.encode()).decode()}", key):
        house.client.get(NOTIFICATIONS, headers={"Authorization": wrong})
        house.client.get(NOTIFICATIONS, headers={"Authorization": "", "X-API-Key": wrong})
    assert house.client.get("/api/users/", headers={"Host": "elsewhere.example.com"}).status_code == 400


def read_everything(house: Installation, ids: dict[str, int]) -> None:
    """The API's own lists and views, errors and health."""
    for pk in ids.values():
        assert house.client.get(f"{NOTIFICATIONS}{pk}/").status_code == OK
    for path in (NOTIFICATIONS, "/api/users/", "/api/schema/", "/api/docs/", "/health/live", "/health/ready", "/"):
        house.client.get(path)
    house.client.post(f"{NOTIFICATIONS}{ids['busy']}/cancel/")


def break_it(house: Installation) -> None:
    """A bug for web, admin, worker and beat alike: a table is not where it is looked for."""
    table = "notifier_notification"
    house.ask(f"ALTER TABLE {table} RENAME TO elsewhere")
    try:
        for body in (house.account("good"), {**house.account("good"), "html": "<p>"}):
            assert house.client.post(NOTIFICATIONS, {**HELLO, **body}).status_code == 500
        assert house.client.get(f"{NOTIFICATIONS}?token={house.client.key}").status_code == 500
        house.operator.get("/admin/notifier/notification/")
        worker = house.processes[1]
        worker.wait_for(lambda: table in worker.output and "Traceback" in worker.output, 30, "the worker's stumble")
    finally:
        house.ask(f"ALTER TABLE elsewhere RENAME TO {table}")


def walk_the_admin(house: Installation) -> set[str]:
    """Sign in, save something, and open every page that a link leads to."""
    session = requests.Session()
    page = house.client.page

    def keep(answer: requests.Response) -> requests.Response:
        house.operator.answers.append(f"{answer.status_code} {answer.text}")
        return answer

    def post(path: str, where: str = "", **fields: str) -> requests.Response:
        form = keep(session.get(f"{page}{path}")).text
        token = re.findall(r'name="csrfmiddlewaretoken" value="([^"]+)"', form)[0]
        return keep(
            session.post(f"{page}{where or path}", {"csrfmiddlewaretoken": token, **fields}, headers={"Referer": page})
        )

    post("/admin/login/?next=/admin/", username="root", password=f"{SUPERUSER}x")
    post("/admin/login/?next=/admin/", username="root", password=SUPERUSER)
    save_accounts(house, post)
    seen: set[str] = set()
    ahead = ["/admin/"]
    while ahead and len(seen) < PAGES:
        path = ahead.pop(0)
        if path in seen:
            continue
        seen.add(path)
        answer = keep(session.get(f"{page}{path}"))
        assert answer.status_code == OK, path
        links = [html.unescape(link) for link in re.findall(r'href="([^"#]+)"', answer.text)]
        whole = [path.partition("?")[0] + link if link.startswith("?") else link for link in links]
        ahead += [link for link in whole if link.startswith("/admin/") and "logout" not in link and "?o=" not in link]
    house.operator.get = lambda path, **_: keep(session.get(f"{page}{path}"))  # type: ignore[method-assign]
    return seen


def save_accounts(house: Installation, post: Callable[..., requests.Response]) -> None:
    """An organization's own accounts: refused with a mistake beside, stored, kept, replaced, and tried."""
    organization = house.ask(
        "INSERT INTO notifier_organization (slug, name, sales_email, created_at) "
        "VALUES ('o', 'O', '', now()) RETURNING id"
    )
    belongs = {"organization": organization.split()[0], "is_active": "on", "secret_text": STORED}
    at = {"host": "127.0.0.1", "port": str(house.mail["echo"].port), "user": USER, "recipients": "root@example.com"}
    for more in ({"port": "none"}, {"recipients": "nobody"}, {}):
        post("/admin/notifier/emailsettings/add/", **{**belongs, **at, **more})
    row = house.ask("SELECT id FROM notifier_emailsettings WHERE secret IS NOT NULL")
    for secret in ("", STORED):
        post(f"/admin/notifier/emailsettings/{row}/change/", **{**belongs, **at, "secret_text": secret, "user": USER})
    post(f"/admin/notifier/emailsettings/{row}/change/", **{**belongs, **at, "port": "-"})
    post(
        "/admin/notifier/telegramsettings/add/",
        **{**belongs, "secret_text": f"123456789:AA{STORED}-0123456789-0123456789"},
    )
    post("/admin/notifier/emailsettings/", where=f"/admin/notifier/emailsettings/{row}/test/")
    tested = house.ask("SELECT count(*) FROM notifier_emailsettings WHERE tested_at IS NOT NULL")
    assert (tested, house.ask("SELECT count(*) FROM notifier_telegramsettings WHERE secret IS NOT NULL")) == ("1", "1")


def test_no_secret_stands_anywhere(house: Installation) -> None:
    webhook = house.client.call("GET", "/api/organizations/me/", keep=False).json()["webhook_secret"]
    secrets = house.secrets(webhook)
    ids = send_everything(house)
    found = sightings(house.places(), secrets)  # two are open: their credentials are sealed
    assert found == []
    retry(house, ids["again"])
    be_refused(house)
    read_everything(house, ids)
    pages = walk_the_admin(house)
    break_it(house)

    statuses = {peer: status_of(house, pk) for peer, pk in ids.items()}
    expected = {"good": "sent", "echo": "failed", "lost": "failed", "busy": "cancelled", "later": "queued"}
    assert statuses == {**expected, "again": "sent"}
    wait_until(lambda: len(house.callbacks.requests) >= 5, 30, "the callbacks")
    wait_until(lambda: len(house.sentry.requests) >= 3, 30, "errors at Sentry")
    places = house.places()
    found = sightings(places, secrets)
    assert found == []

    # It was worth looking: all of these have something to say.
    assert min(len(places[f"what {name} printed"]) for name in ("web", "worker", "beat")) > 1000
    assert all(f"answer {nth} of the API" in places for nth in range(100))
    assert any("/admin/notifier/notification/" in page and "/change/" in page for page in pages)
    assert any("/history/" in page for page in pages)
    assert "DEBUG" in str(places["the log file of web"])


PLANTED: dict[str, Callable[[Installation], object]] = {
    "the database": lambda house: house.ask(f"CREATE TABLE planted_text AS SELECT '{PASSWORD}' AS word"),
    "Redis": lambda house: house.to_redis().hset("x", "y", PASSWORD),
    "what web printed": lambda house: append(house.processes[0].log),
    "the log file of beat": lambda house: append(house.directory / "beat.file.log"),
    "answer 0 of the API": lambda house: house.client.answers.insert(0, PASSWORD),
}


def append(path: Path) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(f"password {PASSWORD}\n")


@pytest.mark.parametrize("place", PLANTED)
def test_what_stands_there_is_found(place: str, house: Installation) -> None:
    PLANTED[place](house)
    found = sightings(house.places(), {"planted": PASSWORD})
    assert [one for one in found if one.startswith(f"planted in {place}: ")]


def test_sealed_credentials_are_not_found_but_open_bytes_are(house: Installation) -> None:
    house.ask(f"CREATE TABLE planted AS SELECT '{PASSWORD}'::text::bytea AS bytes")
    dump = house.postgres.dump("canary")
    assert "COPY public.planted" in dump
    assert sightings({"dump": dump[dump.index("COPY public.planted") :]}, {"planted": PASSWORD})


@pytest.mark.parametrize(
    "dress",
    [
        lambda secret: secret,
        lambda secret: json.dumps({"a": secret}),
        lambda secret: json.dumps(json.dumps({"a": secret}))[::-1],
        lambda secret: repr({"a": secret}),
        html.escape,
        lambda secret: quote(secret, safe=""),
        lambda secret: secret.encode().hex(),
        lambda secret: "\\x" + secret.encode().hex().upper(),
        lambda secret: "".join(f"%{byte:02x}" for byte in secret.encode()),
        lambda secret: base64.b64encode(secret.encode()).decode(),
        lambda secret: base64.b64encode(f"\0user\0{secret}".encode()).decode(),
        lambda secret: base64.b64encode(f"\0user1\0{secret}".encode()).decode(),
        lambda secret: base64.urlsafe_b64encode(f"\0user12\0{secret}".encode()).decode(),
        lambda secret: secret[::-1],
    ],
)
def test_the_search_knows_every_dress(dress: Callable[[str], str]) -> None:
    assert sightings({"text": f"some words {dress(PASSWORD)} and more"}, {"planted": PASSWORD})
    assert not sightings({"text": f"some words {dress('something else')} and more"}, {"planted": PASSWORD})
