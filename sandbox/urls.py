"""The sandbox's addresses, relative to where they are included."""

from django.urls import path

from sandbox import views

app_name = "sandbox"

urlpatterns = [
    path("state/", views.state, name="state"),
    path("switches/", views.switches, name="switches"),
    path("inbox/", views.inbox, name="inbox"),
    path("reset/", views.reset, name="reset"),
]
