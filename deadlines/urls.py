"""The addresses of deadlines, each with and without its trailing slash."""

from django.urls import re_path

from deadlines import api

app_name = "deadlines"
urlpatterns = [
    re_path(r"^deadlines/?$", api.DeadlinesView.as_view(), name="deadlines"),
    re_path(r"^deadlines/import/?$", api.ImportView.as_view(), name="deadline-import"),
    re_path(r"^deadlines/(?P<pk>[0-9]+)/?$", api.DeadlineView.as_view(), name="deadline"),
]
