from __future__ import annotations

import math
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from log_batches import START, batch

from asfitted.errors import RecordError, Violation
from asfitted.prediction_log import RECORD_FORMAT, Journal
from asfitted.prediction_log.query import Query
from asfitted.prediction_log.reader import records
from asfitted.prediction_log.record import from_microseconds, to_microseconds
from asfitted.prediction_log.tables import COLUMNS

CORNERS = [-0.0, 5e-324, 1e22, 1.7976931348623157e308, 0.1, 2**53 - 1, 2**53, 2**53 + 1, -(2**63)]
texts = st.text(st.characters())  # lone surrogates and NUL are among them
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(CORNERS)
    | texts
)
rows = st.dictionaries(texts, scalars | st.lists(scalars, max_size=3), max_size=5)
# In UTC no hour comes twice: fold means nothing.
moments = st.datetimes(timezones=st.just(timezone.utc)).map(lambda m: m.replace(fold=0))
encodable = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory):
    with Journal(tmp_path_factory.mktemp("log")) as journal:
        yield journal


@settings(max_examples=60, deadline=None)
@given(data=st.data(), n_rows=st.integers(1, 4), received=moments, scored=moments, name=encodable)
def test_what_is_appended_is_what_is_read(journal, data, n_rows, received, scored, name) -> None:
    written = batch(
        inputs=data.draw(st.lists(rows, min_size=n_rows, max_size=n_rows)),
        outputs=data.draw(st.lists(rows, min_size=n_rows, max_size=n_rows)),
        findings=data.draw(st.lists(st.lists(rows, max_size=2), min_size=n_rows, max_size=n_rows)),
        keys=data.draw(st.lists(rows, min_size=n_rows, max_size=n_rows)),
        params=data.draw(rows),
        received_at=received,
        scored_at=scored,
        model_name=name,
        latency_us=data.draw(st.integers(0, 2**63 - 1)),
    )
    ids = journal.append(written)
    found = list(records(journal.folder, Query(request_id=written.request_id)))
    assert [record["prediction_id"] for record in found] == ids
    for n, record in enumerate(found):
        assert list(record) == list(COLUMNS)
        assert record["row"] == n
        for column in ("inputs", "outputs", "findings", "keys"):
            # repr tells -0.0 from 0.0, 1 from 1.0 and True, and shows every bit of a float.
            assert repr(record[column]) == repr(getattr(written, column)[n])
        for column in ("params", "received_at", "scored_at", "model_name", "latency_us", "source"):
            assert repr(record[column]) == repr(getattr(written, column))


@pytest.mark.parametrize("value", CORNERS, ids=repr)
def test_numbers_at_the_edge_keep_every_bit(journal, value) -> None:
    written = batch(inputs=[{"x": value}])
    journal.append(written)
    (record,) = records(journal.folder, Query(request_id=written.request_id))
    assert type(record["inputs"]["x"]) is type(value)
    assert record["inputs"]["x"] == value
    assert math.copysign(1, record["inputs"]["x"]) == math.copysign(1, value)


@pytest.mark.parametrize("text", ["\ud800", "a\x00b", "Zürich 東京 🛫", "\u2028"], ids=ascii)
def test_every_text_that_json_may_carry_is_kept(journal, text) -> None:
    written = batch(inputs=[{text: text}])
    journal.append(written)
    (record,) = records(journal.folder, Query(request_id=written.request_id))
    assert record["inputs"] == {text: text}


@given(moment=st.datetimes(timezones=st.timezones()).filter(lambda m: 2 < m.year < 9998))
def test_a_moment_keeps_its_microsecond(moment) -> None:
    assert from_microseconds(to_microseconds(moment, "x")) == moment.astimezone(timezone.utc)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"inputs": [{"x": float("nan")}]}, "inputs of row 0 cannot be written as JSON"),
        ({"outputs": [{"x": float("inf")}]}, "outputs of row 0"),
        ({"inputs": [{"x": np.int64(1)}]}, "inputs of row 0"),
        ({"params": {"x": object()}}, "params cannot be written as JSON"),
        ({"received_at": datetime(2026, 1, 1)}, "received_at is not a datetime with a zone"),
        ({"request_id": "\ud800"}, "request_id is not a text"),
        ({"model_version": None}, "model_version is not a text"),
        ({"latency_us": 2**63}, "latency_us is not an integer"),
        ({"latency_us": 1.5}, "latency_us is not an integer"),
        ({"source": "browser"}, "source is none of serve"),
        ({"keys": []}, "1 inputs, 1 outputs, 1 findings and 0 keys"),
    ],
)
def test_what_cannot_be_recorded_is_refused_whole(tmp_path, change, said) -> None:
    with Journal(tmp_path) as journal:
        with pytest.raises(RecordError, match=said):
            journal.append(batch(**change))
        assert journal.commits == 0


def test_an_error_never_shows_a_value(tmp_path) -> None:
    secret: Any = "CANARY-4242"
    with Journal(tmp_path) as journal, pytest.raises(RecordError) as caught:
        journal.append(batch(inputs=[{"x": {secret: {secret}}}]))
    assert "CANARY" not in str(caught.value)


def test_a_refusal_has_columns_rules_and_counts_and_no_value(tmp_path) -> None:
    with Journal(tmp_path) as journal:
        refusal_id = journal.append_refusal(
            request_id="r-1",
            received_at=START,
            model_name="flights",
            model_version="3",
            model_digest="",
            code="contract_violation",
            n_rows=None,
            violations=[Violation("temp", "max", "above 130", (1, 3), 5)],
            source="serve",
        )
        (record,) = records(tmp_path, Query(table="refusals", prediction_id=refusal_id))
    assert record["violations"] == [{"column": "temp", "rule": "max", "rows": 2}]
    assert record["n_rows"] is None
    assert record["received_at"] == START
    assert (record["writer"] != "", record["sequence"]) == (True, 1)


def test_a_batch_of_no_rows_records_nothing(tmp_path) -> None:
    with Journal(tmp_path / "log") as journal:
        assert journal.append(batch(0)) == []
    assert not (tmp_path / "log").exists()


def test_the_format_is_free_until_a_release_freezes_it() -> None:
    assert RECORD_FORMAT == 0
    assert timedelta(microseconds=to_microseconds(START, "")) == START - datetime(
        1970, 1, 1, tzinfo=timezone.utc
    )
