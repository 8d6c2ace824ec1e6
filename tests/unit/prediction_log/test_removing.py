"""What is removed is nowhere any more, what stays still adds up, and the trace says so."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from log_batches import ONE_FLIGHT, START, batch, child

from asfitted.cli import main
from asfitted.errors import ConfigError, StoreUnavailable
from asfitted.prediction_log import FieldPolicy, Journal, removal_run
from asfitted.prediction_log.journal_rewrite import rewrite_journal
from asfitted.prediction_log.place import journal_files
from asfitted.prediction_log.query import Query
from asfitted.prediction_log.reader import Record, records
from asfitted.prediction_log.record import Outcome
from asfitted.prediction_log.removal_run import Removal
from asfitted.prediction_log.removing import erase, prune
from asfitted.prediction_log.shipper import Shipper
from asfitted.prediction_log.shipping_lock import REMOVAL_LOCK, FolderLock
from asfitted.prediction_log.sinks import log_records
from asfitted.prediction_log.tables import Table
from asfitted.prediction_log.whole import Place

SECRET = "Wolfeschlegelsteinhausen"
OUTCOME = "divorced-in-2019"


def put(folder: Path, names: list[Any], *, outcome: bool = True, **changes: Any) -> list[str]:
    inputs = [{**ONE_FLIGHT, "passenger": str(name)} for name in names]
    keys = [{"passenger": name} for name in names]
    with Journal(folder) as journal:
        ids = journal.append(
            batch(len(names), inputs=inputs, keys=keys, request_id="a request", **changes)
        )
        if outcome:
            by_id = Outcome(START, START, "flights", "3", ids[0], {}, OUTCOME, f"{names[0]}.csv")
            by_key = replace(by_id, prediction_id=None, keys=keys[0])
            journal.append_outcomes([by_id, by_key])
    return ids


def whole(place: Place, table: Table = "predictions") -> list[Record]:
    assert place.sink is not None
    found = log_records(place.folder, place.sink, Query(table=table), on_problem=pytest.fail)
    return list(found)


def ship(place: Place) -> None:
    assert place.sink is not None
    with Shipper(place.folder or "", place.sink, on_problem=lambda problem: None) as shipper:
        shipper.ship()


def bytes_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.fixture(params=["sqlite", "postgres", "parquet"])
def place(request, tmp_path) -> Place:
    path = tmp_path / "all" / "sink"
    path.parent.mkdir()
    if request.param == "postgres":
        url = request.getfixturevalue("database")
    else:
        url = str(path) if request.param == "parquet" else f"sqlite:///{path}.sqlite"
    return Place(tmp_path / "all" / "log", url)


@pytest.fixture
def home(tmp_path) -> Place:
    return Place(tmp_path / "log", f"sqlite:///{tmp_path / 'sink.sqlite'}")


def test_a_subject_is_nowhere_any_more(place, tmp_path) -> None:
    put(place.folder, [SECRET, "Meyer"])
    ship(place)
    put(place.folder, [SECRET])
    before = whole(place)
    assert SECRET.encode() in bytes_of(tmp_path)
    removal = erase(place, {"passenger": SECRET}, reason="request 12", who="ann")
    assert removal.counts == {"outcomes": 4, "predictions": 2}
    left = bytes_of(tmp_path)
    assert SECRET.encode() not in left
    assert OUTCOME.encode() not in left
    for _ in range(2):
        after = whole(place)
        kept = ("prediction_id", "scored_at", "model_name", "writer", "sequence", "batch_id")
        assert [[r[n] for n in kept] for r in after] == [[r[n] for n in kept] for r in before]
        blank = [record for record in after if record["findings"]]
        assert [record["findings"] for record in blank] == [[{"column": "", "rule": "erased"}]] * 2
        for record in blank:
            assert [record[n] for n in ("inputs", "outputs", "keys", "request_id")] == [
                {}, {}, {}, "",
            ]  # fmt: skip
        (other,) = [record for record in after if not record["findings"]]
        assert other["inputs"]["passenger"] == "Meyer"
        # What was not shipped yet comes as it is now.
        ship(place)
    (trace,) = whole(place, "removals")
    assert (trace["kind"], trace["who"], trace["reason"]) == ("erase", "ann", "request 12")
    assert trace["condition"] == {"keys": {"passenger": None}}
    assert (trace["counts"], trace["gaps"]) == ({"outcomes": 4, "predictions": 2}, {})
    assert trace["removal_id"] == removal.removal_id
    # Once more there is nothing, and no second trace.
    assert erase(place, {"passenger": SECRET}, reason="again").total == 0
    assert len(whole(place, "removals")) == 1


def test_an_outcome_by_other_keys_is_the_subjects_where_it_is_nobody_elses(place) -> None:
    orders = [{"customer": 17, "order": 1}, {"customer": 17, "order": 2},
              {"customer": 18, "order": 2}, {"customer": 18, "order": 3}]  # fmt: skip
    with Journal(place.folder) as journal:
        journal.append(batch(4, keys=orders))
        for order in (1, 2, 3):
            journal.append_outcomes(
                [Outcome(START, START, "flights", "3", None, {"order": order}, OUTCOME, "crm")]
            )
    ship(place)
    removal = erase(place, {"customer": "17"}, reason="request 12")
    assert removal.counts == {"outcomes": 1, "predictions": 2}
    left = [record["keys"] for record in whole(place, "outcomes")]
    # Order 2 came true for customer 18, too.
    assert left == [{}, {"order": 2}, {"order": 3}]
    removal = erase(place, {"customer": "18", "order": "3"}, reason="request 13")
    assert removal.counts == {"outcomes": 1, "predictions": 1}
    assert [record["keys"] for record in whole(place)] == [{}, {}, orders[2], {}]


def test_outcomes_go_everywhere_before_predictions_do(home, monkeypatch) -> None:
    (prediction_id,) = put(home.folder, [SECRET], outcome=False)
    with Journal(home.folder) as journal:
        journal.append_outcomes(
            [Outcome(START, START, "flights", "3", prediction_id, {}, OUTCOME, "crm")]
        )
    done: list[str] = []

    def killed(path: Path, changes: list[Any]) -> None:
        done.append(changes[0][0])
        rewrite_journal(path, changes)
        raise KeyboardInterrupt

    monkeypatch.setattr(removal_run, "rewrite_journal", killed)
    with pytest.raises(KeyboardInterrupt):
        erase(home, {"passenger": SECRET}, reason="r")
    monkeypatch.undo()
    assert done == ["outcomes"]
    erase(home, {"passenger": SECRET}, reason="r")
    for file in home.folder.rglob("*"):
        assert OUTCOME.encode() not in file.read_bytes()
        assert SECRET.encode() not in file.read_bytes()


def test_a_hashed_subject_is_found_and_the_trace_has_its_hash(place, monkeypatch) -> None:
    monkeypatch.setenv("ASFITTED_HASH_KEY", "a secret of the tests")
    hashed = FieldPolicy({"passenger": "hash"}).apply({"passenger": 17})["passenger"]
    put(place.folder, [hashed, "hmac-sha256:" + "0" * 64])
    ship(place)
    monkeypatch.delenv("ASFITTED_HASH_KEY")
    with pytest.raises(ConfigError, match="passenger is hashed on record"):
        erase(place, {"passenger": "17"}, reason="request 12")
    monkeypatch.setenv("ASFITTED_HASH_KEY", "a secret of the tests")
    assert erase(place, {"passenger": "17"}, reason="request 12").counts["predictions"] == 1
    (trace,) = whole(place, "removals")
    assert trace["condition"]["keys"]["passenger"].startswith("hmac-sha256:")
    assert sum(bool(record["findings"]) for record in whole(place)) == 1


def test_old_records_go_and_the_gaps_are_explained(place) -> None:
    now = datetime.now(timezone.utc)
    old, young = now - timedelta(days=500), now - timedelta(days=5)
    put(place.folder, ["a", "b"], scored_at=old, outcome=False)
    ship(place)
    with Journal(place.folder) as journal:
        for name, at in [("c", old), ("d", young), ("e", old), ("f", old)]:
            journal.append(batch(keys=[{"passenger": name}], scored_at=at, model_name=name))
    removal = prune(place, timedelta(days=400), model="", reason="retention")
    assert removal.counts == {"predictions": 5}
    for _ in range(2):
        assert [record["model_name"] for record in whole(place)] == ["d"]
        ship(place)
    (trace,) = whole(place, "removals")
    assert sorted(trace["gaps"]["predictions"].values()) == [[[1, 1], [3, 4]], [[1, 2]]]
    # The journal of which nothing is left is gone; one has the young, one the trace.
    assert len(journal_files(place.folder)) == 2


def test_only_one_model(home) -> None:
    for name in ("a", "b"):
        put(home.folder, [name], model_name=name, outcome=False)
    ship(home)
    assert prune(home, timedelta(0), model="a").counts == {"predictions": 1}
    assert [record["model_name"] for record in whole(home)] == ["b"]


def test_quarantine_forgets_too(home, tmp_path) -> None:
    put(home.folder, [SECRET], outcome=False)
    (path,) = journal_files(home.folder)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE predictions SET latency_us = 'damaged'")
    ship(home)
    assert erase(home, {"passenger": SECRET}, reason="r").counts == {"predictions": 1}
    assert SECRET.encode() not in bytes_of(tmp_path)
    with closing(sqlite3.connect(home.folder / "shipping.sqlite")) as connection:
        (content,) = connection.execute("SELECT content FROM quarantine").fetchone()
    assert '"erased' in content.replace("\\", "")


def test_a_row_whose_keys_are_damaged_is_erased_rather_than_kept(home, tmp_path) -> None:
    put(home.folder, [SECRET, "Meyer"], outcome=False)
    (path,) = journal_files(home.folder)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE predictions SET keys = substr(keys, 1, length(keys) - 1)")
    assert erase(home, {"passenger": SECRET}, reason="r").counts == {"predictions": 1}
    assert SECRET.encode() not in bytes_of(tmp_path)


def test_nothing_goes_unless_it_is_confirmed(home, tmp_path) -> None:
    put(home.folder, [SECRET])
    ship(home)
    seen: list[int] = []

    def no(removal: Removal) -> bool:
        seen.append(removal.total)
        return False

    assert erase(home, {"passenger": SECRET}, reason="r", confirm=no).removal_id == ""
    assert seen == [3]
    assert len(whole(home, "removals")) == 0
    assert [record["keys"] for record in whole(home)] == [{"passenger": SECRET}]


# Lines of the work itself, from the first change of a journal to the last of the sink.
@pytest.mark.parametrize("lines", range(1195, 2440, 100))
def test_a_run_that_was_killed_is_finished_by_the_next(home, tmp_path, lines) -> None:
    put(home.folder, [SECRET, "Meyer"])
    ship(home)
    # Of a killed writer, all that was there may stand below a WAL that says otherwise.
    child(KILLED, home.folder, SECRET).communicate(timeout=60)
    pid = os.fork()
    if pid == 0:
        left = [lines]

        def trace(frame: Any, _event: str, _arg: Any) -> Any:
            if not re.search("remov|rewrite", frame.f_code.co_filename):
                return None
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            return trace

        sys.settrace(trace)
        try:
            erase(home, {"passenger": SECRET}, reason="r")
        finally:
            os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status), "the run ended before it was killed"
    erase(home, {"passenger": SECRET}, reason="r")
    assert SECRET.encode() not in bytes_of(tmp_path)
    assert OUTCOME.encode() not in bytes_of(tmp_path)
    ship(home)
    assert [bool(record["findings"]) for record in whole(home)].count(True) == 4
    assert len(whole(home, "removals")) >= 1
    assert SECRET.encode() not in bytes_of(tmp_path)


KILLED = """
import os, signal, sys
from asfitted.prediction_log import Journal
from log_batches import batch
journal = Journal(sys.argv[1])
for _ in range(3):
    journal.append(batch(keys=[{"passenger": sys.argv[2]}]))
os.kill(os.getpid(), signal.SIGKILL)
"""


class KilledBeforeTheCheckpoint(sqlite3.Connection):
    """Has changed the WAL, and not the file below it."""

    def execute(self, sql: str, *rest: Any) -> sqlite3.Cursor:
        if "wal_checkpoint" in sql:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().execute(sql, *rest)


@pytest.mark.parametrize("shipped", [False, True])
def test_what_a_killed_run_left_below_a_wal_goes_with_the_next(home, tmp_path, shipped) -> None:
    child(KILLED, home.folder, SECRET).communicate(timeout=60)
    if shipped:
        ship(home)
    pid = os.fork()
    if pid == 0:
        connect = sqlite3.connect
        sqlite3.connect = lambda *a, **k: connect(  # type: ignore[assignment]
            *a, **{"factory": KilledBeforeTheCheckpoint, **k}
        )
        try:
            erase(home, {"passenger": SECRET}, reason="r")
        finally:
            os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(pid, 0)[1])
    # Whoever reads the journal finds it erased; the bytes are there.
    assert {record["request_id"] for record in records(home.folder)} == {""}
    assert SECRET.encode() in bytes_of(home.folder)
    erase(home, {"passenger": SECRET}, reason="r")
    assert SECRET.encode() not in bytes_of(tmp_path)


def test_the_journal_of_a_killed_writer_forgets_too(home, tmp_path) -> None:
    process = child(KILLED, home.folder, SECRET)
    process.communicate(timeout=60)
    assert SECRET.encode() in bytes_of(tmp_path)
    assert erase(home, {"passenger": SECRET}, reason="r").counts == {"predictions": 3}
    assert SECRET.encode() not in bytes_of(tmp_path)


LIVE = """
import sys
from asfitted.prediction_log import Journal
from log_batches import batch
journal = Journal(sys.argv[1])
journal.append(batch(keys=[{"passenger": sys.argv[2]}]))
print("written", flush=True)
for line in sys.stdin:
    if line.strip() == "record":
        journal.append(batch(keys=[{"passenger": "another"}]))
        print("written", flush=True)
"""


def test_a_live_journal_is_left_alone_until_its_writer_begins_another(home, tmp_path) -> None:
    process = child(LIVE, home.folder, SECRET, stdin=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        assert process.stdout.readline() == "written\n"
        with pytest.raises(StoreUnavailable, match=f"process {process.pid} on"):
            erase(home, {"passenger": SECRET}, reason="r", wait_s=0.2)
        assert len(whole(home, "removals")) == 0
        # Another subject's erasure is not kept by it.
        assert erase(home, {"passenger": "nobody"}, reason="r", wait_s=0.2).total == 0
        found: list[int] = []
        work = threading.Thread(
            target=lambda: found.append(erase(home, {"passenger": SECRET}, reason="r").total)
        )
        work.start()
        time.sleep(0.3)
        process.stdin.write("record\n")
        process.stdin.flush()
        assert process.stdout.readline() == "written\n"
        work.join()
        assert found == [1]
        assert SECRET.encode() not in bytes_of(tmp_path)
        assert len(whole(home)) == 2
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()


def test_nothing_is_shipped_meanwhile(home, tmp_path) -> None:
    put(home.folder, [SECRET], outcome=False)
    with closing(FolderLock(home.folder, REMOVAL_LOCK)):
        with pytest.raises(StoreUnavailable, match="being shipped or removed"):
            ship(home)
        assert len(list(records(home.folder))) == 1
    ship(home)
    assert len(whole(home)) == 1


def test_a_sink_that_is_down_keeps_all_of_it(home, tmp_path) -> None:
    put(home.folder, [SECRET])
    down = Place(home.folder, "postgresql+psycopg://127.0.0.1:1/nothing")
    with pytest.raises(StoreUnavailable):
        erase(down, {"passenger": SECRET}, reason="r")
    assert [record["keys"] for record in records(home.folder)] == [{"passenger": SECRET}]
    assert list(records(home.folder, Query(table="removals"))) == []


def test_a_journal_that_cannot_be_read_keeps_all_of_it(home) -> None:
    put(home.folder, [SECRET])
    (home.folder / "journal-x.sqlite").write_bytes(b"no database, and 4096 bytes" * 400)
    with pytest.raises(StoreUnavailable, match="cannot be read whole"):
        erase(home, {"passenger": SECRET}, reason="r")
    assert list(records(home.folder, Query(table="removals"))) == []


@pytest.fixture
def run(capsys, monkeypatch, home):
    monkeypatch.setenv("ASFITTED_LOG", str(home.folder))
    monkeypatch.setenv("ASFITTED_SINK", home.sink)

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main(["log", *map(str, arguments)])
        return int(caught.value.code or 0), *capsys.readouterr()

    return run


def test_the_commands(run, home, tmp_path, monkeypatch) -> None:
    old = datetime.now(timezone.utc) - timedelta(days=500)
    put(home.folder, [SECRET, "Meyer"], scored_at=old)
    ship(home)
    arguments = ["erase", "--key", f"passenger={SECRET}", "--reason", "request 12"]
    code, out, _ = run(*arguments, "--dry-run")
    assert (code, out.split(", in")[0]) == (0, "2 outcomes and 1 predictions would be blanked")
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    code, out, err = run(*arguments)
    assert (code, out) == (130, "")
    assert "Shall they be blanked? There is no way back" in err
    assert len(whole(home, "removals")) == 0
    code, out, _ = run(*arguments, "--yes", "--json")
    said = json.loads(out)
    assert (code, said["counts"]) == (0, {"outcomes": 2, "predictions": 1})
    assert said["removal_id"] == whole(home, "removals")[0]["removal_id"]
    assert SECRET.encode() not in bytes_of(tmp_path)
    code, out, _ = run("prune", "--older-than", "400d", "--yes")
    assert (code, out.split(", in")[0]) == (0, "2 predictions deleted")
    assert run("prune", "--older-than", "400d", "--yes")[1].startswith("nothing to be deleted")
    assert run("prune", "--older-than", "old", "--yes")[0] == 2
    assert run("erase", "--key", "passenger", "--reason", "r")[0] == 2
    assert [trace["kind"] for trace in whole(home, "removals")] == ["erase", "prune"]
