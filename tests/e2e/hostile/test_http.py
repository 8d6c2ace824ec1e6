"""What HTTP itself allows a caller to do, byte by byte: each ends soon, small and clean."""

from __future__ import annotations

import json
import re
import socket
from typing import Any

import pytest

pytestmark = pytest.mark.e2e

ROW = {"order": "o", "shop": 1, "price": 2.5}
GOOD = json.dumps({"dataframe_records": [ROW]}).encode()


@pytest.fixture(scope="module")
def server(serve_for_module: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return serve_for_module(
        tmp_path_factory.mktemp("http"),
        variables={"MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT": "2"},
    )


def exchange(port: int, *parts: bytes) -> bytes:
    """Send bytes; return all that comes back until the other side closes."""
    got = b""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        try:
            for part in parts:
                connection.sendall(part)
            while piece := connection.recv(65_536):
                got += piece
        except ConnectionError:
            # Closed before all was taken: what came before that counts.
            pass
    return got


def head(line: str = "POST /invocations HTTP/1.1", length: int | None = 0, **more: str) -> bytes:
    headers = {"Host": "x", "Content-Type": "application/json", "Connection": "close"}
    if length is not None:
        headers["Content-Length"] = str(length)
    headers |= {name.replace("_", "-"): value for name, value in more.items()}
    lines = [line, *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


def status(reply: bytes) -> int:
    assert reply.startswith(b"HTTP/1.1 "), reply[:100]
    assert not re.search(rb"Traceback|site-packages|/tmp/|\.py\b", reply)
    return int(reply.split(b" ", 2)[1])


def code(reply: bytes) -> str:
    return str(json.loads(reply.partition(b"\r\n\r\n")[2])["code"])


def is_well(server: Any) -> None:
    assert status(exchange(server.port, head(length=len(GOOD)) + GOOD)) == 200


def test_a_body_in_chunks_of_a_byte(server: Any) -> None:
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in GOOD) + b"0\r\n\r\n"
    reply = exchange(server.port, head(length=None, Transfer_Encoding="chunked") + chunks)
    assert status(reply) == 200


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_who_sends_far_too_much_hears_why(server: Any, framing: str) -> None:
    """All of it is taken, and none of it kept: a closed connection would lose the reply."""
    body = b"[" * 60_000_000
    if framing == "length":
        reply = exchange(server.port, head(length=len(body)), body)
    else:
        start = head(length=None, Transfer_Encoding="chunked") + b"%x\r\n" % len(body)
        reply = exchange(server.port, start, body, b"\r\n0\r\n\r\n")
    assert (status(reply), code(reply)) == (413, "body_too_large")
    is_well(server)


def test_a_body_that_does_not_come(server: Any) -> None:
    reply = exchange(server.port, head(length=100) + b'{"data')
    assert (status(reply), code(reply)) == (408, "timeout")
    is_well(server)


def test_who_asks_first_is_told_before_the_body(server: Any) -> None:
    asked = head(length=len(GOOD), Expect="100-continue", Content_Type="text/plain")
    assert status(exchange(server.port, asked)) == 415
    asked = head(length=len(GOOD), Expect="100-continue")
    assert b"\r\nHTTP/1.1 200 OK\r\n" in exchange(server.port, asked + GOOD)


@pytest.mark.parametrize(
    "sent",
    [
        head(length=None, Transfer_Encoding="chunked") + b"zz\r\n{}\r\n0\r\n\r\n",
        head(Content_Length="-1"),
        head(Content_Length="1e3"),
        head(X_Long="a" * 200_000),
        head("POST /invocations HTTP/9.9"),
        head("POST  /invocations"),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 300,
        b"\0" * 70_000,
        b"\r\n\r\n\r\n",
    ],
    ids=["chunk", "negative", "float", "long header", "version", "no version", "TLS", "NUL", "nil"],
)
def test_what_is_no_http(server: Any, sent: bytes) -> None:
    reply = exchange(server.port, sent) if sent.strip() else b""
    assert not reply or status(reply) == 400
    assert len(reply) < 4_096
    is_well(server)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
def test_other_methods(server: Any, method: str) -> None:
    reply = exchange(server.port, head(f"{method} /invocations HTTP/1.1", len(GOOD)) + GOOD)
    # A parser of HTTP may know only the methods that there are.
    assert status(reply) in ({400, 405} if method == "BREW" else {405})
    assert b"price" not in reply


@pytest.mark.parametrize("path", ["/ready", "/contract", "/metrics", "/openapi.json"])
def test_head_is_get_without_the_body(server: Any, path: str) -> None:
    reply = exchange(server.port, head(f"HEAD {path} HTTP/1.1"))
    assert status(reply) == 200
    assert reply.endswith(b"\r\n\r\n")
    assert b"content-length: 0\r\n" not in reply


@pytest.mark.parametrize(
    "path",
    ["//invocations", "/./invocations", "/INVOCATIONS", "/invocations%00", "/invocations%0D"],
)
def test_paths_that_are_none(server: Any, path: str) -> None:
    reply = exchange(server.port, head(f"POST {path} HTTP/1.1", len(GOOD)) + GOOD)
    assert status(reply) == 404
    assert len(reply) < 4_096


def test_a_line_end_after_the_path_leads_to_no_other_server(server: Any) -> None:
    bad = json.dumps({"dataframe_records": [{**ROW, "price": "2.5"}]}).encode()
    reply = exchange(server.port, head("POST /invocations%0A HTTP/1.1", len(bad)) + bad)
    assert (status(reply), code(reply)) == (422, "contract_violation")
