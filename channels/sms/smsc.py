"""SMSC.ru: "API, HTTP/HTTPS: Отправка SMS-сообщения" (https://smsc.ru/api/http/send/sms/)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from typing import Any, ClassVar

from channels.errors import ChannelError, MisconfiguredError
from channels.sms.provider import (
    BROKEN,
    BUSY,
    MISCONFIGURED,
    NOT_LET_IN,
    REJECTED,
    TIMEOUT,
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

LARGEST_ID = 2**31 - 1

REFUSALS: dict[int, Refusal] = {
    1: REJECTED,  # a parameter is wrong
    2: NOT_LET_IN,
    3: MISCONFIGURED,  # no money
    4: BROKEN.after(minutes=10),  # our IP address is blocked for too many errors
    5: REJECTED,  # a date is wrong
    6: REJECTED,  # the text or the sender is forbidden
    7: WRONG_NUMBER,
    8: WRONG_NUMBER,  # cannot be delivered to
    9: BUSY.after(minutes=1),  # the same request again within a minute, or too many at once
}


@dataclass(frozen=True, slots=True)
class SmscProvider(Provider):
    """`sender`: a name that SMSC has approved, "" for the account's default."""

    name: ClassVar[str] = "smsc"

    login: str
    password: str = field(repr=False)
    sender: str = ""
    api_url: str = "https://smsc.ru"
    timeout: timedelta = TIMEOUT

    def send(self, sms: Sms, web: WebClient) -> str:
        fields = {
            "login": self.login,
            "psw": self.password,
            "phones": sms.digits,
            "mes": sms.text,
            "charset": "utf-8",
            "fmt": "3",
            "id": str(own_id(sms.reference)),
        }
        if self.sender:
            fields["sender"] = self.sender
        url = f"{self.api_url.rstrip('/')}/sys/send.php"
        reply = web.post(url, as_form(fields), service=self.name, timeout=self.timeout)
        answer = reply.record()
        if reply.ok and not _is_error(answer) and answer.get("id"):
            return str(answer["id"])
        raise self._refused(reply, sms)

    def check(self, web: WebClient) -> Standing:
        """The account's balance: "API, HTTP/HTTPS: Получение баланса" (https://smsc.ru/api/http/balance/)."""
        fields = as_form({"login": self.login, "psw": self.password, "fmt": "3"})
        url = f"{self.api_url.rstrip('/')}/sys/balance.php"
        reply = web.post(url, fields, service=self.name, timeout=self.timeout)
        answer = reply.record()
        if reply.ok and not _is_error(answer) and answer.get("balance") is not None:
            return Standing(balance=quoted(answer["balance"], self.password))
        raise self._refused(reply)

    def _refused(self, reply: Reply, sms: Sms | None = None) -> ChannelError | MisconfiguredError:
        answer = reply.record()
        code = code_in(answer, "error_code")
        unknown = REJECTED if reply.ok and code is not None else by_status(reply.status)
        refusal = unknown if code is None else REFUSALS.get(code, unknown)
        words = f"code {code}: {answer.get('error') or ''}" if code else answer.get("error", "")
        return explained(refusal, reply, self, sms, secrets=(self.password,), words=words)


def _is_error(answer: Mapping[str, Any]) -> bool:
    return "error" in answer or code_in(answer, "error_code") is not None


def own_id(reference: str) -> int:
    """The message's number at SMSC, from 1 to 2^31-1. Made of the reference, so that a repeat carries the same.

    SMSC knows a message by this number and the phone's together, so that two references with one number do no harm.
    """
    return int.from_bytes(sha256(reference.encode()).digest()[:8]) % LARGEST_ID + 1
