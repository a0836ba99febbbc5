"""The routes of accounts, each with and without its trailing slash."""

from django.urls import re_path

from accounts import api

app_name = "accounts"
urlpatterns = [
    re_path(r"^register/?$", api.RegisterView.as_view(), name="register"),
    re_path(r"^activate/?$", api.ActivateView.as_view(), name="activate"),
    re_path(r"^token/?$", api.TokenView.as_view(), name="token"),
    re_path(r"^token/refresh/?$", api.TokenRefreshView.as_view(), name="token-refresh"),
    re_path(r"^logout/?$", api.LogoutView.as_view(), name="logout"),
    re_path(r"^password/forgot/?$", api.ForgotView.as_view(), name="password-forgot"),
    re_path(r"^password/change/?$", api.ChangePasswordView.as_view(), name="password-change"),
    re_path(r"^socket-token/?$", api.SocketTokenView.as_view(), name="socket-token"),
]
