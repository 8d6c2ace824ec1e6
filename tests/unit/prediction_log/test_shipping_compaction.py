"""The shipper that follows a log merges small files of past days, and ships all the same."""

from __future__ import annotations

import logging
import threading
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from log_batches import batch

from asfitted.prediction_log import Journal
from asfitted.prediction_log.query import Query
from asfitted.prediction_log.record import to_microseconds
from asfitted.prediction_log.shipper import Shipper
from asfitted.prediction_log.shipping_compaction import Compactor
from asfitted.prediction_log.shipping_follow import follow
from asfitted.prediction_log.sinks import Row, open_sink
from asfitted.prediction_log.sinks.conformance import prediction

NOW = datetime.now(timezone.utc)


def write_small(sink: Path, days_ago: int, count: int = 20) -> list[Row]:
    """Write as many files of a row each into the partition of a day."""
    at = to_microseconds(NOW - timedelta(days=days_ago), "at")
    rows = [prediction(f"w{days_ago}", n, scored_at=at + n) for n in range(1, count + 1)]
    with closing(open_sink(str(sink))) as opened:
        for row in rows:
            opened.write("predictions", [row])
    return rows


def files(sink: Path, days_ago: int) -> list[Path]:
    return list(sink.rglob(f"date={(NOW - timedelta(days=days_ago)).date()}/*.parquet"))


def follow_until(folder: Path, sink: Path, condition) -> None:
    stop = threading.Event()
    with Shipper(folder, str(sink)) as shipper:
        thread = threading.Thread(target=follow, args=(shipper, stop))
        thread.start()
        for _ in range(300):
            if condition():
                break
            stop.wait(0.05)
        stop.set()
        thread.join()
    assert condition()


def test_past_days_of_the_last_week_are_merged_and_today_is_not(tmp_path) -> None:
    folder, sink = tmp_path / "log", tmp_path / "sink"
    rows = [row for days in (30, 3, 1, 0) for row in write_small(sink, days)]
    few = write_small(sink, 2, 14)
    with Journal(folder) as journal:
        ids = journal.append(batch(2, scored_at=NOW - timedelta(days=2)))
    follow_until(folder, sink, lambda: len(files(sink, 1)) == len(files(sink, 3)) == 1)
    assert [len(files(sink, days)) for days in (30, 2, 0)] == [20, 15, 20]
    with closing(open_sink(str(sink))) as opened:
        found = {row[0] for row in opened.read(Query())}
    assert found == {*(row[0] for row in [*rows, *few]), *ids}


def test_not_more_often_than_once_an_hour(tmp_path) -> None:
    compactor, sink = Compactor(), open_sink(str(tmp_path))
    for days in (1, 2):
        write_small(tmp_path, days)
        compactor.run(sink, lambda: False)
    assert [len(files(tmp_path, days)) for days in (1, 2)] == [1, 20]


def test_one_that_is_told_to_end_goes_on_the_next_time(tmp_path) -> None:
    for days in (1, 2, 3):
        write_small(tmp_path, days)
    compactor, sink = Compactor(), open_sink(str(tmp_path))
    compactor.run(sink, lambda: True)
    assert sorted(len(files(tmp_path, days)) for days in (1, 2, 3)) == [1, 20, 20]
    compactor.run(sink, lambda: False)
    assert [len(files(tmp_path, days)) for days in (1, 2, 3)] == [1, 1, 1]


def test_a_damaged_file_keeps_nothing_from_being_shipped(
    tmp_path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, sink = tmp_path / "log", tmp_path / "sink"
    write_small(sink, 1)
    files(sink, 1)[0].write_bytes(b"no Parquet")
    with Journal(folder) as journal, caplog.at_level(logging.WARNING):
        journal.append(batch(2, scored_at=NOW))
        follow_until(folder, sink, lambda: "small files were not merged" in caplog.text)
    assert len(files(sink, 0)) == 1
    assert len(files(sink, 1)) == 20
