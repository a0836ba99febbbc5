"""The sandbox as Django knows it: templates and static files of the demo page."""

from django.apps import AppConfig


class SandboxConfig(AppConfig):
    """The demo page and the servers behind it: no models."""

    name = "sandbox"
