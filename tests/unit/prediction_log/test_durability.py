"""What an append waits for, when a journal begins anew, and gaps that are declared."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path

import pandas as pd
import pytest
from log_batches import batch, child

from asfitted import add_outcomes
from asfitted.cli import main
from asfitted.errors import ConfigError, RecordError
from asfitted.prediction_log import Journal, journal_file
from asfitted.prediction_log.opening import opened
from asfitted.prediction_log.place import journal_files, request_rotation
from asfitted.prediction_log.query import Query
from asfitted.prediction_log.reader import records
from asfitted.prediction_log.shipping_journals import is_final
from asfitted.prediction_log.sinks import sink_records


def rows_of(folder: Path) -> int:
    return len(list(records(folder, Query()))) if folder.is_dir() else 0


def blocked(folder: Path) -> Path:
    """Put a file where the folder of the log was; return where the folder is now."""
    moved = folder.with_name("moved")
    folder.rename(moved)
    folder.write_text("")
    return moved


# --- durability -------------------------------------------------------------------


_KILLED = """
import os, signal, sys
from asfitted.prediction_log import Journal
from log_batches import batch
journal = Journal(sys.argv[1], durability=sys.argv[2], sink=sys.argv[3])
for _ in range(20):
    journal.append(batch(3))
print(journal.commits, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("durability", ["fsync", "os", "sink"])
def test_what_was_acknowledged_survives_kill_9(tmp_path, durability) -> None:
    folder, url = tmp_path / "log", f"sqlite:///{tmp_path}/sink.sqlite"
    process = child(_KILLED, folder, durability, url)
    said, _ = process.communicate(timeout=60)
    assert (process.returncode, said.split()) == (-signal.SIGKILL, ["20"])
    there = len(list(sink_records(url)))
    assert (rows_of(folder), there) == ((0, 60) if durability == "sink" else (60, 0))


@pytest.mark.parametrize(("durability", "level"), [("fsync", 2), ("os", 1)])
def test_the_disk_is_waited_for_by_fsync_alone(tmp_path, durability, level) -> None:
    with Journal(tmp_path, durability=durability) as journal:
        journal.append(batch())
        assert isinstance(journal._commits.file, journal_file.JournalFile)
        connection = journal._commits.file.connection
        assert connection is not None
        assert connection.execute("PRAGMA synchronous").fetchone() == (level,)


def test_a_sink_that_is_waited_for_has_every_table_before_the_append_returns(tmp_path) -> None:
    url = f"sqlite:///{tmp_path}/sink.sqlite"
    with Journal(tmp_path / "log", durability="sink", sink=url) as journal:
        journal.check()
        ids = [*journal.append(batch(2)), *journal.append(batch(1))]
        journal.append_refusal(
            request_id="r",
            received_at=datetime.now(timezone.utc),
            model_name="flights",
            model_version="3",
            model_digest="",
            code="contract",
            n_rows=1,
            violations=[],
            source="serve",
        )
        found = list(sink_records(url))
        assert [one["prediction_id"] for one in found] == ids
        assert [one["sequence"] for one in found] == [1, 2, 3]
        assert found[0]["inputs"] == batch(1).inputs[0]
        assert len({one["writer"] for one in found}) == 1
        assert len(list(sink_records(url, Query(table="refusals")))) == 1
    assert not journal_files(tmp_path / "log")


def test_a_sink_that_is_waited_for_and_stopped_is_an_error_until_it_is_back(
    tmp_path, postgres, database
) -> None:
    with Journal(tmp_path / "log", durability="sink", sink=database) as journal:
        first = journal.append(batch())
        postgres.kill()
        try:
            with pytest.raises(RecordError, match="could not be recorded"):
                journal.append(batch())
            with pytest.raises(RecordError, match="cannot be written"):
                journal.check()
        finally:
            postgres.start()
        last = journal.append(batch())
        assert [one["prediction_id"] for one in sink_records(database)] == [*first, *last]


def test_outcomes_and_removals_wait_for_the_sink_too(tmp_path, monkeypatch, capsys) -> None:
    def run(*arguments: str) -> tuple[int | str | None, str]:
        with pytest.raises(SystemExit) as caught:
            main([*arguments, "--json"])
        return caught.value.code, capsys.readouterr().out

    monkeypatch.chdir(tmp_path)
    Path("registry_config.yaml").write_text(
        "schema_version: 1\nlog: {folder: log, sink: 'sqlite:///sink.sqlite', durability: sink}\n"
    )
    url = f"sqlite:///{tmp_path}/sink.sqlite"
    with Journal("log", durability="sink", sink=url) as journal:
        long_ago = datetime(2020, 1, 1, tzinfo=timezone.utc)
        journal.append(batch(2, received_at=long_ago, scored_at=long_ago))
    given = pd.DataFrame({"flight": [1545, 1546], "outcome": [1, 0]})
    assert add_outcomes(given, keys="flight").written == 2
    # Nobody has made the folder so far.
    assert run("log", "stats")[0] == 0
    code, out = run("log", "erase", "--key", "flight=1545", "--reason", "12", "--yes")
    assert (code, json.loads(out)["counts"]) == (0, {"outcomes": 1, "predictions": 1})
    assert run("log", "prune", "--older-than", "1s", "--yes")[0] == 0
    assert run("log", "stats", "--reconcile")[0] == 0
    # What is on this disk may be lost with it.
    assert journal_files(Path("log")) == []
    kinds = [each["kind"] for each in sink_records(url, Query(table="removals"))]
    assert kinds == ["erase", "prune"]
    Path("sink.sqlite").rename("away")
    assert run("log", "erase", "--key", "flight=1546", "--reason", "12", "--yes")[0] == 4


def test_a_sink_to_wait_for_must_be_named(tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"(?s)none is named.*log.sink or ASFITTED_SINK"):
        Journal(tmp_path, durability="sink")


# --- files that end -----------------------------------------------------------------


def test_a_journal_begins_anew_when_it_is_asked_to(tmp_path) -> None:
    with Journal(tmp_path) as journal:
        journal.append(batch())
        journal.tend()
        (first,) = journal_files(tmp_path)
        assert not is_final(first)
        request_rotation(tmp_path)
        journal.tend()
        assert is_final(first)
        for _ in range(2):
            journal.append(batch())
            request_rotation(tmp_path)  # nobody tends it: the next append sees to it
        assert len(journal_files(tmp_path)) == 3
        assert rows_of(tmp_path) == 3


@pytest.mark.parametrize("bound", ["MAX_BYTES", "MAX_AGE_S"])
@pytest.mark.parametrize("sink", ["", "sqlite:///nowhere.sqlite"])
def test_a_journal_that_is_shipped_is_bounded(tmp_path, monkeypatch, bound, sink) -> None:
    with Journal(tmp_path, sink=sink) as journal:
        journal.append(batch())
        monkeypatch.setattr(journal_file, bound, 0)
        journal.append(batch())
        journal.append(batch())
        assert len(journal_files(tmp_path)) == (3 if sink else 1)
        assert rows_of(tmp_path) == 3


def test_one_writer_after_another_never_share_a_sequence(tmp_path) -> None:
    with Journal(tmp_path) as journal:
        for n in range(1, 4):
            journal.append(batch(n))
            request_rotation(tmp_path)
    by_writer: dict[str, list[int]] = {}
    for one in records(tmp_path, Query()):
        by_writer.setdefault(one["writer"], []).append(one["sequence"])
    assert sorted(by_writer.values()) == [[1], [1, 2], [1, 2, 3]]


# --- gaps ------------------------------------------------------------------------------


def gaps(folder: Path) -> list[dict[str, object]]:
    return [r for r in records(folder, Query(table="removals")) if r["kind"] == "gap"]


@pytest.mark.parametrize("by", ["append", "tend", "close"])
def test_a_gap_is_on_record_once_the_disk_is_back(tmp_path, by) -> None:
    folder = tmp_path / "log"
    with Journal(folder) as journal:
        journal.append(batch())
        moved = blocked(folder)
        for rows in (2, 3):
            with pytest.raises(RecordError):
                journal.append(batch(rows))
            journal.declare_gap(rows, "the disk is full", "flights", "3")
        journal.tend()  # not yet
        folder.unlink()
        moved.rename(folder)
        if by == "append":
            journal.append(batch())
        elif by == "tend":
            journal.tend()
        else:
            journal.close()
        (gap,) = gaps(folder)
        assert gap["counts"] == {"predictions": 5}
        assert (gap["model_name"], gap["reason"]) == ("flights", "the disk is full")
        journal.tend()
    assert len(gaps(folder)) == 1


def test_a_forked_child_does_not_declare_its_parents_gap(tmp_path) -> None:
    with Journal(tmp_path) as journal:
        journal.declare_gap(7, "why", "flights", "3")
        child_id = os.fork()
        if child_id == 0:
            journal.append(batch())
            journal.close()
            os._exit(0)
        assert os.waitpid(child_id, 0)[1] == 0
        assert gaps(tmp_path) == []
    assert len(gaps(tmp_path)) == 1


def test_a_journal_without_sync_is_sound(tmp_path) -> None:
    with Journal(tmp_path, durability="os") as journal:
        journal.append(batch(5))
        (path,) = journal_files(tmp_path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    with opened(path) as again:
        assert again is not None
        assert again.execute("SELECT count(*) FROM predictions").fetchone() == (5,)
