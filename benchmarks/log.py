"""Appends to the journal and rows into each sink, beside the bare driver doing the same.

    python benchmarks/log.py --output benchmarks/results/log.json

A round writes the same rows through ours and through the driver alone, one after the
other, so that a busy machine slows both; what is printed are medians over the rounds
and their ratios. PostgreSQL is a real one from PyPI; without it those lines are left out.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import platform
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from asfitted.prediction_log import Batch, Journal
from asfitted.prediction_log.encode import encode
from asfitted.prediction_log.record import from_microseconds
from asfitted.prediction_log.sinks import open_sink
from asfitted.prediction_log.tables import COLUMNS, TIME_COLUMNS

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

SIZES = (1, 100, 1_000, 10_000)
WANTED = {
    ("journal against a bare fsync'd write", 1): 1 / 1.5,
    **{(name, 10_000): 0.5 for name in ("journal against sqlite3", "sqlite", "postgresql")},
    ("parquet", 10_000): 0.5,
}
INPUTS = {
    "carrier": "UA", "origin": "EWR", "dest": "IAH", "tailnum": "N14228", "distance": 1400,
    "scheduled_departure": "2013-12-06T22:40:00.000000Z", "temp": 39.02, "dewp": 26.06,
    "humid": 59.37, "wind_dir": 270.0, "wind_speed": 10.35702, "wind_gust": None, "precip": 0.0,
    "pressure": 1012.0, "visib": 10.0,
}  # fmt: skip
OUTPUTS = {"prediction": 1, "probability_0": 0.45158240043098463, "probability_1": 0.548417599569}


def batch(n_rows: int) -> Batch:
    """Return a call of `n_rows` flights."""
    # As a server gives them: JSON already.
    now, written = datetime.now(timezone.utc), json.dumps(INPUTS)
    names = ("request_id", "batch_id", "model_name", "model_version")
    return Batch(
        **dict(zip(names, ("r" * 32, "b" * 32, "flights", "3"), strict=True)),
        received_at=now,
        scored_at=now,
        model_digest="ab" * 32,
        contract_digest="cd" * 32,
        inputs=[written] * n_rows,
        outputs=[json.dumps(OUTPUTS)] * n_rows,
        findings=["[]"] * n_rows,
        keys=[f'{{"flight_id":"UA{n}-20131206-EWR"}}' for n in range(n_rows)],
        params={},
        latency_us=7001,
        source="serve",
    )


_written = iter(range(1, 2**62))


def rows_of(n_rows: int) -> list[tuple[Any, ...]]:
    """Return new rows as a journal holds them."""
    given = [name for name in COLUMNS if name not in ("writer", "sequence")]
    rows = []
    for row in encode(batch(n_rows)):
        value = {**dict(zip(given, row, strict=True)), "writer": "w" * 40}
        value["sequence"] = next(_written)
        rows.append(tuple(value[name] for name in COLUMNS))
    return rows


def fsynced(folder: Path) -> Callable[[list[Any]], None]:
    """A file that is appended to and synced: the least that durable can cost."""
    descriptor = os.open(folder / "bare", os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    def write(rows: list[Any]) -> None:
        os.write(descriptor, "".join(map(str, rows)).encode())
        os.fsync(descriptor)

    return write


def bare_sqlite(folder: Path, mode: str) -> Callable[[list[Any]], None]:
    """`sqlite3`, with the same tables, and as durable."""
    with Journal(folder / "made") as journal:
        journal.append(batch(1))
    (made,) = (folder / "made").glob("journal-*.sqlite")
    connection = sqlite3.connect(made, isolation_level=None, check_same_thread=False)
    connection.execute(f"PRAGMA journal_mode = {mode}")
    connection.execute("PRAGMA synchronous = FULL")
    insert = f"INSERT INTO predictions VALUES ({', '.join('?' * len(COLUMNS))})"
    if mode == "DELETE":
        connection.execute("CREATE UNIQUE INDEX ids ON predictions (prediction_id)")

    def write(rows: list[Any]) -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(insert, rows)
        connection.execute("COMMIT")

    return write


def bare_copy(url: str) -> Callable[[list[Any]], None]:
    """`psycopg`'s COPY into a table of the same columns and keys."""
    import psycopg

    connection = psycopg.connect(url.replace("postgresql+psycopg", "postgresql"))
    connection.execute("CREATE TABLE bare (LIKE predictions INCLUDING ALL)")
    connection.commit()
    times = [n for n, name in enumerate(COLUMNS) if name in TIME_COLUMNS]

    def write(rows: list[Any]) -> None:
        with connection.cursor() as cursor, cursor.copy("COPY bare FROM STDIN") as copy:
            for row in rows:
                values = list(row)
                for n in times:
                    values[n] = from_microseconds(values[n])
                copy.write_row(values)
        connection.commit()

    return write


def bare_parquet(folder: Path) -> Callable[[list[Any]], None]:
    """`pyarrow`: a file per call, synced."""

    def write(rows: list[Any]) -> None:
        columns = dict(zip(COLUMNS, map(list, zip(*rows, strict=True)), strict=True))
        with (folder / f"{next(_written)}.parquet").open("wb") as file:
            pq.write_table(pa.table(columns), file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())

    return write


def bare_put(bucket: str) -> Callable[[list[Any]], None]:
    """`boto3`: an object per call."""
    import boto3

    client = boto3.client("s3")

    def write(rows: list[Any]) -> None:
        columns = dict(zip(COLUMNS, map(list, zip(*rows, strict=True)), strict=True))
        body = io.BytesIO()
        pq.write_table(pa.table(columns), body, compression="zstd")
        client.put_object(Bucket=bucket, Key=f"bare/{next(_written)}", Body=body.getvalue())

    return write


def sink(url: str) -> Callable[[list[Any]], None]:
    opened = open_sink(url)
    return lambda rows: opened.write("predictions", rows)


@contextlib.contextmanager
def pairs(folder: Path) -> Iterator[dict[str, tuple[Any, Any]]]:
    """Yield for each line (ours, the driver's); ours of the journal takes a batch."""
    journal = Journal(folder / "log")
    found: dict[str, tuple[Any, Any]] = {
        "journal against a bare fsync'd write": (journal.append, fsynced(folder)),
        "journal against sqlite3": (journal.append, bare_sqlite(folder / "a", "WAL")),
        "sqlite": (sink(f"sqlite:///{folder}/sink.sqlite"), bare_sqlite(folder / "b", "DELETE")),
        "parquet": (sink(str(folder / "parquet")), bare_parquet(folder)),
    }
    with contextlib.ExitStack() as stack:
        try:
            from real_postgres import Postgres

            url = stack.enter_context(stack.enter_context(Postgres()).database())
            ours = sink(url)
            ours(rows_of(1))
            found["postgresql"] = ours, bare_copy(url)
        except ImportError as error:
            print(f"without PostgreSQL: {error}", file=sys.stderr)
        try:
            from real_s3 import S3

            server = stack.enter_context(S3())
            os.environ.update(server.environment())
            bucket = stack.enter_context(server.bucket())
            found["s3"] = sink(f"s3://{bucket}/log"), bare_put(bucket)
        except ImportError as error:
            print(f"without S3: {error}", file=sys.stderr)
        yield found
    journal.close()


def seconds(write: Callable[[Any], Any], what: Any) -> float:
    started = time.perf_counter()
    write(what)
    return time.perf_counter() - started


def measured(ours: Any, theirs: Any, make: Any, size: int, rounds: int) -> tuple[float, float]:
    """Return the medians in seconds. Small calls come in bursts, since two files that
    are synced by turns wait for each other's blocks too."""
    seen: tuple[list[float], list[float]] = ([], [])
    for turn in range(rounds + 1):
        for times, write, what in ((seen[0], ours, make), (seen[1], theirs, rows_of)):
            given = [what(size) for _ in range({1: 40, 100: 10}.get(size, 1))]
            taken = [seconds(write, one) for one in given]
            times += taken if turn else []
    return statistics.median(seen[0]), statistics.median(seen[1])


def measure(folder: Path, rounds: int) -> list[dict[str, Any]]:
    lines = []
    for size in SIZES:
        # New places for each size: a folder of many small files takes long to list.
        place = folder / str(size)
        for part in ("a", "b"):
            (place / part).mkdir(parents=True)
        with pairs(place) as found:
            for name, (ours, theirs) in found.items():
                make = batch if name.startswith("journal") else rows_of
                a, b = measured(ours, theirs, make, size, rounds)
                lines.append(
                    {
                        "what": name,
                        "rows": size,
                        "ours_ms": a * 1e3,
                        "bare_ms": b * 1e3,
                        "ours_rows_per_s": size / a,
                        "bare_rows_per_s": size / b,
                        "of the bare driver's rows/s": b / a,
                    }
                )
    return lines


def report(lines: list[dict[str, Any]], output: Path | None) -> None:
    print(f"{'':38}{'rows':>7}{'ours ms':>10}{'bare ms':>10}{'rows/s':>10}{'bare':>10}{'ratio':>7}")
    for line in lines:
        ratio = line["of the bare driver's rows/s"]
        wanted = WANTED.get((line["what"], line["rows"]))
        said = ""
        if wanted is not None:
            said = f"  wanted >= {wanted:.2f}: {'met' if ratio >= wanted else 'MISSED'}"
        print(
            f"{line['what']:38}{line['rows']:7}{line['ours_ms']:10.2f}{line['bare_ms']:10.2f}"
            f"{line['ours_rows_per_s']:10.0f}{line['bare_rows_per_s']:10.0f}{ratio:7.2f}{said}"
        )
    if output is not None:
        about = {
            "machine": platform.machine(),
            "processors": os.cpu_count(),
            "python": platform.python_version(),
            "versions": {name: version(name) for name in ("pyarrow", "sqlalchemy")},
            "sqlite": sqlite3.sqlite_version,
        }
        output.write_text(json.dumps({"about": about, "measured": lines}, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--output", type=Path, help="A JSON file.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="asfitted-bench-") as name:
        folder = Path(name)
        report(measure(folder, given.rounds), given.output)


if __name__ == "__main__":
    main()
