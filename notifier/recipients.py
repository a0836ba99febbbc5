"""Who gets what an organization is sent by itself: its digests, and the test mails of its settings."""

from collections.abc import Iterable

from django.contrib.auth import get_user_model

from notifier.models import EmailSettings, Membership, Organization


def recipients_of(organization: Organization, tried: EmailSettings | None = None) -> list[str]:
    """Those of its active e-mail settings, else its administrators, else the superusers, each once; [] for nobody.

    `tried`: settings that count whether they are active or not.
    """
    settings = tried or EmailSettings.objects.filter(organization=organization, is_active=True).first()
    operators = get_user_model()._default_manager.filter(is_active=True).exclude(email="").order_by("pk")
    administrators = operators.filter(
        memberships__organization=organization, memberships__role=Membership.Role.ADMINISTRATOR
    )
    superusers = operators.filter(is_superuser=True)
    return (
        _each_once(settings.recipient_list() if settings else ())
        or _each_once(administrators.values_list("email", flat=True))
        or _each_once(superusers.values_list("email", flat=True))
    )


def _each_once(found: Iterable[str]) -> list[str]:
    """In their order. Letters' case makes no second address."""
    return list({address.casefold(): address for address in reversed(list(found))}.values())[::-1]
