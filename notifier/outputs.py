"""What goes out: users, notifications, attempts. Never a password, never an address in full in a notification."""

from collections.abc import Callable
from datetime import UTC
from functools import cache, cached_property
from operator import attrgetter
from typing import Any, ClassVar, TypeVar, cast

from django.db import models
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from notifier.models import Attempt, Notification, Recipient
from notifier.states import Bar, OnUnknown, Outcome, Priority, Status

M = TypeVar("M", bound=models.Model)

_AS_IT_IS = {  # what JSON has already: the column's value is what is shown
    serializers.CharField,
    serializers.ChoiceField,
    serializers.IntegerField,
    serializers.BooleanField,
    serializers.JSONField,
}


def masked_email(address: str) -> str:
    """`u***@example.com`."""
    local, _, domain = address.rpartition("@")
    return f"{local[:1]}***@{domain}" if address else ""


def masked_number(number: str) -> str:
    """`+12***23`: enough to recognise one's own."""
    return f"{number[:3]}***{number[-2:]}" if len(number) > 6 else f"***{number[-2:]}"


def masked_address(channel: str, address: str) -> str:
    """One channel's address, its middle hidden."""
    return masked_email(address) if channel == "email" else masked_number(address)


def shown_step(step: dict[str, Any]) -> dict[str, Any]:
    """A step of the chain, with what was left out filled in."""
    return {"channel": step["channel"], "until": step.get("until", Bar.ACCEPTED), "within": step.get("within")}


def as_accepted(row: Notification) -> Notification:
    """The row as it was when it was accepted: what its first request was answered, and a repeated one is too."""
    row.status, row.failure_code = Status.QUEUED, ""
    row.due_at = row.send_at or row.created_at
    row.sent_at = row.finished_at = None
    return row


def masked(person: Recipient | dict[str, Any] | None) -> dict[str, str] | None:
    """Somebody's addresses, each with its middle hidden. None: the person was erased."""
    if person is None:
        return None
    read = person.get if isinstance(person, dict) else lambda name: getattr(person, name)
    masks = {"email": masked_email, "phone": masked_number, "telegram_chat_id": masked_number}
    return {name: mask(str(read(name))) for name, mask in masks.items() if read(name)}


_PRIORITIES = {rank.value: Priority(rank.label) for rank in Notification.Rank}


class Moment(serializers.DateTimeField):
    """A moment in UTC, whatever `TIME_ZONE` people see."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "default_timezone": UTC})

    def to_representation(self, value: Any) -> Any:
        if (
            getattr(value, "tzinfo", None) is UTC
        ):  # as PostgreSQL's are; the same answer as below, in a fifth of the time
            return f"{value.isoformat()[:-6]}Z"
        return super().to_representation(value)


class RowOutput(serializers.ModelSerializer[M]):
    """A row, its moments in UTC. What is not known, or does not apply, is null."""

    serializer_field_mapping = {**serializers.ModelSerializer.serializer_field_mapping, models.DateTimeField: Moment}
    empty_stays: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def shown(cls, row: M) -> dict[str, Any]:
        """The row. All share one serializer: making one takes 0.5 ms, and showing a row leaves it as it was."""
        return _shared(cls).to_representation(row)

    def build_standard_field(self, field_name: str, model_field: Any) -> Any:
        """With null where a column may be empty text, as it is shown then."""
        made, options = super().build_standard_field(field_name, model_field)
        if isinstance(model_field, (models.CharField, models.TextField)) and model_field.blank:
            options["allow_null"] = field_name not in self.empty_stays
        return made, options

    def to_representation(self, instance: M) -> dict[str, Any]:
        """The row, with null for empty text."""
        return {name: read(instance) for name, read in self._readers}

    @cached_property
    def _readers(self) -> list[tuple[str, Callable[[M], Any]]]:
        """What reads each field. REST framework finds that out for every field of every row anew: a third of the time
        that showing a row took."""
        return [(str(field.field_name), self._reader(field)) for field in self._readable_fields]

    def _reader(self, field: Any) -> Callable[[M], Any]:
        if isinstance(field, serializers.SerializerMethodField):
            return cast("Callable[[M], Any]", getattr(self, field.method_name))
        get, show = attrgetter(field.source), field.to_representation
        if type(field) not in _AS_IT_IS:
            return lambda row: None if (value := get(row)) is None else show(value)
        return get if field.field_name in self.empty_stays else lambda row: None if (value := get(row)) == "" else value


@cache
def _shared(of: type[RowOutput[M]]) -> RowOutput[M]:
    return of()


class UserOutput(RowOutput[Recipient]):
    """A user."""

    class Meta:
        model = Recipient
        fields = (
            "id",
            "email",
            "phone",
            "telegram_chat_id",
            "external_id",
            "name",
            "language",
            "timezone",
            "channels",
            "created_at",
            "updated_at",
        )
        read_only_fields = fields


class AttemptOutput(RowOutput[Attempt]):
    """One try of one step, or why it was skipped."""

    outcome = serializers.ChoiceField(choices=[str(word) for word in Outcome])

    class Meta:
        model = Attempt
        fields = (
            "channel",
            "round",
            "outcome",
            "temporary",
            "code",
            "detail",
            "provider_id",
            "account",
            "started_at",
            "duration_ms",
            "receipt",
        )
        read_only_fields = fields


class StepOutput(serializers.Serializer[Any]):
    """One step of the chain."""

    channel = serializers.CharField()
    until = serializers.ChoiceField(choices=[str(word) for word in Bar])
    within = serializers.FloatField(allow_null=True, help_text="Seconds; null: the default of the bar.")


class MaskedAddressOutput(serializers.Serializer[Any]):
    """Where it goes, with the middle of each address hidden."""

    email = serializers.CharField(required=False)
    phone = serializers.CharField(required=False)
    telegram_chat_id = serializers.CharField(required=False)


class NotificationOutput(RowOutput[Notification]):
    """A notification as lists show it."""

    empty_stays = ("subject", "message")  # of an erased person

    status = serializers.ChoiceField(choices=[str(word) for word in Status])
    priority = serializers.SerializerMethodField()
    on_unknown = serializers.ChoiceField(choices=[str(word) for word in OnUnknown])
    user_id = serializers.IntegerField(source="recipient_id", allow_null=True)
    to = serializers.SerializerMethodField()
    channels = serializers.SerializerMethodField()

    class Meta:
        model = Notification
        fields = (
            "id",
            "status",
            "failure_code",
            "user_id",
            "to",
            "subject",
            "message",
            "template",
            "channels",
            "priority",
            "on_unknown",
            "reference",
            "metadata",
            "created_at",
            "due_at",
            "send_at",
            "expires_at",
            "sent_at",
            "finished_at",
        )
        read_only_fields = fields

    def get_priority(self, row: Notification) -> Priority:
        """The word of the rank."""
        return _PRIORITIES[row.priority]

    @extend_schema_field(MaskedAddressOutput(allow_null=True))
    def get_to(self, row: Notification) -> dict[str, str] | None:
        """Masked."""
        return masked(row.recipient or row.to)

    @extend_schema_field(StepOutput(many=True))
    def get_channels(self, row: Notification) -> list[dict[str, Any]]:
        """The chain as objects, with what was left out filled in."""
        return [shown_step(step) for step in row.steps]


class NotificationDetail(NotificationOutput):
    """A notification with everything that was tried."""

    attempts = AttemptOutput(many=True)

    class Meta(NotificationOutput.Meta):
        fields = (*NotificationOutput.Meta.fields, "attempts")  # type: ignore[assignment]
        read_only_fields = fields  # type: ignore[assignment]


class PlanStepOutput(StepOutput):
    """What would become of one step now."""

    runs = serializers.BooleanField(help_text="Whether it would be tried.")
    to = serializers.CharField(allow_null=True, help_text="Masked.")
    account = serializers.CharField(allow_null=True)
    code = serializers.CharField(allow_null=True, help_text="Why it would be skipped.")
    detail = serializers.CharField(allow_null=True)


class PlanOutput(serializers.Serializer[Any]):
    """What would become of a notification now. The steps are tried in this order until one reaches its bar."""

    steps = PlanStepOutput(many=True)


class OrganizationOutput(serializers.Serializer[Any]):
    """The caller's organization. `webhook_secret` signs its status callbacks (Standard Webhooks); only keys with the
    scope `manage` see it."""

    slug = serializers.CharField()
    name = serializers.CharField()
    webhook_secret = serializers.CharField(required=False)


class BulkOutput(serializers.Serializer[Any]):
    """What a bulk stored, in the order given."""

    count = serializers.IntegerField()
    ids = serializers.ListField(child=serializers.IntegerField())


class ErrorOutput(serializers.Serializer[Any]):
    """One thing that is wrong."""

    code = serializers.CharField()
    detail = serializers.CharField()
    attr = serializers.CharField(allow_null=True, help_text="Dotted path of the field; null: the whole request.")


class ProblemOutput(serializers.Serializer[Any]):
    """An error, RFC 9457."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    errors = ErrorOutput(many=True)  # type: ignore[assignment]  # the metaclass takes it
