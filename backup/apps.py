"""Backups as Django knows them."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class BackupsConfig(AppConfig):
    """Copies of the database."""

    name = "backup"  # `backups/` is where the files lie, and so no package
    label = "backups"
    verbose_name = _("Backups")
