"""The pages of accounts."""

from django.urls import path

from accounts import pages

app_name = "accounts-pages"
urlpatterns = [path(f"{name}/", pages.page, {"name": name}, name=name) for name in pages.NAMES]
