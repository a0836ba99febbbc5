"""The library's pages of tokens are taken away: nothing could be done there, and they tell who was here when."""

from django.contrib import admin
from rest_framework_simplejwt.token_blacklist import admin as _registered  # noqa: F401 - before it is taken away
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken

admin.site.unregister([OutstandingToken, BlacklistedToken])
