"""Answers to requests that reach no view: a problem for programs, a plain page for people."""

from http import HTTPStatus

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _

from api.problems import bare_problem, is_a_program


def refusal(request: HttpRequest, status: HTTPStatus, code: str, title: str, detail: str) -> HttpResponse:
    """This status, with its reason."""
    if is_a_program(request):
        return bare_problem(status, code, detail)
    return render(request, "refusal.html", {"title": title, "detail": detail}, status=status)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """403: a form without its token, or from another page than ours."""
    detail = _(
        "The form has expired, or did not come from a page of this service. Go back, reload the page, try again."
    )
    return refusal(request, HTTPStatus.FORBIDDEN, "permission_denied", _("Not accepted"), detail)
