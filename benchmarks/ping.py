"""How long `/ping` and a small request take while the largest allowed request is in work.

python benchmarks/ping.py
"""

from __future__ import annotations

import http.client
import json
import tempfile
import threading
import time
from pathlib import Path

import serving_model
from servers import Server, start

ROWS = 100_000


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="asfitted-bench-") as name:
        folder = Path(name)
        serving_model.save(folder, ["logistic"])
        one = serving_model.body(1)
        big = largest()
        for which in ("mlflow", "asfitted"):
            server = start(which, folder / f"logistic-{which}", 1, folder, one)
            try:
                print(f"{which}: {measure(server, big, one)}")
            finally:
                server.stop()


def largest() -> bytes:
    """Return a body of 100,000 rows."""
    split = json.loads(serving_model.body(serving_model.ROWS))["dataframe_split"]
    split["data"] = split["data"] * (ROWS // serving_model.ROWS)
    return json.dumps({"dataframe_split": split}).encode()


def measure(server: Server, big: bytes, one: bytes) -> str:
    """Return what a person reads: the big request's time, and the slowest of the others."""
    done = threading.Event()
    said = {}

    def send() -> None:
        started = time.perf_counter()
        said["status"] = ask(server.port, "POST", "/invocations", big)
        said["seconds"] = time.perf_counter() - started
        done.set()

    thread = threading.Thread(target=send)
    thread.start()
    pings: list[float] = []
    small: list[float] = []

    def watch(times: list[float], *request: object) -> None:
        while not done.is_set():
            started = time.perf_counter()
            assert ask(server.port, *request) == 200  # type: ignore[arg-type]
            times.append(1000 * (time.perf_counter() - started))
            time.sleep(0.01)

    watchers = [
        threading.Thread(target=watch, args=(pings, "GET", "/ping")),
        threading.Thread(target=watch, args=(small, "POST", "/invocations", one)),
    ]
    for watcher in watchers:
        watcher.start()
    for each in (thread, *watchers):
        each.join()
    return (
        f"{len(big) / 1e6:.0f} MB, {ROWS:,} rows: {said['status']} after {said['seconds']:.1f} s; "
        f"meanwhile {len(pings)} pings, the slowest {max(pings):.0f} ms; "
        f"{len(small)} one-row requests, the slowest {max(small):.0f} ms"
    )


def ask(port: int, method: str, path: str, body: bytes | None = None) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        reply = connection.getresponse()
        reply.read()
        return reply.status
    finally:
        connection.close()


if __name__ == "__main__":
    main()
