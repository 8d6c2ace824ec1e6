"""A closed loop of keep-alive connections: each sends when it has its answer."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np
import uvloop


@dataclass
class Measured:
    """What one loop saw; times in milliseconds."""

    seconds: float = 0.0
    ms: list[float] = field(default_factory=list)
    failed: int = 0

    @property
    def per_s(self) -> float:
        return len(self.ms) / self.seconds

    def percentile(self, q: float) -> float:
        return float(np.percentile(self.ms, q)) if self.ms else float("nan")


def drive(port: int, bodies: list[bytes], connections: int, seconds: float) -> Measured:
    """Send `bodies` in turn over `connections` connections for `seconds`."""
    return uvloop.run(_drive(port, bodies, connections, seconds))


async def _drive(port: int, bodies: list[bytes], connections: int, seconds: float) -> Measured:
    measured = Measured()
    started = perf_counter()
    requests = [request(port, body) for body in bodies]
    await asyncio.gather(
        *(_caller(port, requests, i, started + seconds, measured) for i in range(connections))
    )
    measured.seconds = perf_counter() - started
    return measured


def request(port: int, body: bytes, path: str = "/invocations") -> bytes:
    """Return a POST of JSON as it goes over the wire."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def _caller(
    port: int, requests: list[bytes], first: int, until: float, measured: Measured
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    turn = first
    try:
        while perf_counter() < until:
            sent = perf_counter()
            writer.write(requests[turn % len(requests)])
            status = await answer(reader)
            if status == 200:
                measured.ms.append(1000 * (perf_counter() - sent))
            else:
                measured.failed += 1
            turn += 1
    finally:
        writer.close()


async def answer(reader: asyncio.StreamReader) -> int:
    """Read one response to its end; return its status."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    lengths = [line for line in lines if line.startswith(b"content-length:")]
    await reader.readexactly(int(lengths[0].split(b":")[1]))
    return int(lines[0].split()[1])
