"""Time for an answer, given where one is meant to come."""

from datetime import timedelta
from typing import Self


class Patience(timedelta):
    """Half a minute, or the `span` that a test sets: little where a server is silent on purpose, and only there.

    It may be changed between two messages, and the account that has it stays the same account. Its parts stay those of
    half a minute: the silent ones are connected to all the same.
    """

    span = 30.0

    def __new__(cls) -> Self:
        return super().__new__(cls, seconds=30)

    def total_seconds(self) -> float:
        """The span of now."""
        return self.span
