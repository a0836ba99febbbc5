"""The domain as Django knows it."""

from cryptography.fernet import Fernet
from django.apps import AppConfig
from django.conf import settings
from django.core.checks import Tags, register
from django.utils.module_loading import import_string
from django.utils.translation import gettext_lazy as _

from notifier import checks, vault
from notifier.environment import wrong


class NotifierConfig(AppConfig):
    """The domain: models, ledger, delivery."""

    name = "notifier"
    verbose_name = _("Notifications")

    def ready(self) -> None:
        """Stop the start where a secret could not be sealed later; report errors where somebody wants them."""
        register(checks.check_production, Tags.security, deploy=True)
        register(checks.check_templates, Tags.templates)
        try:
            vault.check_keys(tuple(settings.ENCRYPTION_KEYS))
        except ValueError:
            example = Fernet.generate_key().decode()
            raise wrong("ENCRYPTION_KEYS", "one of them is no Fernet key", example) from None
        if settings.SENTRY_DSN:
            import_string("notifier.sentry.start")(settings.SENTRY_DSN)  # who has no DSN does not load its 10 MiB
