"""What a caller can do to the app with headers, paths, and a body that comes as it likes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import Any

import pytest

from asfitted.serving import app as module
from asfitted.serving.app import App

ROWS = json.dumps({"dataframe_records": [{"id": "k1", "a": 0.25, "c": "x"}]}).encode()
JSON = ("content-type", "application/json")


class Caller:
    """One request, part by part; the last one may never come."""

    def __init__(self, parts: Iterable[bytes], ends: bool = True) -> None:
        parts = list(parts)
        self.messages = [
            {"type": "http.request", "body": part, "more_body": not ends or i + 1 < len(parts)}
            for i, part in enumerate(parts)
        ]
        self.sent: list[Any] = []

    async def receive(self) -> Any:
        await asyncio.sleep(0)
        if self.messages:
            return self.messages.pop(0)
        # Long beyond any patience that the tests set.
        await asyncio.sleep(10)
        raise AssertionError("what never comes was waited for")

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    def ask(
        self, app: App, *headers: tuple[str, str], method: str = "POST", path: str = "/invocations"
    ) -> tuple[int, str]:
        """Return status and code, "" for an answer."""
        pairs = [(name.encode(), value.encode()) for name, value in headers]
        scope = {"type": "http", "method": method, "path": path, "headers": pairs}
        asyncio.run(app(scope, self.receive, self.send))
        body = b"".join(message["body"] for message in self.sent[1:])
        assert [message.get("more_body", False) for message in self.sent[1:]][-1] is False
        assert len(body) == int(dict(self.sent[0]["headers"])[b"content-length"])
        said = json.loads(body) if body[:1] == b"{" else {}
        return self.sent[0]["status"], said.get("code", "")


@pytest.mark.parametrize(
    ("name", "values", "answer"),
    [
        ("content-type", ["text/csv", "application/json"], (415, "unsupported_media_type")),
        ("content-encoding", ["br", "identity"], (415, "unsupported_encoding")),
        ("content-encoding", ["gzip", "gzip"], (415, "unsupported_encoding")),
        ("x-request-id", ["a", "b"], (200, "")),
    ],
)
def test_a_repeated_header_is_a_list(
    app: App, name: str, values: list[str], answer: tuple[int, str]
) -> None:
    headers = [JSON] if name != "content-type" else []
    caller = Caller([ROWS])
    assert caller.ask(app, *headers, *((name, value) for value in values)) == answer
    assert dict(caller.sent[0]["headers"])[b"x-request-id"] not in {b"a", b"b"}


def test_a_repeated_token_is_none(app: App) -> None:
    app.token = "right"
    twice = [("authorization", "Bearer right")] * 2
    assert Caller([ROWS]).ask(app, JSON, *twice) == (401, "unauthorized")
    assert Caller([ROWS]).ask(app, JSON, twice[0]) == (200, "")


def test_a_line_end_after_the_path_does_not_lead_behind_the_app(app: App) -> None:
    assert Caller([ROWS]).ask(app, JSON, path="/invocations\n") == (200, "")
    assert Caller([b"{}"]).ask(app, JSON, path="/invocations\n") == (400, "no_payload")


@pytest.mark.parametrize("path", ["/ready", "/contract", "/metrics", "/openapi.json"])
def test_head_is_get(app: App, path: str) -> None:
    answers = [Caller([b""]).ask(app, method=method, path=path) for method in ("HEAD", "GET")]
    assert answers == [(200, "")] * 2


def test_a_body_that_does_not_come(app: App) -> None:
    app.timeout_s = 0.05
    caller = Caller([ROWS[:9]], ends=False)
    assert caller.ask(app, JSON) == (408, "timeout")
    # Nor is its rest waited for.
    assert len(caller.sent) == 2
    assert app.in_work == 0


@pytest.mark.parametrize(
    ("headers", "answer"),
    [
        ([JSON], (413, "body_too_large")),
        ([("content-type", "a/b")], (415, "unsupported_media_type")),
    ],
)
def test_the_rest_of_a_refused_body_is_taken(
    app: App, headers: list[tuple[str, str]], answer: tuple[int, str]
) -> None:
    """A server that closes while its caller still sends is not heard."""
    caller = Caller([b"[" * 1_000] * 100)
    assert caller.ask(app, *headers) == answer
    assert caller.messages == []


def test_it_is_not_taken_for_ever(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_DRAIN_S", 0.05)
    caller = Caller([b"[" * 1_000] * 30, ends=False)
    assert caller.ask(app, JSON) == (413, "body_too_large")
    assert app.in_work == 0


def test_who_waits_for_a_go_ahead_gets_none_with_a_refusal(app: App) -> None:
    caller = Caller([ROWS])
    refused = caller.ask(app, ("content-type", "a/b"), ("expect", "100-continue"))
    assert refused == (415, "unsupported_media_type")
    assert len(caller.messages) == 1, "asking for the body is what sends the 100"
    assert Caller([ROWS]).ask(app, JSON, ("expect", "100-continue")) == (200, "")
