from __future__ import annotations

import json
import os
import shutil
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from log_batches import batch, child, finished

from asfitted.errors import RecordError
from asfitted.prediction_log import Batch, Journal
from asfitted.prediction_log.journal import Durability
from asfitted.prediction_log.place import journal_files
from asfitted.prediction_log.query import Query
from asfitted.prediction_log.reader import Record, records


def all_of(folder: Path, **conditions: object) -> list[Record]:
    """Return every record; a file that cannot be read fails the test."""
    return list(records(folder, Query(**conditions), on_problem=pytest.fail))


def in_threads(calls: list[Callable[[], object]]) -> list[object]:
    """Call all at once; return results, or the errors in their places."""
    results: list[object] = [None] * len(calls)

    def call(n: int) -> None:
        try:
            results[n] = calls[n]()
        except RecordError as error:
            results[n] = error

    threads = [threading.Thread(target=call, args=(n,)) for n in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@contextmanager
def a_busy_disk(journal: Journal) -> Iterator[sqlite3.Connection]:
    """Hold the journal's own lock, so that the next commit has to wait."""
    (path,) = journal_files(journal.folder)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other
        if other.in_transaction:
            other.execute("COMMIT")


def write_together(journal: Journal, batches: list[Batch]) -> list[object]:
    """Append the first alone and, while its commit waits, all others."""
    calls = [lambda b=b: journal.append(b) for b in batches]
    with a_busy_disk(journal) as other:
        results: list[object] = []
        first = threading.Thread(target=lambda: results.extend(in_threads(calls[:1])))
        first.start()
        wait_for(lambda: journal._commits.writing)
        rest: list[object] = []
        others = threading.Thread(target=lambda: rest.extend(in_threads(calls[1:])))
        others.start()
        wait_for(lambda: len(journal._commits.queue) == len(batches) - 1)
        other.execute("COMMIT")
        first.join()
        others.join()
    return results + rest


def wait_for(condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(10_000):
        if condition():
            return
        pause.wait(0.001)
    pytest.fail("never came true")


def test_files_are_for_their_owner_only_and_come_with_the_first_append(tmp_path) -> None:
    folder = tmp_path / "a" / "log"
    journal = Journal(folder)
    assert not folder.exists()
    journal.append(batch())
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert len(modes) == 3  # with -wal and -shm
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    journal.close()
    assert len(all_of(folder)) == 1
    (path,) = folder.iterdir()  # one file that needs no other, not even to be read
    assert path.name.startswith("journal-2")
    assert f"-{os.getpid()}-" in path.name


def test_a_commit_is_synced_before_append_returns(tmp_path) -> None:
    with Journal(tmp_path) as journal:
        journal.append(batch())
        assert journal._commits.file is not None
        connection = journal._commits.file.connection
        assert connection is not None
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


@pytest.mark.parametrize("durability", ["fsync", "os"])
def test_a_log_that_is_synced_grows_in_steps(tmp_path, durability: Durability) -> None:
    sizes = []
    with Journal(tmp_path, durability=durability) as journal:
        for n in range(400):
            journal.append(batch(request_id=f"{n}"))
            (wal,) = tmp_path.glob("*-wal")
            sizes.append(wal.stat().st_size)
        # Read while it is written, and after a kill.
        requests = [f"{n}" for n in range(400)]
        assert [r["request_id"] for r in all_of(tmp_path)] == requests
        copy = shutil.copytree(tmp_path, tmp_path / "killed", ignore=lambda *_: ["killed"])
        assert len(all_of(copy)) == 400
    # Once for each step, and once where it grew before it was seen to.
    assert (len(set(sizes)) < 50) == (durability == "fsync")
    assert sizes[0] < 200_000
    assert 3_000_000 < sizes[-1] < 6_000_000
    assert len(list(tmp_path.glob("journal-*"))) == 1  # with the rows, and no zeros
    assert len(all_of(tmp_path)) == 400


def test_many_threads_lose_nothing_and_write_nothing_twice(tmp_path) -> None:
    with Journal(tmp_path) as journal:

        def work() -> list[str]:
            return [i for n in range(60) for i in journal.append(batch(1 + n % 3))]

        results = in_threads([work] * 8)
        commits = journal.commits
    ids = [each for mine in results for each in mine]  # type: ignore[attr-defined]
    found = all_of(tmp_path)
    assert sorted(record["prediction_id"] for record in found) == sorted(ids)
    assert len(set(ids)) == 8 * 120
    assert sorted(record["sequence"] for record in found) == list(range(1, 8 * 120 + 1))
    assert len({record["writer"] for record in found}) == 1
    assert commits <= 8 * 60


def test_who_waits_is_written_by_one_commit(tmp_path) -> None:
    with Journal(tmp_path) as journal:
        journal.append(batch())
        results = write_together(journal, [batch(2) for _ in range(9)])
        assert all(isinstance(ids, list) and len(ids) == 2 for ids in results)
        # The one before, the first that found the disk busy, and all eight after it.
        assert journal.commits == 3
    assert len(all_of(tmp_path)) == 19


def test_a_failed_group_fails_for_all_and_is_never_read(tmp_path) -> None:
    with Journal(tmp_path) as journal:
        before = journal.append(batch())
        (path,) = journal_files(tmp_path)
        with closing(sqlite3.connect(path)) as other:
            other.execute(
                "CREATE TRIGGER fault BEFORE INSERT ON predictions WHEN NEW.request_id = 'bad' "
                "BEGIN SELECT RAISE(FAIL, 'a fault'); END"
            )
        poisoned = [batch(), *(batch(request_id="good") for _ in range(4)), batch(request_id="bad")]
        first, *rest = write_together(journal, poisoned)
        assert isinstance(first, list)
        assert [type(error) for error in rest] == [RecordError] * 5
        assert len({id(error) for error in rest}) == 5
        assert all("a fault" in str(e) and str(tmp_path) in str(e) for e in rest)
        assert all(isinstance(e.__cause__, sqlite3.Error) for e in rest)  # type: ignore[union-attr]
        after = journal.append(batch())
    found = sorted(all_of(tmp_path), key=lambda record: str(record["prediction_id"]))
    assert [r["prediction_id"] for r in found] == [*before, *first, *after]
    # The file that failed is given up: the next append opened another one.
    assert [r["sequence"] for r in found] == [1, 2, 1]
    assert len(journal_files(tmp_path)) == 2


def test_a_lock_that_stays_is_reported_and_the_next_append_goes_elsewhere(
    tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr("asfitted.prediction_log.journal_file._BUSY_TIMEOUT_S", 0.05)
    with Journal(tmp_path) as journal:
        journal.append(batch())
        with a_busy_disk(journal):
            with pytest.raises(RecordError, match="locked"):
                journal.append(batch())
            journal.append(batch())
    assert len(all_of(tmp_path)) == 2


def test_a_closed_journal_opens_a_new_file_when_it_is_used_again(tmp_path) -> None:
    journal = Journal(tmp_path)
    for _ in range(2):
        journal.append(batch())
        journal.close()
        journal.close()
    assert len(journal_files(tmp_path)) == len(all_of(tmp_path)) == 2


def test_a_process_that_never_closes_leaves_a_closed_file(tmp_path) -> None:
    script = (
        "import sys; from asfitted.prediction_log import Journal; from log_batches import batch; "
        "journal = Journal(sys.argv[1]); journal.append(batch())"
    )
    finished(child(script, tmp_path))
    assert [path.suffix for path in tmp_path.iterdir()] == [".sqlite"]
    assert len(all_of(tmp_path)) == 1


def test_a_journal_that_nobody_holds_is_closed(tmp_path) -> None:
    journal = Journal(tmp_path)
    journal.append(batch())
    del journal
    assert [path.suffix for path in tmp_path.iterdir()] == [".sqlite"]


def test_check_proves_the_folder_and_leaves_nothing(tmp_path) -> None:
    Journal(tmp_path / "new").check()
    assert list((tmp_path / "new").iterdir()) == []


def test_check_refuses_a_folder_that_is_a_file(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match="cannot be written") as caught:
        Journal(tmp_path / "file" / "log").check()
    assert str(tmp_path) in caught.value.where
    assert isinstance(caught.value.__cause__, OSError)
    with pytest.raises(RecordError):
        Journal(tmp_path / "file" / "log").append(batch())


FORK = """
import json, os, sys, threading
from asfitted.prediction_log import Journal
from log_batches import batch
journal = Journal(sys.argv[1])
ids = journal.append(batch())
children = []
for n in range(3):
    pid = os.fork()
    if pid == 0:
        for _ in range(5):
            journal.append(batch(request_id=f"child {n}"))
        sys.exit(0)  # through the interpreter's own end, destructors and all
    children.append(pid)
    ids += journal.append(batch())
for pid in children:
    assert os.waitpid(pid, 0)[1] == 0
ids += journal.append(batch())
print(json.dumps(ids))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_writes_its_own_file_and_harms_none(tmp_path) -> None:
    ids = json.loads(finished(child(FORK, tmp_path)))
    found = all_of(tmp_path)
    parents = [r for r in found if not r["request_id"].startswith("child")]
    assert [r["prediction_id"] for r in parents] == ids
    assert [r["sequence"] for r in parents] == [1, 2, 3, 4, 5]
    assert len({r["writer"] for r in parents}) == 1
    assert len(found) == 5 + 15
    assert len(journal_files(tmp_path)) == 4


@pytest.mark.parametrize(
    "common",
    [
        {},
        {"request_id": "it's'; DROP TABLE predictions; --", "model_name": 'Größe "x" 猫'},
        {"request_id": "a\0b", "model_version": ""},
        {"params": {"said": "it's " * 5_000}},
    ],
)
def test_many_rows_of_one_call_are_recorded_as_few_are(tmp_path, common) -> None:
    with Journal(tmp_path / "many") as journal:
        journal.append(batch(1_000, **common))
    with Journal(tmp_path / "few") as journal:
        journal.append(batch(999, **common))
    many, few = all_of(tmp_path / "many"), all_of(tmp_path / "few")
    differ = {"prediction_id", "writer", "request_id", "batch_id"} - set(common)
    for record in (*many, *few):
        for name in differ:
            record.pop(name)
    assert many[:999] == few
    assert [record["row"] for record in many] == list(range(1_000))
    assert [record["sequence"] for record in many] == list(range(1, 1_001))


FORK_IN_A_COMMIT = """
import os, sys
from asfitted.prediction_log import Journal
from log_batches import batch, encode
journal = Journal(sys.argv[1])
journal.append(batch())
file = journal._commits.file
# A small cache, so that pages of the open transaction are in the WAL already.
file.connection.execute("PRAGMA cache_size = 1")
file.connection.execute("BEGIN IMMEDIATE")
file.connection.executemany(file._one["predictions"], encode(batch(500)))
pid = os.fork()
if pid == 0:
    sys.exit(0)
assert os.waitpid(pid, 0)[1] == 0
file.connection.execute("COMMIT")
from asfitted.prediction_log.reader import records
print(len(list(records(sys.argv[1], on_problem=sys.exit))))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_that_ends_does_not_undo_what_its_parent_commits(tmp_path) -> None:
    assert finished(child(FORK_IN_A_COMMIT, tmp_path)) == "501\n"


PROCESS = """
import sys
from asfitted.prediction_log import Journal
from log_batches import batch
with Journal(sys.argv[1]) as journal:
    for _ in range(40):
        print(*journal.append(batch(2)), flush=True)
"""


def test_many_processes_on_one_folder_read_as_one(tmp_path) -> None:
    processes = [child(PROCESS, tmp_path) for _ in range(4)]
    ids = [each for process in processes for each in finished(process).split()]
    found = all_of(tmp_path)
    assert sorted(r["prediction_id"] for r in found) == sorted(ids)
    assert len(set(ids)) == 4 * 80
    order = [(r["scored_at"], r["writer"], r["sequence"]) for r in found]
    assert order == sorted(order)
    for writer in {r["writer"] for r in found}:
        assert [r["sequence"] for r in found if r["writer"] == writer] == list(range(1, 81))


@pytest.mark.parametrize("lost", ["deleted", "moved", "its folder deleted"])
def test_a_journal_that_lost_its_name_is_written_on_no_more(tmp_path: Path, lost: str) -> None:
    folder = tmp_path / "log"
    with Journal(folder) as journal:
        journal.append(batch())
        (file,) = folder.glob("*.sqlite")
        if lost == "moved":
            file.rename(tmp_path / "elsewhere.sqlite")
        elif lost == "deleted":
            file.unlink()
        else:
            shutil.rmtree(folder)
        ids = journal.append(batch())
        assert [record["prediction_id"] for record in all_of(folder)] == ids
