"""Errors to Sentry, where `SENTRY_DSN` names one: what broke and where, and nothing that a client sent.

An event is put together anew from what is known to be harmless; whatever else an integration or a newer SDK adds to it
stays behind. Texts are scrubbed as the log's are.
"""

from typing import Any
from urllib.parse import urlsplit, urlunsplit

import sentry_sdk
from sentry_sdk.integrations.argv import ArgvIntegration
from sentry_sdk.integrations.celery import CeleryIntegration
from sentry_sdk.integrations.django import DjangoIntegration
from sentry_sdk.integrations.logging import LoggingIntegration
from sentry_sdk.utils import BadDsn, Dsn

from notifier.environment import wrong
from notifier.scrubbing import scrubbed

_EVENT = ("event_id", "timestamp", "platform", "level", "logger", "environment", "release", "dist", "server_name")
_EVENT_TOO = ("sdk", "transaction", "transaction_info", "modules")
_CONTEXTS = ("runtime", "os", "trace")
_FRAME = ("filename", "abs_path", "module", "function", "lineno", "in_app", "pre_context", "context_line")
_FRAME_TOO = ("post_context",)
_MECHANISM = ("type", "handled", "source", "is_exception_group", "exception_id", "parent_id")


def start(dsn: str, **options: Any) -> None:
    """Report from now on. The usual sentence ends the start where this is no DSN."""
    try:
        Dsn(dsn)
    except (BadDsn, ValueError):
        problem = "it must be the DSN of a Sentry project, with its key and number"
        raise wrong("SENTRY_DSN", problem, "https://key@sentry.example.com/1") from None
    sentry_sdk.init(
        dsn=dsn,
        send_default_pii=False,
        include_local_variables=False,
        max_request_body_size="never",
        auto_session_tracking=False,
        auto_enabling_integrations=False,
        integrations=[
            DjangoIntegration(middleware_spans=False),
            CeleryIntegration(propagate_traces=False),  # the broker carries a bell and nothing else
            LoggingIntegration(),
        ],
        disabled_integrations=[ArgvIntegration()],
        trace_propagation_targets=[],
        before_breadcrumb=breadcrumb_without_secrets,
        before_send=event_without_secrets,
        before_send_transaction=nothing,
        before_send_log=nothing,
        spotlight=False,
        **options,
    )


def nothing(_item: Any, _hint: Any) -> None:
    """Not for Sentry."""


def event_without_secrets(event: Any, _hint: Any) -> Any:
    """The event as it leaves us."""
    shown = _only(event, (*_EVENT, *_EVENT_TOO))
    if entry := event.get("logentry"):
        # Without `params`: what was said is in the words already.
        shown["logentry"] = {name: scrubbed(str(entry[name])) for name in ("message", "formatted") if entry.get(name)}
    if message := event.get("message"):
        shown["message"] = scrubbed(str(message))
    if request := event.get("request"):
        shown["request"] = {"method": request.get("method"), "url": _without_query(str(request.get("url", "")))}
    if contexts := _only(event.get("contexts") or {}, _CONTEXTS):
        contexts.get("trace", {}).pop("data", None)
        shown["contexts"] = contexts
    for name, clean in (("exception", _exception), ("breadcrumbs", _breadcrumb), ("threads", _thread)):
        if values := (event.get(name) or {}).get("values"):
            shown[name] = {"values": [clean(value) for value in values]}
    return shown


def breadcrumb_without_secrets(crumb: Any, _hint: Any) -> Any:
    """What happened before, in scrubbed words alone."""
    return _breadcrumb(crumb)


def _breadcrumb(crumb: dict[str, Any]) -> dict[str, Any]:
    shown = _only(crumb, ("type", "level", "category", "timestamp"))
    if crumb.get("message"):
        shown["message"] = scrubbed(str(crumb["message"]))
    return shown


def _exception(value: dict[str, Any]) -> dict[str, Any]:
    shown = _only(value, ("type", "module", "thread_id"))
    shown["value"] = scrubbed(str(value.get("value", "")))
    if mechanism := value.get("mechanism"):
        shown["mechanism"] = _only(mechanism, _MECHANISM)
    return {**shown, **_stack(value)}


def _thread(value: dict[str, Any]) -> dict[str, Any]:
    return {**_only(value, ("id", "name", "crashed", "current")), **_stack(value)}


def _stack(value: dict[str, Any]) -> dict[str, Any]:
    """Where it happened: the code, and no variable."""
    frames = (value.get("stacktrace") or {}).get("frames")
    return {"stacktrace": {"frames": [_only(frame, (*_FRAME, *_FRAME_TOO)) for frame in frames]}} if frames else {}


def _only(given: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: given[name] for name in names if name in given}


def _without_query(url: str) -> str:
    parts = urlsplit(url)
    return scrubbed(urlunsplit((parts.scheme, parts.netloc, parts.path, "", "")))
