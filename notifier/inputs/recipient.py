"""A person, as a client describes one."""

from typing import Any

from django.conf import settings
from django.utils.translation import gettext_lazy as _
from rest_framework import serializers

from notifier.inputs.fields import ChatId, Email, Phone, StrictSerializer, Text, time_zones
from notifier.models import Recipient

ADDRESSES = ("email", "phone", "telegram_chat_id")
LANGUAGE_TAG = r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$"  # the shape of RFC 5646, as far as anybody uses it


class ChannelName(Text):
    """The name of a channel of this service."""

    default_error_messages = {"unknown_channel": _("There is no such channel.")}

    def to_internal_value(self, data: Any) -> str:
        name = super().to_internal_value(data)
        if name not in settings.CHANNELS:
            self.fail("unknown_channel")
        return name


class ChannelNames(serializers.ListField):
    """A chain of channel names, none twice."""

    child = ChannelName()
    default_error_messages = {"repeated": _("A channel stands in it twice.")}

    def to_internal_value(self, data: Any) -> list[str]:
        if not isinstance(data, list):
            self.fail("not_a_list", input_type=type(data).__name__)
        names: list[str] = super().to_internal_value(data)
        if len(set(names)) != len(names):
            self.fail("repeated")
        return names


class RecipientInput(StrictSerializer):
    """A user of `/api/users/`: at least one address. `null` clears a field, and "" all but external_id and channels."""

    email = Email(required=False, allow_null=True, allow_blank=True)
    phone = Phone(required=False, allow_null=True, allow_blank=True)
    telegram_chat_id = ChatId(required=False, allow_null=True, allow_blank=True)
    external_id = Text(required=False, allow_null=True, max_length=255, one_line=True)
    name = Text(required=False, allow_null=True, allow_blank=True, max_length=255, one_line=True)
    language = serializers.RegexField(LANGUAGE_TAG, required=False, allow_null=True, allow_blank=True, max_length=16)
    timezone = Text(required=False, allow_null=True, allow_blank=True, max_length=64, one_line=True)
    channels = ChannelNames(required=False, allow_null=True)

    default_error_messages = {
        "address_required": _("Give at least one of email, phone and telegram_chat_id."),
        "unique": _("Another user of the organization has this external_id."),
        "timezone": _("There is no such time zone."),
    }

    def validate_language(self, value: str | None) -> str | None:
        """Lower case, as Django names languages."""
        return value.lower() if value else value

    def validate_timezone(self, value: str | None) -> str | None:
        """A name of the IANA database."""
        if value and value not in time_zones():
            raise serializers.ValidationError(self.error_messages["timezone"], code="invalid")
        return value

    def validate_external_id(self, value: str | None) -> str | None:
        """Unique in the organization."""
        if value:
            others = Recipient.objects.filter(organization=self.surroundings["organization"], external_id=value)
            if self.instance is not None:
                others = others.exclude(pk=self.instance.pk)
            if others.exists():
                raise serializers.ValidationError(self.error_messages["unique"], code="unique")
        return value

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """At least one address remains; an absent value is stored as the field's own "nothing"."""
        for name, value in attrs.items():
            if value is None and name != "external_id":
                attrs[name] = [] if name == "channels" else ""
        if not any(attrs.get(name, getattr(self.instance, name, "")) for name in ADDRESSES):
            self.fail("address_required")
        return attrs
