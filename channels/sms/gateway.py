"""The generic gateway: for a provider without a class of its own, behind a small adapter that the operator writes.

    POST <url>  {"to": "+12015550100", "text": "…", "sender": "…", "reference": "…"}   Authorization: Bearer <token>
    2xx         {"id": "…"}     taken; the id comes back in receipts
    4xx, 5xx    {"code": "…", "detail": "…"}     both optional; `code` is one of REFUSALS and then decides

`reference` is the same on every try of one notification: a gateway that remembers it can refuse a double. A 2xx
without an id proves neither that the message was taken nor that it was not. So it is unknown: as a temporary failure it
would be repeated for hours, as accepted it could get lost unseen.
"""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, ClassVar

from channels.errors import UnknownOutcomeError
from channels.sms.provider import (
    BLOCKED,
    BROKEN,
    BUSY,
    MISCONFIGURED,
    NOT_LET_IN,
    REJECTED,
    TIMEOUT,
    TOO_LARGE,
    WRONG_NUMBER,
    Provider,
    Refusal,
    Sms,
    Standing,
    by_status,
    explained,
)
from channels.web import WebClient, as_json

REFUSALS: dict[str, Refusal] = {
    "invalid_address": WRONG_NUMBER,
    "blocked": BLOCKED,
    "rejected": REJECTED,
    "message_too_large": TOO_LARGE,
    "misconfigured": MISCONFIGURED,
    "authentication_failed": NOT_LET_IN,
    "rate_limited": BUSY,
    "provider_error": BROKEN,
}


@dataclass(frozen=True, slots=True)
class GatewayProvider(Provider):
    """`url`: the whole address, nothing is appended. Without a token no Authorization header is sent."""

    name: ClassVar[str] = "http"

    url: str
    token: str = field(default="", repr=False)
    sender: str = ""
    timeout: timedelta = TIMEOUT

    def send(self, sms: Sms, web: WebClient) -> str:
        reply = web.post(
            self.url,
            as_json({"to": sms.to, "text": sms.text, "sender": self.sender, "reference": sms.reference}),
            service=self.name,
            timeout=self.timeout,
            headers={"Authorization": f"Bearer {self.token}"} if self.token else {},
        )
        answer = reply.record()
        if reply.ok and _is_id(answer.get("id")):
            return str(answer["id"])
        code = answer.get("code")
        refusal = REFUSALS.get(code) if isinstance(code, str) else None
        if reply.ok and refusal is None:
            raise UnknownOutcomeError(f"{self.name}: HTTP {reply.status} without an id: perhaps taken, perhaps not.")
        refusal = refusal or by_status(reply.status)
        raise explained(refusal, reply, self, sms, secrets=(self.token,), words=_words(answer))

    def check(self, web: WebClient) -> Standing:
        """There is no question that every gateway knows: any answer that does not refuse the token will do."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        reply = web.get(self.url, service=self.name, timeout=self.timeout, headers=headers)
        if reply.status in {401, 403} or reply.status >= 500 or 300 <= reply.status < 400:
            raise explained(by_status(reply.status), reply, self, secrets=(self.token,), words=_words(reply.record()))
        return Standing(name=f"HTTP {reply.status}")


def _is_id(value: object) -> bool:
    return (isinstance(value, str) and value != "") or (isinstance(value, int) and not isinstance(value, bool))


def _words(answer: dict[str, Any]) -> str:
    texts = (answer.get(name) for name in ("detail", "message", "error", "title"))
    return next((text for text in texts if isinstance(text, str)), "")
