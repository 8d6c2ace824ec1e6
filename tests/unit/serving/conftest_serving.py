"""The ASGI app called as uvicorn calls it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from asfitted.serving.app import App


async def call(
    app: App,
    body: Any = None,
    *,
    method: str = "POST",
    path: str = "/invocations",
    gone_after: asyncio.Event | None = None,
    **headers: str,
) -> tuple[int, dict[str, str], Any]:
    """Send one request; return status, headers and the body, read where it is JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {"content-type": "application/json"}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    # In two parts, as a body may come.
    half = len(content) // 2
    parts = [(content[:half], True), (content[half:], False)]
    sent: list[Any] = []

    async def receive() -> Any:
        if parts:
            part, more = parts.pop(0)
            return {"type": "http.request", "body": part, "more_body": more}
        if gone_after is None:
            await asyncio.Event().wait()
        else:
            await gone_after.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "headers": [(k.encode(), v.encode("latin-1")) for k, v in given.items()],
    }
    await app(scope, receive, send)
    got = {k.decode(): v.decode() for k, v in sent[0]["headers"]}
    text = sent[1]["body"]
    return sent[0]["status"], got, json.loads(text) if text[:1] in b"{[" else text
