"""The API's addresses. Each is served with and without its trailing slash: a POST is handled, never redirected."""

from django.urls import re_path
from drf_spectacular.views import SpectacularAPIView, SpectacularRedocView, SpectacularSwaggerView

from api.problems import not_found
from api.views import notifications, users

app_name = "api"
urlpatterns = [
    re_path(r"^users/?$", users.UsersView.as_view(), name="users"),
    re_path(r"^users/(?P<pk>[0-9]+)/?$", users.UserView.as_view(), name="user"),
    re_path(r"^notifications/?$", notifications.NotificationsView.as_view(), name="notifications"),
    re_path(r"^notifications/bulk/?$", notifications.BulkView.as_view(), name="bulk"),
    re_path(r"^notifications/(?P<pk>[0-9]+)/?$", notifications.NotificationView.as_view(), name="notification"),
    re_path(r"^notifications/(?P<pk>[0-9]+)/cancel/?$", notifications.CancelView.as_view(), name="cancel"),
    re_path(r"^notifications/(?P<pk>[0-9]+)/retry/?$", notifications.RetryView.as_view(), name="retry"),
    re_path(r"^schema/?$", SpectacularAPIView.as_view(), name="schema"),
    re_path(r"^docs/?$", SpectacularSwaggerView.as_view(url_name="api:schema"), name="docs"),
    re_path(r"^redoc/?$", SpectacularRedocView.as_view(url_name="api:schema"), name="redoc"),
    re_path(r"", not_found),  # JSON here too, also where DEBUG would show its own page
]
