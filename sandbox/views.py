"""The sandbox over HTTP: its switches and its inbox, as JSON only. 404 where no sandbox runs in this process."""

import json
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.http import require_GET, require_POST

from sandbox import ports, servers
from sandbox.inbox import Entry
from sandbox.servers import Sandbox
from sandbox.switches import CHANNELS, CHOICES


@never_cache
@require_GET
def state(request: HttpRequest) -> HttpResponse:
    """How each server behaves, what else it could do, and where it is found."""
    return _state(_sandbox())


@csrf_protect
@require_POST
def switches(request: HttpRequest) -> HttpResponse:
    """Set switches, `{"email": "refused"}`: all that are named, or none. Answers with the new state."""
    sandbox = _sandbox()
    try:
        wanted = json.loads(request.body)
    except ValueError:
        return _problem("parse_error", "The body is no JSON.")
    if not isinstance(wanted, dict):
        return _problem("invalid", "The body must be an object of channels and their switches.")
    for channel, name in wanted.items():
        if channel not in CHANNELS:
            return _problem("unknown", f"There is no such channel, only {', '.join(CHANNELS)}.", channel)
        if not isinstance(name, str) or name not in CHOICES[channel]:
            return _problem("invalid_choice", f"One of {', '.join(CHOICES[channel])} is wanted.", channel)
    sandbox.switches.update(wanted)
    return _state(sandbox)


@never_cache
@require_GET
def inbox(request: HttpRequest) -> HttpResponse:
    """The messages that arrived after number `after`, newest last."""
    sandbox = _sandbox()
    after = request.GET.get("after", "0")
    if not (after.isascii() and after.isdigit() and len(after) <= 18):
        return _problem("invalid", "A message's number is wanted.", "after")
    return JsonResponse({"messages": [_message(entry) for entry in sandbox.inbox.messages(int(after))]})


@csrf_protect
@require_POST
def reset(request: HttpRequest) -> HttpResponse:
    """Empty the inbox and let everything work again. Answers with the new state."""
    sandbox = _sandbox()
    sandbox.reset()
    return _state(sandbox)


def _sandbox() -> Sandbox:
    sandbox = servers.current()
    if sandbox is None:
        raise Http404("No sandbox runs in this process.")
    return sandbox


def _state(sandbox: Sandbox) -> JsonResponse:
    return JsonResponse(
        {
            "switches": sandbox.switches.state(),
            "choices": {channel: list(names) for channel, names in CHOICES.items()},
            "servers": {
                "smtp": f"{ports.HOST}:{sandbox.smtp_port}",
                "http": f"http://{ports.HOST}:{sandbox.http_port}",
                "telegram": f"http://{ports.HOST}:{sandbox.telegram_port}",
            },
        }
    )


def _message(entry: Entry) -> dict[str, Any]:
    return {
        "seq": entry.seq,
        "channel": entry.channel,
        "to": entry.to,
        "sender": entry.sender,
        "subject": entry.subject,
        "text": entry.text,
        "html": entry.html,
        "reference": entry.reference,
        "attachments": [
            {"filename": file.filename, "content_type": file.content_type, "size": file.size}
            for file in entry.attachments
        ],
        "received_at": entry.received_at.isoformat().replace("+00:00", "Z"),
        "provider_id": entry.provider_id,
    }


def _problem(code: str, detail: str, attr: str | None = None) -> JsonResponse:
    """A 400 in the shape of every error of the service."""
    return JsonResponse(
        {
            "type": "about:blank",
            "title": "Bad Request",
            "status": 400,
            "errors": [{"code": code, "detail": detail, "attr": attr}],
        },
        status=400,
        content_type="application/problem+json",
    )
