"""Settings of a Django project with nothing but django-post_office."""

import os
from typing import Any

import environ

SECRET_KEY = "reference"  # noqa: S105 - guards nothing
INSTALLED_APPS = ["django.contrib.contenttypes", "post_office"]
DATABASES = {"default": {**environ.Env.db_url_config(os.environ["DATABASE_URL"]), "CONN_MAX_AGE": 300}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates"}]  # it renders subject and text
USE_TZ = True
EMAIL_BACKEND = "post_office.EmailBackend"
EMAIL_HOST, EMAIL_PORT = "127.0.0.1", int(os.environ["SINK_PORT"])
DEFAULT_FROM_EMAIL = "notifier@sink.test"
POST_OFFICE: dict[str, Any] = {
    "BACKENDS": {"default": "django.core.mail.backends.smtp.EmailBackend"},
    "BATCH_SIZE": 1000,
    "THREADS_PER_PROCESS": int(os.environ["THREADS"]),
    "LOG_LEVEL": 0,
}
# Its own logging writes a line a message at INFO; a production setting would not.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "loggers": {"post_office": {"level": "WARNING", "handlers": []}},
}
