"""Every number that a writer gave is on record, removed by someone, or said to be missing."""

from __future__ import annotations

import json
import sqlite3
import tracemalloc
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from log_batches import batch

from asfitted.cli import main
from asfitted.errors import StoreUnavailable
from asfitted.prediction_log import Journal
from asfitted.prediction_log.place import journal_files
from asfitted.prediction_log.query import Query
from asfitted.prediction_log.reconciling import between, count, merged, reconcile
from asfitted.prediction_log.removing import erase, prune
from asfitted.prediction_log.shipper import Shipper
from asfitted.prediction_log.shipping_stats import log_stats
from asfitted.prediction_log.sinks import open_sink
from asfitted.prediction_log.whole import Place


@pytest.fixture(params=["sqlite", "postgres", "parquet"])
def place(request, tmp_path) -> Place:
    path = tmp_path / "sink"
    if request.param == "postgres":
        return Place(tmp_path / "log", request.getfixturevalue("database"))
    url = str(path) if request.param == "parquet" else f"sqlite:///{path}.sqlite"
    return Place(tmp_path / "log", url)


def put(folder: Path, n_rows: int, age_days: int = 0) -> None:
    at = datetime.now(timezone.utc) - timedelta(days=age_days)
    with Journal(folder) as journal:
        for _ in range(n_rows):
            journal.append(batch(received_at=at, scored_at=at))


def ship(place: Place, **options: float) -> None:
    with Shipper(place.folder, place.sink, **options, on_problem=pytest.fail) as shipper:
        shipper.ship()


def figures(place: Place) -> tuple[int, ...]:
    whole = reconcile(place, on_problem=pytest.fail).as_dict()
    names = ("answered", "on_record", "removed", "unrecorded", "missing")
    return tuple(whole[name] for name in names)


def test_what_is_shipped_deleted_pruned_and_erased_adds_up(place) -> None:
    put(place.folder, 5, age_days=500)
    put(place.folder, 3)
    assert figures(place) == (8, 8, 0, 0, 0)
    ship(place, keep_shipped_s=0)
    assert journal_files(place.folder) == []
    assert figures(place) == (8, 8, 0, 0, 0)
    put(place.folder, 2)
    with Journal(place.folder) as journal:
        journal.append(batch())
        journal.declare_gap(4, "the disk was full", "flights", "3")
    assert figures(place) == (15, 11, 0, 4, 0)
    prune(place, timedelta(days=400))
    assert figures(place) == (15, 6, 5, 4, 0)
    erase(place, {"flight": "1545"}, reason="r")
    assert figures(place) == (15, 6, 5, 4, 0)
    ship(place, keep_shipped_s=0)
    assert figures(place) == (15, 6, 5, 4, 0)


def test_what_someone_took_out_of_the_sink_is_missing(place) -> None:
    put(place.folder, 6)
    ship(place, keep_shipped_s=0)
    with closing(open_sink(place.sink)) as sink:

        def gone(row: tuple[object, ...]) -> tuple[object, ...] | None:
            # The last ones too: they were noted as shipped.
            return None if row[-2] in (2, 3, 6) else row

        sink.rewrite("predictions", Query(), gone)
    assert figures(place) == (6, 3, 0, 0, 3)
    (writer,) = reconcile(place).writers
    assert writer.missing == {"predictions": [[2, 3], [6, 6]]}


def test_a_sink_that_is_down_is_no_account(tmp_path) -> None:
    put(tmp_path / "log", 1)
    with pytest.raises(StoreUnavailable):
        reconcile(Place(tmp_path / "log", "postgresql+psycopg://127.0.0.1:1/nothing"))
    assert figures(Place(tmp_path / "log", None)) == (1, 1, 0, 0, 0)


def test_a_pruned_journal_is_not_said_to_miss_rows(tmp_path) -> None:
    log, url = tmp_path / "log", f"sqlite:///{tmp_path / 'sink.sqlite'}"
    old = datetime.now(timezone.utc) - timedelta(days=500)
    with Journal(log) as journal:
        for at in (old, datetime.now(timezone.utc), old, datetime.now(timezone.utc)):
            journal.append(batch(scored_at=at))
    (path,) = journal_files(log)
    prune(Place(log, url), timedelta(days=400))
    assert log_stats(log, url).as_dict()["missing"] == 0
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM predictions WHERE sequence = 2")
    assert log_stats(log, url).as_dict()["missing"] == 1


def test_stats_count_what_was_answered_without_a_record(tmp_path) -> None:
    log, url = tmp_path / "log", f"sqlite:///{tmp_path / 'sink.sqlite'}"
    put(log, 5)
    ship(Place(log, url), keep_shipped_s=0)
    put(log, 2)
    with Journal(log) as journal:
        journal.append(batch())
        journal.append_refusal(
            request_id="r", received_at=datetime.now(timezone.utc), model_name="flights",
            model_version="3", model_digest="", code="no_payload", n_rows=None, violations=[],
            source="serve",
        )  # fmt: skip
        journal.declare_gap(4, "the disk was full", "flights", "3")
    names = ("answered", "unrecorded", "recorded", "shipped", "backlog")
    with_sink, without = log_stats(log, url).as_dict(), log_stats(log, None).as_dict()
    assert [with_sink[name] for name in names] == [12, 4, 10, 5, 5]
    # What was deleted when it was shipped is known of its sink only.
    assert [without[name] for name in names] == [7, 4, 5, 0, 0]
    assert [writer["unrecorded"] for writer in without["writers"]] == [0, 4]


def test_the_command(tmp_path, monkeypatch, capsys) -> None:
    log, url = tmp_path / "log", f"sqlite:///{tmp_path / 'sink.sqlite'}"
    monkeypatch.setenv("ASFITTED_LOG", str(log))
    monkeypatch.setenv("ASFITTED_SINK", url)
    put(log, 3)

    def run(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as caught:
            main(["log", "stats", "--reconcile", *arguments])
        return int(caught.value.code or 0), capsys.readouterr().out

    code, out = run("--json")
    assert (code, json.loads(out)["answered"], json.loads(out)["missing"]) == (0, 3, 0)
    (path,) = journal_files(log)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM predictions WHERE sequence = 2")
    code, out = run()
    assert code == 3
    assert "3 answered, 2 on record; MISSING predictions 2–2" in out


SPANS = st.lists(st.tuples(st.integers(1, 40), st.integers(0, 6)).map(lambda s: (s[0], sum(s))))


@given(SPANS, st.integers(0, 60))
def test_spans_are_the_sets_that_they_stand_for(given_spans, known) -> None:
    numbers = {n for first, last in given_spans for n in range(first, last + 1)}
    found = merged(given_spans)
    assert [n for first, last in found for n in range(first, last + 1)] == sorted(numbers)
    assert count(found) == len(numbers)
    lacking = set(range(1, max([known, *numbers]) + 1)) - numbers
    there = [n for first, last in between(found, known) for n in range(first, last + 1)]
    assert there == sorted(lacking)


def test_what_was_pruned_is_counted_and_not_held(tmp_path) -> None:
    n_rows = 3_000_000
    with Journal(tmp_path) as journal:
        journal.append_removal(
            removed_at=datetime.now(timezone.utc), kind="prune", who="cron", model_name="",
            model_version="", condition={}, counts={"predictions": n_rows},
            gaps={"predictions": {"w": [[1, 2_000_000], [2_000_001, n_rows]]}}, reason="",
        )  # fmt: skip
    tracemalloc.start()
    try:
        assert figures(Place(tmp_path, None)) == (n_rows, 0, n_rows, 0, 0)
        log_stats(tmp_path, None)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000
