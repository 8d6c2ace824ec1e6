"""Power cuts at every moment of a journal: what was acknowledged is there, and nothing else."""

from __future__ import annotations

import itertools
import random
import shutil
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from log_batches import START, batch

from asfitted.errors import RecordError
from asfitted.prediction_log import Batch, Journal
from asfitted.prediction_log.journal import Durability
from asfitted.prediction_log.journal_file import JournalFile
from asfitted.prediction_log.query import Query
from asfitted.prediction_log.reader import Record, records
from asfitted.prediction_log.shipper import Shipper
from asfitted.prediction_log.sinks import sink_records
from asfitted.prediction_log.tables import Table

pytest.importorskip("apsw")
from crash_disk import Disk, End, Op, Recorder, put

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX files")

# Far more than any recovery takes; one that loops would never end.
RECOVERY_S = 20
SHIPPED_EVERY = 40


def a_batch(rng: random.Random, name: str) -> Batch:
    """Return a call with up to three rows, some of which fill several pages."""
    n_rows = rng.randint(1, 3)
    texts = [rng.randbytes(rng.choice((10, 10, 3000))).hex() for _ in range(n_rows)]
    inputs = [{"text": text, "at": n} for n, text in enumerate(texts)]
    return batch(n_rows, request_id=name, inputs=inputs)


def refusal(name: str) -> dict[str, Any]:
    return {
        "request_id": name, "received_at": START, "model_name": "flights", "model_version": "3",
        "model_digest": "", "code": "contract_violation", "n_rows": 1, "violations": [],
        "source": "serve",
    }  # fmt: skip


class Work:
    """Calls of a journal, and what came of each: the ids that were told, or the refusal."""

    def __init__(self, recorder: Recorder, seed: int, calls: int) -> None:
        self.recorder, self.calls = recorder, calls
        self.rng = random.Random(seed)
        self.batches: dict[str, Batch] = {}
        self.failed: set[str] = set()
        # Where the disk fails again while what failed is cut off, it may stay.
        self.may_keep_failed = False

    def run(self, journal: Journal) -> None:
        for n in range(self.calls):
            name = f"call {n}"
            try:
                if n % 5 == 3:
                    ids = [journal.append_refusal(**refusal(name))]
                else:
                    self.batches[name] = a_batch(self.rng, name)
                    ids = journal.append(self.batches[name])
            except RecordError:
                self.failed.add(name)
                self.recorder.told((name, None))
                if len(self.failed) == 3:
                    self.recorder.mend()
            else:
                self.recorder.told((name, ids))
            if n == self.calls // 2:
                journal.close()
        journal.close()


def recorded(
    root: Path,
    monkeypatch: Any,
    seed: int,
    calls: int = 14,
    durability: Durability = "fsync",
    **fault: Any,
) -> Work:
    """Return what a journal did to its files below `root`, from its first to its last call."""
    root.mkdir()
    work = Work(Recorder(root, **fault), seed, calls)
    with (
        work.recorder.recording(monkeypatch),
        Journal(root / "log", durability=durability) as journal,
    ):
        work.run(journal)
    shutil.rmtree(root)
    return work


@contextmanager
def within(seconds: float) -> Iterator[None]:
    def late(*_: object) -> None:
        raise TimeoutError(f"not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def of_both_tables(read: Callable[[Query], Iterable[Record]]) -> list[Record]:
    tables: tuple[Table, Table] = ("predictions", "refusals")
    return [record for table in tables for record in read(Query(table=table))]


def assert_sound(
    found: list[Record], work: Work, told: list[Op], *, may_lose: bool = False
) -> None:
    """What is there was handed in, as it is and once; what was acknowledged is there.

    Where the newest may be lost, they are those at the end of a journal.
    """
    answers = dict(op.told for op in told)
    refused = {name for name, answer in answers.items() if answer is None}
    ids: dict[str, list[str]] = {}
    for record in found:
        name = record["request_id"]
        assert work.may_keep_failed or name not in refused, f"{name} failed, and is on record"
        ids.setdefault(name, []).append(record.get("prediction_id") or record["refusal_id"])
        if "refusal_id" in record:
            wanted = refusal(name)
        else:
            wanted, row = dict(vars(work.batches[name])), record["row"]
            assert row == len(ids[name]) - 1, f"{name} lacks a row, or has one twice"
            wanted |= {n: wanted[n][row] for n in ("inputs", "outputs", "findings", "keys")}
        assert {n: record[n] for n in wanted} == wanted
    for name, each in ids.items():
        assert len(each) == (len(work.batches[name].inputs) if name in work.batches else 1)
    numbers: dict[tuple[str, bool], set[int]] = {}
    for record in found:
        of_file = (record["writer"], "refusal_id" in record)
        numbers.setdefault(of_file, set()).add(record["sequence"])
    assert all(each == set(range(1, len(each) + 1)) for each in numbers.values()), "a gap"
    acknowledged = {
        name: answer for name, answer in answers.items() if answer and (name in ids or not may_lose)
    }
    assert {n: ids.get(n) for n in acknowledged} == acknowledged


class Site:
    """Where the ends of a disk are put one after the other, and looked at."""

    def __init__(self, root: Path, work: Work) -> None:
        self.root, self.work, self.ends = root, work, 0
        self.fewest = 0
        self._seen: set[int] = set()

    def look(self, end: End, told: list[Op], *, may_lose: bool = False) -> None:
        """Read what is left of the log; sometimes ship it as well."""
        looked_at = hash((frozenset(end.items()), len(told)))
        if looked_at in self._seen:
            return
        self._seen.add(looked_at)
        self.ends += 1
        shutil.rmtree(self.root, ignore_errors=True)
        self.root.mkdir()
        put(end, self.root)
        log, problems = self.root / "log", list[str]()
        log.mkdir(exist_ok=True)
        with within(RECOVERY_S):
            found = of_both_tables(lambda q: records(log, q, on_problem=problems.append))
            assert_sound(found, self.work, told, may_lose=may_lose)
            self.fewest = min(self.fewest, len(found) - len(told))
            # A disk that failed may leave a file that has no record and is named as broken.
            assert not problems or self.work.failed
            if self.ends % SHIPPED_EVERY == 0 and not may_lose:
                self._ship(log, found, told)

    def _ship(self, log: Path, found: list[Record], told: list[Op]) -> None:
        url = f"sqlite:///{self.root / 'sink.sqlite'}"
        with Shipper(log, url, keep_shipped_s=0, on_problem=pytest.fail) as shipper:
            assert shipper.ship() == len(found)
        shipped = of_both_tables(lambda q: sink_records(url, q, on_problem=pytest.fail))
        assert_sound(shipped, self.work, told)
        assert len(shipped) == len(found)

    def look_at_every_moment(
        self, *, since: int = 0, exhaustive: int = 0, samples: int = 1, step: int = 1, seed: int = 0
    ) -> None:
        """Cut power after each op, with every combination of few unsynced ones and some of many."""
        ops = self.work.recorder.ops
        for moment in range(since, len(ops) + 1, step):
            told = [op for op in ops[:moment] if op.kind == "told"]
            for n in range(samples):
                rng = random.Random(f"{seed} {moment} {n}")
                disk = Disk(ops[:moment], rng)
                if n == 0:
                    self.look(disk.whole(), told)
                    if disk.pending() <= exhaustive:
                        for end in disk.every_end():
                            self.look(end, told)
                self.look(disk.some_end(), told)


def first_fault(work: Work) -> int:
    """Return the op from which on something had failed."""
    ops = work.recorder.ops
    return next((n for n, op in enumerate(ops) if op.kind == "failed sync"), 0)


@pytest.mark.parametrize("seed", range(2))
def test_a_power_cut_at_any_moment(tmp_path, monkeypatch, seed) -> None:
    work = recorded(tmp_path / "live", monkeypatch, seed)
    site = Site(tmp_path / "cut", work)
    site.look_at_every_moment(exhaustive=3, samples=2, seed=seed)
    assert site.ends > 400


def test_a_power_cut_where_answers_wait_for_the_system_only(tmp_path, monkeypatch) -> None:
    """With ``durability: os`` it may take the newest, and leaves no gap, nothing torn or twice."""
    work = recorded(tmp_path / "live", monkeypatch, 0, durability="os")
    site = Site(tmp_path / "cut", work)
    ops = work.recorder.ops
    for moment in range(0, len(ops) + 1, 2):
        told = [op for op in ops[:moment] if op.kind == "told"]
        disk = Disk(ops[:moment], random.Random(moment))
        site.look(disk.whole(), told)  # kill -9 takes none
        site.look(disk.some_end(), told, may_lose=True)
    assert site.fewest < 0, "none was lost: nothing was tried"


@pytest.mark.parametrize("lasting", [False, True])
def test_a_power_cut_after_a_sync_that_failed(tmp_path, monkeypatch, caplog, lasting) -> None:
    failed = ends = 0
    for at in range(0, 60, 5):
        work = recorded(tmp_path / "live", monkeypatch, at, fault="sync", at=at, lasting=lasting)
        work.may_keep_failed = lasting
        site = Site(tmp_path / "cut", work)
        site.look_at_every_moment(since=first_fault(work), step=11, seed=at)
        failed += len(work.failed)
        ends += site.ends
    assert failed >= 4
    assert ends > 100
    assert ("rows that nobody was told of may be readable" in caplog.text) == lasting


@pytest.mark.parametrize("lasting", [False, True])
def test_a_disk_that_is_full_at_any_write(tmp_path, monkeypatch, lasting) -> None:
    failed = ends = 0
    for at in range(0, 240, 20):
        work = recorded(tmp_path / "live", monkeypatch, at, fault="full", at=at, lasting=lasting)
        assert sum(op.kind == "told" for op in work.recorder.ops) == work.calls
        site = Site(tmp_path / "cut", work)
        site.look_at_every_moment(step=31, seed=at)
        failed += len(work.failed)
        ends += site.ends
    assert failed >= 5
    assert ends > 100


@pytest.mark.parametrize("left_out", ["full sync", "sync of the folder", "cut"])
def test_a_journal_that_leaves_something_out_is_found_out(tmp_path, monkeypatch, left_out) -> None:
    """The cuts above would not pass whatever the journal does."""
    faults: list[dict[str, Any]] = [{}]
    if left_out == "full sync":
        prepare = JournalFile._prepare

        def prepared(self: JournalFile, connection: Any) -> None:
            prepare(self, connection)
            connection.execute("PRAGMA synchronous = NORMAL")

        monkeypatch.setattr(JournalFile, "_prepare", prepared)
    elif left_out == "cut":
        monkeypatch.setattr(JournalFile, "_cut_wal", lambda self: None)
        faults = [{"fault": "sync", "at": at} for at in range(10, 20)]
    else:
        monkeypatch.setattr("asfitted.prediction_log.place.sync_folder", lambda folder: None)

    def look() -> None:
        for fault in faults:
            work = recorded(tmp_path / "live", monkeypatch, 0, **fault)
            site = Site(tmp_path / "cut", work)
            site.look_at_every_moment(since=first_fault(work), samples=3)

    with pytest.raises(AssertionError, match=r"call \d"):
        look()


@pytest.mark.soak
def test_many_more_power_cuts(tmp_path, monkeypatch) -> None:
    ends = 0
    for seed in range(8):
        work = recorded(tmp_path / "live", monkeypatch, seed, calls=20)
        site = Site(tmp_path / "cut", work)
        site.look_at_every_moment(exhaustive=6, samples=6, seed=seed)
        ends += site.ends
    for kind, lasting in itertools.product(("sync", "full"), (False, True)):
        for at in range(*((240, 7) if kind == "full" else (60, 2))):
            fault: dict[str, Any] = {"fault": kind, "at": at, "lasting": lasting}
            work = recorded(tmp_path / "live", monkeypatch, at, **fault)
            work.may_keep_failed = kind == "sync" and lasting
            site = Site(tmp_path / "cut", work)
            site.look_at_every_moment(since=first_fault(work), step=3, seed=at)
            ends += site.ends
    assert ends > 15_000
