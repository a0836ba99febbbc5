"""The operators' door: Django's stock admin."""

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from notifier.admin import notifications, organizations

__all__ = ["notifications", "organizations"]

admin.site.site_header = _("Notifier")
admin.site.site_title = _("Notifier")
admin.site.index_title = _("Administration")
