"""Good, bad, slow and aborted requests at once: answered is recorded, memory stays flat."""

from __future__ import annotations

import asyncio
import json
import random
import resource
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import asfitted

if TYPE_CHECKING:
    from conftest import Serve, Server, Site

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:mlflow\..*"),
]

CONNECTIONS = 64
# What the allocator and the caches take until they have seen everything once.
WARM_UP = 0.3
GROWTH_MB = 40
# 499 is what a caller that went away is on record as; it hears nothing.
DECLARED = {200, 400, 413, 415, 422, 503}


@dataclass
class Seen:
    """What the callers saw: (order of the first row, status); None where they left."""

    answers: dict[str, int | None] = field(default_factory=dict)
    statuses: Counter[int | None] = field(default_factory=Counter)
    rss_mb: list[float] = field(default_factory=list)


def rss_mb(server: Server) -> float:
    """The memory of the server's processes: MLflow's own command, and uvicorn below it."""
    pages = [Path(f"/proc/{pid}/statm").read_text().split()[1] for pid in server.processes()]
    return sum(map(int, pages)) * resource.getpagesize() / 2**20


def assert_ends(server: Server) -> None:
    """The command and everything below it have ended by themselves."""
    deadline = time.monotonic() + 60
    while server.processes():
        server.process.poll()
        assert time.monotonic() < deadline, "the server goes on after SIGTERM"
        time.sleep(0.05)


def head(body: bytes, **more: str) -> bytes:
    lines = {"Host": "x", "Content-Type": "application/json", "Content-Length": str(len(body))}
    lines |= {name.replace("_", "-"): value for name, value in more.items()}
    text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST /invocations HTTP/1.1\r\n{text}\r\n".encode()


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    lines = (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
    length = next(line for line in lines if line.startswith(b"content-length:"))
    return int(lines[0].split()[1]), await reader.readexactly(int(length.split(b":")[1]))


class Caller:
    """One connection that sends one request after the other, of all kinds."""

    def __init__(self, site: Site, server: Server, number: int, seen: Seen, name: str) -> None:
        self.site, self.server, self.seen = site, server, seen
        self.number, self.name = number, name
        self.random = random.Random(number)
        self.turn = 0

    def body(self) -> tuple[str, bytes]:
        self.turn += 1
        order = f"{self.name}-{self.number}-{self.turn}"
        n_rows = self.random.choice([1, 1, 1, 3, 40])
        start = self.random.randrange(500)
        rows = [
            {**row, "order": f"{order}/{i}"}
            for i, row in enumerate(self.site.rows[start : start + n_rows])
        ]
        return order, json.dumps(self.site.payload("dataframe_split", rows)).encode()

    async def run(self, until: float) -> None:
        while time.monotonic() < until:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
            try:
                for _ in range(20):
                    if time.monotonic() > until or not await self.one(reader, writer):
                        break
            finally:
                writer.close()

    async def one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Send one request; False where the connection is of no more use."""
        order, body = self.body()
        kind = self.random.choices(
            ["good", "violation", "torn", "nonsense", "type", "slow", "leaves", "leaves early"],
            [60, 8, 5, 5, 3, 8, 6, 5],
        )[0]
        more = {}
        if kind == "violation":
            body = body.replace(b'"price"', b'"prize"', 1)
        elif kind == "torn":
            body = body[: len(body) // 2]
        elif kind == "nonsense":
            body = self.random.randbytes(self.random.randrange(1, 20_000))
        elif kind == "type":
            more = {"Content_Type": "text/plain"}
        self.seen.answers[order] = None
        writer.write(head(body, **more))
        if kind == "leaves early":
            writer.write(body[:-5])
            await writer.drain()
            return False
        for part in (body[:20], body[20:]) if kind == "slow" else (body,):
            writer.write(part)
            await writer.drain()
            if kind == "slow":
                await asyncio.sleep(0.05)
        if kind == "leaves":
            return False
        status, said = await answer(reader)
        self.seen.statuses[status] += 1
        self.seen.answers[order] = status
        wanted = {"violation": 422, "torn": 400, "nonsense": 400, "type": 415}.get(kind, 200)
        assert status in {wanted, 503}, (kind, status, said[:500])
        if status == 503:
            assert json.loads(said)["code"] == "overloaded"
        return True


async def load(site: Site, server: Server, name: str, seconds: float) -> Seen:
    seen = Seen()
    until = time.monotonic() + seconds

    async def weigh() -> None:
        await asyncio.sleep(WARM_UP * seconds)
        while time.monotonic() < until:
            seen.rss_mb.append(rss_mb(server))
            await asyncio.sleep(seconds / 100)

    callers = [Caller(site, server, i, seen, name) for i in range(CONNECTIONS)]
    await asyncio.gather(weigh(), *(caller.run(until) for caller in callers))
    return seen


@pytest.mark.parametrize("seconds", [60, pytest.param(600, marks=pytest.mark.soak)])
def test_a_mixed_load(site: Site, serve: Serve, tmp_path: Path, seconds: int) -> None:
    server = serve(tmp_path)
    seen = asyncio.run(load(site, server, "mix", seconds))
    server.process.send_signal(signal.SIGTERM)
    assert_ends(server)
    assert set(seen.statuses) <= DECLARED
    assert seen.statuses[200] > 5 * seconds
    assert min(seen.statuses[s] for s in (400, 415, 422)) > 0
    found = asfitted.read_log(server.log)
    on_record = [keys["order"] for keys in found["keys"]]
    assert len(set(on_record)) == len(on_record), "a row is on record twice"
    requests = {order.partition("/")[0] for order in on_record}
    answered = {order for order, status in seen.answers.items() if status == 200}
    assert not answered - requests, "an answer is not on record"
    refused = {order for order, status in seen.answers.items() if status not in {200, None}}
    assert not refused & requests, "a refused request is on record as answered"
    # Who left may have been answered into the void; that is on record then.
    assert requests - answered <= set(seen.answers) - refused
    refusals = asfitted.read_log(server.log, refused=True)["code"].value_counts()
    assert refusals.sum() >= sum(seen.statuses[s] for s in (400, 415, 422))
    assert refusals["client_gone"] > 0
    quarter = len(seen.rss_mb) // 4
    early, late = (sorted(part)[quarter // 2] for part in _ends(seen.rss_mb, quarter))
    print(seen.statuses, early, late)
    assert late - early < GROWTH_MB, [round(mb) for mb in seen.rss_mb]


def _ends(values: list[float], n: int) -> tuple[list[float], list[float]]:
    return values[:n], values[-n:]


def test_sigterm_drains(site: Site, serve: Serve, tmp_path: Path) -> None:
    server = serve(tmp_path)
    bodies = {
        f"drain-{i}": site.payload(
            "inputs", [{**row, "order": f"drain-{i}/{k}"} for k, row in enumerate(site.rows)]
        )
        for i in range(24)
    }

    async def ask(order: str, first: asyncio.Event) -> tuple[int, Any]:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        body = json.dumps(bodies[order]).encode()
        writer.write(head(body) + body)
        await writer.drain()
        status, said = await answer(reader)
        first.set()
        writer.close()
        return status, json.loads(said)

    async def drain() -> list[tuple[int, Any]]:
        first = asyncio.Event()
        asked = [asyncio.ensure_future(ask(order, first)) for order in bodies]
        await first.wait()
        server.process.send_signal(signal.SIGTERM)
        return await asyncio.gather(*asked)

    got = asyncio.run(drain())
    assert_ends(server)
    assert [status for status, _ in got] == [200] * len(bodies)
    for _, said in got:
        assert site.bits(said["predictions"]) == site.bits(site.expected)
    found = asfitted.read_log(server.log)
    assert len(found) == len(bodies) * len(site.rows)
    assert found["prediction_id"].is_unique


def test_hostile_bodies_leave_no_memory_behind(site: Site, serve: Serve, tmp_path: Path) -> None:
    server = serve(tmp_path)
    bodies = [
        b"[" * 100_000,
        b"\0" * 2_000_000,
        b'{"inputs": [' + b'{"a":1},' * 60_000 + b"{}]}",
        b'{"inputs": {"' + b"x" * 1_000_000 + b'": [1]}}',
        b'{"dataframe_split": {"columns": ["a"], "data": ' + b"[[1]," * 50_000 + b"[1]]}}",
        b"\xff" * 500_000,
    ]

    def rounds(n: int) -> float:
        for _ in range(n):
            for body in bodies:
                status, said = server.ask(body)
                assert 400 <= status < 500
                assert len(said) < 4096
        return rss_mb(server)

    early = rounds(15)
    late = rounds(30)
    assert late - early < GROWTH_MB


def test_a_large_request_keeps_nobody_waiting(site: Site, serve: Serve, tmp_path: Path) -> None:
    server = serve(tmp_path)
    n_rows = 40_000
    rows = [
        {**site.rows[i % len(site.rows)], "order": f"large/{i}", "note": "late"}
        for i in range(n_rows)
    ]
    large = json.dumps(site.payload("dataframe_split", rows)).encode()
    small = json.dumps(site.payload("inputs", [{**site.rows[0], "order": "small/0"}])).encode()

    async def ask(request: bytes) -> tuple[int, bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(request)
        await writer.drain()
        try:
            return await answer(reader)
        finally:
            writer.close()

    async def both() -> tuple[int, int, int]:
        work = asyncio.ensure_future(ask(head(large) + large))
        pings = smalls = 0
        while not work.done():
            status, _ = await ask(b"GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert status == 200
            pings += not work.done()
            if pings % 5 == 0:
                assert (await ask(head(small) + small))[0] == 200
                smalls += not work.done()
        status, said = await work
        assert len(json.loads(said)["predictions"]) == n_rows
        return status, pings, smalls

    status, pings, smalls = asyncio.run(both())
    assert status == 200
    assert pings > 50
    assert smalls > 10
    orders = asfitted.read_log(server.log)["keys"].map(lambda keys: keys["order"])
    assert orders.str.startswith("large/").sum() == n_rows
    assert orders[orders.str.startswith("large/")].is_unique
