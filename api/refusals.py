"""Answers to requests that reach no view: a problem for programs, a plain page for people."""

from http import HTTPStatus

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils.translation import gettext as _

from api.problems import CONTENT_TYPE, problem

PROGRAMS = ("/api/", "/health/", "/sandbox/")


def is_a_program(request: HttpRequest) -> bool:
    """Whether the answer is read by a program."""
    return f"{request.path_info}/".startswith(PROGRAMS)


def refusal(request: HttpRequest, status: HTTPStatus, code: str, title: str, detail: str) -> HttpResponse:
    """This status, with its reason."""
    if is_a_program(request):
        body = problem(status, [{"code": code, "detail": detail, "attr": None}])
        return JsonResponse(body, status=status, content_type=CONTENT_TYPE)
    return render(request, "refusal.html", {"title": title, "detail": detail}, status=status)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """403: a form without its token, or from another page than ours."""
    detail = _(
        "The form has expired, or did not come from a page of this service. Go back, reload the page, try again."
    )
    return refusal(request, HTTPStatus.FORBIDDEN, "permission_denied", _("Not accepted"), detail)
