"""Accounts as Django knows them."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class AccountsConfig(AppConfig):
    """People who register by themselves, their tokens, and the mails about both."""

    name = "accounts"
    verbose_name = _("Accounts")
