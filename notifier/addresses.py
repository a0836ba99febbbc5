"""E-mail addresses as people type them."""

from email_validator import validate_email

LONGEST = 254


def normal(given: str) -> str:
    """The address with its domain in lower case. ValueError: mail cannot be sent there, or only on this machine."""
    # `strict` bounds the local part; `test_environment` lets .test through, where the test recipients live.
    valid = validate_email(given, check_deliverability=False, strict=True, test_environment=True)
    if "." not in valid.domain:  # that option lets `user@test` through as well
        raise ValueError(given)
    return str(valid.normalized)
