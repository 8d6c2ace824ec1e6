"""Kill -9 under group commit, again and again: what was acknowledged is there once, as it was."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest
from log_batches import child, finished

from asfitted.prediction_log.place import journal_files
from asfitted.prediction_log.query import Query
from asfitted.prediction_log.reader import Record, records
from asfitted.prediction_log.shipper import Shipper
from asfitted.prediction_log.shipping_stats import log_stats
from asfitted.prediction_log.sinks import log_records, sink_records

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals and fork")

# One process imports, forks a writer for each round, and kills it: a start takes no second.
ROUNDS = """
import itertools, os, random, signal, sys, threading, time
from asfitted.prediction_log import Journal
from log_batches import batch

folder, told, rounds, durability = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
out = os.open(told, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)

def write(journal, round_, thread):
    for count in itertools.count():
        keys = [f"{round_}-{thread}-{count}-{row}" for row in range(1 + count % 3)]
        inputs = [{"key": key, "text": key * (count % 40)} for key in keys]
        ids = journal.append(batch(len(keys), inputs=inputs, keys=[{"key": k} for k in keys]))
        # One write of the process: its end loses no line and splits none.
        os.write(out, "".join(f"{k} {i}\\n" for k, i in zip(keys, ids)).encode())
        if count % 50 == 49 and thread == 0:
            journal.close()

for round_ in range(rounds):
    pid = os.fork()
    if pid == 0:
        journal = Journal(folder, durability=durability)
        for thread in range(4):
            threading.Thread(target=write, args=(journal, round_, thread)).start()
        threading.Event().wait()
    # From before its first record to the middle of the hundredth, however busy the machine.
    if random.random() < 0.2:
        time.sleep(random.random() * 0.02)
    else:
        enough = os.fstat(out).st_size + random.random() ** 2 * 10_000
        until = time.monotonic() + 5
        while os.fstat(out).st_size <= enough and time.monotonic() < until:
            time.sleep(0.0005)
    os.kill(pid, signal.SIGKILL)
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL
"""


def assert_all_there(found: list[Record], told: Path) -> int:
    """Each acknowledged row is there once, under its id and as it was; no row is there in part."""
    acknowledged = dict(line.split() for line in told.read_text().splitlines())
    by_key = {record["keys"]["key"]: record for record in found}
    times = Counter(record["prediction_id"] for record in found)
    assert set(times.values()) <= {1}
    assert len(by_key) == len(found), "a row is there under two ids"
    assert {key: by_key[key]["prediction_id"] for key in acknowledged} == acknowledged
    for key, record in by_key.items():
        count = int(key.split("-")[2])
        assert record["inputs"] == {"key": key, "text": key * (count % 40)}
        assert record["row"] == int(key.split("-")[3])
    calls = Counter(key.rpartition("-")[0] for key in by_key)
    assert all(n == 1 + int(call.split("-")[2]) % 3 for call, n in calls.items()), "half a call"
    return len(acknowledged)


@pytest.mark.parametrize("durability", ["fsync", "os"])
@pytest.mark.parametrize("rounds", [50, pytest.param(1_000, marks=pytest.mark.soak)])
def test_writers_are_killed_and_shipped(tmp_path: Path, rounds: int, durability: str) -> None:
    folder, told, sink = tmp_path / "log", tmp_path / "told", f"sqlite:///{tmp_path}/sink.sqlite"
    process = child(ROUNDS, folder, told, rounds, durability)
    with Shipper(folder, sink, keep_shipped_s=0, on_problem=pytest.fail) as shipper:
        while process.poll() is None:
            shipper.ship()
            # Both at once, in the middle of it all.
            ids = Counter(r["prediction_id"] for r in log_records(folder, sink, Query()))
            assert set(ids.values()) <= {1}
        finished(process)
        shipper.ship()
    found = list(sink_records(sink, Query(), on_problem=pytest.fail))
    assert assert_all_there(found, told) > rounds
    assert list(records(folder)) == []
    # Of writers that were killed before they had a table.
    assert all(path.stat().st_size <= 4096 for path in journal_files(folder))
    figures = log_stats(folder, sink).as_dict()
    assert [figures[name] for name in ("lost", "quarantined", "backlog")] == [0, 0, 0]
