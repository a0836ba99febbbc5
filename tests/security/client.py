"""A program with an API key that keeps every answer it got."""

import json
from typing import Any

import requests

SECONDS = 30


class Client:
    """Speaks to a real web process; `answers` holds status, headers and body of all that came back."""

    def __init__(self, page: str, key: str = "") -> None:
        self.page, self.key = page, key
        self.answers: list[str] = []

    def get(self, path: str, **more: Any) -> requests.Response:
        """GET it."""
        return self.call("GET", path, **more)

    def post(self, path: str, body: Any = None, **more: Any) -> requests.Response:
        """POST this as JSON; bytes and texts as they are."""
        content = body if isinstance(body, bytes | str) else json.dumps({} if body is None else body)
        data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
        return self.call("POST", path, data=data, **more)

    def call(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, keep: bool = True, **more: Any
    ) -> requests.Response:
        """Any request. `keep` False: what comes back holds a secret rightly."""
        asked = {"Content-Type": "application/json", "Authorization": f"Bearer {self.key}", **(headers or {})}
        answer = requests.request(
            method, f"{self.page}{path}", headers=asked, timeout=SECONDS, allow_redirects=False, **more
        )
        if keep:
            self.answers.append(f"{answer.status_code} {dict(answer.headers)}\n{answer.text}")
        return answer
