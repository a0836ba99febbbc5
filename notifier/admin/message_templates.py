"""The message templates as pages: what there is, and what each makes of a context that one may change."""

import json
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.translation import get_language, gettext_lazy
from django.utils.translation import gettext as _
from rest_framework.exceptions import APIException, ValidationError

from notifier import composing, message_templates
from notifier.message_templates import Rendered, Template
from notifier.strict_json import strict_json

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; object-src 'none'; frame-ancestors 'none'"
)
"""As every page's, but with the inline styles of mails: a frame has the policy of the page that it stands in. The
frame's sandbox forbids scripts and forms, and this policy loads no picture from elsewhere."""

MOST_SIGNS = 1024 * 1024


class PreviewForm(forms.Form):
    """A context, and a language."""

    context = forms.CharField(
        label=gettext_lazy("Context"),
        widget=forms.Textarea(attrs={"rows": 18, "spellcheck": "false", "class": "context"}),
        max_length=MOST_SIGNS,
        strip=False,
    )
    language = forms.ChoiceField(label=gettext_lazy("Language"), choices=settings.LANGUAGES)

    def clean_context(self) -> dict[str, Any]:
        """A JSON object, as the API takes it."""
        try:
            given = strict_json(self.cleaned_data["context"].encode(errors="replace"))
        except APIException as error:
            raise forms.ValidationError(_("This is no JSON: %(why)s") % {"why": _words(error)}) from None
        if not isinstance(given, dict):
            raise forms.ValidationError(_("Expected an object."))
        return given


class TemplatePages:
    """For whoever may see the pages of that admin."""

    def __init__(self, owner: admin.ModelAdmin) -> None:
        self._owner = owner

    def urls(self) -> list[URLPattern]:
        """The list, and a page for each."""
        wrap = self._owner.admin_site.admin_view
        return [
            path("templates/", wrap(self.list_view), name="notifier_templates"),
            path("templates/<str:name>/", wrap(self.preview_view), name="notifier_template"),
        ]

    def list_view(self, request: HttpRequest) -> HttpResponse:
        """All templates."""
        self._check(request)
        found = [message_templates.find(name) for name in message_templates.names()]
        return self._page(request, "list", {"title": _("Message templates"), "templates": found})

    def preview_view(self, request: HttpRequest, name: str) -> HttpResponse:
        """What it makes of its sample, or of what is posted."""
        self._check(request)
        template = message_templates.find(name)
        if template is None:
            raise Http404
        sample = json.dumps(template.sample, ensure_ascii=False, indent=2)
        first = {"context": sample, "language": message_templates.language_of(get_language() or "")}
        form = PreviewForm(request.POST if request.method == "POST" else first)
        made, mistakes = _tried(form, template)
        context = {
            "title": template.name,
            "template": template,
            "form": form,
            "made": made,
            "mistakes": mistakes,
            "variables": json.dumps(template.variables, ensure_ascii=False, indent=2),
            "language": form.cleaned_data.get("language"),
        }
        answer = self._page(request, "preview", context)
        answer.headers["Content-Security-Policy"] = POLICY
        return answer

    def _check(self, request: HttpRequest) -> None:
        if not self._owner.has_view_permission(request):
            raise Http404

    def _page(self, request: HttpRequest, name: str, context: dict[str, Any]) -> HttpResponse:
        everywhere = {**self._owner.admin_site.each_context(request), "opts": self._owner.opts}
        return TemplateResponse(request, f"admin/notifier/templates/{name}.html", {**everywhere, **context})


def _tried(form: PreviewForm, template: Template) -> tuple[Rendered | None, list[tuple[str, str]]]:
    """What comes of it; or what is wrong with the context, by its place."""
    if not form.is_valid():
        return None, []
    try:
        return composing.rendered(template, form.cleaned_data["context"], form.cleaned_data["language"]), []
    except ValidationError as error:
        found: Any = error.detail
        return None, [(place, str(text)) for place, texts in found.items() for text in texts]


def _words(error: APIException) -> str:
    found: Any = error.detail
    while isinstance(found, dict | list):
        found = next(iter(found.values() if isinstance(found, dict) else found), "")
    return str(found)
