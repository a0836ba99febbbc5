"""The domain as Django knows it."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class NotifierConfig(AppConfig):
    """The domain: models, ledger, delivery."""

    name = "notifier"
    verbose_name = _("Notifications")
