"""A clock that is set back, many processes and several models in one folder."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from log_batches import child, finished

from asfitted.prediction_log import read_log
from asfitted.prediction_log.place import journal_files
from asfitted.prediction_log.query import Query
from asfitted.prediction_log.reader import records
from asfitted.prediction_log.shipper import Shipper
from asfitted.prediction_log.shipping_stats import log_stats
from asfitted.prediction_log.sinks import log_records, sink_records

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX locks")

# The process's own clock, in each place that asks for the time: the machine's is
# everybody's, and what a file system writes goes on with it.
SET_BACK = """
import datetime as of_python, json, sys, threading, time
offset_s = 0
real_ns = time.time_ns
time.time_ns = lambda: real_ns() + offset_s * 10**9

class Clock(of_python.datetime):
    @classmethod
    def now(cls, tz=None):
        return of_python.datetime.fromtimestamp(time.time_ns() / 1e9, tz)

from asfitted.prediction_log import Journal, journal_file, place
from asfitted.prediction_log.follow import Follower
from asfitted.prediction_log.query import Query
from asfitted.prediction_log.shipper import Shipper
from asfitted.prediction_log.shipping_stats import log_stats
from log_batches import batch
place.datetime = journal_file.datetime = Clock

folder, sink = sys.argv[1:]
ids, left, ages = [], [], []
journal, followed = Journal(folder), []
with Shipper(folder, sink, keep_shipped_s=3600, on_problem=sys.exit) as shipper:
    for offset_s in (0, -2 * 86400, 0, -2 * 86400 - 5, 2 * 86400):
        for _ in range(10):
            now = Clock.now(of_python.timezone.utc)
            ids += journal.append(batch(2, received_at=now, scored_at=now))
        if not followed:
            follower = Follower(folder, Query(), on_problem=sys.exit)
            followed += [r["prediction_id"] for r in follower.newest()]
        else:
            followed += [r["prediction_id"] for r in follower.poll()]
        ages.append(log_stats(folder, sink).backlog_s)
        assert shipper.ship() == 20
        assert shipper.ship() == 0
        ages.append(log_stats(folder, sink).backlog_s)
        if offset_s:
            journal.close()  # the next one's name may come before this one's
        shipper.ship()
        left.append(len(place.journal_files(place.Path(folder))))
    offset_s += 3600 + 1
    shipper.ship()
    left.append(len(place.journal_files(place.Path(folder))))
print(json.dumps([ids, followed, left, ages]))
"""


def test_a_clock_that_is_set_back_two_days_loses_and_repeats_nothing(tmp_path: Path) -> None:
    folder, sink = tmp_path / "log", f"sqlite:///{tmp_path}/sink.sqlite"
    ids, followed, left, ages = json.loads(finished(child(SET_BACK, folder, sink)))
    assert len(ids) == 100
    # One process's ids rise whatever its clock does.
    assert ids == sorted(set(ids))
    assert Counter(followed) == Counter(ids)
    found = list(sink_records(sink, Query(), on_problem=pytest.fail))
    assert Counter(record["prediction_id"] for record in found) == Counter(ids)
    order = [(r["scored_at"], r["writer"], r["sequence"]) for r in found]
    assert order == sorted(order)
    of_writer: dict[str, list[int]] = {}
    for record in sorted(found, key=lambda r: ids.index(r["prediction_id"])):
        of_writer.setdefault(record["writer"], []).append(record["sequence"])
    assert len(of_writer) == 3
    assert all(n == list(range(1, len(n) + 1)) for n in of_writer.values())
    # Kept for an hour of whatever the clock says, and gone an hour after its last jump.
    assert left[-1] == 0
    assert left[:2] == [1, 1]
    assert all(age >= 0 for age in ages)
    figures = log_stats(folder, sink).as_dict()
    assert [figures[n] for n in ("shipped", "lost", "backlog", "missing")] == [100, 0, 0, 0]


WRITER = """
import sys
from asfitted.prediction_log import Journal
from log_batches import batch
journal = Journal(sys.argv[1])
for n in range(60):
    keys = [{"key": f"{sys.argv[2]}-{n}-{row}"} for row in range(1 + n % 3)]
    print(*journal.append(batch(len(keys), keys=keys)), flush=True)
    if n % 25 == 24:
        journal.close()
"""


def test_eight_processes_and_a_shipper_on_one_folder(tmp_path: Path) -> None:
    folder, sink = tmp_path / "log", f"sqlite:///{tmp_path}/sink.sqlite"
    writers = [child(WRITER, folder, n) for n in range(8)]
    seen = 0
    with Shipper(folder, sink, keep_shipped_s=0, on_problem=pytest.fail) as shipper:
        while any(writer.poll() is None for writer in writers):
            shipper.ship()
            now = Counter(r["prediction_id"] for r in log_records(folder, sink, Query()))
            assert set(now.values()) <= {1}
            assert len(now) >= seen, "a record was there and is not"
            seen = len(now)
        ids = [each for writer in writers for each in finished(writer).split()]
        shipper.ship()
    found = list(sink_records(sink, Query(), on_problem=pytest.fail))
    assert Counter(record["prediction_id"] for record in found) == Counter(ids)
    assert len({record["keys"]["key"] for record in found}) == len(ids) == 8 * 120
    assert journal_files(folder) == []


@pytest.fixture(params=["sqlite", "parquet", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        return str(request.getfixturevalue("database"))
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'sink.sqlite'}"
    return str(tmp_path / "sink")


# Columns that one version has and the other has not, or has as another type.
VERSION = """
import json, sys
from asfitted.prediction_log import Journal
from log_batches import batch
folder, version, inputs, outputs, ids = sys.argv[1:]
with Journal(folder) as journal:
    for n in range(30):
        rows = [{**json.loads(inputs), "n": n}]
        keys = [{json.loads(ids): n}]
        journal.append(batch(
            inputs=rows, outputs=[json.loads(outputs)], keys=keys, model_version=version,
        ))
"""
OLD = ({"temp": 39.02, "carrier": "UA", "wet": None}, {"prediction": 1, "probability_1": 0.8})
NEW = ({"temp": "cold", "gust": 2**53 + 1, "row": "B2"}, {"prediction": 12.25})


def test_two_versions_with_other_columns_at_once(tmp_path: Path, url: str) -> None:
    folder = tmp_path / "log"
    writers = [
        child(VERSION, folder, version, *map(json.dumps, (*of_version, key)))
        for version, of_version, key in (("1", OLD, "flight"), ("2", NEW, "ticket"))
    ]
    with Shipper(folder, url, on_problem=pytest.fail) as shipper:
        while any(writer.poll() is None for writer in writers):
            if folder.is_dir():
                shipper.ship()
        for writer in writers:
            finished(writer)
        shipper.ship()
    assert len(list(records(folder))) == 60
    here = read_log(folder, features=True)
    for frame in (read_log(sink=url, features=True), read_log(folder, sink=url, features=True)):
        pd.testing.assert_frame_equal(frame, here)
    old, new = here[here["model_version"] == "1"], here[here["model_version"] == "2"]
    assert len(old) == len(new) == 30
    assert set(old["temp"]) == {39.02}
    assert set(new["temp"]) == {"cold"}
    assert set(new["gust"]) == {2**53 + 1}  # not through a float
    assert old["gust"].isna().all()
    assert new["carrier"].isna().all()
    assert set(new["input.row"]) == {"B2"}
    assert sorted(old["key.flight"]) == sorted(new["key.ticket"]) == list(range(30))
    assert set(old["output.prediction"]) == {1}
    assert set(new["output.prediction"]) == {12.25}
    assert new["output.probability_1"].isna().all()
