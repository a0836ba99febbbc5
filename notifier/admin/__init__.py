"""The operators' door: Django's stock admin."""

from django.apps import apps
from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from notifier.admin import api_keys, notifications, organizations, provider_settings, submissions

__all__ = ["api_keys", "notifications", "organizations", "provider_settings", "submissions"]

admin.site.site_header = _("Notifier")
admin.site.site_title = _("Notifier")
admin.site.index_title = _("Administration")
apps.get_app_config("axes").verbose_name = _("Sign-ins")  # it calls itself by its package's name
