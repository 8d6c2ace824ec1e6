"""Journals that are cut off, zeroed or garbled anywhere: named, read as far as they are sound."""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from log_batches import batch, child

from asfitted.prediction_log import Journal, read_log
from asfitted.prediction_log.place import beside, journal_files
from asfitted.prediction_log.query import Query
from asfitted.prediction_log.reader import Record, records
from asfitted.prediction_log.shipper import Shipper
from asfitted.prediction_log.shipping_stats import log_stats
from asfitted.prediction_log.sinks import sink_records

ROWS = 40

KILLED = """
import os, signal, sys
from asfitted.prediction_log import Journal
from log_batches import batch
journal = Journal(sys.argv[1])
for n in range(int(sys.argv[2])):
    journal.append(batch(request_id=f"damaged {n}", inputs=[{"text": "x" * (n % 5) * 1500}]))
    if n == int(sys.argv[2]) // 2:
        journal._commits.file.connection.execute("PRAGMA wal_checkpoint")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound journal and one of a killed process, half of it in its write-ahead log."""
    folder = tmp_path_factory.mktemp("original")
    with Journal(folder) as journal:
        for n in range(10):
            journal.append(batch(request_id=f"sound {n}"))
    with child(KILLED, folder, ROWS) as process:
        assert process.wait(60) == -signal.SIGKILL
    assert len(read_log(folder)) == ROWS + 10
    for index in folder.glob("*-shm"):
        index.unlink()
    return folder


@pytest.fixture(scope="module")
def whole(original: Path) -> dict[str, Record]:
    """What is on record, by prediction id."""
    return {record["prediction_id"]: record for record in records(original)}


class Copy:
    """A copy of the journals, of which one is to be damaged again and again."""

    def __init__(self, original: Path, folder: Path, whole: dict[str, Record]) -> None:
        self.original, self.folder, self.whole = original, folder, whole
        shutil.copytree(original, folder)
        (self.path,) = [p for p in journal_files(folder) if "-wal" in str(list(_all_of(p)))]

    def renew(self) -> None:
        for ending in ("", "-wal"):
            source = beside(self.original / self.path.name, ending)
            shutil.copyfile(source, beside(self.path, ending))
        for ending in ("-shm", "-journal"):
            beside(self.path, ending).unlink(missing_ok=True)

    def read(self) -> tuple[int, list[str]]:
        """Return how many rows of the damaged journal are read, and what is said of it.

        All of the other are; and what is read is what was written.
        """
        problems: list[str] = []
        found = list(records(self.folder, on_problem=problems.append))
        assert len({record["prediction_id"] for record in found}) == len(found)
        for record in found:
            assert record == self.whole.get(record["prediction_id"])
        sound = sum(record["request_id"].startswith("sound") for record in found)
        assert sound == 10
        assert all(problem.endswith("missing here") for problem in problems)
        return len(found) - sound, problems


def _all_of(path: Path) -> Iterator[str]:
    return (each.name for each in path.parent.glob(f"{path.name}*"))


@pytest.fixture
def copy(original: Path, whole: dict[str, Record], tmp_path: Path) -> Copy:
    return Copy(original, tmp_path / "copy", whole)


@pytest.mark.parametrize("with_log", [True, False])
def test_cut_off_anywhere(copy: Copy, with_log: bool) -> None:
    size = copy.path.stat().st_size
    fewest, said = ROWS, 0
    for length in range(0, size, 512):
        copy.renew()
        if not with_log:
            beside(copy.path, "-wal").unlink()
        os.truncate(copy.path, length)
        found, problems = copy.read()
        fewest = min(fewest, found)
        said += bool(problems)
        # An empty file is what a process leaves that was killed when it had just begun.
        assert problems or length == 0 or (with_log and found == ROWS)
    assert fewest == 0
    assert said > size // 512 // 2


def test_a_write_ahead_log_that_is_cut_off_ends_at_a_commit(copy: Copy) -> None:
    size = len(beside(copy.path, "-wal").read_bytes().rstrip(b"\0"))  # of what is written
    counts = []
    for length in range(0, size, 2048):
        copy.renew()
        os.truncate(beside(copy.path, "-wal"), length)
        found, problems = copy.read()
        assert problems == []
        counts.append(found)
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]
    # What follows a sync is overwritten from the beginning: the last cut may cut nothing.
    assert counts[-1] in {ROWS - 1, ROWS}


@pytest.mark.parametrize("unit", [512, 4096])
@pytest.mark.parametrize("what", ["zeros", "garbage"])
def test_damaged_anywhere(copy: Copy, what: str, unit: int) -> None:
    size, rng, hits = copy.path.stat().st_size, random.Random(unit), 0
    for offset in range(0, size, unit):
        copy.renew()
        with copy.path.open("r+b") as file:
            file.seek(offset)
            file.write(bytes(unit) if what == "zeros" else rng.randbytes(unit))
        found, problems = copy.read()
        # What is not in use may be damaged without harm.
        assert problems or found == ROWS, f"rows are missing and nothing is said ({offset})"
        hits += bool(problems)
    assert hits >= size // unit // 4


def zeroed(copy: Copy, offset: int, size: int) -> None:
    copy.renew()
    with copy.path.open("r+b") as file:
        file.seek(offset)
        file.write(bytes(size))


def test_what_is_sound_is_shipped_and_the_damaged_is_kept(copy: Copy, tmp_path: Path) -> None:
    for page in range(0, copy.path.stat().st_size // 4096, 3):
        zeroed(copy, page * 4096, 4096)
        sink = f"sqlite:///{tmp_path / f'sink-{page}.sqlite'}"
        problems: list[str] = []
        with Shipper(copy.folder, sink, keep_shipped_s=0, on_problem=problems.append) as shipper:
            shipper.ship()
        damaged: list[str] = []
        found = list(sink_records(sink, Query(), on_problem=damaged.append))
        assert all(record == copy.whole[record["prediction_id"]] for record in found)
        sound = [record for record in found if record["request_id"].startswith("sound")]
        assert len(sound) == 10
        stats = log_stats(copy.folder, sink).as_dict()
        if copy.path.exists():
            assert stats["lost"] == 0
        else:
            shipped = len(found) + len(damaged) + stats["quarantined"]
            assert shipped == len(copy.whole), "deleted, and not all of it shipped"
        shutil.rmtree(copy.folder)
        shutil.copytree(copy.original, copy.folder)


@pytest.fixture
def a_damaged_row(copy: Copy) -> Copy:
    """A row whose texts are zeros in part, in a file that is sound otherwise."""
    for offset in range(0, copy.path.stat().st_size, 512):
        zeroed(copy, offset, 512)
        _, problems = copy.read()
        if problems and "the column" in problems[0]:
            return copy
    pytest.fail("no row was hit")


def test_a_damaged_row_is_named_by_its_file(a_damaged_row: Copy) -> None:
    _, problems = a_damaged_row.read()
    assert a_damaged_row.path.name in problems[0]


def test_a_damaged_row_is_not_shipped_but_put_in_quarantine(
    a_damaged_row: Copy, tmp_path: Path
) -> None:
    sink = f"sqlite:///{tmp_path / 'sink.sqlite'}"
    with Shipper(a_damaged_row.folder, sink, on_problem=lambda problem: None) as shipper:
        shipper.ship()
    problems: list[str] = []
    list(sink_records(sink, Query(), on_problem=problems.append))
    assert problems == []
    assert log_stats(a_damaged_row.folder, sink).as_dict()["quarantined"] >= 1
