"""The domain as Django knows it."""

from cryptography.fernet import Fernet
from django.apps import AppConfig
from django.conf import settings
from django.utils.translation import gettext_lazy as _

from notifier import vault
from notifier.environment import wrong


class NotifierConfig(AppConfig):
    """The domain: models, ledger, delivery."""

    name = "notifier"
    verbose_name = _("Notifications")

    def ready(self) -> None:
        """Stop the start where a secret could not be sealed later."""
        try:
            vault.check_keys(tuple(settings.ENCRYPTION_KEYS))
        except ValueError:
            example = Fernet.generate_key().decode()
            raise wrong("ENCRYPTION_KEYS", "one of them is no Fernet key", example) from None
