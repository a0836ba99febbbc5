"""`/api/templates/`: the message templates, what each needs, and what it makes of that; the same for everybody."""

from dataclasses import asdict
from typing import Any

from django.utils.translation import get_language
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from api import examples
from notifier import composing, message_templates
from notifier.api_keys import Scope
from notifier.inputs.fields import JSONObject, StrictSerializer
from notifier.inputs.recipient import LANGUAGE_TAG
from notifier.message_templates import Template
from notifier.rest import problems

NAME = OpenApiParameter("name", str, OpenApiParameter.PATH, examples=[examples.TEMPLATE_NAME])


class TemplateOutput(serializers.Serializer[Any]):
    """A template."""

    name = serializers.CharField()
    description = serializers.CharField(help_text="In the language of the request.")
    channels = serializers.ListField(child=serializers.CharField(), help_text="Those with a form of their own.")
    variables = serializers.DictField(help_text="JSON Schema of the `context`.")
    sample = serializers.DictField(help_text="A context that passes.")


class PreviewInput(StrictSerializer):
    """What to make."""

    context = JSONObject(max_bytes=1024 * 1024)  # type: ignore[assignment]  # the metaclass takes it
    language = serializers.RegexField(
        LANGUAGE_TAG, required=False, max_length=16, help_text="Without it: the language of the request."
    )


class RenderedOutput(serializers.Serializer[Any]):
    """What comes of it, as each channel would carry it."""

    subject = serializers.CharField()
    text = serializers.CharField()
    html = serializers.CharField()
    sms = serializers.CharField()
    telegram = serializers.CharField()


def _shown(template: Template) -> dict[str, Any]:
    return {
        "name": template.name,
        "description": template.description,
        "channels": list(template.channels),
        "variables": template.variables,
        "sample": template.sample,
    }


def _template(name: str) -> Template:
    found = message_templates.find(name)
    if found is None:
        raise NotFound(_("There is no template of that name."))
    return found


class TemplatesView(APIView):
    """All templates."""

    @extend_schema(
        operation_id="templates_list",
        summary="List templates",
        responses={200: TemplateOutput(many=True), **problems()},
    )
    def get(self, request: Request) -> Response:
        """All of them, by name."""
        return Response([_shown(_template(name)) for name in message_templates.names()])


class TemplateView(APIView):
    """One template."""

    @extend_schema(summary="Read a template", parameters=[NAME], responses={200: TemplateOutput, **problems(404)})
    def get(self, request: Request, name: str) -> Response:
        """Its schema and a sample."""
        return Response(_shown(_template(name)))


class PreviewView(APIView):
    """What a template makes."""

    writing_needs = Scope.READ

    @extend_schema(
        summary="Preview a template",
        description="Nothing is stored and nothing is sent.",
        parameters=[NAME],
        request=PreviewInput,
        responses={200: RenderedOutput, **problems(400, 404, 413, 415)},
        examples=[examples.PREVIEW],
    )
    def post(self, request: Request, name: str) -> Response:
        """The texts for this context."""
        template = _template(name)
        wanted = PreviewInput(data=request.data)
        wanted.is_valid(raise_exception=True)
        language = wanted.validated_data.get("language") or get_language() or ""
        return Response(asdict(composing.rendered(template, wanted.validated_data["context"], language)))
