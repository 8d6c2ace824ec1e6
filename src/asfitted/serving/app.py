"""Our ASGI app: ``/invocations`` and what an operator asks; the rest stays MLflow's."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hmac
import json
import os
import re
import sys
import uuid
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from datetime import datetime, timezone
from time import perf_counter
from typing import Any

from asfitted.config import Config
from asfitted.contract import DataContract
from asfitted.errors import RecordError, RequestRefused
from asfitted.scoring import FittedModel
from asfitted.serving import metrics
from asfitted.serving.batching import Batcher, Job
from asfitted.serving.body import Body, Receive, until_gone, unzipped
from asfitted.serving.openapi import openapi
from asfitted.serving.replies import REQUEST_ID, Reply, refusal
from asfitted.serving.upkeep import Upkeep
from asfitted.wire.csv import read_csv_body
from asfitted.wire.json_body import read_json
from asfitted.wire.media import media_type
from asfitted.wire.parquet import read_parquet
from asfitted.wire.rows import Rows

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

TOKEN_VARIABLE = "ASFITTED_TOKEN"
TIMEOUT_VARIABLE = "MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT"

# Requests in work; beyond it a caller hears at once that it is too many.
MAX_REQUESTS = 512
_SWITCH_S = 0.0005
# Above this, reading the body would hold up the other connections.
_READ_INLINE_BYTES = 65_536
# For this long the rest of a body that was refused is taken and dropped.
_DRAIN_S = 10.0
_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)


class App:
    """The ASGI app that uvicorn runs.

    Parameters
    ----------
    model : FittedModel
        With a recorder.
    behind : ASGI app
        MLflow's own, for the routes that are not ours and for its lifespan.
    config : Config, optional
        Of the log, which is tended from the server's start to its end.
    """

    def __init__(self, model: FittedModel, behind: Any, config: Config | None = None) -> None:
        self.model, self.behind = model, behind
        # The event loop waits this long for a thread that computes to let go.
        sys.setswitchinterval(_SWITCH_S)
        # What is here by now stays: no collection has to look through it, which takes a
        # tenth of a second in which nobody is answered; this one too.
        gc.freeze()
        self.batcher = Batcher(model)
        self.upkeep = Upkeep(config, self.batcher.journals) if config is not None else None
        self.in_work = 0
        self.timeout_s = float(os.environ.get(TIMEOUT_VARIABLE, "60"))
        self.token = os.environ.get(TOKEN_VARIABLE, "")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or hand it on."""
        # MLflow's routes match before a line end, too: its own /invocations, behind us,
        # would answer what ours has never read.
        path = scope.get("path", "").removesuffix("\n")
        if scope["type"] == "lifespan":
            await self.behind(scope, self._tended(receive), send)
            return
        if scope["type"] != "http" or path == "/ping":
            await self.behind(scope, receive, send)
            return
        headers = _headers(scope["headers"])
        given = headers.get(REQUEST_ID, "")
        request_id = given if _ID.fullmatch(given) else uuid.uuid4().hex
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        route = (method, path)
        body = Body(receive, "expect" in headers)
        if self.token and not _is_bearer(headers.get("authorization", ""), self.token):
            # Counted, and not on record: who has no token shall not fill the disk.
            refused = RequestRefused("unauthorized", "a bearer token is needed", status=401)
            reply = _counted(refusal(refused, request_id))
        elif path == "/invocations" and method != "OPTIONS":
            reply = await self._invocations(method, headers, request_id, body)
        elif route == ("GET", "/ready"):
            reply = await asyncio.to_thread(self._ready, request_id)
        elif route == ("GET", "/contract"):
            reply = _contract(self.model.contract, headers.get("accept", ""))
        elif route == ("GET", "/openapi.json"):
            reply = Reply(200, json.dumps(openapi(self.model)).encode())
        elif route == ("GET", "/metrics"):
            exposed = await asyncio.to_thread(self._exposition)
            reply = Reply(200, exposed, {"content-type": metrics.CONTENT_TYPE})
        else:
            await self.behind(scope, receive, send)
            return
        await _send(send, reply, request_id, body)

    def _tended(self, receive: Receive) -> Receive:
        """Let the upkeep begin when the server does, and end when every answer is out."""

        async def told() -> MutableMapping[str, Any]:
            message = await receive()
            if self.upkeep is not None and message["type"] == "lifespan.startup":
                self.upkeep.start()
            elif self.upkeep is not None and message["type"] == "lifespan.shutdown":
                await asyncio.to_thread(self.upkeep.end)
            return message

        return told

    def _exposition(self) -> bytes:
        return metrics.exposition(self.model) + (self.upkeep.exposition() if self.upkeep else b"")

    async def _invocations(
        self, method: str, headers: dict[str, str], request_id: str, receive: Body
    ) -> Reply:
        started = perf_counter()
        if self.in_work >= MAX_REQUESTS:
            # Counted, and not on record: that would be more work where there is too much.
            busy = RequestRefused("overloaded", "too many requests are in work", status=503)
            reply = refusal(busy, request_id)
        else:
            self.in_work += 1
            try:
                reply = await self._answer(method, headers, request_id, receive)
            finally:
                self.in_work -= 1
        metrics.STAGES.labels("total").observe(perf_counter() - started)
        return _counted(reply)

    async def _answer(
        self, method: str, headers: dict[str, str], request_id: str, receive: Body
    ) -> Reply:
        received_at = datetime.now(timezone.utc)
        try:
            if method != "POST":
                raise RequestRefused("method_not_allowed", "rows are sent by POST", status=405)
            with metrics.STAGES.labels("read").time():
                rows = await self._read(headers, receive)
            reply: Reply = await self._wait(self.batcher.submit(rows, request_id), receive)
        except RequestRefused as error:
            await asyncio.to_thread(self._note, error, received_at, request_id)
            return refusal(error, request_id)
        except Exception as error:
            return refusal(error, request_id)
        if reply.status == 200:
            metrics.ROWS.inc(rows.n_rows)
        return reply

    async def _read(self, headers: dict[str, str], receive: Body) -> Rows:
        media, read = self._reader(headers.get("content-type", ""))
        encoding = headers.get("content-encoding", "identity").strip().lower()
        if encoding not in {"identity", "gzip", "x-gzip", ""}:
            raise RequestRefused(
                "unsupported_encoding", "the body's encoding is not read", "send gzip or none", 415
            )
        limit = self.model.contract.limits.bytes
        try:
            body = await asyncio.wait_for(receive.read(limit), self.timeout_s)
        except asyncio.TimeoutError:
            # Nor will the rest of it, so that there is nothing to drain.
            receive.ended = True
            raise RequestRefused(
                "timeout", "the body did not arrive in time", "send it faster, or less", 408
            ) from None
        if "upgrade" in headers and not body:
            # Behind such a header the server reads no body.
            raise RequestRefused(
                "upgrade", "the connection asks for another protocol", "send plain HTTP/1.1"
            )
        if encoding.endswith("gzip"):
            body = await asyncio.to_thread(unzipped, body, limit)
        # A small body of Parquet may unpack to a large one.
        if len(body) > _READ_INLINE_BYTES or "parquet" in media:
            return await asyncio.to_thread(read, body)
        return read(body)

    def _reader(self, content_type: str) -> tuple[str, Callable[[bytes], Rows]]:
        # A body without a type is what most callers that forget it send.
        media, charset = media_type(content_type.strip() or "application/json")
        if charset not in {"", "utf-8", "utf8", "us-ascii"}:
            raise RequestRefused(
                "unsupported_media_type", "the charset is not read", "send UTF-8", 415
            )
        contract = self.model.contract
        rows = contract.limits.rows
        readers: dict[str, Callable[[bytes], Rows]] = {
            "application/json": lambda body: read_json(body, contract, rows),
            "text/csv": lambda body: read_csv_body(body, contract, rows),
            "application/vnd.apache.parquet": lambda body: read_parquet(body, contract, rows),
            "application/x-parquet": lambda body: read_parquet(body, contract, rows),
        }
        read = readers.get(media)
        if read is None:
            raise RequestRefused(
                "unsupported_media_type",
                "the Content-Type is not read",
                f"send {', '.join(readers)}",
                415,
            )
        return media, read

    async def _wait(self, job: Job, receive: Body) -> Any:
        """Wait for the answer, for as long as the caller does and the timeout allows."""
        gone: asyncio.Future[Any] = asyncio.ensure_future(until_gone(receive))
        ends: set[asyncio.Future[Any]] = {job.future, gone}
        try:
            await asyncio.wait(ends, timeout=self.timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if not job.future.done() and job.end():
                # Nobody else will say how it ended, and it will not be recorded as answered.
                if gone.done():
                    raise RequestRefused("client_gone", "the caller went away", status=499)
                raise RequestRefused(
                    "timeout", "the answer took too long", "send fewer rows", status=504
                )
            return await job.future
        finally:
            gone.cancel()

    def _note(self, error: RequestRefused, received_at: datetime, request_id: str) -> None:
        if self.model.recorder is not None:
            self.model.recorder.refused(error, None, received_at, request_id)

    def _ready(self, request_id: str) -> Reply:
        """The model proved itself when it was loaded; what can change is the log."""
        recording = False
        try:
            if self.model.recorder is not None:
                recording = self.model.recorder.can_record()
        except RecordError as error:
            return refusal(error, request_id)
        return Reply(200, json.dumps({"ready": True, "recording": recording}).encode())


def _counted(reply: Reply) -> Reply:
    metrics.REQUESTS.labels(str(reply.status)).inc()
    if reply.code:
        metrics.REFUSALS.labels(reply.code).inc()
    return reply


def _is_bearer(given: str, token: str) -> bool:
    scheme, _, value = given.partition(" ")
    # The bytes that were sent: headers are read as Latin-1.
    sent = value.encode("latin-1")
    return scheme.lower() == "bearer" and hmac.compare_digest(sent, token.encode())


def _contract(contract: DataContract, accept: str) -> Reply:
    """Return the contract as its author wrote it, or as JSON for who prefers that."""
    vary = {"vary": "accept"}
    if "json" in accept and "yaml" not in accept:
        return Reply(200, contract.model_dump_json(exclude_unset=True).encode(), vary)
    return Reply(200, contract.to_yaml().encode(), {"content-type": "application/yaml", **vary})


def _headers(pairs: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return the headers; one that is repeated is a list, as RFC 9110 has it."""
    headers: dict[str, str] = {}
    for name, value in pairs:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers


async def _send(send: Send, reply: Reply, request_id: str, body: Body) -> None:
    headers = {
        "content-type": "application/json",
        "content-length": str(len(reply.body)),
        REQUEST_ID: request_id,
        **reply.headers,
    }
    pairs = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in headers.items()]
    await send({"type": "http.response.start", "status": reply.status, "headers": pairs})
    await send({"type": "http.response.body", "body": reply.body, "more_body": not body.ended})
    if not body.ended:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(body.drain(), _DRAIN_S)
        await send({"type": "http.response.body", "body": b""})
