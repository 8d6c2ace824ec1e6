"""`FittedModel`: answered means on record, refused means recorded as refused."""

from __future__ import annotations

import json
import os
import threading
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scoring_rows import CONTRACT, make_rows, numbers, pipeline
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import asfitted
from asfitted.contract import Conformed
from asfitted.errors import ContractViolation, OutputViolation, RecordError
from asfitted.prediction_log import FieldPolicy, Journal, read_log
from asfitted.prediction_log.encode import encode_columns
from asfitted.scoring import Identity, Recorder
from asfitted.scoring.recording import received

CATEGORIES = ("cat", asfitted.Dummies(), ["c", "d"])


def log_of(journal: Journal, **options: Any) -> pd.DataFrame:
    return read_log(journal.folder, **options)


def test_answers_are_those_of_the_pipeline(fitted, rows) -> None:
    model = asfitted.FittedModel(fitted)
    assert model.predict(rows).tolist() == fitted.predict(rows).tolist()
    both = asfitted.FittedModel(fitted, predict_fn="both").predict(rows)
    np.testing.assert_allclose(
        both[["probability_no", "probability_yes"]], fitted.predict_proba(rows), rtol=1e-12
    )
    assert model.classes == ["no", "yes"]
    assert repr(model) == "FittedModel(unsaved, LogisticRegression)"


def test_what_is_not_saved_yet_records_nothing(fitted, rows, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    answered = asfitted.FittedModel(fitted).answered(rows)
    assert answered.prediction_ids == []
    assert list(tmp_path.iterdir()) == []


def test_a_search_is_its_best_pipeline(rows, target) -> None:
    search = GridSearchCV(pipeline(CATEGORIES, numbers()), {"clf__C": [0.1, 1.0]}, cv=2)
    model = asfitted.FittedModel(search.fit(rows, target))
    assert model.pipeline is search.best_estimator_
    assert model.predict(rows).tolist() == search.predict(rows).tolist()


def test_the_index_and_the_order_of_columns_do_not_matter(fitted, rows) -> None:
    model = asfitted.FittedModel(fitted, whole_steps=1)
    shuffled = rows.sample(frac=1, random_state=0)
    expected = model.outputs(rows).iloc[shuffled.index].reset_index(drop=True)
    pd.testing.assert_frame_equal(model.outputs(shuffled), expected, check_exact=True)
    again = shuffled[list(rows.columns)[::-1]].set_axis(["same"] * len(rows))
    pd.testing.assert_frame_equal(model.outputs(again), expected, check_exact=True)


def aligned(X):
    out = pd.DataFrame({"a": X["a"].to_numpy()})
    out["k"] = X["k"]
    return out.fillna(0.0)


def test_a_step_never_sees_the_callers_index(rows) -> None:
    pipe = make_pipeline(
        asfitted.Conform(CONTRACT), FunctionTransformer(aligned), LinearRegression()
    )
    model = asfitted.FittedModel(pipe.fit(rows, rows["a"]), whole_steps=1)
    shuffled = rows.sample(frac=1, random_state=0)
    expected = model.outputs(shuffled.reset_index(drop=True))
    pd.testing.assert_frame_equal(model.outputs(shuffled), expected, check_exact=True)


def in_place(X):
    X["b"] = X["b"].fillna(0.0)
    return X[["a", "b"]]


def test_a_step_that_writes_in_place_does_not_touch_the_record(rows, journal) -> None:
    pipe = make_pipeline(
        asfitted.Conform(CONTRACT), FunctionTransformer(in_place), LinearRegression()
    )
    recorder = Recorder(journal, FieldPolicy(), Identity("m"), "inprocess")
    model = asfitted.FittedModel(pipe.fit(rows, rows["a"]), whole_steps=1, recorder=recorder)
    model.predict(rows.iloc[:1])
    assert np.isnan(rows["b"][0])
    assert log_of(journal)["inputs"][0]["b"] is None


def test_a_second_conform_knows_what_the_first_has_made() -> None:
    contract = asfitted.DataContract.model_validate(
        {"columns": {"at": {"kind": "datetime", "zone": "America/New_York"}}}
    )
    hours = FunctionTransformer(lambda X: X["at"].dt.hour.to_frame())
    pipe = make_pipeline(
        asfitted.Conform(contract), asfitted.Conform(contract), hours, LinearRegression()
    )
    rows = pd.DataFrame({"at": pd.date_range("2013-01-01", periods=100, freq="53min")})
    pipe.fit(rows, pipe[:-1].fit_transform(rows)["at"])
    answers = asfitted.FittedModel(pipe).predict(rows)
    # Midnight in New York, in UTC; once more, it would be ten.
    assert answers[0] == pytest.approx(5)
    assert answers.tolist() == pytest.approx(pipe.predict(rows).tolist())


def test_each_row_is_on_record_before_it_is_answered(recorded, rows, journal) -> None:
    answered = recorded.answered(rows.iloc[:5])
    log = log_of(journal)
    assert log["prediction_id"].tolist() == answered.prediction_ids
    assert log["row"].tolist() == [0, 1, 2, 3, 4]
    assert log["batch_id"].nunique() == log["request_id"].nunique() == 1
    assert log["outputs"].tolist() == answered.outputs.to_dict("records")
    assert [k["id"] for k in log["keys"]] == rows["id"][:5].tolist() == list(answered.keys["id"])
    one = log.iloc[0]
    assert (one["model_name"], one["model_version"], one["model_digest"]) == ("shop", "3", "d" * 64)
    assert one["contract_digest"] == CONTRACT.digest
    assert one["source"] == "inprocess"
    assert one["received_at"] <= one["scored_at"]
    assert one["latency_us"] > 0


def test_what_is_recorded_is_what_was_sent(recorded, journal) -> None:
    sent = {
        "id": "one", "a": 1.5, "b": None, "k": None, "f": None, "c": "a stranger", "d": 77,
        "t": None, "m": "2024-07-01T12:00:00+02:00",
    }  # fmt: skip
    recorded.predict(pd.DataFrame([sent], dtype=object))
    (record,) = log_of(journal).to_dict("records")
    assert record["inputs"] == {
        "a": 1.5, "b": None, "k": None, "f": None, "c": "a stranger", "d": 77, "t": None,
        "m": "2024-07-01T10:00:00.000000Z",
    }  # fmt: skip
    assert record["keys"] == {"id": "one"}
    assert {(f["column"], f["rule"]) for f in record["findings"]} == {
        ("k", "filled"),
        ("t", "filled"),
        ("c", "unknown_category"),
        ("d", "unknown_category"),
    }


def test_findings_stand_on_their_own_row(recorded, rows, journal) -> None:
    rows = rows.iloc[1:4].assign(b=[0.0, 9.0, 0.0])
    recorded.predict(rows)
    assert log_of(journal)["findings"].tolist() == [
        [],
        [{"column": "b", "rule": "outside_observed"}],
        [],
    ]


def test_a_refusal_is_recorded_and_nothing_is_answered(recorded, rows, journal) -> None:
    with pytest.raises(ContractViolation):
        recorded.predict(rows.assign(a="much"))
    assert len(log_of(journal)) == 0
    (refusal,) = log_of(journal, refused=True).to_dict("records")
    assert (refusal["code"], refusal["n_rows"]) == ("contract_violation", len(rows))
    assert refusal["violations"] == [{"column": "a", "rule": "type", "rows": len(rows)}]
    assert (refusal["model_name"], refusal["model_version"]) == ("shop", "3")


class Overflowing(RegressorMixin, BaseEstimator):
    def fit(self, X, y):
        self.is_fitted_ = True
        return self

    def predict(self, X):
        return np.where(X[:, 0] > 100, np.inf, X[:, 0])


def test_an_answer_that_must_not_be_sent_is_a_refusal(rows, journal) -> None:
    recorder = Recorder(journal, FieldPolicy(), Identity("m"), "inprocess")
    pipe = pipeline(numbers(), estimator=Overflowing()).fit(rows, rows["a"])
    model = asfitted.FittedModel(pipe, recorder=recorder)
    with pytest.raises(OutputViolation, match="1 of 2 values are not finite"):
        model.predict(rows.iloc[:2].assign(a=[1.0, 1000.0]))
    assert len(log_of(journal)) == 0
    (refusal,) = log_of(journal, refused=True).to_dict("records")
    assert refusal["code"] == "output_violation"
    assert refusal["violations"] == [{"column": "prediction", "rule": "finite", "rows": 1}]


def test_no_rows_is_no_prediction(recorded, rows, journal) -> None:
    assert recorded.predict(rows.iloc[:0]).tolist() == []
    assert not journal.folder.exists()


def test_the_limit_of_rows_holds_for_a_server_only(fitted, rows, journal) -> None:
    contract = CONTRACT.model_copy(update={"limits": {"rows": 10}})
    fitted.named_steps["conform"].contract = contract
    for source, refused in (("inprocess", False), ("batch", False), ("serve", True)):
        recorder = Recorder(journal, FieldPolicy(), Identity("m"), source)
        model = asfitted.FittedModel(fitted, recorder=recorder)
        model.predict(rows.iloc[:10])
        if not refused:
            model.predict(rows)
            continue
        with pytest.raises(ContractViolation, match=f"{len(rows)} rows, 10 are allowed"):
            model.predict(rows)


def _a_file_in_its_place(folder: Path) -> None:
    folder.write_text("not a folder")


def _not_writable(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o500)
    if os.access(folder, os.W_OK):
        pytest.skip("root may write anywhere")


@pytest.mark.parametrize("spoil", [_a_file_in_its_place, _not_writable])
def test_what_cannot_be_recorded_is_not_answered(spoil, recorded, rows, journal) -> None:
    spoil(journal.folder)
    given: list[Any] = []
    for ask in (recorded.predict, recorded.outputs, recorded.answered):
        with pytest.raises(RecordError):
            given.append(ask(rows))
    assert given == []


def test_a_record_that_fails_once_is_not_answered_and_the_next_one_is(
    recorded, rows, journal, monkeypatch
) -> None:
    def full(batches: Any) -> list[list[str]]:
        raise RecordError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(journal, "append_all", full)
        with pytest.raises(RecordError):
            recorded.predict(rows)
    assert len(recorded.predict(rows)) == len(rows)
    assert len(log_of(journal)) == len(rows)


def test_a_refusal_that_cannot_be_recorded_is_a_refusal_all_the_same(
    recorded, rows, journal
) -> None:
    _a_file_in_its_place(journal.folder)
    with pytest.raises(ContractViolation):
        recorded.predict(rows.assign(a="much"))


def test_marks_stand_on_every_record(fitted, rows, journal) -> None:
    mark = {"rule": "environment", "package": "numpy", "what": "1 instead of 2"}
    recorder = Recorder(journal, FieldPolicy(), Identity("m"), "inprocess", (mark,))
    asfitted.FittedModel(fitted, recorder=recorder).predict(rows.iloc[1:3].assign(b=[9.0, 0.0]))
    assert log_of(journal)["findings"].tolist() == [
        [mark, {"column": "b", "rule": "outside_observed"}],
        [mark],
    ]


def test_eight_threads_lose_nothing_and_mix_nothing_up(rows, target, journal) -> None:
    forest = RandomForestClassifier(5, n_jobs=2, random_state=0)
    pipe = pipeline(CATEGORIES, numbers(), estimator=forest).fit(rows, target)
    recorder = Recorder(journal, FieldPolicy(), Identity("m"), "inprocess")
    model = asfitted.FittedModel(pipe, whole_steps=1, recorder=recorder)
    barrier = threading.Barrier(8)
    given: dict[str, tuple[str, dict[str, Any]]] = {}
    failed: list[BaseException] = []

    def work(thread: int) -> None:
        try:
            barrier.wait()
            for call in range(6):
                part = make_rows(1 + (thread + call) % 4, seed=100 * thread + call)
                answered = model.answered(part)
                outputs = answered.outputs.to_dict("records")
                for key, said, one in zip(
                    part["id"], outputs, answered.prediction_ids, strict=True
                ):
                    given[one] = (key, said)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    log = log_of(journal)
    assert len(log) == len(given) == sum(1 + (t + c) % 4 for t in range(8) for c in range(6))
    alone = asfitted.FittedModel(pipe)
    for record in log.to_dict("records"):
        key, said = given[record["prediction_id"]]
        assert (record["keys"]["id"], record["outputs"]) == (key, said)
        seed, position = key.removeprefix("k").split("-")
        n_rows = 1 + (int(seed) // 100 + int(seed) % 100) % 4
        own = make_rows(n_rows, seed=int(seed)).iloc[[int(position)]]
        assert record["inputs"]["a"] == own["a"].item()
        assert alone.outputs(own).to_dict("records") == [said]


# U+0000 is no text of this contract.
_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
_MOMENTS = st.datetimes(min_value=datetime(1000, 1, 1)).map(
    lambda moment: moment.isoformat(timespec="microseconds") + "Z"
)
_ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "id": _TEXT,
            "a": st.floats(allow_nan=False, allow_infinity=False),
            "b": st.none() | st.floats(allow_nan=False, allow_infinity=False),
            "k": st.none() | st.integers(-(2**53) + 1, 2**53 - 1),
            "f": st.none() | st.booleans(),
            "c": st.none() | st.sampled_from(["x", "y", "z"]) | _TEXT,
            "d": st.integers(-3, 3),
            "t": st.none() | _TEXT,
            "m": st.none() | _MOMENTS,
        }
    ),
    min_size=1,
    max_size=6,
)


def _conformed(records: list[dict[str, Any]]) -> Conformed:
    return CONTRACT.conform(pd.DataFrame(records, dtype=object))


def _as_recorded(conformed: Conformed) -> list[list[str]]:
    parts = received(CONTRACT, conformed)
    return [encode_columns(columns, len(conformed.frame), "row") for columns in parts]


@given(sent=_ROWS)
def test_what_is_on_record_conforms_again_to_the_same_bits(sent) -> None:
    first = _conformed(sent)
    inputs, keys = ([json.loads(row) for row in rows] for rows in _as_recorded(first))
    logged = [{**k, **i} for k, i in zip(keys, inputs, strict=True)]
    again = _conformed(logged)
    pd.testing.assert_frame_equal(again.frame, first.frame, check_exact=True)
    for column in ("a", "b"):
        was, now = (f[column].to_numpy(dtype="float64") for f in (first.frame, again.frame))
        assert was.tobytes() == now.tobytes()  # the sign of a zero, too
    assert keys == [{"id": row["id"]} for row in sent]
    for row, recorded in zip(sent, inputs, strict=True):
        # Null where it was missing, the stranger where it was mapped.
        assert {n: recorded[n] for n in "bkfcdt"} == {n: row[n] for n in "bkfcdt"}
    rules = [[(f.column, f.rule, f.rows.tolist()) for f in c.findings] for c in (first, again)]
    assert rules[0] == rules[1]


@pytest.mark.parametrize("at_once", [1, 3])
def test_what_is_on_record_gives_the_same_answer(at_once, recorded, fitted, journal) -> None:
    sent = make_rows(40, seed=9).astype({"c": object, "t": object})
    sent.loc[::3, "c"] = "a stranger"
    sent.loc[::4, "t"] = None
    for start in range(0, 12, at_once):
        recorded.predict(sent.iloc[start : start + at_once])
    replayed = asfitted.FittedModel(fitted)
    for record in log_of(journal).to_dict("records"):
        frame = pd.DataFrame([{**record["keys"], **record["inputs"]}], dtype=object)
        assert replayed.outputs(frame).to_dict("records") == [record["outputs"]]


def test_logistic_regression_alone_differs_from_the_batch_without_blocks(rows, target) -> None:
    """What the blocks are for: without them the last bits depend on the company."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(300, 37)), rng.integers(0, 3, 300)
    model = LogisticRegression(max_iter=50).fit(X, y)
    together = model.predict_proba(X)
    alone = np.vstack([model.predict_proba(X[i : i + 1]) for i in range(300)])
    if (together == alone).all():
        pytest.skip("this BLAS has one kernel for all shapes")
    assert np.allclose(together, alone)
