"""Telegram: "Bot API: Making requests, ResponseParameters, sendMessage, LinkPreviewOptions".

The replies' descriptions are those of the Bot API server, tdlib/telegram-bot-api.
"""

import re
import time
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, ClassVar
from urllib.parse import quote

from channels.base import Account, Channel, Message, Receipt
from channels.errors import (
    ChannelError,
    InvalidRecipientError,
    MisconfiguredError,
    PermanentError,
    RateLimitedError,
    TemporaryError,
    UnknownOutcomeError,
)
from channels.net import Deadline
from channels.text import quoted, utf16_prefix, utf16_units
from channels.web import Reply, WebClient, as_json, delay

MAX_UNITS = 4096  # UTF-16 units of one message, after its markup is read: counted here with it, so on the safe side
MAX_PARTS = 10
LOOSE = (0.5, 0.9)  # how full a part must be to end at a paragraph, a line or a word: the first at which all fits
LONGEST_WAIT = timedelta(seconds=15)  # for a 429 between two parts: waiting leaves nobody with half a message

CHAT = re.compile(r"-?[0-9]{1,19}|@[A-Za-z][A-Za-z0-9_]{3,31}")
UNREADABLE_MARKUP = "can't parse entities"

# What the description of a 400 contains, in lower case, and what it means.
BAD_REQUESTS: tuple[tuple[str, type[PermanentError] | type[MisconfiguredError], str], ...] = (
    ("chat not found", InvalidRecipientError, "invalid_address"),
    ("user not found", InvalidRecipientError, "invalid_address"),
    ("peer_id_invalid", InvalidRecipientError, "invalid_address"),
    ("chat_id is empty", InvalidRecipientError, "invalid_address"),
    ("invalid user_id specified", InvalidRecipientError, "invalid_address"),
    ("no rights to send", InvalidRecipientError, "blocked"),
    ("not enough rights", InvalidRecipientError, "blocked"),
    ("need administrator rights", InvalidRecipientError, "blocked"),
    ("chat_write_forbidden", InvalidRecipientError, "blocked"),
    ("chat_restricted", InvalidRecipientError, "blocked"),
    ("user_is_blocked", InvalidRecipientError, "blocked"),
    ("too long", PermanentError, "message_too_large"),
    ("message_too_long", PermanentError, "message_too_large"),
    ("unsupported parse_mode", MisconfiguredError, "misconfigured"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TelegramAccount(Account):
    """A bot. `parse_mode`: "HTML", "MarkdownV2", "Markdown", or "" for text that is taken literally.

    `api_url`: a Bot API server of one's own or a test double; /bot<token>/<method> is appended.
    """

    token: str = field(repr=False)
    api_url: str = "https://api.telegram.org"
    parse_mode: str = ""
    disable_preview: bool = True
    timeout: timedelta = timedelta(seconds=10)

    def url(self, method: str) -> str:
        """Where the method is called. Holds the token: not for logs and errors."""
        return f"{self.api_url.rstrip('/')}/bot{quote(self.token, safe=':')}/{method}"


class TelegramChannel(Channel[TelegramAccount]):
    """Sends the message's text, in several messages where it is too long for one.

    `pause`: between two of them, since Telegram wants one a second in a chat. `patience`: the last moment at which
    another one is begun; what is still missing then makes the outcome unknown.
    """

    name: ClassVar[str] = "telegram"

    def __init__(self, *, pause: float = 1.0, patience: float = 60.0) -> None:
        self._pause = pause
        self._patience = timedelta(seconds=patience)
        self._web = WebClient()

    def send(self, message: Message, account: TelegramAccount) -> Receipt:
        if not CHAT.fullmatch(message.to):
            raise InvalidRecipientError("The Telegram chat is neither a number nor an @name.")
        texts, shortened = divide(message.text)
        talk = _Talk(self._web, replace(account, parse_mode="") if message.literal else account, message.to)
        deadline = Deadline(self._patience)
        for text in texts:
            try:
                if talk.message_ids:
                    time.sleep(self._pause)
                self._say(talk, text, deadline)
            except (ChannelError, MisconfiguredError, TimeoutError) as error:
                if not talk.message_ids:
                    raise
                raise _broken_off(talk, len(texts), error) from None
        return Receipt(",".join(talk.message_ids), _remarks(talk, shortened), talk.new_address)

    def check(self, account: TelegramAccount) -> str:
        """Which bot the token is (Bot API: getMe), as in `@name`. Raises as `send` does."""
        reply = self._web.get(account.url("getMe"), service="Telegram", timeout=account.timeout)
        bot = reply.record().get("result")
        if reply.ok and isinstance(bot, dict) and reply.record().get("ok") is True:
            return f"@{quoted(bot.get('username', ''), account.token)}"
        raise refusal(reply, account.token)

    def _say(self, talk: "_Talk", text: str, deadline: Deadline) -> None:
        """Send one part; a 429 between two parts is waited for, once and not for long."""
        if not talk.message_ids:
            talk.say(text)
            return
        deadline.remaining()
        try:
            talk.say(text)
        except RateLimitedError as error:
            wait = error.retry_after
            if wait is None or wait > min(LONGEST_WAIT, timedelta(seconds=deadline.remaining())):
                raise
            time.sleep(wait.total_seconds())
            talk.say(text)

    def close(self) -> None:
        self._web.close()


class _Talk:
    """One message's way into a chat. What Telegram said of the chat and the markup holds for the later parts too."""

    def __init__(self, web: WebClient, account: TelegramAccount, chat: str) -> None:
        self._web = web
        self._account = account
        self._chat = chat
        self.new_address = ""
        self.plain_from = 0  # the number of the first message that went without markup, 0 for none
        self.message_ids: list[str] = []

    def say(self, text: str) -> None:
        """Send one message. At most once each, Telegram is followed to a chat's new id and given plain text instead.

        Once markup was unreadable, the rest goes as plain text too. Markup that our dividing cut in two is always
        unreadable in the part where it begins; the parts after it might be readable, in a sense that nobody meant.
        """
        reply = self._post(text)
        if not self.new_address and (moved_to := _parameters(reply).get("migrate_to_chat_id")):
            self._chat = self.new_address = str(moved_to)
            reply = self._post(text)
        if self._reads_markup and reply.status == 400 and UNREADABLE_MARKUP in _description(reply).lower():
            self.plain_from = len(self.message_ids) + 1
            reply = self._post(text)
        answer = reply.record()
        if not reply.ok or answer.get("ok") is not True:
            raise refusal(reply, self._account.token)
        result = answer.get("result")
        self.message_ids.append(str(result.get("message_id", "")) if isinstance(result, dict) else "")

    @property
    def _reads_markup(self) -> bool:
        return bool(self._account.parse_mode) and not self.plain_from

    def _post(self, text: str) -> Reply:
        chat_id = self._chat if self._chat.startswith("@") else int(self._chat)
        payload: dict[str, Any] = {"chat_id": chat_id, "text": text}
        if self._reads_markup:
            payload["parse_mode"] = self._account.parse_mode
        if self._account.disable_preview:
            payload["link_preview_options"] = {"is_disabled": True}
        return self._web.post(
            self._account.url("sendMessage"), as_json(payload), service="Telegram", timeout=self._account.timeout
        )


def refusal(reply: Reply, token: str = "") -> ChannelError | MisconfiguredError:
    """What a reply that is no success means."""
    said = quoted(_description(reply), token)
    detail = f"Telegram: HTTP {reply.status}{f', {said}' if said else ''}"
    if reply.status == 429:
        asked = delay(_parameters(reply).get("retry_after"))
        return RateLimitedError(detail, retry_after=reply.retry_after if asked is None else asked)
    if reply.status in {401, 404}:  # 404: the token has not even the form of one, or api_url is no Bot API
        return MisconfiguredError(detail, code="authentication_failed")
    if reply.status == 403:  # blocked, kicked, deactivated, never started: all of them are the chat's wish
        return InvalidRecipientError(detail, code="blocked")
    if 300 <= reply.status < 400:
        return MisconfiguredError(detail)
    if reply.status == 413:
        return PermanentError(detail, code="message_too_large")
    if 400 <= reply.status < 500 and reply.status != 408:
        return _bad_request(_description(reply).lower(), detail)
    return TemporaryError(detail)


def _bad_request(description: str, detail: str) -> PermanentError | MisconfiguredError:
    for words, error, code in BAD_REQUESTS:
        if words in description:
            return error(detail, code=code)
    return PermanentError(detail)


def _description(reply: Reply) -> str:
    return str(reply.record().get("description", ""))


def _parameters(reply: Reply) -> dict[str, Any]:
    parameters = reply.record().get("parameters")
    return parameters if isinstance(parameters, dict) else {}


def _broken_off(talk: _Talk, planned: int, error: ChannelError | MisconfiguredError | TimeoutError) -> ChannelError:
    """After the first part was taken there is no clean way back, whatever came between: the whole again is a double."""
    reason = "Telegram: the time was over" if isinstance(error, TimeoutError) else error.detail
    sent = len(talk.message_ids)
    return UnknownOutcomeError(f"Broken off after {sent} of {planned} messages. {reason}")


def _remarks(talk: _Talk, shortened: bool) -> str:
    remarks = []
    count = len(talk.message_ids)
    if count > 1:
        remarks.append(f"Sent in {count} messages{', the last one shortened' if shortened else ''}.")
    if talk.plain_from:
        since = f" from message {talk.plain_from} on" if talk.plain_from > 1 else ""
        remarks.append(f"Telegram could not read the markup: sent as plain text{since}.")
    return " ".join(remarks)


# Dividing a text


def divide(text: str) -> tuple[list[str], bool]:
    """The text in at most MAX_PARTS messages, and whether its end had to be left out.

    Cut between paragraphs, else lines, else words; inside a word only where there is no other way, or where the text
    would not fit otherwise. Spaces and line breaks at the cuts are left out: Telegram does that itself.
    """
    if utf16_units(text) <= MAX_UNITS:
        return [text], False
    text = text.strip() or " "  # nothing but spaces: Telegram shall say so
    for fill in (*LOOSE, 1.0):
        parts, rest = _cut(text, int(MAX_UNITS * fill))
        if not rest:
            return parts, False
    parts, _ = _cut(text, int(MAX_UNITS * LOOSE[-1]))
    return [*parts[:-1], utf16_prefix(parts[-1], MAX_UNITS - 1).rstrip() + "…"], True


def _cut(text: str, least: int) -> tuple[list[str], str]:
    """At most MAX_PARTS parts, each filled to `least` units or cut inside a word, and what did not fit."""
    parts: list[str] = []
    while text and len(parts) < MAX_PARTS:
        head = utf16_prefix(text, MAX_UNITS)
        if len(head) < len(text):
            head = head[: _best_end(text[: len(head) + 2], len(head), least)]
        parts.append(head.rstrip())
        text = text[len(head) :].lstrip()
    return parts, text


def _best_end(text: str, limit: int, least: int) -> int:
    for separator in ("\n\n", "\n", " "):
        end = text.rfind(separator, 0, limit + len(separator))
        if end > 0 and utf16_units(text[:end]) >= least:
            return end
    return limit
