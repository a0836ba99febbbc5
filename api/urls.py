"""The API's addresses. Each is served with and without its trailing slash: a POST is handled, never redirected."""

from django.urls import re_path
from drf_spectacular.views import SpectacularAPIView

from api.problems import not_found
from api.views import docs, events, notifications, organization, templates, users, verbs

app_name = "api"
urlpatterns = [
    re_path(r"^users/?$", users.UsersView.as_view(), name="users"),
    re_path(r"^users/(?P<pk>[0-9]+)/?$", users.UserView.as_view(), name="user"),
    re_path(r"^notifications/?$", notifications.NotificationsView.as_view(), name="notifications"),
    re_path(r"^notifications/bulk/?$", notifications.BulkView.as_view(), name="bulk"),
    re_path(r"^notifications/(?P<pk>[0-9]+)/?$", notifications.NotificationView.as_view(), name="notification"),
    re_path(r"^notifications/(?P<pk>[0-9]+)/cancel/?$", verbs.CancelView.as_view(), name="cancel"),
    re_path(r"^notifications/(?P<pk>[0-9]+)/retry/?$", verbs.RetryView.as_view(), name="retry"),
    re_path(r"^notifications/(?P<pk>[0-9]+)/acknowledge/?$", verbs.AcknowledgeView.as_view(), name="acknowledge"),
    re_path(r"^notifications/plan/?$", notifications.PlanView.as_view(), name="plan"),
    re_path(r"^templates/?$", templates.TemplatesView.as_view(), name="templates"),
    re_path(r"^templates/(?P<name>[a-z0-9_-]+)/?$", templates.TemplateView.as_view(), name="template"),
    re_path(r"^templates/(?P<name>[a-z0-9_-]+)/preview/?$", templates.PreviewView.as_view(), name="preview"),
    re_path(
        r"^notifications/(?P<pk>[0-9]+)/events/?$", events.NotificationEventsView.as_view(), name="notification-events"
    ),
    re_path(r"^events/?$", events.EventsView.as_view(), name="events"),
    re_path(r"^organizations/me/?$", organization.OrganizationView.as_view(), name="organization"),
    re_path(
        r"^organizations/me/rotate-webhook-secret/?$",
        organization.RotateWebhookSecretView.as_view(),
        name="rotate-webhook-secret",
    ),
    re_path(r"^schema/?$", SpectacularAPIView.as_view(), name="schema"),
    re_path(r"^docs/?$", docs.SwaggerView.as_view(), name="docs"),
    re_path(r"^redoc/?$", docs.RedocView.as_view(), name="redoc"),
    re_path(r"", not_found),  # JSON here too, also where DEBUG would show its own page
]
