"""Cursor pages: `next`, `previous`, `results`. No count, so the cost is flat at any depth."""

import re

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

    def decode_cursor(self, request: Request) -> Cursor | None:
        """The place that the client asks for. REST framework would hand any text to the database as an id."""
        cursor = super().decode_cursor(request)
        if cursor is not None and cursor.position is not None and not _ID.fullmatch(str(cursor.position)):
            raise NotFound(self.invalid_cursor_message)
        return cursor
