"""Every change of a status is watched while it happens, and held against the contract's table."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection

from notifier.models import Notification
from notifier.states import Outcome, Status
from tests.notifier.test_states import PROMISED


class Watch:
    """What became of every row, statement by statement. `courses`: the statuses of each row in their order."""

    def __init__(self) -> None:
        self.courses: dict[int, list[str]] = {}
        self._reading = False

    def __call__(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        result = execute(sql, params, many, context)
        if "notifier_notification" in sql and sql.startswith(("UPDATE", "INSERT")) and not self._reading:
            self._look()
        return result

    def _look(self) -> None:
        self._reading = True
        try:
            for pk, status in Notification.objects.order_by().values_list("pk", "status"):
                course = self.courses.setdefault(pk, [status])
                if course[-1] != status:
                    assert status in PROMISED[course[-1]].split(), f"{' → '.join(course)} → {status}"
                    course.append(status)
        finally:
            self._reading = False


def why(row: Notification) -> str:
    """The contract's rule for `failure_code`: the last attempt that is no skip, else the last skip."""
    tried = list(row.attempts.all())
    return ([one for one in tried if one.outcome != Outcome.SKIPPED] or tried)[-1].code


@contextmanager
def watched() -> Iterator[Watch]:
    """No move that the table does not know, and every row that failed says why, by the rule."""
    watch = Watch()
    with connection.execute_wrapper(watch):
        yield watch
    for row in Notification.objects.all():
        assert row.status == Status.FAILED or row.failure_code == ""
        if row.status == Status.FAILED and row.attempts.exists():
            assert row.failure_code == why(row)
