"""SMS.ru: "API: Отправить СМС" (https://sms.ru/api/send), "API: Возможные ответы" (https://sms.ru/api/status).

SMS.ru takes no reference of ours; it notices a repeat by its text alone, with the codes 231 and 232. After an attempt
that ended as unknown these mean that the first one arrived, which only the one who keeps the attempts can see.
"""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, ClassVar

from channels.sms.provider import (
    BLOCKED,
    BROKEN,
    BUSY,
    MISCONFIGURED,
    NOT_LET_IN,
    REJECTED,
    REPEATED,
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
from channels.web import Reply, WebClient, as_form

ACCEPTED = 100

# The same codes stand at the top of an answer and beside a number.
REFUSALS: dict[int, Refusal] = {
    150: WRONG_NUMBER,  # no route
    200: NOT_LET_IN,
    201: MISCONFIGURED,  # no money
    202: WRONG_NUMBER,
    203: REJECTED,  # no text
    204: MISCONFIGURED,  # the sender is not approved
    205: TOO_LARGE,  # more than 8 parts
    206: BUSY.after(hours=1),  # the account's limit of a day
    207: WRONG_NUMBER,
    209: BLOCKED,  # our own stop list
    210: MISCONFIGURED,  # 210-212: the request's form
    211: MISCONFIGURED,
    212: MISCONFIGURED,
    214: WRONG_NUMBER,  # abroad, and the account sends within Russia only
    215: BLOCKED,  # the stop list of SMS.ru
    216: REJECTED,  # a forbidden word
    217: REJECTED,  # an advertisement without its obligatory phrase
    220: BROKEN,
    221: MISCONFIGURED,  # a sender of one's own is needed
    230: BUSY.after(hours=1),  # 230, 233: too much to this number
    231: REPEATED.after(hours=1),  # 231, 232: the same text
    232: REPEATED.after(hours=1),
    233: BUSY.after(hours=1),
    300: NOT_LET_IN,
    301: NOT_LET_IN,
    302: NOT_LET_IN,  # the account is not confirmed
    500: BROKEN,
    **dict.fromkeys(range(501, 507), BUSY),  # 501-506: too many at once by some measure of SMS.ru
    550: MISCONFIGURED,  # the country is blocked in the account's settings
}


@dataclass(frozen=True, slots=True)
class SmsRuProvider(Provider):
    """`sender`: a name that SMS.ru has approved, "" for the account's default."""

    name: ClassVar[str] = "smsru"

    api_id: str = field(repr=False)
    sender: str = ""
    api_url: str = "https://sms.ru"
    timeout: timedelta = TIMEOUT

    def send(self, sms: Sms, web: WebClient) -> str:
        fields = {"api_id": self.api_id, "to": sms.digits, "msg": sms.text, "json": "1"}
        if self.sender:
            fields["from"] = self.sender
        url = f"{self.api_url.rstrip('/')}/sms/send"
        reply = web.post(url, as_form(fields), service=self.name, timeout=self.timeout)
        answer = _verdict(reply)
        code = code_in(answer, "status_code")
        if reply.ok and code == ACCEPTED:
            return str(answer.get("sms_id") or "")
        words = f"code {code}: {answer.get('status_text') or ''}" if code else ""
        raise explained(_refusal(reply, code), reply, self, sms, secrets=(self.api_id,), words=words)

    def check(self, web: WebClient) -> Standing:
        """By "API: Получение состояния баланса" (https://sms.ru/api/balance)."""
        url = f"{self.api_url.rstrip('/')}/my/balance"
        fields = as_form({"api_id": self.api_id, "json": "1"})
        reply = web.post(url, fields, service=self.name, timeout=self.timeout)
        answer = reply.record()
        code = code_in(answer, "status_code")
        if reply.ok and code == ACCEPTED:
            return Standing(balance=quoted(answer.get("balance", ""), self.api_id))
        words = f"code {code}: {answer.get('status_text') or ''}" if code else ""
        raise explained(_refusal(reply, code), reply, self, secrets=(self.api_id,), words=words)


def _verdict(reply: Reply) -> dict[str, Any]:
    """What is said of our one number, or of the request where it was refused as a whole."""
    answer = reply.record()
    if code_in(answer, "status_code") != ACCEPTED:
        return answer
    numbers = answer.get("sms")
    entries = list(numbers.values()) if isinstance(numbers, dict) else []
    return entries[0] if entries and isinstance(entries[0], dict) else {}


def _refusal(reply: Reply, code: int | None) -> Refusal:
    if code in REFUSALS:
        return REFUSALS[code]
    if code is None or not reply.ok:
        return by_status(reply.status)
    return BROKEN if 500 <= code < 600 else REJECTED
