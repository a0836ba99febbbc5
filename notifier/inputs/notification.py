"""A notification, as a client asks for it."""

import base64
import binascii
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache, lru_cache
from typing import Any, NamedTuple, Self

from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from notifier import callbacks, message_templates, provider_accounts, vault
from notifier.inputs.fields import (
    ChatId,
    Choice,
    Email,
    Flag,
    JSONObject,
    Moment,
    Number,
    Phone,
    Seconds,
    StrictSerializer,
    Text,
)
from notifier.inputs.recipient import ADDRESSES, LANGUAGE_TAG, ChannelName
from notifier.message_templates import Template
from notifier.models import SUBMISSIONS, Attachment, Notification, Organization
from notifier.rendering import default_subject
from notifier.states import Bar, OnUnknown, Priority

MAX_AHEAD = timedelta(days=90)
MAX_ATTACHMENTS, MAX_ATTACHMENT_BYTES = 10, 7 * 1024 * 1024
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,63}/[A-Za-z0-9!#$&^_.+-]{1,63}", re.ASCII)
_HOST = re.compile(
    r"(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_-]{1,63})*\.?|[0-9A-Fa-f:.]{2,45}", re.ASCII
)


class AddressInput(StrictSerializer):
    """A person who is not stored."""

    email = Email(required=False)
    phone = Phone(required=False)
    telegram_chat_id = ChatId(required=False)
    language = serializers.RegexField(LANGUAGE_TAG, required=False, max_length=16)

    default_error_messages = {"address_required": _("Give at least one of email, phone and telegram_chat_id.")}

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """At least one address."""
        if not any(attrs.get(name) for name in ADDRESSES):
            self.fail("address_required")
        return attrs


class StepInput(StrictSerializer):
    """One step of the chain."""

    channel = ChannelName()
    until = Choice([str(bar) for bar in Bar], required=False)
    within = Seconds(required=False)


@extend_schema_field(
    {
        "type": "array",
        "items": {
            "oneOf": [
                {"type": "string"},
                {
                    "type": "object",
                    "properties": {
                        "channel": {"type": "string"},
                        "until": {"type": "string", "enum": [str(bar) for bar in Bar]},
                        "within": {"type": "number", "minimum": 0, "description": "Seconds."},
                    },
                    "required": ["channel"],
                },
            ]
        },
    }
)
class Steps(serializers.ListField):
    """A list of channel names, or of steps; none twice. Comes out as steps."""

    child = StepInput()
    default_error_messages = {"repeated": _("A channel stands in it twice.")}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_empty=False, **kwargs)

    def to_internal_value(self, data: Any) -> list[dict[str, Any]]:
        if not isinstance(data, list):
            self.fail("not_a_list", input_type=type(data).__name__)
        steps = super().to_internal_value([{"channel": entry} if isinstance(entry, str) else entry for entry in data])
        if len({step["channel"] for step in steps}) != len(steps):
            self.fail("repeated")
        return [dict(step) for step in steps]


class AttachmentInput(StrictSerializer):
    """A file: its content in base64."""

    filename = Text(max_length=255, one_line=True)
    content_type = Text(max_length=127, one_line=True)
    content = Text(allow_blank=True)

    default_error_messages = {
        "content_type": _("Expected a media type, as in application/pdf."),
        "content": _("Expected base64."),
    }

    def validate_content_type(self, value: str) -> str:
        """type/subtype, without parameters."""
        if not _MEDIA_TYPE.fullmatch(value):
            raise serializers.ValidationError(self.error_messages["content_type"], code="invalid")
        return value.lower()

    def validate_content(self, value: str) -> bytes:
        """Its bytes."""
        try:
            return base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            raise serializers.ValidationError(self.error_messages["content"], code="invalid") from None


class SmtpInput(StrictSerializer):
    """SMTP credentials of this request alone."""

    smtp_user = Text(required=False, max_length=255, one_line=True)
    smtp_password = Text(required=False, max_length=1024, one_line=True, write_only=True)
    smtp_host = Text(required=False, max_length=255, one_line=True)
    smtp_port = Number(required=False, min_value=1, max_value=65535)
    smtp_use_tls = Flag(required=False)
    smtp_use_ssl = Flag(required=False)
    from_email = Email(required=False)

    SERVER_FIELDS = ("smtp_host", "smtp_port", "smtp_use_tls", "smtp_use_ssl", "from_email")
    _account_fields = frozenset({"smtp_user", "smtp_password", *SERVER_FIELDS})
    default_error_messages = {
        "both": _("smtp_user and smtp_password go together."),
        "beside": _("It goes only beside smtp_user and smtp_password."),
        "tls_and_ssl": _("smtp_use_tls (STARTTLS) and smtp_use_ssl exclude each other."),
        "host": _("Requests may not name this server or port. SMTP_OVERRIDE_HOSTS lists those that they may."),
        "encryption": _("Without encryption only servers may be used that SMTP_OVERRIDE_HOSTS lists by name."),
    }

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Replaces the fields by `credentials` (sealed) and `own_account`."""
        given = {name: attrs.pop(name) for name in self._account_fields & attrs.keys()}
        if not given:
            return attrs
        for name, other in (("smtp_user", "smtp_password"), ("smtp_password", "smtp_user")):
            if other in given and name not in given:
                raise self._error(name, "both", "required")
        for name in self.SERVER_FIELDS:
            if name in given and "smtp_user" not in given:
                raise self._error(name, "beside", "invalid")
        attrs["own_account"] = True
        attrs["credentials"] = vault.seal(self._account(given))
        return attrs

    def _account(self, given: dict[str, Any]) -> dict[str, Any]:
        host, port = given.get("smtp_host", "").lower().rstrip("."), given.get("smtp_port")
        tls, ssl = given.get("smtp_use_tls"), given.get("smtp_use_ssl")
        if tls and ssl:
            raise self._error("smtp_use_ssl", "tls_and_ssl", "invalid")
        security = None
        if host:
            port = port or (465 if ssl else 587)
            ssl = ssl if ssl is not None else port == 465 and tls is None
            security = "ssl" if ssl else "none" if tls is False else "starttls"
        elif tls is not None or ssl is not None:
            security = "ssl" if ssl else "starttls" if tls else "none"
        self._check_server(host, port, security)
        return {
            "user": given["smtp_user"],
            "password": given["smtp_password"],
            "host": host or None,
            "port": port,
            "security": security,
            "from_email": given.get("from_email"),
        }

    def _check_server(self, host: str, port: int | None, security: str | None) -> None:
        if host and not _HOST.fullmatch(host):
            raise self._error("smtp_host", "host", "invalid")
        server = (host or settings.SMTP_HOST, port or settings.SMTP_PORT)
        if (host or port) and server[0]:
            rule = provider_accounts.host_rule(*server)
            if rule is None:
                raise self._error("smtp_host" if host else "smtp_port", "host", "not_allowed")
            if security == "none" and not rule.by_name:
                raise self._error("smtp_use_tls", "encryption", "not_allowed")

    def _error(self, name: str, message: str, code: str) -> serializers.ValidationError:
        return serializers.ValidationError(
            {name: [serializers.ErrorDetail(str(self.error_messages[message]), code=code)]}
        )


@lru_cache(64)
def steps_of(*names: str) -> list[dict[str, Any]]:
    """A chain of names. One list for all who have it, never changed: a bulk sends it to the database once."""
    return [{"channel": name} for name in names]


class Draft(NamedTuple):
    """A template, and what it is to say. The context is not checked yet: a bulk does that once for all who share it."""

    template: Template
    context: dict[str, Any]


class Wanted(NamedTuple):
    """A notification that may be stored; doing so is intake's business."""

    user: int | None
    """Who gets it, where that is a stored user; whether there is one is looked up when it is stored."""
    chain: list[dict[str, Any]] | None
    """The chain that was asked for. None: the user's own, else the default one."""
    values: dict[str, Any]
    """All other columns that are not what every notification begins with."""
    files: list[Attachment]
    draft: Draft | None = None
    """What makes the texts, once it is known in which language. None: they are among the values."""

    def columns(self, own_chain: Sequence[str] = ()) -> dict[str, Any]:
        """All columns, for a user with this chain of his own."""
        columns = {**self.values, "steps": self.chain or steps_of(*(own_chain or settings.DEFAULT_CHAIN))}
        if self.user is not None:
            columns["recipient_id"] = self.user
        return columns


def _draft(values: dict[str, Any]) -> Draft | None:
    """Takes the context out of the values; the template's name is a column."""
    template = message_templates.find(values["template"])
    return None if template is None else Draft(template, values.pop("context", {}))


class NotificationInput(SmtpInput):
    """The body of `POST /api/notifications/`."""

    user_id = Number(required=False, min_value=1, max_value=2**63 - 1)
    to = AddressInput(required=False)
    message = Text(required=False, min_length=1, max_length=100_000)
    template = Text(required=False, max_length=63, one_line=True)
    context = JSONObject(required=False, max_bytes=1024 * 1024)  # type: ignore[assignment]  # the metaclass takes it
    subject = Text(required=False, allow_blank=True, max_length=255, one_line=True)
    html = Text(required=False, allow_blank=True, max_length=1_000_000)
    channels = Steps(required=False)
    priority = Choice([str(word) for word in Priority], required=False)
    send_at = Moment(required=False, allow_null=True)
    expires_at = Moment(required=False, allow_null=True)
    on_unknown = Choice([str(word) for word in OnUnknown], required=False)
    callback_url = Text(required=False, max_length=2048, one_line=True)
    reference = Text(required=False, allow_blank=True, max_length=255, one_line=True)
    metadata = JSONObject(required=False, max_bytes=8 * 1024)
    attachments = AttachmentInput(many=True, required=False)

    default_error_messages = {
        "one_addressee": _("Give exactly one of user_id and to."),
        "one_content": _("Give exactly one of message and template."),
        "context": _("It goes only beside a template."),
        "own_html": _("The template makes it. Give it only beside a message."),
        "no_user": _("There is no such user."),
        "no_template": _("There is no template of that name."),
        "past": _("It must lie in the future."),
        "too_far": _("It may lie at most 90 days ahead."),
        "order": _("It must lie after send_at."),
        "too_many_files": _("At most {most} files."),
        "too_large_files": _("At most 7 MB together."),
        "callback": _("Expected an https URL of a public host; CALLBACK_HOSTS lists others that may be called."),
    }

    def validate_template(self, value: str) -> str:
        """One of the service's templates."""
        if message_templates.find(value) is None:
            raise serializers.ValidationError(self.error_messages["no_template"], code="unknown_template")
        return value

    def validate_callback_url(self, value: str) -> str:
        """A URL that the service may call."""
        if not callbacks.may_be_called(value):
            raise serializers.ValidationError(self.error_messages["callback"], code="not_allowed")
        return value

    def validate_attachments(self, value: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Few enough, and small enough."""
        if len(value) > MAX_ATTACHMENTS:
            message = self.error_messages["too_many_files"].format(most=MAX_ATTACHMENTS)
            raise serializers.ValidationError(message, code="too_many")
        if sum(len(file["content"]) for file in value) > MAX_ATTACHMENT_BYTES:
            raise serializers.ValidationError(self.error_messages["too_large_files"], code="too_large")
        return value

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """What the fields mean together."""
        attrs = super().validate(attrs)
        if ("user_id" in attrs) == ("to" in attrs) and ("to" in attrs or attrs.get("template") not in SUBMISSIONS):
            raise self._error("user_id", "one_addressee", "required" if "to" not in attrs else "invalid")
        if ("message" in attrs) == ("template" in attrs):
            raise self._error("message", "one_content", "required" if "message" not in attrs else "invalid")
        if "context" in attrs and "template" not in attrs:
            raise self._error("context", "context", "invalid")
        if "html" in attrs and "template" in attrs:
            raise self._error("html", "own_html", "invalid")
        self._check_times(attrs)
        return attrs

    def _check_times(self, attrs: dict[str, Any]) -> None:
        if not {"send_at", "expires_at"} & attrs.keys():
            return
        now = timezone.now()
        send_at, expires_at = attrs.get("send_at"), attrs.get("expires_at")
        if send_at and send_at > now + MAX_AHEAD:
            raise self._error("send_at", "too_far", "invalid")
        if expires_at and expires_at <= now:
            raise self._error("expires_at", "past", "invalid")
        if expires_at and send_at and expires_at <= send_at:
            raise self._error("expires_at", "order", "invalid")

    @classmethod
    @cache
    def shared(cls) -> Self:
        """One for all: making one takes 0.6 ms, since REST framework copies every field; reading changes nothing."""
        return cls()

    def read(self, organization: Organization, body: Any, now: datetime, *, test: bool = False) -> Wanted:
        """What is to be stored; ValidationError for a body that is refused. `test`: nothing of it is to leave."""
        values = self.run_validation(body)
        user, chain = values.pop("user_id", None), values.pop("channels", None)
        files = [Attachment(**file) for file in values.pop("attachments", ())]
        values["organization_id"] = organization.pk
        if test:
            values["test"] = True
        if "priority" in values:
            values["priority"] = Notification.Rank[values["priority"].upper()].value
        draft = _draft(values) if "template" in values else None
        if draft is None and not values.get("subject"):
            values["subject"] = default_subject(values["message"])
        send_at = values.get("send_at")
        if not values.get("expires_at"):
            values["expires_at"] = max(now, send_at or now) + settings.NOTIFICATION_TTL
        if send_at is not None and send_at > now:
            values["due_at"] = send_at  # a moment that has passed means now
        return Wanted(user, chain, values, files, draft)

    def no_user(self) -> serializers.ValidationError:
        """The refusal where `user_id` is nobody's."""
        return self._error("user_id", "no_user", "does_not_exist")
