"""Outcomes and removals lie in the log as predictions do, also beside older files."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from log_batches import START, batch

from asfitted.errors import ConfigError, RecordError
from asfitted.prediction_log import Journal
from asfitted.prediction_log.place import journal_files
from asfitted.prediction_log.query import Query
from asfitted.prediction_log.reader import records
from asfitted.prediction_log.record import Outcome
from asfitted.prediction_log.shipper import Shipper
from asfitted.prediction_log.shipping_state import FILE_NAME
from asfitted.prediction_log.shipping_stats import log_stats
from asfitted.prediction_log.sinks import open_sink, sink_records
from asfitted.prediction_log.sinks.conformance import prediction
from asfitted.prediction_log.tables import TABLES

ONE = Outcome(
    recorded_at=START,
    observed_at=START - timedelta(days=1),
    model_name="flights",
    model_version="3",
    prediction_id=None,
    keys={"flight": 1545},
    outcome=1,
    source="july.csv",
)
REMOVAL: dict[str, Any] = {
    "removed_at": START,
    "kind": "erase",
    "who": "ann",
    "model_name": "",
    "model_version": "",
    "condition": {"keys": {"flight": None}},
    "counts": {"predictions": 3},
    "gaps": {"predictions": {"w": [[1, 3]]}},
    "reason": "request 12",
}


@pytest.fixture(params=["sqlite", "postgres", "parquet"])
def sink_url(request, tmp_path) -> str:
    if request.param == "postgres":
        return request.getfixturevalue("database")
    path = tmp_path / "sink"
    return str(path) if request.param == "parquet" else f"sqlite:///{path}.sqlite"


def write(folder: Path) -> None:
    with Journal(folder) as journal:
        ids = journal.append(batch(2))
        journal.append_outcomes([ONE, replace(ONE, prediction_id=ids[0], keys={}, outcome="on")])
        journal.append_outcomes([replace(ONE, observed_at=None, outcome=[0.5, {"a": None}])])
        journal.append_removal(**REMOVAL)


def test_what_is_written_is_read(tmp_path) -> None:
    write(tmp_path)
    outcomes = list(records(tmp_path, Query(table="outcomes"), on_problem=pytest.fail))
    assert [one["outcome"] for one in outcomes] == [1, "on", [0.5, {"a": None}]]
    assert [one["observed_at"] for one in outcomes] == [*[START - timedelta(days=1)] * 2, None]
    assert [one["sequence"] for one in outcomes] == [1, 2, 3]
    assert outcomes[0]["keys"] == {"flight": 1545}
    by_key = Query(table="outcomes", key={"flight": "1545"})
    assert len(list(records(tmp_path, by_key))) == 2
    (removal,) = records(tmp_path, Query(table="removals"), on_problem=pytest.fail)
    assert {name: removal[name] for name in REMOVAL} == REMOVAL


def test_all_tables_are_shipped_once(tmp_path, sink_url) -> None:
    write(tmp_path / "log")
    for _ in range(2):
        with Shipper(tmp_path / "log", sink_url, on_problem=pytest.fail) as shipper:
            shipper.ship()
        # All of it again: the sink keeps each row once.
        (tmp_path / "log" / FILE_NAME).unlink()
    for table in TABLES:
        written = list(records(tmp_path / "log", Query(table=table), on_problem=pytest.fail))
        found = list(sink_records(sink_url, Query(table=table), on_problem=pytest.fail))
        assert found == written
        assert len(found) == {"predictions": 2, "refusals": 0, "outcomes": 3, "removals": 1}[table]


def test_a_journal_without_the_new_tables_has_none_of_their_rows(tmp_path, sink_url) -> None:
    log = tmp_path / "log"
    write(log)
    (path,) = journal_files(log)
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("DROP TABLE outcomes; DROP TABLE removals;")
    for newest_first in (False, True):
        query = Query(table="outcomes", newest_first=newest_first)
        assert list(records(log, query, on_problem=pytest.fail)) == []
    with Shipper(log, sink_url, keep_shipped_s=0, on_problem=pytest.fail) as shipper:
        assert shipper.ship() == 2
    assert len(list(sink_records(sink_url))) == 2
    assert journal_files(log) == []


def test_progress_of_the_version_before_goes_on(tmp_path, sink_url) -> None:
    log = tmp_path / "log"
    write(log)
    with Shipper(log, sink_url, on_problem=pytest.fail) as shipper:
        shipper.ship()
    with closing(sqlite3.connect(log / FILE_NAME)) as connection:
        connection.executescript(
            "ALTER TABLE shipped DROP COLUMN outcomes; ALTER TABLE shipped DROP COLUMN removals;"
        )
    stats = log_stats(log, sink_url)  # which may not write
    assert (stats.as_dict()["recorded"], stats.as_dict()["shipped"]) == (6, 2)
    with Shipper(log, sink_url, on_problem=pytest.fail) as shipper:
        assert shipper.ship() == 4
    assert log_stats(log, sink_url).backlog == 0


def test_tables_of_the_version_before_are_moved_on(tmp_path) -> None:
    url = f"sqlite:///{tmp_path / 'sink.sqlite'}"
    write(tmp_path / "log")
    with closing(open_sink(url)) as sink:
        sink.write("predictions", [prediction("w", 1)])
    with closing(sqlite3.connect(tmp_path / "sink.sqlite")) as connection:
        connection.executescript(
            "DROP TABLE outcomes; DROP TABLE removals;"
            "UPDATE asfitted_alembic_version SET version_num = '0001';"
        )
    with Shipper(tmp_path / "log", url, on_problem=pytest.fail) as shipper:
        shipper.ship()
    assert len(list(sink_records(url, Query(table="outcomes")))) == 3


def test_a_damaged_outcome_goes_to_quarantine(tmp_path) -> None:
    log, url = tmp_path / "log", f"sqlite:///{tmp_path / 'sink.sqlite'}"
    write(log)
    (path,) = journal_files(log)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE outcomes SET prediction_id = x'00' WHERE sequence = 2")
    problems: list[str] = []
    with Shipper(log, url, on_problem=problems.append) as shipper:
        shipper.ship()
    assert len(problems) == 1
    assert "outcomes 2" in problems[0]
    assert [one["sequence"] for one in sink_records(url, Query(table="outcomes"))] == [1, 3]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"keys": {}}, "neither a prediction nor keys"),
        ({"outcome": None}, "an outcome is null"),
        ({"outcome": float("nan")}, "cannot be written as JSON"),
        ({"observed_at": START.replace(tzinfo=None)}, "without|no zone|a zone"),
    ],
)
def test_what_is_no_outcome_writes_none_of_the_others(tmp_path, wrong, said) -> None:
    with Journal(tmp_path) as journal, pytest.raises(RecordError, match=said):
        journal.append_outcomes([ONE, replace(ONE, **wrong)])
    assert journal_files(tmp_path) == []


def test_a_condition_on_a_column_that_a_table_lacks_is_refused() -> None:
    for table, condition in [("outcomes", {"request_id": "r"}), ("removals", {"key": {"a": 1}})]:
        with pytest.raises(ConfigError, match=f"{table} have no"):
            Query(table=table, **condition)
    assert json.dumps(Query(table="outcomes", source="july.csv").conditions())
