"""The suite that every sink passes, to be run by whoever writes one.

::

    import pytest
    from asfitted.prediction_log.sinks.conformance import SinkConformance

    class TestMySink(SinkConformance):
        @pytest.fixture
        def sink_url(self, tmp_path):
            return "mine://..."          # a new, empty store for each test
"""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Sequence
from contextlib import closing
from typing import Any

from asfitted.prediction_log.ids import uuid7
from asfitted.prediction_log.query import Query
from asfitted.prediction_log.sinks.protocol import Row, Sink
from asfitted.prediction_log.sinks.urls import open_sink
from asfitted.prediction_log.tables import (
    COLUMNS_OF,
    ID_OF,
    TABLES,
    Table,
    is_integer,
    may_be_null,
)

_START_US = 1_795_516_200_123_456  # 2026-11-24T10:30:00.123456Z
_LATER = Query(since="2026-11-24T10:30:00.123459Z")


def prediction(writer: str, sequence: int, **changes: Any) -> Row:
    """Return a row of `predictions` as a journal holds it, with `changes` by column."""
    values: dict[str, Any] = {
        "prediction_id": uuid7(),
        "request_id": f"request-{sequence}",
        "batch_id": "batch",
        "row": 0,
        "received_at": _START_US,
        "scored_at": _START_US + sequence,
        "model_name": "flights",
        "model_version": "3",
        "model_digest": "sha256:ab",
        "contract_digest": "sha256:cd",
        "inputs": '{"carrier":"UA","distance":1400,"temp":39.02}',
        "outputs": '{"prediction":1,"probability_1":0.8}',
        "findings": "[]",
        "keys": '{"flight":1545}',
        "params": "{}",
        "latency_us": 7001,
        "writer": writer,
        "sequence": sequence,
        "source": "serve",
    }
    return tuple({**values, **changes}.values())


def refusal(writer: str, sequence: int, **changes: Any) -> Row:
    """Return a row of `refusals`; see `prediction`."""
    values: dict[str, Any] = {
        "refusal_id": uuid7(),
        "request_id": f"request-{sequence}",
        "received_at": _START_US + sequence,
        "model_name": "flights",
        "model_version": "3",
        "model_digest": "sha256:ab",
        "code": "contract_violation",
        "n_rows": None,
        "violations": '[{"column":"temp","rule":"max","rows":3}]',
        "writer": writer,
        "sequence": sequence,
        "source": "serve",
    }
    return tuple({**values, **changes}.values())


def some_row(table: Table, writer: str, sequence: int) -> Row:
    """Return a row of any table; what may be null is null in every second one."""
    values: dict[str, Any] = {
        ID_OF[table]: uuid7(), "model_name": "flights", "model_version": "3",
        "writer": writer, "sequence": sequence,
    }  # fmt: skip
    for name, kind in COLUMNS_OF[table].items():
        if may_be_null(kind) and sequence % 2:
            values.setdefault(name, None)
        elif is_integer(kind):
            values.setdefault(name, _START_US + sequence)
        else:
            values.setdefault(name, json.dumps([name, sequence]))
    return tuple(values[name] for name in COLUMNS_OF[table])


def _with(row: Row, **changes: Any) -> Row:
    """Return a row of `predictions` with `changes` by column."""
    return tuple({**dict(zip(TABLES["predictions"], row, strict=True)), **changes}.values())


class SinkConformance:
    """Tests for pytest; the class that inherits them gives the fixture `sink_url`."""

    def test_it_is_a_sink(self, sink_url: str) -> None:
        with closing(open_sink(sink_url)) as sink:
            assert isinstance(sink, Sink)
            assert sink.batch_rows >= 1
            assert sink.linger_s >= 0

    def test_an_empty_store_has_no_rows(self, sink_url: str) -> None:
        with closing(open_sink(sink_url)) as sink:
            for table in TABLES:
                assert list(sink.read(Query(table=table))) == []
                assert sink.rewrite(table, Query(table=table), lambda row: None) == 0
                sink.write(table, [])

    def test_every_table_comes_back_as_it_was(self, sink_url: str) -> None:
        rows = {table: [some_row(table, "a", n) for n in range(1, 6)] for table in TABLES}
        rows["predictions"] = [prediction("a", n) for n in range(1, 6)]
        rows["refusals"] = [refusal("a", 1), refusal("a", 2, n_rows=7)]
        for table in TABLES:
            _write(sink_url, table, rows[table])
        # In another connection, as after a restart.
        assert {table: _all(sink_url, table) for table in TABLES} == rows

    def test_sent_again_a_row_stays_one(self, sink_url: str) -> None:
        rows = [prediction("a", n) for n in range(1, 4)]
        refused = [refusal("a", n) for n in range(1, 4)]
        for _ in range(3):
            _write(sink_url, "predictions", rows)
            _write(sink_url, "refusals", refused)
        _write(sink_url, "predictions", rows[:2] * 2)
        assert _all(sink_url) == rows
        assert _all(sink_url, "refusals") == refused

    def test_batches_may_overlap_in_any_way(self, sink_url: str) -> None:
        rows = [prediction("a", n) for n in range(1, 31)]
        with closing(open_sink(sink_url)) as sink:
            for first, last in [(0, 10), (5, 15), (4, 6), (20, 30), (0, 30), (14, 22), (29, 30)]:
                sink.write("predictions", rows[first:last])
            sink.write("predictions", rows[3::7])
        assert _all(sink_url) == rows

    def test_a_batch_with_a_row_twice_writes_it_once(self, sink_url: str) -> None:
        row = prediction("a", 1)
        _write(sink_url, "predictions", [row, row])
        assert _all(sink_url) == [row]

    def test_what_is_kept_is_the_first(self, sink_url: str) -> None:
        row = prediction("a", 1)
        changed = (*row[:1], "another request", *row[2:])
        _write(sink_url, "predictions", [row])
        _write(sink_url, "predictions", [changed])
        assert _all(sink_url) == [row]

    def test_every_text_survives(self, sink_url: str) -> None:
        texts = ["", " ", "é漢字🛩", "a\tb\nc\\N\r", "'\";--", "\\.", "NULL", "%2F=/..", "\u2028"]
        rows = [
            prediction(
                "a",
                n,
                request_id=text,
                model_name=text or "m",
                model_version=text,
                inputs=json.dumps({text: text, "nul": "\x00", "half": "\ud800"}),
            )
            for n, text in enumerate(texts, start=1)
        ]
        _write(sink_url, "predictions", rows)
        assert _all(sink_url) == rows

    def test_numbers_in_json_keep_their_spelling(self, sink_url: str) -> None:
        text = '{"a":7.0,"b":7,"c":1e+22,"d":-0.0,"e":5e-324,"f":9007199254740993,"b":1}'
        row = prediction("a", 1, inputs=text, outputs=text, params=text)
        _write(sink_url, "predictions", [row])
        assert _all(sink_url) == [row]

    def test_big_values_and_the_ends_of_ranges(self, sink_url: str) -> None:
        big = json.dumps({"text": "x" * 3_000_000})
        last = 2**63 - 1
        rows = [
            prediction("a", 1, scored_at=-62_135_596_800_000_000, received_at=-1),  # the year 1
            prediction("a", 2, inputs=big, row=last, latency_us=last),
            prediction("a", last, scored_at=253_402_300_799_999_999, model_name="m" * 300),
        ]
        _write(sink_url, "predictions", rows)
        _write(sink_url, "predictions", rows)
        assert _all(sink_url) == rows

    def test_two_writers_interleaved(self, sink_url: str) -> None:
        a = [prediction("writer-a", n) for n in range(1, 21)]
        b = [prediction("writer-b", n) for n in range(1, 21)]
        with closing(open_sink(sink_url)) as sink:
            for start in range(0, 20, 5):
                sink.write("predictions", a[start : start + 5] + b[start : start + 5])
                sink.write("predictions", b[max(0, start - 3) : start + 5])
        assert _all(sink_url) == [row for pair in zip(a, b, strict=True) for row in pair]

    def test_versions_with_other_columns_lie_together(self, sink_url: str) -> None:
        old = prediction("a", 1, model_version="3", inputs='{"temp":1}')
        new = prediction("a", 2, model_version="10", inputs='{"temp":"warm","wind":[1,{"x":2}]}')
        none = prediction("a", 3, model_version="", inputs="{}")
        _write(sink_url, "predictions", [old, new, none])
        assert _all(sink_url) == [old, new, none]
        with closing(open_sink(sink_url)) as sink:
            assert list(sink.read(Query(version="10"))) == [new]
            assert list(sink.read(Query(version=""))) == [none]

    def test_conditions_choose_rows(self, sink_url: str) -> None:
        rows = [prediction("a", n, source="batch" if n == 2 else "serve") for n in range(1, 6)]
        _write(sink_url, "predictions", rows)
        name = str(rows[3][0])
        asked = [
            (_LATER, rows[2:]),
            (Query(until="2026-11-24T10:30:00.123459Z"), rows[:2]),
            (Query(model="flights", request_id="request-5"), [rows[4]]),
            (Query(model="flight"), []),
            (Query(source="batch"), [rows[1]]),
            (Query(prediction_id=name), [rows[3]]),
            (Query(prediction_id=name[-12:].upper()), [rows[3]]),
            (Query(newest_first=True), rows[::-1]),
        ]
        with closing(open_sink(sink_url)) as sink:
            for query, expected in asked:
                assert list(sink.read(query)) == expected, query

    def test_an_answer_that_was_lost_after_the_write(self, sink_url: str) -> None:
        rows = [prediction("a", n) for n in range(1, 11)]
        # The first shipper wrote six, was killed before it knew, and the journal grew.
        with closing(open_sink(sink_url)) as sink:
            sink.write("predictions", rows[:6])
        _write(sink_url, "predictions", rows)
        assert _all(sink_url) == rows

    def test_rewriting_changes_deletes_and_leaves(self, sink_url: str) -> None:
        rows = [prediction("a", n) for n in range(1, 10)]
        _write(sink_url, "predictions", rows[:4])
        _write(sink_url, "predictions", rows[4:])
        sequence = TABLES["predictions"].index("sequence")

        def change(row: Row) -> Row | None:
            if row[sequence] % 3 == 0:
                return None
            return _with(row, inputs="{}") if row[sequence] % 3 == 1 else row

        expected = [row for each in rows if (row := change(each)) is not None]
        with closing(open_sink(sink_url)) as sink:
            assert sink.rewrite("predictions", Query(), change) == 6
        assert _all(sink_url) == expected

    def test_rewriting_does_not_ask_about_other_rows(self, sink_url: str) -> None:
        rows = [prediction("a", n, model_name="flights" if n < 4 else "b") for n in range(1, 7)]
        refused = [refusal("a", n) for n in range(1, 4)]
        _write(sink_url, "predictions", rows)
        _write(sink_url, "refusals", refused)
        asked: list[Row] = []

        def change(row: Row) -> Row | None:
            asked.append(row)
            return None

        query = Query(model="flights", since="2026-11-24T10:30:00.123458Z")
        with closing(open_sink(sink_url)) as sink:
            assert sink.rewrite("predictions", query, change) == 2
            assert sink.rewrite("predictions", query, change) == 0
        assert sorted(asked) == sorted(rows[1:3])
        assert _all(sink_url) == [rows[0], *rows[3:]]
        assert _all(sink_url, "refusals") == refused

    def test_rewriting_in_every_table(self, sink_url: str) -> None:
        for table in TABLES:
            rows = [some_row(table, "a", n) for n in range(1, 4)]
            kept = {rows[1]: rows[1]}
            _write(sink_url, table, rows)
            with closing(open_sink(sink_url)) as sink:
                assert sink.rewrite(table, Query(table=table), kept.get) == 2
            assert _all(sink_url, table) == [rows[1]]

    def test_a_row_that_was_changed_stays_so_and_one_that_was_deleted_may_come_again(
        self, sink_url: str
    ) -> None:
        rows = [prediction("a", n) for n in range(1, 6)]
        blank = _with(rows[1], inputs="{}", keys="{}")
        changes = {rows[0]: None, rows[1]: blank, rows[4]: None}
        _write(sink_url, "predictions", rows)
        with closing(open_sink(sink_url)) as sink:
            sink.rewrite("predictions", Query(), lambda row: changes.get(row, row))
        _write(sink_url, "predictions", rows[1:4])
        assert _all(sink_url) == [blank, *rows[2:4]]
        # The same range of numbers as before: no row may be in the other's way.
        _write(sink_url, "predictions", rows)
        assert _all(sink_url) == [rows[0], blank, *rows[2:]]

    def test_writers_at_the_same_time(self, sink_url: str) -> None:
        rows = {w: [prediction(w, n) for n in range(1, 41)] for w in ("a", "b", "c")}
        shared = [prediction("shared", n) for n in range(1, 41)]
        errors: list[BaseException] = []
        begin = threading.Barrier(3)

        def ship(writer: str) -> None:
            try:
                begin.wait(30)
                order = [*rows[writer], *shared]
                random.Random(writer).shuffle(order)
                with closing(open_sink(sink_url)) as sink:
                    for start in range(0, len(order), 16):
                        sink.write("predictions", order[start : start + 16])
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=ship, args=(writer,)) for writer in rows]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors, errors
        expected = [row for group in (*rows.values(), shared) for row in group]
        assert sorted(_all(sink_url)) == sorted(expected)


def _write(sink_url: str, table: Table, rows: Sequence[Row]) -> None:
    with closing(open_sink(sink_url)) as sink:
        sink.write(table, rows)


def _all(sink_url: str, table: Table = "predictions") -> list[Row]:
    with closing(open_sink(sink_url)) as sink:
        rows = list(sink.read(Query(table=table)))
    width, ids = len(TABLES[table]), [row[0] for row in rows]
    assert all(len(row) == width for row in rows)
    assert len(set(ids)) == len(ids), f"a {ID_OF[table]} is there twice"
    return rows
