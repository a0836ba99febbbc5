"""Four SMS gateways: the generic one, and Twilio, SMS.ru and SMSC in their own protocols."""

import base64
import hashlib
import re
from typing import Any

from sandbox.dialects import Dialect, Refused, Reply, Request, Submission
from sandbox.recipients import Outcome

LOGIN = "sandbox"
KEY = "sandbox-key"
"""Bearer token, Twilio's auth token, SMS.ru's api_id and SMSC's password, all in one."""
TWILIO_SID = "AC" + "5" * 32
SENDER = "+12015550199"

_PHONE = re.compile(r"\+?[1-9]\d{6,14}")
_SLOW_DOWN = {"Retry-After": "1"}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


class HttpGateway(Dialect):
    """`POST /sms` with a Bearer token: what `SMS_PROVIDER=http` speaks."""

    channel = "sms"

    def read(self, request: Request) -> Submission:
        if request.method != "POST":
            raise Refused(_http_error(405, "misconfigured", "Only POST is served", {"Allow": "POST"}))
        if request.headers.get("authorization") != f"Bearer {KEY}":
            raise Refused(
                _http_error(401, "authentication_failed", "The token is wrong", {"WWW-Authenticate": "Bearer"})
            )
        try:
            wanted = request.json()
        except ValueError:
            raise Refused(_http_error(400, "rejected", "The body is no JSON object")) from None
        to, text, sender, reference = (wanted.get(name, "") for name in ("to", "text", "sender", "reference"))
        if not all(isinstance(value, str) for value in (to, text, sender, reference)) or not text:
            raise Refused(_http_error(400, "rejected", "to and text are needed, as texts"))
        if not _PHONE.fullmatch(to):
            raise Refused(_http_error(400, "invalid_address", "There is no such number"))
        return Submission(to=to, text=text, sender=sender, reference=reference)

    def accepted(self, submission: Submission, number: int) -> Reply:
        return Reply(201, {"id": self.provider_id(submission, number)})

    def refused(self, submission: Submission, outcome: Outcome) -> Reply:
        if outcome == "rejected":
            return _http_error(400, "invalid_address", "There is no such number")
        if outcome in {"rate_limited", "greylisted"}:
            return _http_error(429, "rate_limited", "Too many messages", _SLOW_DOWN)
        return _http_error(500, "provider_error", "The gateway is broken")

    def provider_id(self, submission: Submission, number: int) -> str:
        return f"sandbox-sms-{number}"


def _http_error(status: int, code: str, detail: str, headers: dict[str, str] | None = None) -> Reply:
    return Reply(status, {"code": code, "detail": detail}, headers or {})


class Twilio(Dialect):
    """`POST /2010-04-01/Accounts/<sid>/Messages.json`, a form with basic authentication."""

    channel = "sms"

    def read(self, request: Request) -> Submission:
        login = base64.b64encode(f"{TWILIO_SID}:{KEY}".encode()).decode()
        if request.headers.get("authorization") != f"Basic {login}" or f"/{TWILIO_SID}/" not in request.path:
            raise Refused(_twilio_error(401, 20003, "Authenticate"))
        if request.method != "POST":
            raise Refused(_twilio_error(405, 20004, "Method not allowed"))
        wanted = request.parameters()
        to, body = _text(wanted.get("To")), _text(wanted.get("Body"))
        sender = _text(wanted.get("From")) or _text(wanted.get("MessagingServiceSid"))
        for value, code, complaint in (
            (to, 21604, "A 'To' phone number is required."),
            (sender, 21603, "A 'From' phone number is required."),
            (body, 21602, "Message body is required."),
        ):
            if not value:
                raise Refused(_twilio_error(400, code, complaint))
        if not _PHONE.fullmatch(to):
            raise Refused(_twilio_error(400, 21211, f"Invalid 'To' Phone Number: {to}"))
        if len(body) > 1600:
            raise Refused(_twilio_error(400, 21617, "The concatenated message body exceeds the 1600 character limit"))
        return Submission(to=to, text=body, sender=sender)

    def accepted(self, submission: Submission, number: int) -> Reply:
        sid = self.provider_id(submission, number)
        return Reply(
            201,
            {
                "sid": sid,
                "account_sid": TWILIO_SID,
                "to": submission.to,
                "from": submission.sender,
                "body": submission.text,
                "status": "queued",
                "direction": "outbound-api",
                "error_code": None,
                "error_message": None,
                "uri": f"/2010-04-01/Accounts/{TWILIO_SID}/Messages/{sid}.json",
            },
        )

    def refused(self, submission: Submission, outcome: Outcome) -> Reply:
        if outcome == "rejected":
            return _twilio_error(400, 21211, f"Invalid 'To' Phone Number: {submission.to}")
        if outcome in {"rate_limited", "greylisted"}:
            return _twilio_error(429, 20429, "Too Many Requests", _SLOW_DOWN)
        return _twilio_error(500, 20500, "An internal server error has occurred")

    def provider_id(self, submission: Submission, number: int) -> str:
        return f"SM{number:032x}"


def _twilio_error(status: int, code: int, message: str, headers: dict[str, str] | None = None) -> Reply:
    more = f"https://www.twilio.com/docs/errors/{code}"
    return Reply(status, {"code": code, "message": message, "more_info": more, "status": status}, headers or {})


class SmsRu(Dialect):
    """`/sms/send` with `api_id`, `to`, `msg`, `json=1`: a status for the request, and one for the number."""

    channel = "sms"

    def read(self, request: Request) -> Submission:
        wanted = request.parameters()
        if wanted.get("api_id") != KEY:
            raise Refused(_smsru_error(200, "Неправильный api_id"))
        to, text = _text(wanted.get("to")), _text(wanted.get("msg"))
        if not to:
            raise Refused(_smsru_error(210, "Не указан номер телефона"))
        submission = Submission(to=to, text=text, sender=_text(wanted.get("from")))
        if not text:
            raise Refused(_smsru_number(submission, 203, "Нет текста сообщения"))
        if not _PHONE.fullmatch(to):
            raise Refused(_smsru_number(submission, 202, "Неправильно указан номер телефона получателя"))
        return submission

    def accepted(self, submission: Submission, number: int) -> Reply:
        return _smsru_number(submission, 100, "", sms_id=self.provider_id(submission, number))

    def refused(self, submission: Submission, outcome: Outcome) -> Reply:
        if outcome == "rejected":
            return _smsru_number(submission, 202, "Неправильно указан номер телефона получателя")
        if outcome == "rate_limited":
            return Reply(429, "Too Many Requests", _SLOW_DOWN)
        if outcome == "greylisted":
            return _smsru_error(220, "Сервис временно недоступен, попробуйте чуть позже")
        return Reply(500, "Internal Server Error")

    def provider_id(self, submission: Submission, number: int) -> str:
        return f"{number // 10_000_000:06}-{number % 10_000_000:07}"


def _smsru_error(code: int, text: str) -> Reply:
    return Reply(200, {"status": "ERROR", "status_code": code, "status_text": text})


def _smsru_number(submission: Submission, code: int, text: str, sms_id: str = "") -> Reply:
    number: dict[str, Any] = {"status": "OK" if code == 100 else "ERROR", "status_code": code}
    number |= {"sms_id": sms_id} if sms_id else {"status_text": text}
    return Reply(
        200, {"status": "OK", "status_code": 100, "sms": {submission.to.lstrip("+"): number}, "balance": 1000.0}
    )


class Smsc(Dialect):
    """`/sys/send.php` with `login`, `psw` (or its MD5), `phones`, `mes`, `id`, `fmt=3`."""

    channel = "sms"

    def read(self, request: Request) -> Submission:
        wanted = request.parameters()
        passwords = {KEY, hashlib.md5(KEY.encode(), usedforsecurity=False).hexdigest()}
        if wanted.get("login") != LOGIN or wanted.get("psw") not in passwords:
            raise Refused(_smsc_error(2, "authorise error"))
        to, text = _text(wanted.get("phones")), _text(wanted.get("mes"))
        if not to or not text:
            raise Refused(_smsc_error(1, "parameters error"))
        if not _PHONE.fullmatch(to):
            raise Refused(_smsc_error(7, "invalid number"))
        return Submission(to=to, text=text, sender=_text(wanted.get("sender")), reference=str(wanted.get("id", "")))

    def accepted(self, submission: Submission, number: int) -> Reply:
        return Reply(200, {"id": self.provider_id(submission, number), "cnt": 1})

    def refused(self, submission: Submission, outcome: Outcome) -> Reply:
        if outcome == "rejected":
            return _smsc_error(7, "invalid number")
        if outcome == "rate_limited":
            return Reply(429, "Too Many Requests", _SLOW_DOWN)
        if outcome == "greylisted":
            return _smsc_error(9, "too many concurrent requests")
        return Reply(500, "Internal Server Error")

    def provider_id(self, submission: Submission, number: int) -> str:
        return submission.reference or str(number)  # the client's own id, where it gave one


def _smsc_error(code: int, text: str) -> Reply:
    return Reply(200, {"error": text, "error_code": code})
