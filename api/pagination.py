"""Cursor pages: `next`, `previous`, `results`. No count, so the cost is flat at any depth."""

import re
from typing import Any, ClassVar

from django.db.models import Q, QuerySet
from rest_framework.exceptions import NotFound
from rest_framework.pagination import Cursor, CursorPagination
from rest_framework.request import Request

_ID = re.compile(r"[0-9]{1,18}", re.ASCII)


class NewestFirst(CursorPagination):
    """Newest first; `page_size` up to 100."""

    ordering = "-id"
    page_size = 20
    page_size_query_param = "page_size"
    max_page_size = 100

    LOOK: ClassVar[int] = 10_000
    """How many rows are looked at for a page where no index knows the wanted ones: 10 ms where none is."""

    sieve: Q | None = None
    """What no index knows. The page may then be shorter than asked for, or empty, while `next` leads on: behind the
    rows that were looked at. So a page costs the same also where one row in a million is wanted."""

    _edge: int | None = None
    """The last row that was looked at, where there may be more behind it."""

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any] | None:
        """The page that the request asks for."""
        cursor = self.decode_cursor(request)
        self._back = cursor is not None and cursor.reverse
        self._from = None if cursor is None or cursor.position is None else int(cursor.position)
        if self.sieve is not None:
            queryset = self._near(queryset).filter(self.sieve)
        page: list[Any] | None = super().paginate_queryset(queryset, request, view)
        if self.has_previous if self._back else self.has_next:
            self._edge = None  # the page is full, and goes on after its last row
        elif self._edge is not None:
            self.has_previous, self.has_next = (True, self.has_next) if self._back else (self.has_previous, True)
        return page

    def _near(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        """As many of them as may be looked at, from where the page begins."""
        ends = (0, 2**63 - 1)
        (before, beyond, order), (begin, end) = (
            (("gt", "lte", "pk"), ends) if self._back else (("lt", "gte", "-pk"), ends[::-1])
        )
        rows = rows.filter(**{f"pk__{before}": begin if self._from is None else self._from})
        self._edge = rows.order_by(order).values_list("pk", flat=True)[self.LOOK - 1 : self.LOOK].first()
        # Both ends, always: behind one alone the planner supposes a third of the table, and reads and sorts all of it.
        return rows.filter(**{f"pk__{beyond}": end if self._edge is None else self._edge})

    def get_next_link(self) -> str | None:
        """The URL of the older ones."""
        if self._edge is not None and not self._back:
            return self._link(self._edge, back=False)
        if self.sieve is not None and self._back and self._from is not None and not self.page:
            return self._link(self._from + 1, back=False)
        return super().get_next_link()

    def get_previous_link(self) -> str | None:
        """The URL of the newer ones."""
        if self._edge is not None and self._back:
            return self._link(self._edge, back=True)
        if self.sieve is not None and not self._back and self._from is not None and not self.page:
            return self._link(max(self._from - 1, 0), back=True)
        return super().get_previous_link()

    def _link(self, position: int, *, back: bool) -> str:
        return self.encode_cursor(Cursor(offset=0, reverse=back, position=position))

    def decode_cursor(self, request: Request) -> Cursor | None:
        """The place that the client asks for. REST framework would hand any text to the database as an id."""
        cursor = super().decode_cursor(request)
        if cursor is not None and cursor.position is not None and not _ID.fullmatch(str(cursor.position)):
            raise NotFound(self.invalid_cursor_message)
        return cursor
