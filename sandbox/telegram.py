"""Telegram's Bot API, as far as a sender of messages meets it: `getMe` and `sendMessage`."""

import re
import time
from typing import Any
from urllib.parse import unquote

from sandbox import markup
from sandbox.dialects import Dialect, Refused, Reply, Request, Submission
from sandbox.recipients import Outcome

TOKEN = "123456789:sandbox-bot-token"  # noqa: S105 - opens nothing but this server
LONGEST = 4096
"""UTF-16 units, counted after the markup has been read."""

_PATH = re.compile(r"/bot(?P<token>[^/]*)/(?P<method>[^/]*)/?")
_TOKEN = re.compile(r"\d+:\S+")
_CHAT = re.compile(r"-?[1-9]\d{0,15}|@[A-Za-z]\w{4,31}", re.ASCII)


class BotApi(Dialect):
    """`/bot<token>/<method>` by GET or POST, parameters as query, form or JSON; method names in any case."""

    channel = "telegram"

    def read(self, request: Request) -> Submission:
        asked = _PATH.fullmatch(unquote(request.path))
        if asked is None:
            raise Refused(_error(404, "Not Found"))
        if not _TOKEN.fullmatch(asked["token"]):
            raise Refused(_error(401, "Unauthorized"))
        match asked["method"].lower():
            case "getme":
                raise Refused(_success(_me(asked["token"])))
            case "sendmessage":
                return _message(request.parameters())
        raise Refused(_error(404, "Not Found"))

    def accepted(self, submission: Submission, number: int) -> Reply:
        chat: dict[str, Any] = {"username": submission.to[1:], "type": "channel"}
        if not submission.to.startswith("@"):
            chat_id = int(submission.to)
            chat = {"id": chat_id, "type": "private" if chat_id > 0 else "group"}
        sent = {
            "message_id": number,
            "from": _me(TOKEN),
            "chat": chat,
            "date": int(time.time()),
            "text": submission.text,
        }
        return _success(sent)

    def refused(self, submission: Submission, outcome: Outcome) -> Reply:
        match outcome:
            case "rejected":
                return _error(400, "Bad Request: chat not found")
            case "blocked":
                return _error(403, "Forbidden: bot was blocked by the user")
            case "rate_limited" | "greylisted":
                return _error(429, "Too Many Requests: retry after 1", {"retry_after": 1})
        return _error(500, "Internal Server Error")

    def provider_id(self, submission: Submission, number: int) -> str:
        return str(number)


def _message(wanted: dict[str, Any]) -> Submission:
    """The message to send. Raises Refused with Telegram's complaint."""
    chat, written, mode = wanted.get("chat_id", ""), wanted.get("text", ""), wanted.get("parse_mode") or ""
    if not isinstance(written, str) or not isinstance(mode, str):
        raise _bad("message text is empty")
    if chat == "":
        raise _bad("chat_id is empty")
    if isinstance(chat, bool) or not _CHAT.fullmatch(str(chat)):
        raise _bad("chat not found")
    try:
        text = markup.plain(written, mode).strip()
    except markup.MarkupError as error:
        raise _bad(f"can't parse entities: {error}") from None
    except LookupError:
        raise _bad("unsupported parse_mode") from None
    if not text:
        raise _bad("message text is empty")
    if len(text.encode("utf-16-le", "surrogatepass")) // 2 > LONGEST:
        raise _bad("message is too long")
    return Submission(to=str(chat), text=text, html=written if mode.lower() == "html" else "")


def _me(token: str) -> dict[str, Any]:
    number = int(token.partition(":")[0])
    return {"id": number, "is_bot": True, "first_name": "Notifier sandbox", "username": "notifier_sandbox_bot"}


def _success(result: Any) -> Reply:
    return Reply(200, {"ok": True, "result": result})


def _error(status: int, description: str, parameters: dict[str, Any] | None = None) -> Reply:
    content: dict[str, Any] = {"ok": False, "error_code": status, "description": description}
    if parameters:
        content["parameters"] = parameters
    return Reply(status, content)


def _bad(complaint: str) -> Refused:
    return Refused(_error(400, f"Bad Request: {complaint}"))
