from __future__ import annotations

import json
import os
import shutil
import sqlite3
import sys
import tempfile
import tracemalloc
import uuid
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from log_batches import START, batch, child, finished

from asfitted.errors import ConfigError
from asfitted.prediction_log import Journal, default_folder, read_log
from asfitted.prediction_log.follow import Follower
from asfitted.prediction_log.frame import flat
from asfitted.prediction_log.place import journal_files, journal_path
from asfitted.prediction_log.query import Query
from asfitted.prediction_log.reader import records
from asfitted.prediction_log.shipper import Shipper
from asfitted.prediction_log.tables import COLUMNS, REFUSAL_COLUMNS

FINDINGS = {
    2: [{"column": "temp", "rule": "filled"}],
    3: [{"column": "carrier", "rule": "unknown_category", "value": "filled"}],
    4: [{"column": "wind", "rule": "filled"}, {"column": "temp", "rule": "outside_observed"}],
}


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


@pytest.fixture
def log(tmp_path) -> Path:
    """Three writers whose times interlock: minutes 0 3 6 9, 1 4 7 and 2 5 8."""
    folder = tmp_path / "log"
    for writer in range(3):
        with Journal(folder) as journal:
            for n in range(writer, 10, 3):
                journal.append(
                    batch(
                        scored_at=at(n),
                        received_at=at(n),
                        model_version=str(1 + n % 2),
                        request_id=f"r-{n}",
                        keys=[{"flight": n, "carrier": "UA" if n < 5 else "DL"}],
                        findings=[FINDINGS.get(n, [])],
                        source="batch" if writer == 2 else "serve",
                    )
                )
    return folder


def minutes(folder: Path, **conditions: object) -> list[int]:
    found = records(folder, Query(**conditions), on_problem=pytest.fail)
    return [int(record["request_id"][2:]) for record in found]


@pytest.mark.parametrize(
    ("conditions", "wanted"),
    [
        ({}, [*range(10)]),
        ({"newest_first": True}, [*range(9, -1, -1)]),
        ({"newest_first": True, "limit": 3}, [9, 8, 7]),
        ({"limit": 3}, [0, 1, 2]),
        ({"limit": 0}, []),
        ({"model": "flights", "version": "1"}, [0, 2, 4, 6, 8]),
        ({"model": "other"}, []),
        ({"since": at(4), "until": at(7)}, [4, 5, 6]),
        ({"since": at(4).isoformat()}, [4, 5, 6, 7, 8, 9]),
        ({"since": "2026-11-24T10:38"}, [8, 9]),
        ({"since": "2026-11-24T11:38:00+01:00", "until": "2026-11-24T10:39:00Z"}, [8]),
        ({"until": "2026-11-24"}, []),
        ({"key": {"flight": "7"}}, [7]),
        ({"key": {"flight": 7}}, [7]),
        ({"key": {"carrier": "DL"}, "limit": 2}, [5, 6]),
        ({"key": {"carrier": "DL", "flight": "3"}}, []),
        ({"key": {"seat": "3"}}, []),
        ({"request_id": "r-6"}, [6]),
        ({"source": "batch"}, [2, 5, 8]),
        ({"finding": "filled"}, [2, 4]),
        ({"finding": "filled", "newest_first": True, "limit": 1}, [4]),
        ({"finding": "filled=temp"}, [2]),
        ({"finding": "fill"}, []),
        ({"finding": "filled", "key": {"flight": 4}}, [4]),
    ],
)
def test_conditions_and_order_over_all_writers(log, conditions, wanted) -> None:
    assert minutes(log, **conditions) == wanted


def test_refused_requests_are_found_by_their_code(tmp_path) -> None:
    with Journal(tmp_path) as journal:
        for code in ("contract_violation", "no_payload", "contract_violation"):
            journal.append_refusal(
                request_id=code, received_at=START, model_name="flights", model_version="3",
                model_digest="", code=code, n_rows=None, violations=[], source="serve",
            )  # fmt: skip
    sinks = [f"sqlite:///{tmp_path / 'sink.db'}", str(tmp_path / "parquet")]
    for sink in sinks:
        with Shipper(tmp_path, sink, keep_shipped_s=3600) as shipper:
            shipper.ship()
    for place in ({"folder": tmp_path}, {"sink": sinks[0]}, {"sink": sinks[1]}):
        found = read_log(**place, refused=True, code="no_payload")
        assert found["request_id"].tolist() == ["no_payload"]


def test_a_record_is_found_by_its_id_or_the_end_of_it(log) -> None:
    wanted = read_log(log, request_id="r-6").loc[0, "prediction_id"]
    for spelled in (wanted, wanted[-12:], wanted.upper()):
        assert read_log(log, prediction_id=spelled)["request_id"].tolist() == ["r-6"]


@pytest.mark.parametrize(
    "conditions",
    [
        {"since": "yesterday"},
        {"until": datetime(2026, 1, 1)},
        {"source": "browser"},
        {"limit": -1},
        {"prediction_id": "abc"},
        {"key": {"a": 1}, "table": "refusals"},
        {"finding": "filled", "table": "refusals"},
        {"code": "contract_violation"},
        {"model": "flights\udcff"},
    ],
)
def test_a_condition_that_makes_no_sense_is_refused(conditions) -> None:
    with pytest.raises(ConfigError):
        Query(**conditions)


def test_the_frame_has_the_columns_and_types_of_the_record(log) -> None:
    frame = read_log(log)
    assert list(frame.columns) == list(COLUMNS)
    assert str(frame["scored_at"].dtype) == "datetime64[us, UTC]"
    assert frame["scored_at"].tolist() == [pd.Timestamp(at(n)) for n in range(10)]
    assert frame.loc[3, "inputs"]["carrier"] == "UA"
    empty = read_log(log, model="other")
    assert list(empty.columns) == list(COLUMNS)
    assert str(empty["scored_at"].dtype) == "datetime64[us, UTC]"
    assert str(empty["row"].dtype) == "int64"
    assert list(read_log(log, refused=True).columns) == list(REFUSAL_COLUMNS)


def test_features_and_outputs_become_columns(tmp_path) -> None:
    large = 2**53 + 1
    with Journal(tmp_path) as journal:
        journal.append(
            batch(
                2,
                inputs=[{"temp": 1.5, "row": "A7"}, {"temp": None, "row": "B2"}],
                keys=[{"ticket": large}, {"ticket": None}],
            )
        )
        journal.append(batch(model_version="4", inputs=[{"wind": 3}], keys=[{}]))
    frame = read_log(tmp_path, features=True)
    assert frame["temp"].isna().tolist() == [False, True, True]
    assert frame["row"].tolist() == [0, 1, 0]  # the record's own
    assert frame["input.row"].tolist()[:2] == ["A7", "B2"]
    assert frame["output.probability_1"].tolist() == [0.8] * 3
    assert frame.loc[0, "key.ticket"] == large  # not through a float
    assert not {"inputs", "outputs", "keys"} & set(frame.columns)
    assert list(frame.columns)[-3:] == [
        "output.prediction",
        "output.probability_0",
        "output.probability_1",
    ]


def test_a_feature_called_like_an_expanded_column_keeps_its_own_name() -> None:
    record = {"inputs": {"output.x": 1, "x": 2}, "outputs": {"x": 3}, "keys": {"x": 4}}
    assert flat(record) == {"key.x": 4, "input.output.x": 1, "x": 2, "output.x": 3}


def test_the_folder_comes_from_the_environment_or_the_directory(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ASFITTED_LOG", raising=False)
    assert default_folder() == Path("prediction_log")
    monkeypatch.setenv("ASFITTED_LOG", str(tmp_path / "elsewhere"))
    assert default_folder() == tmp_path / "elsewhere"
    with pytest.raises(ConfigError, match="no prediction log") as caught:
        read_log()
    assert caught.value.where == str(tmp_path / "elsewhere")


LIVE = """
import sys
from asfitted.prediction_log import Journal
from log_batches import batch
journal = Journal(sys.argv[1])
for _ in sys.stdin:
    print(*journal.append(batch()), flush=True)
"""


def test_a_live_journal_is_read_and_followed_while_it_is_written(tmp_path) -> None:
    with child(LIVE, tmp_path, stdin=-1) as writer:
        assert writer.stdin is not None
        assert writer.stdout is not None

        def one_more() -> str:
            writer.stdin.write("\n")
            writer.stdin.flush()
            return writer.stdout.readline().strip()

        ids = [one_more() for _ in range(5)]
        follower = Follower(tmp_path, Query(limit=2), on_problem=pytest.fail)
        assert [r["prediction_id"] for r in follower.newest()] == ids[-2:]
        assert follower.poll() == []
        for _ in range(5):
            ids.append(one_more())
            assert [r["prediction_id"] for r in follower.poll()] == ids[-1:]
            found = records(tmp_path, on_problem=pytest.fail)
            assert [r["prediction_id"] for r in found] == ids
        # A writer that comes later is followed too.
        with Journal(tmp_path) as journal:
            late = journal.append(batch(3))
            assert [r["prediction_id"] for r in follower.poll()] == late
        assert follower.poll() == []
    assert writer.returncode == 0


def test_an_iterator_given_up_early_leaves_no_file_open(log) -> None:
    rows = records(log)
    next(rows)
    rows.close()  # type: ignore[attr-defined]
    for path in journal_files(log):
        with closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as connection:
            # Would raise "database is locked" while a reader still holds the file.
            connection.execute("BEGIN EXCLUSIVE")
            assert connection.in_transaction


def test_many_more_writers_than_open_files_are_allowed(tmp_path) -> None:
    script = """
import resource, sys
from datetime import timedelta
from asfitted.prediction_log import Journal
from asfitted.prediction_log.reader import records
from log_batches import START, batch
for n in range(24):
    with Journal(sys.argv[1]) as journal:
        journal.append(batch(scored_at=START + timedelta(minutes=n)))
resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))
print(len(list(records(sys.argv[1], on_problem=sys.exit))))
"""
    pytest.importorskip("resource")
    assert finished(child(script, tmp_path)) == "24\n"


def read_with_problems(folder: Path) -> tuple[list[str], list[str]]:
    problems: list[str] = []
    return [r["request_id"] for r in records(folder, on_problem=problems.append)], problems


@pytest.mark.parametrize("size", [0, 1, 99, 100, 1024, 4095, 4096, 5000, 12288, -4096, -1])
@pytest.mark.parametrize("first_rows", [1, 1500])
def test_a_torn_journal_is_named_and_the_others_are_read(log, size, first_rows) -> None:
    with Journal(log) as journal:
        journal.append(batch(first_rows, request_id="torn"))
        for n in range(60):
            journal.append(batch(request_id=f"torn {n}"))
    torn = max(journal_files(log), key=os.path.getsize)
    os.truncate(torn, size if size >= 0 else torn.stat().st_size + size)
    found, problems = read_with_problems(log)
    assert [each for each in found if each.startswith("r-")] == [f"r-{n}" for n in range(10)]
    if size == 0:  # what a process leaves that was killed when it had just begun
        assert problems == []
    else:
        assert len(problems) == 1
        assert torn.name in problems[0]


def test_a_torn_wal_ends_at_its_last_whole_commit(tmp_path, log) -> None:
    journal = Journal(tmp_path / "live")
    for n in range(20):
        journal.append(batch(request_id=f"w-{n}"))
    (live,) = journal_files(tmp_path / "live")
    wal = live.with_name(live.name + "-wal")
    size = len(wal.read_bytes().rstrip(b"\0"))  # of what is written so far
    for cut in (0, 1, 31, 32, 5000, size // 2, size - 1):
        shutil.copyfile(live, log / live.name)
        shutil.copyfile(wal, log / wal.name)
        os.truncate(log / wal.name, cut)
        found, problems = read_with_problems(log)
        kept = [each for each in found if each.startswith("w-")]
        assert kept == [f"w-{n}" for n in range(len(kept))]
        assert len(kept) < 20
        assert len(found) - len(kept) == 10
        assert problems == []
        for ending in ("", "-wal", "-shm"):
            (log / (live.name + ending)).unlink(missing_ok=True)
    journal.close()


def test_files_that_are_no_journals_are_named(log) -> None:
    journal_path(log, "text").write_text("not SQLite at all, " * 100)
    with closing(sqlite3.connect(journal_path(log, "other"))) as other:
        other.execute("CREATE TABLE t (x)")
    newer = journal_files(log)[0]
    shutil.copyfile(newer, journal_path(log, "newer"))
    with closing(sqlite3.connect(journal_path(log, "newer"))) as connection, connection:
        connection.execute("UPDATE meta SET value = '7' WHERE name = 'record_format'")
    (log / "notes.txt").write_text("none of ours")
    found, problems = read_with_problems(log)
    assert len(found) == 10
    told = "\n".join(sorted(problems))
    assert "journal-newer.sqlite: holds record format 7, not 0" in told
    assert "journal-other.sqlite: is not a journal" in told
    assert "journal-text.sqlite: is not a SQLite file" in told
    assert len(problems) == 3


def test_read_log_warns_of_a_file_it_cannot_read(log, caplog) -> None:
    journal_path(log, "text").write_text("not SQLite at all, " * 100)
    assert len(read_log(log)) == 10
    assert "journal-text.sqlite" in caplog.text


# Root may write everywhere: the child gives that up once its imports are done.
READ_ONLY = """
import json, os, sys, urllib.parse
from asfitted.prediction_log.reader import records
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
assert not os.access(sys.argv[1], os.W_OK)
print(json.dumps([r["prediction_id"] for r in records(sys.argv[1], on_problem=sys.exit)]))
"""
KILLED = """
import os, signal, sys
from asfitted.prediction_log import Journal
from log_batches import batch
print(*Journal(sys.argv[1]).append(batch(5)), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
@pytest.mark.parametrize("state", ["closed", "killed", "killed, without the index", "live"])
def test_a_read_only_folder_is_read_to_the_last_record(state) -> None:
    # Not below pytest's own folder, which other users must not enter.
    with tempfile.TemporaryDirectory() as top:
        folder = Path(top) / "log"
        journal = Journal(folder)
        if state.startswith("killed"):
            with child(KILLED, folder) as process:
                assert process.stdout is not None
                ids = process.stdout.read().split()
        else:
            ids = journal.append(batch(5))
        if state == "closed":
            journal.close()
        if state == "killed, without the index":
            for index in folder.glob("*-shm"):
                index.unlink()
        for path in folder.iterdir():
            path.chmod(0o444)
        os.chmod(top, 0o755)
        folder.chmod(0o555)
        try:
            assert json.loads(finished(child(READ_ONLY, folder))) == ids
        finally:
            folder.chmod(0o755)
        journal.close()


def test_a_kill_while_the_file_leaves_wal_mode_is_rolled_back_by_the_reader(tmp_path) -> None:
    with Journal(tmp_path) as journal:
        ids = journal.append(batch(2))
    (path,) = journal_files(tmp_path)
    # A change of the file under its rollback journal, not committed: what is left
    # when the process dies between the two.
    script = """
import os, signal, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 1")
connection.execute("PRAGMA cache_spill = 1")
connection.execute("BEGIN IMMEDIATE")
connection.execute("UPDATE predictions SET inputs = zeroblob(100000)")
assert os.path.getsize(sys.argv[1] + "-journal") > 0
os.kill(os.getpid(), signal.SIGKILL)
"""
    with child(script, path) as process:
        process.wait()
    assert path.with_name(path.name + "-journal").stat().st_size > 0
    found = list(records(tmp_path, on_problem=pytest.fail))
    assert [r["prediction_id"] for r in found] == ids
    assert found[0]["inputs"]["carrier"] == "UA"


def test_times_before_1970_and_equal_times_keep_their_order(tmp_path) -> None:
    early = datetime(1899, 12, 31, 23, 59, 59, 999999, tzinfo=timezone.utc)
    with Journal(tmp_path) as journal:
        ids = journal.append(batch(4)) + journal.append(batch(2))
        first = journal.append(batch(scored_at=early))
    found = list(records(tmp_path))
    assert [r["prediction_id"] for r in found] == first + ids
    assert found[0]["scored_at"] == early
    reverse = list(records(tmp_path, Query(newest_first=True)))
    assert reverse == found[::-1]


def test_reading_takes_little_more_than_the_frame(tmp_path) -> None:
    n_rows = 2_000
    with Journal(tmp_path) as journal:
        journal.append(batch(n_rows))
    read_log(tmp_path, features=True, limit=1)
    tracemalloc.start()
    try:
        frame = read_log(tmp_path, features=True)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert frame["distance"].tolist() == [100 + n for n in range(n_rows)]
    # As records in memory, all of them took 4,500 bytes each.
    assert peak < n_rows * 2_500


def test_conditions_may_come_from_cells_of_a_frame(log) -> None:
    asked = uuid.UUID(read_log(log)["prediction_id"][4])
    assert minutes(log, key={"flight": np.int64(4)}) == [4]
    assert minutes(log, key={"flight": np.float64(4)}) == [4]
    assert read_log(log, prediction_id=asked)["request_id"].tolist() == ["r-4"]
    day = START.date()
    assert minutes(log, since=day, until=day + timedelta(days=1)) == list(range(10))
    assert minutes(log, until=day) == []


@pytest.mark.parametrize("sink", ["sqlite:///{}/s.sqlite", "{}/parquet"])
def test_a_version_may_be_a_number_wherever_the_log_lies(log, tmp_path, sink) -> None:
    url = sink.format(tmp_path)
    with Shipper(log, url) as shipper:
        shipper.ship()
    for where in ({"folder": log}, {"sink": url}):
        assert len(read_log(**where, model="flights", version=2)) == 5
        assert len(read_log(**where, version="2")) == 5


@pytest.mark.parametrize(
    "wrong", [{"since": pd.NaT}, {"until": 20261128}, {"limit": "3"}, {"limit": 2.5}]
)
def test_what_is_no_time_and_no_number_is_refused(log, wrong) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        read_log(log, **wrong)
