"""Secrets out of text and data: by the name that stands before them, or by their own form."""

import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "***"

_NAMES = (
    r"pass(?:word|wd|phrase|code|(?![a-z]))|pwd|psw|secret|token|credential|cookie|signature|authorization|auth_data"
    r"|(?:api|access|private|encryption|signing)[_-]?(?:key|id)|session_?(?:key|id)|sentry_dsn"
)
# What tells cheaply that nothing of the expression below can match; each of its branches needs one of these.
_HINTS = (
    *("pass", "pwd", "psw", "secret", "token", "credential", "cookie", "signature", "auth", "api", "access"),
    *("private", "encryption", "signing", "session", "dsn", "ntf_", "whsec_", "bearer", "://", ":aa", "/bot"),
    *("pbkdf2", "argon2", "bcrypt", "scrypt", "detail:", "context:"),
)
_NAMED = re.compile(_NAMES, re.IGNORECASE)
# Every repetition is bounded, or can never fail behind what it has read: the time is linear, whatever the text.
_SECRETS = re.compile(
    rf"""
    # PostgreSQL shows whole rows there; a value may have several lines, so it ends where a traceback goes on
    (?P<row> (?-i: (?<![A-Z_]) (?: DETAIL | CONTEXT ) ) : [ ]{{0,2}}+ )
      (?s: (?! \n\n (?: The[ ]above[ ]exception | During[ ]handling[ ]of ) ) . )*+
    # headers of many parts
    | (?P<parts> (?: authorization | cookie ) [\w-]{{0,40}}+ \s{{0,8}}+ [:=] \s{{0,8}}+ )
      (?! b?\\{{0,8}}["'] | [\[({{] | \*{{3}} [,;)\]}}] ) [^\n]++
    # name=value, 'name': 'value', \"name\": \"value\", name=[values], Name: Scheme value, ('name', 'value')
    | (?P<named> (?:{_NAMES}) [\w-]{{0,40}}+
        (?: (?: \\{{0,8}}+["'] )?+ \s{{0,8}}+ (?: => | [:=] | %3[AD] )
          | \\{{0,8}}+["'] \s{{0,8}}+ , (?= \s{{0,8}}+ b?\\{{0,8}}["'] ) ) \s{{0,8}}+ )
    (?: b?(?P<quote>\\{{0,8}}+["']) (?: (?!(?<!\\)(?P=quote)) [^\n] )*+ (?P<unquote>(?P=quote))?+
      | \*{{3}} (?![^\s,;)\]}}])
      | [\[({{] [^\])}}\n]*+ [\])}}]?+
      | [a-z]{{4}} (?: [ ][a-z]{{4}} ){{3}} (?!\S)  # Gmail's app passwords
      | (?: (?:bearer|basic|digest|token) \s++ )?+ \S*+ )
    # --name value
    | (?P<option> (?<![\w-]) -- (?: (?!{_NAMES}) [\w-] ){{0,40}}+ (?:{_NAMES}) [\w-]{{0,40}}+ [ ]{{1,8}}+ )
      (?!--) (?: "[^"\n]*+"?+ | '[^'\n]*+'?+ | \S++ )
    # <name>value</name>
    | (?P<element> < (?: (?!{_NAMES}) [\w:.-] ){{0,40}}+ (?:{_NAMES}) [\w:.-]{{0,40}}+ (?: \s [^<>\n]{{0,256}}+ )?+ > )
      (?: <!\[CDATA\[ )?+ [^<]++
    | (?P<scheme> \b bearer \s{{1,8}}+ ) [\w.~+/=-]{{8,}}+
    | (?P<smtp> \b auth \s{{1,8}}+ (?: plain | login | xoauth2 | cram-md5 ) \s{{1,8}}+ ) \S++
    # the service's own, of which the beginning is no secret
    | (?P<key> ntf_(?:live|test)_[a-z0-9]{{8}} ) _ [\w-]++
    | (?P<webhook> whsec_ ) [\w+/=%-]++
    # Telegram's bots
    | (?P<bot> /bot\d{{1,16}}+ (?: : | %3A ) ) [\w-]++
    | (?<!\d) \d{{5,16}}+ :AA [\w-]{{20,}}+
    # user and password of a URL; also one that is not escaped, but not a host with its port
    | (?P<login> :// [^\s/?\#:@"'\[]{{0,256}}+ : (?! (?<!//:) \d{{1,5}}+ [/?\#] ) ) [^\s"']{{0,256}} @
    | (?P<address> :// (?: [^\s/?\#:@"']{{0,256}}+ : )?+ ) [^\s/?\#"']*@
    # Django's digests of passwords
    | (?P<digest> (?: pbkdf2_\w{{1,16}} | argon2 | bcrypt\w{{0,16}} | scrypt ) \$ ) [^\s"',)]++
    """,
    re.IGNORECASE | re.VERBOSE,
)
_KEPT = (
    *("row", "parts", "named", "option", "element", "scheme", "smtp"),
    *("key", "webhook", "bot", "login", "address", "digest"),
)


def scrubbed(text: str) -> str:
    """The text without its secrets."""
    lowered = text.lower()
    if not any(hint in lowered for hint in _HINTS):
        return text
    return _SECRETS.sub(_without, text)


def _without(match: re.Match[str]) -> str:
    parts = match.groupdict()
    before = next((parts[name] for name in _KEPT if parts[name] is not None), "")
    quote, unquote = parts["quote"] or "", parts["unquote"] or ""
    of_a_url = parts["login"] is not None or parts["address"] is not None
    return f"{before}{quote}{HIDDEN}{unquote}{'@' if of_a_url else ''}"


def names_a_secret(name: Any) -> bool:
    """Whether what goes by this name must not be shown."""
    if isinstance(name, bytes):
        name = name.decode("latin-1")
    return isinstance(name, str) and _NAMED.search(name) is not None


def without_secrets(value: Any, depth: int = 8) -> Any:
    """The same data, with everything hidden that goes by the name of a secret, and with its texts scrubbed.

    Sets come back as lists. Other objects are returned as they are.
    """
    if isinstance(value, str):
        return scrubbed(value)
    if isinstance(value, bytes | bytearray):
        return scrubbed(value.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
    if depth == 0 and isinstance(value, Mapping | list | tuple | set | frozenset):
        return HIDDEN
    if isinstance(value, Mapping):
        return {
            name: HIDDEN if names_a_secret(name) else without_secrets(inner, depth - 1) for name, inner in value.items()
        }
    if isinstance(value, tuple) and len(value) == 2 and names_a_secret(value[0]):
        return (value[0], HIDDEN)
    if isinstance(value, list | tuple | set | frozenset):
        shown = [without_secrets(inner, depth - 1) for inner in value]
        return tuple(shown) if isinstance(value, tuple) else shown
    return value
