"""Small things about text that several channels need."""

DETAIL_LENGTH = 200


def utf16_units(text: str) -> int:
    """How long phones and Telegram think the text is: an emoji counts as two."""
    return len(text) + sum(sign > "\uffff" for sign in text)


def utf16_prefix(text: str, units: int) -> str:
    """The longest beginning of at most so many UTF-16 units. A Python character is never cut in two."""
    head = text[:units]
    while (excess := utf16_units(head) - units) > 0:
        head = head[: -((excess + 1) // 2)]  # a character has at most two units: never one too many goes
    return head


def quoted(words: object, *hidden: str) -> str:
    """A foreign server's words, fit for an error's detail: one line, shortened, without what is `hidden`.

    Hidden are our secrets, in case a server echoes them, and the recipient's address, which must be erasable.
    """
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in str(words)).split())
    for secret in sorted(filter(None, hidden), key=len, reverse=True):
        line = line.replace(secret, "***")
    return line if len(line) <= DETAIL_LENGTH else line[: DETAIL_LENGTH - 1] + "…"
