"""From a template and its context to what a notification's row holds: rendered now, so that nobody changes it later.

What is secret is rendered as a marker, and its value sealed beside the request's SMTP account: it is wiped as that is.
"""

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _
from rest_framework.exceptions import ErrorDetail, ValidationError

from notifier import vault
from notifier.contexts import Mistake
from notifier.inputs.notification import Draft, Wanted, steps_of
from notifier.message_templates import Rendered, Template, language_of
from notifier.models import Notification, Organization, Recipient
from notifier.rendering import SEALED_VALUES, SECRETS


def refusal(mistakes: list[Mistake]) -> ValidationError:
    """These, as errors of the field `context`."""
    found: dict[str, list[ErrorDetail]] = {}
    for one in mistakes:
        found.setdefault(f"context.{one.path}".rstrip("."), []).append(ErrorDetail(one.text, code=one.code))
    return ValidationError(found)


def rendered(template: Template, context: Mapping[str, Any], language: str) -> Rendered:
    """The texts; ValidationError for a context with errors, or one that makes more than a notification may carry."""
    if mistakes := template.errors(context):
        raise refusal(mistakes)
    return _checked(template.render(context, language))


def _checked(made: Rendered) -> Rendered:
    if made.is_too_long():
        raise refusal([Mistake("", "too_large", _("It makes a text that is longer than a notification may be."))])
    return made


class Composer:
    """Does it for one organization: each template once for each context and language, however many get it."""

    def __init__(self, organization: Organization) -> None:
        self._organization = organization
        self._made: dict[tuple[str, int, str], Rendered] = {}
        self._right: dict[tuple[str, int], Draft] = {}  # the contexts are kept, so that no other gets one's id
        self._sales: str | None = None

    def columns(self, wanted: Wanted, recipient: Recipient | None = None) -> dict[str, Any]:
        """All columns, for this user or for whom `to` names; ValidationError for a context with errors."""
        own_chain, language = (recipient.channels, recipient.language) if recipient else ((), "")
        return self.columns_in(wanted, own_chain, language)

    def columns_in(self, wanted: Wanted, own_chain: Any, language: str) -> dict[str, Any]:
        """All columns, for a user with this chain and language of his own."""
        columns = wanted.columns(own_chain)
        draft = wanted.draft
        if draft is None:
            return columns
        self._check(draft)
        if wanted.user is None and "to" not in columns:
            columns["to"] = {"email": self._sales_address()}
            if wanted.chain is None:
                columns["steps"] = steps_of("email")  # by no other way is anybody known there
        spoken = language_of(language or (columns.get("to") or {}).get("language") or "")
        columns |= self._texts(draft, spoken, columns.get("subject") or "")
        if "priority" not in columns and (priority := draft.template.priority(draft.context)):
            columns["priority"] = Notification.Rank[priority.upper()].value
        if secrets := draft.template.secrets_of(draft.context):
            account = vault.unseal(columns["credentials"]) if columns.get("credentials") else {}
            columns["credentials"] = vault.seal({**account, SEALED_VALUES: secrets})
        return columns

    def _check(self, draft: Draft) -> None:
        key = draft.template.name, id(draft.context)
        if key not in self._right:
            if mistakes := draft.template.errors(draft.context):
                raise refusal(mistakes)
            self._right[key] = draft

    def _texts(self, draft: Draft, language: str, subject: str) -> dict[str, Any]:
        template, key = draft.template, (draft.template.name, id(draft.context), language)
        if found := template.marked_in(subject):
            told = _("It may not contain {marker}.").format(marker=found)
            raise ValidationError({"subject": [ErrorDetail(told, code="invalid")]})
        made = self._made.get(key)
        if made is None:
            made = self._made[key] = _checked(template.render(template.masked(draft.context), language))
        forms: dict[str, Any] = {
            channel: text for channel in ("sms", "telegram") if (text := getattr(made, channel)) != made.text
        }
        if secrets := template.secrets_of(draft.context):
            forms[SECRETS] = sorted(secrets)
        return {
            "subject": subject or made.subject,
            "message": made.text,
            "html": made.html,
            "forms": forms or None,
        }

    def _sales_address(self) -> str:
        if self._sales is None:
            # Not as the request's organization has it: that one may be some seconds old.
            stored = Organization.objects.nocache().filter(pk=self._organization.pk)  # type: ignore[attr-defined]
            found = stored.values_list("sales_email", flat=True).first()
            self._sales = found or settings.SALES_EMAIL
        if not self._sales:
            told = _("Nobody is named to get it: give `to`, or set the organization's sales address or SALES_EMAIL.")
            raise ValidationError({"to": [ErrorDetail(told, code="no_sales_email")]})
        return self._sales
