"""What can be read from a reply."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from channels.web import Reply


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("0", timedelta()),
        ("120", timedelta(seconds=120)),
        ("99999999999999999999", timedelta(days=1)),
        ("Wed, 21 Oct 2015 07:28:00 GMT", timedelta()),
        ("Wed, 21 Oct 2015 07:28:00", timedelta()),
        ("soon", None),
        ("-1", None),
        ("", None),
    ],
)
def test_retry_after(header: str, expected: Any) -> None:
    assert Reply(503, {"Retry-After": header}, b"").retry_after == expected


def test_retry_after_as_a_date_ahead() -> None:
    moment = datetime.now(UTC) + timedelta(minutes=10)
    found = Reply(503, {"Retry-After": format_datetime(moment, usegmt=True)}, b"").retry_after
    assert found is not None
    assert timedelta(minutes=9) < found <= timedelta(minutes=10)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b"null", b"\xff", b"[" * 5000])
def test_what_is_no_json_object_is_empty(body: bytes) -> None:
    assert Reply(200, {}, body).record() == {}
