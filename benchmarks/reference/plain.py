"""A Django project with one view and one INSERT: what the framework and the server cost before anybody checks anything.

Settings, view and URLs in one module; no middleware, no ORM, no serializer.
"""

import json
import os
from typing import Any

import environ
from django.db import connection
from django.http import HttpRequest, JsonResponse
from django.urls import path

SECRET_KEY = "reference"  # noqa: S105 - guards nothing
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = __name__
INSTALLED_APPS: list[str] = []
MIDDLEWARE: list[str] = []
DATABASES: dict[str, Any] = {
    "default": {
        **environ.Env.db_url_config(os.environ["DATABASE_URL"]),
        "CONN_MAX_AGE": 300,  # these two as in our settings
        "CONN_HEALTH_CHECKS": True,
    }
}
USE_TZ = True

INSERT = "INSERT INTO message (person_id, subject, text, status) VALUES (%s, %s, %s, 'queued') RETURNING id"


def accept(request: HttpRequest) -> JsonResponse:
    """Store what came, unread."""
    wanted = json.loads(request.body)
    with connection.cursor() as cursor:
        cursor.execute(INSERT, [wanted["user_id"], wanted["subject"], wanted["message"]])
        row = cursor.fetchone()
    answer = JsonResponse({"id": row[0] if row else None, "status": "queued"}, status=202)
    answer["Content-Length"] = len(answer.content)  # as CommonMiddleware does; without it the answer is chunked
    return answer


urlpatterns = [path("api/notifications/", accept)]
