"""Deadlines as Django knows them."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class DeadlinesConfig(AppConfig):
    """People, their due dates, and the digests that tell of them."""

    name = "deadlines"
    verbose_name = _("Deadlines")
