"""Merging small files: in any moment, killed at any change, each row is there once."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pyarrow.fs
import pytest
from click.testing import CliRunner
from log_batches import child

from asfitted.cli.log_compact import compact as compact_command
from asfitted.errors import ConfigError, StoreUnavailable
from asfitted.prediction_log.query import Query
from asfitted.prediction_log.sinks import Row, compaction, open_sink
from asfitted.prediction_log.sinks.compaction import MergingParquetSink
from asfitted.prediction_log.sinks.conformance import prediction, some_row
from asfitted.prediction_log.sinks.disk import DiskStore
from asfitted.prediction_log.sinks.s3 import S3Store
from asfitted.prediction_log.sinks.store import Busy

TOMORROW = "date=2026-11-25"


@pytest.fixture(params=["disk", "s3"])
def url(request, tmp_path) -> str:
    if request.param == "s3":
        return f"s3://{request.getfixturevalue('bucket')}/log"
    return str(tmp_path / "log")


def write_small(url: str, writers: str = "abc", count: int = 6) -> list[Row]:
    """Write rows two at a time, so that each writer has `count` files; return them all."""
    rows = [[prediction(w, n) for n in range(1, 2 * count + 1)] for w in writers]
    with closing(open_sink(url)) as sink:
        for start in range(0, 2 * count, 2):
            for each in rows:
                sink.write("predictions", each[start : start + 2])
    return sorted(row for each in rows for row in each)


def files(url: str) -> list[str]:
    store = open_sink(url).store
    folders = open_sink(url).partitions(Query())
    return sorted(entry.name for folder in folders for entry in store.files(folder))


def merge(url: str) -> int:
    with closing(open_sink(url)) as sink:
        return sum(sink.compact(before=TOMORROW))


def in_sink(url: str) -> list[Row]:
    with closing(open_sink(url)) as sink:
        return sorted(sink.read(Query()))


def as_others_see(url: str, s3: Any = None) -> int:
    """Return how many rows a reader sees that knows nothing of us."""
    if url.startswith("s3:"):
        where = pyarrow.fs.S3FileSystem(endpoint_override=s3.endpoint, scheme="http")
        return ds.dataset(f"{url[5:]}/predictions", filesystem=where).count_rows()
    return ds.dataset(f"{url}/predictions").count_rows()


def test_many_small_files_become_one_and_no_row_changes(url) -> None:
    rows = write_small(url)
    assert len(files(url)) == 18
    assert merge(url) == 17
    (name,) = files(url)
    assert "/@merged.000000000001-000000000012." in name
    assert in_sink(url) == rows
    assert merge(url) == 0
    assert files(url) == [name]


def test_what_was_merged_and_is_sent_again_stays_there_once(url) -> None:
    rows = write_small(url)
    merge(url)
    before = files(url)
    late = prediction("a", 13)
    with closing(open_sink(url)) as sink:
        sink.write("predictions", random.sample(rows, len(rows)))
        assert files(url) == before
        sink.write("predictions", [*rows[:5], late])
    assert in_sink(url) == sorted([*rows, late])
    assert merge(url) == 1
    assert in_sink(url) == sorted([*rows, late])


def test_files_of_one_writer_keep_its_name(url) -> None:
    rows = write_small(url, "a")
    merge(url)
    assert [name.rpartition("/")[2].partition(".")[0] for name in files(url)] == ["a"]
    assert in_sink(url) == rows


def test_days_that_are_not_over_partitions_with_few_files_and_big_files_stay(
    tmp_path, monkeypatch
) -> None:
    rows = write_small(str(tmp_path))
    sink = open_sink(str(tmp_path))
    assert list(sink.compact(before="date=2026-11-24")) == []
    assert list(sink.compact(since=TOMORROW, before="date=2026-12-31")) == []
    assert sum(sink.compact(before=TOMORROW, min_files=19)) == 0
    monkeypatch.setattr(compaction, "SMALL_BYTES", 10)
    assert sum(sink.compact(before=TOMORROW)) == 0
    assert len(files(str(tmp_path))) == 18
    # A merged file is no bigger than what may be held in memory.
    monkeypatch.undo()
    size = max(path.stat().st_size for path in tmp_path.rglob("*.parquet"))
    monkeypatch.setattr(compaction, "TARGET_BYTES", 3 * size)
    assert sum(sink.compact(before=TOMORROW)) == 12
    assert len(files(str(tmp_path))) == 6
    assert in_sink(str(tmp_path)) == rows


def test_every_table_is_merged(tmp_path) -> None:
    rows = [some_row("outcomes", "a", n) for n in range(1, 5)]
    with closing(open_sink(str(tmp_path))) as sink:
        for row in rows:
            sink.write("outcomes", [row])
        assert sum(sink.compact(before=TOMORROW)) == 3
        assert list(sink.read(Query(table="outcomes"))) == rows


class Killed(BaseException):
    """As kill -9 would: nothing of ours catches it."""


class Mortal(DiskStore):
    """A store whose process ends at a change, before it or just after it."""

    left = 0
    after = False

    def _change(self, change: Callable[..., Any], *arguments: Any) -> Any:
        self.left -= 1
        if self.left == 0 and not self.after:
            raise Killed
        done = change(*arguments)
        if self.left == 0:
            raise Killed
        return done

    def put(self, *arguments: Any) -> bool:
        return self._change(super().put, *arguments)

    def replace(self, *arguments: Any) -> None:
        self._change(super().replace, *arguments)

    def delete(self, *arguments: Any) -> None:
        self._change(super().delete, *arguments)


def killed_at_each_change(work: Callable[[MergingParquetSink], Any], tmp_path) -> Iterator[str]:
    """Do `work` on a new sink, and end it at its first, second, … change; until it is through."""
    for after in (False, True):
        for position in range(1, 100):
            folder = tmp_path / f"{position}{after}"
            write_small(str(folder), "ab", 4)
            store = Mortal(folder)
            store.left, store.after = position, after
            try:
                work(MergingParquetSink(store))
            except Killed:
                yield str(folder)
            else:
                assert position > 4
                break


def test_killed_at_any_change_a_compaction_loses_and_repeats_nothing(tmp_path) -> None:
    kills = 0
    for url in killed_at_each_change(lambda sink: sum(sink.compact(before=TOMORROW)), tmp_path):
        kills += 1
        rows = in_sink(url)
        assert len({row[0] for row in rows}) == len(rows) == 16
        # Shipped again, as by a shipper that was killed too, and merged again.
        with closing(open_sink(url)) as sink:
            sink.write("predictions", rows)
        merge(url)
        assert in_sink(url) == rows
        assert len(files(url)) == 1
        assert as_others_see(url) == 16
    assert kills == 18


def test_what_a_killed_compaction_left_beside_a_big_file_goes(tmp_path, monkeypatch) -> None:
    rows = write_small(str(tmp_path), "ab", 4)
    store = Mortal(tmp_path)
    store.left = 3
    with pytest.raises(Killed):
        sum(MergingParquetSink(store).compact(before=TOMORROW))
    assert as_others_see(str(tmp_path)) > 16
    sizes = sorted(path.stat().st_size for path in tmp_path.rglob("*.parquet"))
    monkeypatch.setattr(compaction, "SMALL_BYTES", sizes[-1])
    assert merge(str(tmp_path)) == len(sizes) - 1
    assert in_sink(str(tmp_path)) == rows
    assert as_others_see(str(tmp_path)) == 16


def test_killed_at_any_change_a_rewrite_leaves_each_row_old_or_new(tmp_path) -> None:
    at = 10  # inputs

    def change(row: Row) -> Row | None:
        return None if row[-2] < 3 else (*row[:at], "{}", *row[at + 1 :])

    kills = 0
    for url in killed_at_each_change(
        lambda sink: sink.rewrite("predictions", Query(), change), tmp_path
    ):
        kills += 1
        rows = in_sink(url)
        assert len({row[0] for row in rows}) == len(rows) >= 12
        assert {row[at] for row in rows if row[at] != "{}"} <= {prediction("a", 1)[at]}
        with closing(open_sink(url)) as sink:
            sink.rewrite("predictions", Query(), change)
        again = in_sink(url)
        assert len(again) == 12
        assert {row[at] for row in again} == {"{}"}
    assert kills == 16


def test_readers_find_each_row_once_while_files_are_merged(url) -> None:
    rows = write_small(url)
    stop = threading.Event()
    seen: list[int] = []
    errors: list[BaseException] = []

    def read() -> None:
        try:
            while not stop.is_set():
                known = set(rows)
                found = in_sink(url)
                assert known <= set(found)
                assert len(found) == len({row[0] for row in found})
                seen.append(len(found))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    with closing(open_sink(url)) as sink:
        for n in range(13, 33, 2):
            # A shipper writes meanwhile, and sends what is merged already as well.
            late = [prediction("a", n), prediction("a", n + 1)]
            sink.write("predictions", [*random.sample(rows, 20), *late])
            rows += late
            assert sum(sink.compact(before=TOMORROW)) > 0
    stop.set()
    for thread in threads:
        thread.join()
    assert not errors, errors
    assert len(seen) > 2
    assert in_sink(url) == sorted(rows)


class Shifting(DiskStore):
    """A store whose first listing of a partition is overtaken from its begin to its end."""

    overtaken = False

    def _listed(self, folder: str) -> list[Any]:
        if "date=" not in folder or self.overtaken:
            return super()._listed(folder)
        self.overtaken = True
        merge(self.where)
        # It was behind the new file's place then, and not yet at those of the old ones.
        return []


def test_a_listing_that_was_overtaken_is_not_believed(tmp_path) -> None:
    rows = write_small(str(tmp_path))
    assert sorted(MergingParquetSink(Shifting(tmp_path)).read(Query())) == rows
    assert len(files(str(tmp_path))) == 1


def test_more_files_than_one_page_of_a_listing_has(bucket, monkeypatch) -> None:
    url = f"s3://{bucket}/log"
    rows = write_small(url, "a", 3)
    store = open_sink(url).store
    paginator = store._client.get_paginator

    def of_two(name: str) -> Any:
        found = paginator(name)
        paginate = found.paginate
        found.paginate = lambda **asked: paginate(**asked, PaginationConfig={"PageSize": 2})
        return found

    monkeypatch.setattr(store._client, "get_paginator", of_two)
    assert list(MergingParquetSink(store).read(Query())) == rows
    store.close()


def test_two_that_merge_at_once_do_not_undo_each_other(url) -> None:
    rows = write_small(url, "abcd", 8)
    begin = threading.Barrier(3)
    done: list[int] = []

    def work() -> None:
        begin.wait(30)
        with suppress(Busy):
            done.append(merge(url))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(done) == 31
    assert in_sink(url) == rows
    assert len(files(url)) == 1


COMPACTOR = """
import os, sys
from asfitted.prediction_log.sinks import open_sink
from asfitted.prediction_log.sinks.s3 import S3Store
left = int(sys.argv[2])
def dying(method):
    def change(*arguments):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), 9)
        return method(*arguments)
    return change
S3Store.put, S3Store.delete = dying(S3Store.put), dying(S3Store.delete)
sum(open_sink(sys.argv[1]).compact(before="date=2026-11-25"))
"""


@pytest.mark.parametrize("position", [1, 2, 5])
def test_killed_in_s3_its_lease_is_free_in_time(s3, bucket, monkeypatch, position) -> None:
    url = f"s3://{bucket}/log"
    rows = write_small(url, "ab", 4)
    process = child(COMPACTOR, url, position)
    assert process.wait(60) == -9
    process.stdout.close()
    assert in_sink(url) == rows
    # Another machine cannot know that it has ended.
    monkeypatch.setattr("socket.gethostname", lambda: "elsewhere")
    with pytest.raises(Busy, match=rf"pid {process.pid} is merging"):
        merge(url)
    monkeypatch.setattr(S3Store, "lease_s", 0.5)
    merge_when_free(url)
    assert in_sink(url) == rows
    assert len(files(url)) == 1
    assert as_others_see(url, s3) == 16


@pytest.mark.skipif(not Path("/proc/self/ns/pid").exists(), reason="needs Linux's /proc")
def test_killed_in_s3_its_lease_is_free_at_once_on_its_machine(bucket) -> None:
    url = f"s3://{bucket}/log"
    rows = write_small(url, "ab", 4)
    process = child(COMPACTOR, url, 2)
    assert process.wait(60) == -9
    process.stdout.close()
    merge(url)
    assert in_sink(url) == rows
    first, second = S3Store(url), S3Store(url)
    mine = pytest.raises(Busy, match=f"pid {os.getpid()} is merging")
    with closing(first), closing(second), first.alone(), mine, second.alone():
        pytest.fail("its holder lives")


def merge_when_free(url: str) -> None:
    for _ in range(40):
        with suppress(Busy):
            merge(url)
            return
        threading.Event().wait(0.1)
    pytest.fail("the lease is not free")


def test_who_was_taken_over_changes_nothing_more(bucket, monkeypatch) -> None:
    url = f"s3://{bucket}/log"
    write_small(url, "a", 2)
    monkeypatch.setattr(S3Store, "lease_s", 2.0)  # the store tells whole seconds
    first, second = S3Store(url), S3Store(url)
    with closing(first), closing(second), first.alone() as still_alone:
        for _ in range(40):
            threading.Event().wait(0.1)
            with suppress(Busy), second.alone():
                with pytest.raises(Busy, match="taken over"):
                    still_alone()
                break
        else:
            pytest.fail("nobody took over")
    # What the first gave back at its end was not the second's.
    with closing(S3Store(url)) as third, third.alone() as alone:
        assert alone() is None


def test_a_damaged_file_is_not_merged_away(tmp_path) -> None:
    write_small(str(tmp_path))
    name = files(str(tmp_path))[0]
    (tmp_path / name).write_bytes(b"PAR1 nothing")
    with pytest.raises(StoreUnavailable, match="cannot be read"):
        merge(str(tmp_path))
    assert len(files(str(tmp_path))) == 18
    assert name in files(str(tmp_path))


def test_the_command_merges_what_is_over(tmp_path) -> None:
    rows = [prediction("a", n, scored_at=1_700_000_000_000_000 + n) for n in range(1, 5)]
    with closing(open_sink(str(tmp_path))) as sink:
        for row in rows:
            sink.write("predictions", [row])
    said = CliRunner().invoke(compact_command, ["--sink", str(tmp_path), "--json"])
    assert '"fewer_files": 3' in said.output
    assert in_sink(str(tmp_path)) == rows
    again = CliRunner().invoke(compact_command, ["--sink", str(tmp_path), "--since", "2023-01-01"])
    assert again.output.startswith("0 files fewer in 1 partitions")


def test_the_command_on_a_sink_without_files(tmp_path) -> None:
    url = f"sqlite:///{tmp_path / 'log.sqlite'}"
    said = CliRunner().invoke(compact_command, ["--sink", url])
    assert isinstance(said.exception, ConfigError)
    assert "no files to merge" in str(said.exception)
