"""The REST API as Django knows it."""

from django.apps import AppConfig


class ApiConfig(AppConfig):
    """The REST API: no models of its own."""

    name = "api"
