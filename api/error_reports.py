"""Django's debug page and the mails of its errors, without what callers have sent us.

Django shows everything with DEBUG on: the body, headers, each variable of each frame, settings with passwords in
their addresses. Names that sound secret are no measure, since a value may stand anywhere: only what is known to be
harmless is shown.
"""

from typing import Any

from django.http import HttpRequest
from django.views.debug import ExceptionReporter, SafeExceptionReporterFilter

from notifier.scrubbing import scrubbed

SHOWN_META = ("REQUEST_METHOD", "PATH_INFO", "SERVER_NAME", "SERVER_PORT", "SERVER_PROTOCOL", "CONTENT_TYPE")
HIDDEN = SafeExceptionReporterFilter.cleansed_substitute


class ReticentFilter(SafeExceptionReporterFilter):
    """Names without values."""

    def get_safe_settings(self) -> dict[str, Any]:
        """None: several hold addresses with a password inside."""
        return {}

    def get_safe_request_meta(self, request: Any) -> dict[str, Any]:
        """The few that tell where it happened. Under `runserver` the whole environment of the process is in there."""
        return {name: request.META[name] for name in SHOWN_META if name in getattr(request, "META", {})}

    def get_safe_cookies(self, request: Any) -> dict[str, Any]:
        """Their names."""
        return dict.fromkeys(getattr(request, "COOKIES", {}), HIDDEN)

    def get_post_parameters(self, request: HttpRequest | None) -> dict[str, Any]:
        """Their names."""
        return dict.fromkeys(request.POST, HIDDEN) if request is not None else {}

    def get_traceback_frame_variables(self, request: HttpRequest | None, tb_frame: Any) -> Any:
        """Their names and types."""
        return [(name, _Type(type(value).__name__)) for name, value in tb_frame.f_locals.items()]


class ReticentReporter(ExceptionReporter):
    """The page and the mail without the query string, and with the exceptions' own words scrubbed."""

    def get_traceback_data(self) -> dict[str, Any]:
        """As Django has it, less what came with the request."""
        data: dict[str, Any] = super().get_traceback_data()
        data["unicode_hint"] = ""
        for name in ("exception_value", "exception_notes"):
            if name in data:
                data[name] = scrubbed(data[name])
        for frame in data["frames"]:
            frame["exc_cause"] = frame["exc_cause"] and scrubbed(str(frame["exc_cause"]))
        if data["template_info"]:
            data["template_info"] = {**data["template_info"], "message": scrubbed(data["template_info"]["message"])}
        if self.request is not None:
            data["request_GET_items"] = [(name, HIDDEN) for name in self.request.GET]
            data["request_FILES_items"] = [(name, HIDDEN) for name in self.request.FILES]
            data["request_insecure_uri"] = data["request_insecure_uri"].partition("?")[0]
        return data


class _Type(str):
    """A type's name, shown without quotation marks."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{self}>"
