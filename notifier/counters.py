"""Counters with a limit over a sliding window, shared by all processes through Redis, and this process's own where
there is none.

A window moves on in parts, a fiftieth of it each. What was counted leaves with its part, at most the length of the
window later: who keeps to a limit is never refused, and who waits as long as he is told finds room.
"""

import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from threading import Lock
from typing import Any

import redis
from django.conf import settings

log = logging.getLogger(__name__)

PARTS = 50
"""Of a window."""

ANSWER_SECONDS = 0.5
"""How long Redis may take. A limit is worth no more of a client's time."""

AT_ONCE = 1000
"""Counts in one trip: 1,000 hold Redis up for 3 ms, and 30,000 would for so long that it seems to be away."""

LEFT_ALONE = 5.0
"""Seconds for which a Redis that failed is not asked."""


@dataclass(frozen=True, slots=True)
class Count:
    """`number` more of what `name` stands for, of which any span of so many seconds has room for `most`."""

    name: str
    number: int
    most: int
    seconds: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of counts that were to be taken together."""

    left: int
    """For more of the first one, where it is the only one."""
    refused: Count | None = None
    """The one that has to wait longest. None: all are counted."""
    wait: float = 0.0
    """Seconds until this one has room, if nobody else takes it; its whole window where it can never have."""


def take(counts: Sequence[Count]) -> Answer:
    """Count all of these, or none where one is over its limit. Each has a name of its own.

    Never fails: while Redis is away each process counts by itself, from nothing.
    """
    return _ask(counts)


def give_back(counts: Sequence[Count]) -> None:
    """What was taken did not come to be."""
    _ask([replace(count, number=-count.number) for count in counts])


def forget() -> None:
    """Begin anew, in this process."""
    _own.forget()
    _redis.forget()
    _script.cache_clear()


def _ask(counts: Sequence[Count]) -> Answer:
    script = _script()
    keys = [_key(count) for count in counts]
    if script is not None and _redis.may_be_asked():
        try:
            answer = _ask_redis(script, keys, counts)
        except (redis.RedisError, OSError) as error:
            _redis.failed(error)
        else:
            _redis.answered()
            return answer
    return _own.ask(keys, counts)


def _key(count: Count) -> bytes:
    """Keyed: addresses of people are counted, and short of the secret key nobody can guess them from it."""
    text = f"{count.name}:{count.seconds}".encode()
    return hashlib.blake2b(text, key=_pepper(settings.SECRET_KEY), digest_size=16).digest()


@lru_cache(1)
def _pepper(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


# --- Redis -----------------------------------------------------------------------------------------------------------

_LUA = """
-- A key holds its parts as `number:size`, oldest first; an argument is `number most seconds`. All are looked at, then
-- all are written, unless the last argument is `look`. By the clock of Redis: those of the processes differ.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local function current(known, part)
  local parts, used = {}, 0
  if not known then return parts, used end
  for number, size in string.gmatch(known, '(%d+):(%d+)') do
    if math.abs(part - number) < PARTS then
      parts[#parts + 1] = {tonumber(number), tonumber(size)}
      used = used + size
    end
  end
  return parts, used
end

local function wait(parts, short, width)
  for _, part in ipairs(parts) do
    short = short - part[2]
    if short <= 0 then return math.min(part[1] - math.floor(now / width) + PARTS, PARTS) * width - now % width end
  end
  return PARTS * width
end

local function add(parts, part, number)
  if number > 0 and (#parts == 0 or parts[#parts][1] < part) then parts[#parts + 1] = {part, 0} end
  for i = #parts, 1, -1 do
    local change = math.max(number, -parts[i][2])
    parts[i][2] = parts[i][2] + change
    number = number - change
  end
end

local function text(parts)
  if #parts == 1 then return string.format('%d:%d', parts[1][1], parts[1][2]) end
  local words = {}
  for i, part in ipairs(parts) do words[i] = string.format('%d:%d', part[1], part[2]) end
  return table.concat(words, ' ')
end

local texts, spans, refused, longest, before, after = {}, {}, 0, 0, 0, 0
local said, number, most, seconds, width, part
for at, key in ipairs(KEYS) do
  if ARGV[at] ~= said then
    said = ARGV[at]
    number, most, seconds = string.match(said, '^(-?%d+) (%d+) (%d+)$')
    number, width = tonumber(number), seconds * 1000000 / PARTS
    part = math.floor(now / width)
  end
  local parts, used = current(redis.call('GET', key), part)
  local short = used + number - most
  if at == 1 then before, after = math.max(0, most - used), math.max(0, -short) end
  if short > 0 and number > 0 then
    local needed = wait(parts, short, width)
    if needed > longest then refused, longest = at, needed end
  elseif refused == 0 then
    add(parts, part, number)
    texts[at], spans[at] = text(parts), seconds
  end
end
if refused > 0 or ARGV[#ARGV] == 'look' then return {refused, math.ceil(longest), before} end
for at, key in ipairs(KEYS) do redis.call('SETEX', key, spans[at], texts[at]) end
return {0, 0, after}
"""


def _ask_redis(script: Any, keys: Sequence[bytes], counts: Sequence[Count]) -> Answer:
    """In several trips where they are many. Once one is refused, the others are only looked at, for the longest wait,
    and what was taken before is given back."""
    taken, refused, wait, lefts = 0, None, 0, []
    for start in range(0, len(counts), AT_ONCE):
        some = counts[start : start + AT_ONCE]
        names = [f"notifier:count:{key.hex()}" for key in keys[start : start + AT_ONCE]]
        said = [f"{count.number} {count.most} {count.seconds}" for count in some]
        at, micros, left = script(names, [*said, "look" if refused else "take"])
        lefts.append(left)
        if micros > wait:
            refused, wait = some[at - 1], micros
        if refused is None:
            taken += len(some)
    if refused is not None and taken:
        _ask_redis(script, keys[:taken], [replace(count, number=-count.number) for count in counts[:taken]])
    return Answer(lefts[0], refused, wait / 1e6)


@cache
def _script() -> Any:
    """None: there is no Redis."""
    if not settings.REDIS_URL:
        return None
    client = redis.Redis.from_url(
        settings.REDIS_URL,
        socket_timeout=ANSWER_SECONDS,
        socket_connect_timeout=ANSWER_SECONDS,
        retry=None,
        protocol=2,  # 3 begins with a greeting, one more answer to wait for
        driver_info=None,
    )
    return client.register_script(f"local PARTS = {PARTS}{_LUA}")


_WELL = float("-inf")


class _Redis:
    """Whether it is worth asking."""

    def __init__(self) -> None:
        self._again_at = _WELL
        self._turn = Lock()

    def may_be_asked(self) -> bool:
        """While it fails, only once in a while, and by one caller."""
        if self._again_at == _WELL:
            return True
        with self._turn:
            now = time.monotonic()
            if now < self._again_at:
                return False
            self._again_at = now + LEFT_ALONE
            return True

    def failed(self, error: Exception) -> None:
        """Just now."""
        with self._turn:
            was_well, self._again_at = self._again_at == _WELL, time.monotonic() + LEFT_ALONE
        if was_well:
            log.warning("Redis does not count; each process counts by itself until it does. %s", type(error).__name__)

    def answered(self) -> None:
        """Just now."""
        if self._again_at != _WELL:
            self._again_at = _WELL
            log.info("Redis counts again.")

    def forget(self) -> None:
        """Begin anew."""
        self._again_at = _WELL


_redis = _Redis()


# --- This process ----------------------------------------------------------------------------------------------------
Parts = list[tuple[int, int]]
"""What the parts of a window hold, by their numbers, oldest first."""


class _OwnCounters:
    """As the script in Redis, by this process's clock."""

    MOST = 100_000
    """Windows, after which those that were not asked for longest are forgotten: some 30 MB."""

    def __init__(self) -> None:
        self._windows: OrderedDict[bytes, Parts] = OrderedDict()
        self._turn = Lock()

    def ask(self, keys: Sequence[bytes], counts: Sequence[Count]) -> Answer:
        """Count all of these, or none."""
        with self._turn:
            now = time.monotonic_ns()
            found = [_current(self._windows.get(key, []), count, now) for key, count in zip(keys, counts, strict=True)]
            left = counts[0].most - _used(found[0])
            short = [_used(parts) + count.number - count.most for parts, count in zip(found, counts, strict=True)]
            waits = [
                (_wait(parts, over, count, now), at)
                for at, (parts, over, count) in enumerate(zip(found, short, counts, strict=True))
                if over > 0 and count.number > 0
            ]
            if waits:
                wait, at = max(waits)
                return Answer(max(0, left), counts[at], wait / 1e9)
            for key, parts, count in zip(keys, found, counts, strict=True):
                self._windows[key] = _with(parts, count, now)
                self._windows.move_to_end(key)
            while len(self._windows) > self.MOST:
                self._windows.popitem(last=False)
            return Answer(max(0, left - counts[0].number))

    def forget(self) -> None:
        """Begin anew."""
        with self._turn:
            self._windows.clear()


def _width(count: Count) -> int:
    """Of a part, in nanoseconds."""
    return count.seconds * 1_000_000_000 // PARTS


def _current(parts: Parts, count: Count, now: int) -> Parts:
    part = now // _width(count)
    return [known for known in parts if part - known[0] < PARTS]


def _used(parts: Parts) -> int:
    return sum(size for _number, size in parts)


def _wait(parts: Parts, short: int, count: Count, now: int) -> int:
    """Nanoseconds until so much has left."""
    for number, size in parts:
        short -= size
        if short <= 0:
            return (number + PARTS) * _width(count) - now
    return count.seconds * 1_000_000_000


def _with(parts: Parts, count: Count, now: int) -> Parts:
    """These and the number that is counted now; one that is given back is taken from the newest."""
    number, part = count.number, now // _width(count)
    if number > 0:
        same = parts[-1][1] if parts and parts[-1][0] == part else 0
        return [*(parts[:-1] if same else parts), (part, same + number)]
    remaining = []
    for known, size in reversed(parts):
        change = max(number, -size)
        number -= change
        if size + change:
            remaining.append((known, size + change))
    return remaining[::-1]


_own = _OwnCounters()
