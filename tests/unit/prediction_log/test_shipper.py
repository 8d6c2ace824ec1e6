"""The shipper against sinks that fail in every way, each record once all the same."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from log_batches import batch, child, finished

from asfitted.errors import ConfigError, StoreUnavailable
from asfitted.prediction_log import Journal, read_log, shipping_journals
from asfitted.prediction_log.place import beside, journal_files, journal_path
from asfitted.prediction_log.query import Query
from asfitted.prediction_log.reader import records
from asfitted.prediction_log.shipper import Shipper
from asfitted.prediction_log.shipping_follow import follow, start_shipping
from asfitted.prediction_log.shipping_state import ShippingState
from asfitted.prediction_log.shipping_stats import log_stats
from asfitted.prediction_log.sinks import Row, RowsRefused, log_records, open_sink, sink_records
from asfitted.prediction_log.sinks.conformance import prediction
from asfitted.prediction_log.sinks.sql import SqlSink
from asfitted.prediction_log.tables import TABLES, Table


class Faulty(SqlSink):
    """A real sink, with a fault before or after its write."""

    batch_rows = 7
    before: Callable[[Table, Sequence[Row]], None]
    after: Callable[[Table, Sequence[Row]], None]

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.before = self.after = lambda table, rows: None

    def write(self, table: Table, rows: Sequence[Row]) -> None:
        self.before(table, rows)
        super().write(table, rows)
        self.after(table, rows)


@pytest.fixture
def url(tmp_path) -> str:
    return f"sqlite:///{tmp_path / 'sink.sqlite'}"


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "log"


def refuse(journal: Journal, n: int) -> str:
    one = batch()
    return journal.append_refusal(
        request_id=f"bad-{n}", received_at=one.received_at, model_name="flights",
        model_version="3", model_digest="", code="contract_violation", n_rows=None,
        violations=[], source="serve",
    )  # fmt: skip


def in_sink(url: str, table: Table = "predictions") -> list[dict[str, Any]]:
    return list(sink_records(url, Query(table=table), on_problem=pytest.fail))


def in_journals(folder: Path, table: Table = "predictions") -> list[dict[str, Any]]:
    return list(records(folder, Query(table=table), on_problem=pytest.fail))


def test_what_is_on_record_gets_into_the_sink_as_it_is(folder, url) -> None:
    with Journal(folder) as journal, Shipper(folder, url) as shipper:
        ids = journal.append(batch(5))
        refusal = refuse(journal, 1)
        assert shipper.ship() == 6
        assert shipper.ship() == 0
        ids += journal.append(batch(2, model_version="4", inputs=[{"wind": None}] * 2))
        assert shipper.ship() == 2
        assert in_sink(url) == in_journals(folder)
        assert in_sink(url, "refusals") == in_journals(folder, "refusals")
        assert [r["prediction_id"] for r in in_sink(url)] == ids
        assert in_sink(url, "refusals")[0]["refusal_id"] == refusal


def test_a_new_shipper_goes_on_where_the_last_one_was(folder, url) -> None:
    sent: list[int] = []

    def opened(url: str) -> Faulty:
        sink = Faulty(url)
        sink.before = lambda table, rows: sent.append(len(rows))
        return sink

    with Journal(folder) as journal:
        journal.append(batch(20))
        with Shipper(folder, url, open_sink=opened) as shipper:
            shipper.ship()
        journal.append(batch(1))
        with Shipper(folder, url, open_sink=opened) as shipper:
            shipper.ship()
    assert sent == [7, 7, 6, 1]
    assert in_sink(url) == in_journals(folder)


def test_another_sink_begins_from_the_start(folder, url, tmp_path) -> None:
    with Journal(folder) as journal:
        journal.append(batch(3))
    other = str(tmp_path / "parquet")
    for each in (url, other):
        with Shipper(folder, each) as shipper:
            assert shipper.ship() == 3
    assert in_sink(url) == in_sink(other) == in_journals(folder)


@pytest.mark.parametrize("error", [StoreUnavailable("lost"), OSError("lost"), KeyError("a bug")])
def test_an_answer_lost_after_the_commit_doubles_nothing(folder, url, error) -> None:
    with Journal(folder) as journal:
        journal.append(batch(30))
    answers = iter([error, None, error, error, *[None] * 100])

    def lost(table: Table, rows: Sequence[Row]) -> None:
        answer = next(answers)
        if answer is not None:
            raise answer

    def opened(url: str) -> Faulty:
        sink = Faulty(url)
        sink.after = lost
        return sink

    with Shipper(folder, url, open_sink=opened, on_problem=pytest.fail) as shipper:
        failures = 0
        while True:
            try:
                shipper.ship()
                break
            except StoreUnavailable:
                failures += 1
        assert failures == 3
    assert in_sink(url) == in_journals(folder)


def test_a_poisoned_record_is_put_aside_and_stops_nothing(folder, url) -> None:
    def opened(url: str) -> Faulty:
        sink = Faulty(url)

        def before(table: Table, rows: Sequence[Row]) -> None:
            if any(row[1] in {"poison", "bad-2"} for row in rows):
                raise RowsRefused("no poison here")

        sink.before = before
        return sink

    with Journal(folder) as journal:
        for n in range(40):
            journal.append(batch(1, request_id="poison" if n in {0, 13, 39} else "fine"))
        for n in range(4):
            refuse(journal, n)
        problems: list[str] = []
        with Shipper(folder, url, open_sink=opened, on_problem=problems.append) as shipper:
            assert shipper.ship() == 44
            assert shipper.ship() == 0
        assert len(problems) == 4
        assert "no poison here" in problems[0]
        found = log_stats(folder, url)
        assert [w.quarantined for w in found.writers] == [4]
        assert found.backlog == 0
        assert len(in_sink(url)) == 37
        assert len(in_sink(url, "refusals")) == 3
        # When the sink takes them after all, nothing is missing.
        with Shipper(folder, url) as shipper:
            assert shipper.retry_quarantined() == 4
            assert shipper.retry_quarantined() == 0
        key = {r["prediction_id"]: r for r in in_sink(url)}
        assert key == {r["prediction_id"]: r for r in in_journals(folder)}
        assert log_stats(folder, url).as_dict()["quarantined"] == 0


def always(error: Exception) -> Callable[[str], Faulty]:
    """Return what opens a sink that takes nothing."""

    def opened(url: str) -> Faulty:
        sink = Faulty(url)

        def before(table: Table, rows: Sequence[Row]) -> None:
            raise error

        sink.before = before
        return sink

    return opened


def test_what_is_taken_out_of_quarantine_leaves_no_bytes(folder, url) -> None:
    with Journal(folder) as journal:
        journal.append(batch(3, keys=[{"subject": "CANARY"}] * 3))
    refusing = always(RowsRefused("not yet"))
    with Shipper(folder, url, open_sink=refusing, on_problem=lambda problem: None) as shipper:
        shipper.ship()
    left = [path for path in folder.iterdir() if path.name.startswith("shipping.sqlite")]
    assert any(b"CANARY" in path.read_bytes() for path in left)
    with Shipper(folder, url) as shipper:
        assert shipper.retry_quarantined() == 3
        shipper.ship()
    left = [path for path in folder.iterdir() if path.name.startswith("shipping.sqlite")]
    assert not any(b"CANARY" in path.read_bytes() for path in left)


def test_a_damaged_row_goes_to_quarantine_whole(folder, url) -> None:
    with Journal(folder) as journal:
        journal.append(batch(3))
    with closing(sqlite3.connect(journal_files(folder)[0])) as connection:
        connection.execute("UPDATE predictions SET scored_at = 'noon' WHERE sequence = 1")
        connection.execute(
            "UPDATE predictions SET model_name = CAST(x'ff41' AS TEXT) WHERE sequence = 2"
        )
        connection.commit()
    problems: list[str] = []
    with Shipper(folder, url, on_problem=problems.append) as shipper:
        assert shipper.ship() == 3
    assert [r["sequence"] for r in in_sink(url)] == [3]
    assert ["scored_at" in problems[0], "model_name" in problems[1]] == [True, True]
    with closing(ShippingState(folder, url, read_only=True)) as state:
        rows = [row for _, _, _, row in state.quarantined_rows()]
    assert [(row[5], row[6]) for row in rows] == [("noon", "flights"), (rows[1][5], "\udcffA")]
    assert rows[0][10] == rows[1][10].replace("101", "100")


def test_a_damaged_journal_does_not_stop_the_others(folder, url) -> None:
    writers = []
    for _ in range(3):
        with Journal(folder) as journal:
            journal.append(batch(2))
    broken = journal_files(folder)[1]
    broken.write_bytes(b"not a journal at all" * 300)
    writers = [path.name for path in journal_files(folder)]
    problems: list[str] = []
    with Shipper(folder, url, keep_shipped_s=0, on_problem=problems.append) as shipper:
        assert shipper.ship() == 4
        shipper.ship()
    assert [broken.name in problem for problem in problems] == [True]
    assert [path.name for path in journal_files(folder)] == [broken.name]
    assert len(writers) == 3
    assert [w.problem is not None for w in log_stats(folder, url).writers].count(True) == 1


def test_one_shipper_per_folder(folder, url) -> None:
    with Shipper(folder, url), pytest.raises(StoreUnavailable, match="another shipper"):
        Shipper(folder, url)
    with Shipper(folder, url) as shipper:
        assert shipper.ship() == 0


def test_only_a_dead_and_shipped_journal_is_deleted(folder, url) -> None:
    script = """
import sys
from asfitted.prediction_log import Journal
from log_batches import batch
journal = Journal(sys.argv[1])
journal.append(batch(3))
print(flush=True)
sys.stdin.readline()
journal.append(batch(2))
print(flush=True)
sys.stdin.readline()
"""
    other = child(script, folder, stdin=-1)
    assert other.stdin is not None
    assert other.stdout is not None
    other.stdout.readline()
    with Journal(folder) as mine, Shipper(folder, url, keep_shipped_s=0) as shipper:
        mine.append(batch(1))
        assert shipper.ship() == 4
        assert len(journal_files(folder)) == 2, "both are alive"
        other.stdin.write("\n")
        other.stdin.flush()
        other.stdout.readline()
        other.kill()
        other.wait()
        other.stdin.close()
        other.stdout.close()
        # Of a killed writer, all of it is in the WAL; it goes when it is shipped, not before.
        assert shipper.ship() == 2
        assert len(journal_files(folder)) == 1
        mine.append(batch(1))
        assert shipper.ship() == 1
        mine.close()
        shipper.ship()
        assert journal_files(folder) == []
    assert sorted(p.name for p in folder.iterdir()) == [
        "removal.lock", "shipping.lock", "shipping.sqlite", "shipping.sqlite-journal",
    ]  # fmt: skip
    assert len(in_sink(url)) == 7
    found = log_stats(folder, url).as_dict()
    assert (found["recorded"], found["shipped"], found["lost"]) == (7, 7, 0)


def test_a_shipped_journal_stays_for_as_long_as_it_shall(folder, url) -> None:
    with Journal(folder) as journal:
        journal.append(batch(1))
    with Shipper(folder, url, keep_shipped_s=3600) as shipper:
        shipper.ship()
        shipper.ship()
    assert len(journal_files(folder)) == 1
    state = folder / "shipping.sqlite"
    with closing(sqlite3.connect(state)) as connection:
        connection.execute("UPDATE shipped SET completed_at = completed_at - 3601000000")
        connection.commit()
    with Shipper(folder, url, keep_shipped_s=3600) as shipper:
        shipper.ship()
    assert journal_files(folder) == []


def test_a_journal_that_was_not_shipped_is_never_deleted(folder, url) -> None:
    long_ago = datetime.now(timezone.utc) - timedelta(hours=1)
    with Journal(folder) as journal:
        journal.append(batch(3, scored_at=long_ago))
    with Shipper(
        folder, url, keep_shipped_s=0, open_sink=always(StoreUnavailable("down"))
    ) as shipper:
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                shipper.ship()
    assert len(in_journals(folder)) == 3
    found = log_stats(folder, url)
    assert (found.backlog, found.status.failures, found.status.error) == (3, 3, "down")
    assert found.backlog_s >= 3600


def test_a_row_written_after_the_last_look_keeps_its_journal(folder, url) -> None:
    calls: list[Table] = []
    with Journal(folder) as journal:
        journal.append(batch(1))
        for n in range(15):
            refuse(journal, n)

        def opened(url: str) -> Faulty:
            sink = Faulty(url)

            def before(table: Table, rows: Sequence[Row]) -> None:
                calls.append(table)
                if calls.count("refusals") == 3 and table == "refusals":
                    # All predictions were shipped when the last one came.
                    journal.append(batch(1))
                    journal.close()

            sink.before = before
            return sink

        with Shipper(folder, url, keep_shipped_s=0, open_sink=opened) as shipper:
            assert shipper.ship() == 16
            assert len(journal_files(folder)) == 1
            assert shipper.ship() == 1
        assert journal_files(folder) == []
    assert len(in_sink(url)) == 2


def test_a_kill_in_the_middle_of_a_deletion_is_made_good(folder, url) -> None:
    with Journal(folder) as journal:
        journal.append(batch(1))
    path = journal_files(folder)[0]
    with Shipper(folder, url) as shipper:
        shipper.ship()
        shipper._state.mark(path.name[8:-7], "removed_at", 1)
    # As if the file were gone already and its WAL not.
    path.unlink()
    beside(path, "-wal").write_bytes(b"x")
    with Shipper(folder, url):
        assert not beside(path, "-wal").exists()


def test_a_lost_journal_and_missing_rows_are_told(folder, url) -> None:
    for _ in range(2):
        with Journal(folder) as journal:
            journal.append(batch(4))
    with Shipper(folder, url) as shipper:
        shipper.ship()
    first, second = journal_files(folder)
    first.unlink()
    os.utime(second, (0, 0))  # what was written a moment ago is counted each time
    assert [w.missing for w in log_stats(folder, url).writers] == [0, 0]
    with closing(sqlite3.connect(second)) as connection:
        connection.execute("DELETE FROM predictions WHERE sequence IN (2, 3)")
        connection.commit()
    os.utime(second, (1, 1))
    found = {w.writer: (w.lost, w.missing) for w in log_stats(folder, url).writers}
    assert found == {first.name[8:-7]: (True, 0), second.name[8:-7]: (False, 2)}


def test_journals_and_sink_together_have_each_record_once(folder, url) -> None:
    for n in range(3):
        with Journal(folder) as journal:
            journal.append(batch(3, request_id=f"r{n}"))
        if n == 0:
            with Shipper(folder, url, keep_shipped_s=0) as shipper:
                shipper.ship()
        if n == 1:
            with Shipper(folder, url) as shipper:
                shipper.ship()
    both = list(log_records(folder, url, Query()))
    assert Counter(r["request_id"] for r in both) == {"r0": 3, "r1": 3, "r2": 3}
    assert len(read_log(folder)) == 6
    assert len(read_log(sink=url)) == 6
    assert len(read_log(folder, sink=url)) == 9
    assert len(read_log(folder, sink=url, limit=4, newest_first=True)) == 4
    assert len(read_log(folder, sink=url, key={"flight": "1546"}, features=True)) == 3


def test_a_thread_ships_while_a_journal_is_written(folder, url) -> None:
    shipping = start_shipping(folder, url)
    with Journal(folder) as journal:
        ids = [each for _ in range(50) for each in journal.append(batch(3))]
        assert shipping.stop(60)
    assert [r["prediction_id"] for r in in_sink(url)] == ids


def test_a_folder_that_is_moved_away_has_a_new_shipper(folder, url) -> None:
    shipping = start_shipping(folder, url)
    with Journal(folder) as journal:
        journal.append(batch(1))
        # Also in the shipper's own books, which are about to move.
        assert comes_true(lambda: log_stats(folder, url).as_dict()["shipped"] == 1)
        moved = folder.rename(folder.with_name("moved"))
        ids = journal.append(batch(2))
        assert comes_true(lambda: len(in_sink(url)) == 3)
        assert shipping.stop(60)
    assert {r["prediction_id"] for r in in_sink(url)} >= set(ids)
    assert (folder / "shipping.sqlite").exists()
    with Shipper(moved, url) as shipper:
        assert shipper.ship() == 0  # nobody holds the old one, and it is shipped


def comes_true(is_so) -> bool:
    until = time.monotonic() + 30
    while not is_so():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def test_a_thread_whose_sink_cannot_be_lets_the_journal_be(folder, tmp_path, caplog) -> None:
    (tmp_path / "file").write_text("")
    bad = [f"sqlite:///{tmp_path / 'no' / 'where'}", str(tmp_path / "file" / "x"), "gopher://x/y"]
    for url in bad:
        shipping = start_shipping(folder, url)
        with Journal(folder) as journal:
            journal.append(batch(1))
        assert shipping.stop(60)
    assert len(in_journals(folder)) == len(bad)


def test_the_last_pass_of_a_follower_ships_what_is_left(folder, url) -> None:
    stop = threading.Event()
    stop.set()
    with Journal(folder) as journal, Shipper(folder, url) as shipper:
        journal.append(batch(3))
        assert follow(shipper, stop) is None
    assert len(in_sink(url)) == 3


def test_a_stop_comes_between_two_calls(folder, url) -> None:
    stop = threading.Event()

    def opened(url: str) -> Faulty:
        sink = Faulty(url)
        sink.after = lambda table, rows: stop.set()
        return sink

    with Journal(folder) as journal:
        journal.append(batch(20))
    with Shipper(folder, url, open_sink=opened) as shipper:
        assert shipper.ship(stop=stop) == 7
    assert [r["sequence"] for r in in_sink(url)] == list(range(1, 8))


def test_what_does_not_fill_a_call_may_wait(folder, url) -> None:
    with Journal(folder) as journal, Shipper(folder, url, open_sink=Faulty) as shipper:
        journal.append(batch(17))
        assert shipper.ship(full_only=True) == 14
        assert shipper.ship(full_only=True) == 0
        assert shipper.ship() == 3


def test_a_shipped_journal_is_deleted_while_another_takes_long(folder, url) -> None:
    with Journal(folder) as closed:
        closed.append(batch(1))
    first = journal_files(folder)[0]
    calls: list[bool] = []
    with Journal(folder) as long:
        long.append(batch(1000))

        def opened(url: str) -> Faulty:
            sink = Faulty(url)
            sink.before = lambda table, rows: calls.append(first.exists())
            return sink

        with Shipper(folder, url, keep_shipped_s=0, open_sink=opened) as shipper:
            assert shipper.ship() == 1001
    assert calls[0]
    assert not calls[-1]


def test_of_one_process_the_oldest_journal_is_shipped_first(folder, url) -> None:
    for _ in range(3):
        with Journal(folder) as journal:
            journal.append(batch(30))
    first, second, third = journal_files(folder)
    # As if the last were another process's, which waits for none of them.
    host_and_pid = f"-{os.getpid()}-"
    other = third.rename(third.with_name(third.name.replace(host_and_pid, "-1-")))
    calls: list[str] = []
    stop = threading.Event()

    def opened(url: str) -> Faulty:
        sink = Faulty(url)

        def after(table: Table, rows: Sequence[Row]) -> None:
            calls.append(rows[0][TABLES[table].index("writer")])
            if len(calls) == 13:
                stop.set()

        sink.after = after
        return sink

    with Shipper(folder, url, keep_shipped_s=0, open_sink=opened) as shipper:
        shipper.ship(stop=stop)
        assert Counter(calls) == {
            first.name[8:-7]: 5, second.name[8:-7]: 3, third.name[8:-7]: 5,
        }  # fmt: skip
        assert journal_files(folder) == [second]
        assert not other.exists()
        stop.clear()
        shipper.ship()
    assert len(in_sink(url)) == 90


def test_it_ends_where_rows_are_written_as_fast_as_they_are_shipped(folder, url) -> None:
    with Journal(folder) as journal:
        ids = journal.append(batch(10))

        def opened(url: str) -> Faulty:
            sink = Faulty(url)

            def before(table: Table, rows: Sequence[Row]) -> None:
                ids.extend(journal.append(batch(10)))
                with Journal(folder) as another:  # and so do processes that come and go
                    ids.extend(another.append(batch(1)))

            sink.before = before
            return sink

        with Shipper(folder, url, open_sink=opened) as shipper:
            # The two calls of what was there; what came meanwhile is not forgotten.
            assert shipper.ship() == 10
            assert shipper.ship() > 10
    with Shipper(folder, url) as shipper:
        shipper.ship()
    assert sorted(r["prediction_id"] for r in in_sink(url)) == sorted(ids)


def test_what_is_written_while_a_backlog_is_shipped_is_not_forgotten(
    folder, url, monkeypatch
) -> None:
    monkeypatch.setattr(shipping_journals, "_TICK_NS", 0)
    calls: list[int] = []
    with Journal(folder) as journal:
        journal.append(batch(1000))

        def opened(url: str) -> Faulty:
            sink = Faulty(url)

            def before(table: Table, rows: Sequence[Row]) -> None:
                calls.append(len(rows))
                if len(calls) == 100:
                    journal.append(batch(1))

            sink.before = before
            return sink

        # Nothing is written any more after that: the journal looks the same from then on.
        with Shipper(folder, url, open_sink=opened) as shipper:
            assert shipper.ship() == 1000
            assert shipper.ship() == 1
            assert shipper.ship() == 0


def test_a_pass_that_runs_out_of_time_deletes_what_is_shipped(folder, url) -> None:
    with Journal(folder) as closed:
        closed.append(batch(1))
    stop = threading.Event()
    calls: list[int] = []

    def opened(url: str) -> Faulty:
        sink = Faulty(url)

        def after(table: Table, rows: Sequence[Row]) -> None:
            calls.append(len(rows))
            if len(calls) == 5:
                stop.set()

        sink.after = after
        return sink

    with Journal(folder) as long:
        long.append(batch(1000))
        with Shipper(folder, url, keep_shipped_s=0, open_sink=opened) as shipper:
            assert shipper.ship(stop=stop) == 1 + 4 * 7
            assert len(journal_files(folder)) == 1
            stop.clear()
            assert shipper.ship() == 1000 - 4 * 7
    assert len(in_sink(url)) == 1001


def test_journals_of_long_ago_cost_nothing(folder, url, monkeypatch) -> None:
    with Journal(folder) as journal:
        journal.append(batch(2))
        with Shipper(folder, url) as shipper:
            shipper.ship()
        with closing(sqlite3.connect(folder / "shipping.sqlite")) as state:
            state.execute(
                "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 5000) "
                "INSERT INTO shipped (sink, writer, predictions, removed_at) "
                "SELECT sink, 'gone-' || x, 3, 1 FROM shipped, n"
            )
            state.commit()
        made: list[str] = []
        selected = ShippingState._selected

        def counted(self, condition: str, *values: str):
            for found in selected(self, condition, *values):
                made.append(found[0])
                yield found

        monkeypatch.setattr(ShippingState, "_selected", counted)
        with Shipper(folder, url) as shipper:
            journal.append(batch(1))
            assert shipper.ship() == 1
            shipper.ship()
        assert len(made) < 10
        assert log_stats(folder, url).as_dict()["shipped"] == 5000 * 3 + 3


def test_a_big_backlog_goes_in_small_calls(folder, url) -> None:
    sizes: list[int] = []

    def opened(url: str) -> Faulty:
        sink = Faulty(url)
        sink.batch_rows = 1000
        sink.before = lambda table, rows: sizes.append(sum(len(row[10]) for row in rows))
        return sink

    with Journal(folder) as journal:
        journal.append(batch(12, inputs=[{"text": "x" * 2_000_000}] * 12))
    with Shipper(folder, url, open_sink=opened) as shipper:
        shipper.ship()
    assert len(sizes) == 3
    assert max(sizes) < 10_500_000
    assert len(in_sink(url)) == 12


def test_a_folder_that_cannot_be_is_said(tmp_path, url) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match="Not a directory"):
        Shipper(tmp_path / "file" / "log", url)


SHIP = """
import sys
from asfitted.prediction_log.shipper import Shipper
with Shipper(sys.argv[1], sys.argv[2]) as shipper:
    print(shipper.ship())
"""


def test_another_process_ships_a_live_journal(folder, url) -> None:
    with Journal(folder) as journal:
        journal.append(batch(3))
        assert finished(child(SHIP, folder, url)) == "3\n"
        journal.append(batch(1))
        assert finished(child(SHIP, folder, url)) == "1\n"
    assert in_sink(url) == in_journals(folder)


def test_urls_that_name_no_sink() -> None:
    for url in ("", "gopher://x/y", "postgresql+nothing://x/y"):
        with pytest.raises(ConfigError):
            open_sink(url)
    with pytest.raises(ConfigError) as caught:
        open_sink("gopher://ann:secret@x/y?password=secret")
    assert "secret" not in str(caught.value)


def test_rows_of_the_suite_are_rows_of_the_record() -> None:
    assert len(prediction("a", 1)) == len(TABLES["predictions"])
    assert journal_path(Path(), "a").name == "journal-a.sqlite"
