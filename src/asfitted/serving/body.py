"""The body of a request: bounded while it streams in, and once it is unzipped."""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from asfitted.errors import RequestRefused

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class Body:
    """The body of a request as it streams in.

    Who waits for a 100 Continue sends nothing before it: there is nothing to drain.
    """

    def __init__(self, receive: Receive, waits: bool) -> None:
        self._receive = receive
        self.ended = waits

    async def __call__(self) -> MutableMapping[str, Any]:
        message = await self._receive()
        self.ended = message["type"] == "http.disconnect" or not message.get("more_body")
        return message

    async def read(self, limit: int) -> bytes:
        """Return it; refuse it while it streams in, not after."""
        parts: list[bytes] = []
        size = 0
        while True:
            message = await self()
            if message["type"] == "http.disconnect":
                raise RequestRefused("client_gone", "the caller went away", status=499)
            part = message.get("body", b"")
            size += len(part)
            if size > limit:
                raise _too_large(limit)
            parts.append(part)
            if self.ended:
                return b"".join(parts)

    async def drain(self) -> None:
        """Drop the rest: a connection closed before its end would take the reply along."""
        while not self.ended:
            await self()


def _too_large(limit: int) -> RequestRefused:
    return RequestRefused(
        "body_too_large", f"the body is larger than {limit} bytes", "send fewer rows", 413
    )


def unzipped(body: bytes, limit: int) -> bytes:
    """Return what a gzip body holds.

    Raises
    ------
    RequestRefused
        Where it is not one whole gzip stream, or holds more than `limit` bytes.
    """
    unzip = zlib.decompressobj(wbits=31)
    try:
        plain = unzip.decompress(body, limit + 1)
    except zlib.error:
        raise RequestRefused("bad_encoding", "the body is not gzip") from None
    if len(plain) > limit:
        raise _too_large(limit)
    if not unzip.eof or unzip.unused_data:
        raise RequestRefused("bad_encoding", "the body is not one whole gzip stream")
    return plain


async def until_gone(receive: Body) -> None:
    """Return when the caller went away."""
    while (await receive())["type"] != "http.disconnect":
        pass
