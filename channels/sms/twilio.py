"""Twilio: "Programmable Messaging, Messages resource: Create a Message", "Error and Warning Dictionary"."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import ClassVar
from urllib.parse import quote

from channels.sms.provider import (
    BLOCKED,
    BROKEN,
    BUSY,
    MISCONFIGURED,
    NOT_LET_IN,
    NOT_NOW,
    REJECTED,
    TIMEOUT,
    TOO_LARGE,
    WRONG_NUMBER,
    Provider,
    Refusal,
    Sms,
    Standing,
    by_status,
    code_in,
    explained,
)
from channels.text import quoted
from channels.web import WebClient, as_form, basic_auth

LONGEST_SENDER_ID = 11  # an alphanumeric sender may begin with MG as well, but the id of a messaging service is longer

# Twilio warns that it adds codes and moves cases between them: what is not listed is judged by the HTTP status.
REFUSALS: dict[int, Refusal] = {
    20003: NOT_LET_IN,
    20429: BUSY,
    21211: WRONG_NUMBER,
    21212: MISCONFIGURED,  # the sender is no number
    21265: WRONG_NUMBER,  # a short code
    21408: MISCONFIGURED,  # the country is not enabled for the account
    21602: REJECTED,  # no text
    21603: MISCONFIGURED,  # no sender
    21606: MISCONFIGURED,  # the sender is not the account's
    21608: MISCONFIGURED,  # a trial account, and the number is not verified
    21610: BLOCKED,  # the person has opted out
    21611: BUSY,  # the sender's queue is full
    21612: WRONG_NUMBER,  # no way from this sender to this number
    21614: WRONG_NUMBER,
    21617: TOO_LARGE,
    21659: MISCONFIGURED,  # the sender is no Twilio number
    21660: MISCONFIGURED,  # the sender belongs to another account
    30001: BUSY,  # queue overflow
    30002: MISCONFIGURED,  # the account is suspended
    30003: NOT_NOW,  # the phone is off or out of reach
    30004: BLOCKED,
    30005: WRONG_NUMBER,
    30006: WRONG_NUMBER,
    30007: REJECTED,  # filtered as spam
    30008: BROKEN,  # unknown error
}


@dataclass(frozen=True, slots=True)
class TwilioProvider(Provider):
    """`sender`: a number, an alphanumeric sender id, or the id of a messaging service (MG and 32 digits)."""

    name: ClassVar[str] = "twilio"

    sid: str
    token: str = field(repr=False)
    sender: str
    api_url: str = "https://api.twilio.com"
    timeout: timedelta = TIMEOUT

    def send(self, sms: Sms, web: WebClient) -> str:
        is_service = self.sender.startswith("MG") and len(self.sender) > LONGEST_SENDER_ID
        fields = {"To": sms.to, "MessagingServiceSid" if is_service else "From": self.sender, "Body": sms.text}
        reply = web.post(
            f"{self.api_url.rstrip('/')}/2010-04-01/Accounts/{quote(self.sid, safe='')}/Messages.json",
            as_form(fields),
            service=self.name,
            timeout=self.timeout,
            headers={"Authorization": basic_auth(self.sid, self.token)},
        )
        answer = reply.record()
        failed = answer.get("status") in {"failed", "undelivered", "canceled"}
        if reply.ok and answer.get("sid") and not failed:
            return str(answer["sid"])
        code = code_in(answer, "error_code" if reply.ok else "code")
        refusal = REFUSALS.get(code or 0, by_status(reply.status))
        message = answer.get("error_message") if reply.ok else answer.get("message")
        words = f"code {code}: {message or ''}" if code else message or ""
        raise explained(refusal, reply, self, sms, secrets=(self.token,), words=words)

    def check(self, web: WebClient) -> Standing:
        """The account itself: "Account resource: Fetch an Account"."""
        reply = web.get(
            f"{self.api_url.rstrip('/')}/2010-04-01/Accounts/{quote(self.sid, safe='')}.json",
            service=self.name,
            timeout=self.timeout,
            headers={"Authorization": basic_auth(self.sid, self.token)},
        )
        answer = reply.record()
        status = answer.get("status")
        if reply.ok and status == "active":
            return Standing(name=quoted(answer.get("friendly_name") or "", self.token))
        if reply.ok and isinstance(status, str):
            raise MISCONFIGURED.explain(f"{self.name}: the account is {quoted(status, self.token)}.")
        code = code_in(answer, "code")
        words = f"code {code}: {answer.get('message') or ''}" if code else answer.get("message") or ""
        refusal = REFUSALS.get(code or 0, by_status(reply.status))
        raise explained(refusal, reply, self, secrets=(self.token,), words=words)
