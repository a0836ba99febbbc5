"""Cursor pages: `next`, `previous`, `results`. No count, so the cost is flat at any depth."""

from rest_framework.pagination import CursorPagination


class NewestFirst(CursorPagination):
    """Newest first; `page_size` up to 100."""

    ordering = "-id"
    page_size = 20
    page_size_query_param = "page_size"
    max_page_size = 100
