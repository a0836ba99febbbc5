"""Worked examples for the API's documentation."""

from datetime import timedelta

from django.utils import timezone
from drf_spectacular.utils import OpenApiExample

IN_A_MONTH = timezone.now().date() + timedelta(days=30)  # so that whoever tries the example is not too late

USER = OpenApiExample("A user with one address", {"email": "user@example.com"}, request_only=True)
USER_WITH_ALL = OpenApiExample(
    "A user for the whole chain",
    {
        "email": "user@example.com",
        "phone": "+12025550123",
        "telegram_chat_id": 123456789,
        "external_id": "customer-17",
        "name": "Ada Lovelace",
        "language": "en",
        "timezone": "Europe/London",
    },
    request_only=True,
)
NOTIFICATION = OpenApiExample(
    "To a stored user, along the default chain", {"user_id": 1, "message": "Hello via SMTP!"}, request_only=True
)
NOTIFICATION_TO = OpenApiExample(
    "To an address, by e-mail and then SMS",
    {
        "to": {"email": "user@example.com", "phone": "+12025550123"},
        "subject": "Your order",
        "message": "Your order 1017 is on its way.",
        "html": "<p>Your order <b>1017</b> is on its way.</p>",
        "channels": ["email", "sms"],
        "priority": "high",
        "reference": "order-1017",
    },
    request_only=True,
)
NOTIFICATION_SMTP = OpenApiExample(
    "With an SMTP account of its own",
    {
        "user_id": 1,
        "message": "Sent through my own mailbox.",
        "smtp_user": "me@gmail.com",
        "smtp_password": "abcd efgh ijkl mnop",
        "smtp_host": "smtp.gmail.com",
    },
    request_only=True,
)
NOTIFICATION_LATER = OpenApiExample(
    "Later, and not for ever",
    {
        "user_id": 1,
        "message": "The maintenance begins in an hour.",
        "send_at": f"{IN_A_MONTH}T17:00:00Z",
        "expires_at": f"{IN_A_MONTH}T18:00:00Z",
        "channels": [{"channel": "telegram", "within": 60}, "email"],
        "on_unknown": "retry",
    },
    request_only=True,
)
NOTIFICATION_TEMPLATE = OpenApiExample(
    "By a template",
    {
        "to": {"email": "user@example.com", "language": "ru"},
        "template": "welcome",
        "context": {"name": "Ada Lovelace", "organization": "Analytical Engines"},
        "channels": ["email"],
    },
    request_only=True,
)
NOTIFICATION_ORDER = OpenApiExample(
    "An order, to the organization's sales address",
    {
        "template": "order_request",
        "to": {"email": "sales@example.com"},
        "context": {
            "client": {"name": "Ada Lovelace", "phone": "+12025550123"},
            "items": [
                {"code": "LMP-204", "name": "Desk lamp", "quantity": 2, "price": "1249.90", "stock": 14},
                {"code": "CBL-3M", "name": "Cable, 3 m", "quantity": 4, "price": 75.5},
            ],
            "total": "2801.80",
            "delivery": {"method": "Courier", "address": "12 Station Road"},
        },
    },
    request_only=True,
)
TEMPLATE_NAME = OpenApiExample("A template", "welcome")
PREVIEW = OpenApiExample(
    "A greeting in Russian",
    {"context": {"name": "Ada Lovelace", "organization": "Analytical Engines"}, "language": "ru"},
    request_only=True,
)
BULK = OpenApiExample(
    "One content for many users", {"user_ids": [1, 2, 3], "message": "We are closed on Monday."}, request_only=True
)
BULK_EACH = OpenApiExample(
    "Each its own",
    {"notifications": [{"user_id": 1, "message": "Hello Ada"}, {"user_id": 2, "message": "Hello Alan"}]},
    request_only=True,
)
ACCEPTED = OpenApiExample(
    "Stored for good",
    {
        "id": 1,
        "status": "queued",
        "failure_code": None,
        "user_id": 1,
        "to": {"email": "u***@example.com"},
        "subject": "Hello via SMTP!",
        "message": "Hello via SMTP!",
        "template": None,
        "channels": [
            {"channel": "email", "until": "accepted", "within": None},
            {"channel": "sms", "until": "accepted", "within": None},
            {"channel": "telegram", "until": "accepted", "within": None},
        ],
        "priority": "normal",
        "on_unknown": "next",
        "reference": None,
        "metadata": {},
        "created_at": "2026-11-20T12:00:00Z",
        "due_at": "2026-11-20T12:00:00Z",
        "send_at": None,
        "expires_at": "2026-11-21T12:00:00Z",
        "sent_at": None,
        "finished_at": None,
    },
    response_only=True,
    status_codes=["202"],
)
