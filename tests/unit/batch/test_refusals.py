"""Rows that are refused: in their file, counted, without their cells."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from batch_rows import raw, read, recording, refusals_on_record, write
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from asfitted import FittedModel, read_log
from asfitted.batch import score_file
from asfitted.batch.refusals import Limit
from asfitted.contract import Column, Conform, DataContract
from asfitted.errors import ConfigError, ContractViolation, OutputViolation, Violation
from asfitted.scoring.scorer import Scorer

SECRET = "aquamarine"


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.fixture(params=["kept", "read again"])
def twice(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the check made of the rows is kept, as of a small input, or is made again."""
    if request.param == "read again":
        monkeypatch.setattr("asfitted.batch.run._KEPT_CELLS", 0)


@pytest.mark.usefixtures("twice")
@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize("chunk_rows", [1, 4, 100])
def test_refused_rows_are_named_and_the_others_get_the_same_bits(
    recorded: FittedModel, log: Path, ending: str, chunk_rows: int, tmp_path: Path
) -> None:
    frame = raw()
    frame.loc[[2, 13, 24], "colour"] = SECRET
    frame.loc[13, "size"] = np.inf
    source, target = write(frame, tmp_path / f"in.{ending}"), tmp_path / "out.parquet"
    said = score_file(recorded, source, target, chunk_rows=chunk_rows, max_refused=3)
    assert (said.rows, said.answered, said.refused) == (25, 22, 3)
    assert said.refused_file == str(tmp_path / "out.refused.jsonl")
    got = lines(tmp_path / "out.refused.jsonl")
    assert [(one["file"], one["row"]) for one in got] == [(source.name, k) for k in (2, 13, 24)]
    assert [repr(one["keys"]["order"]) for one in got] == ["2", "13", "24"]
    assert got[0]["reasons"] == [
        {
            "column": "colour",
            "rule": "category",
            "what": "values are not among the categories",
        }
    ]
    assert {reason["column"] for reason in got[1]["reasons"]} == {"colour", "size"}
    assert SECRET not in (tmp_path / "out.refused.jsonl").read_text()
    left = raw().drop(index=[2, 13, 24])
    expected = recorded.score(recorded.conform(left).frame)
    answers = read(target)
    for name in expected:
        assert answers[name].to_numpy().tobytes() == expected[name].to_numpy().tobytes()
    assert [one["order"] for one in read_log(log)["keys"]] == [
        None if pd.isna(v) else v for v in left["order"]
    ]
    assert read_log(log)["prediction_id"].tolist() == answers["prediction_id"].tolist()
    refusals = refusals_on_record(log)
    assert set(refusals["code"]) == {"contract_violation"}
    assert set(refusals["request_id"]) == {said.job_id}
    assert refusals["n_rows"].sum() == 3
    assert SECRET not in json.dumps(refusals["violations"].tolist())


def test_a_key_that_is_refused_itself_is_not_given(recorded: FittedModel, tmp_path: Path) -> None:
    frame = raw().astype({"order": object})
    frame.loc[5, "order"] = SECRET
    score_file(
        recorded, write(frame, tmp_path / "in.csv"), tmp_path / "out.csv", max_refused="100%"
    )
    (one,) = lines(tmp_path / "out.refused.jsonl")
    assert one["keys"] == {"id": "r5"}
    assert SECRET not in json.dumps(one)


def test_keys_of_refused_rows_follow_the_field_policy(
    model: FittedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASFITTED_HASH_KEY", "k")
    strict = recording(model, tmp_path / "log", id="hash", order="drop")
    frame = raw()
    frame.loc[5, "colour"] = "blue"
    source = write(frame, tmp_path / "in.parquet")
    score_file(strict, source, tmp_path / "out.csv", refused=tmp_path / "r.jsonl", max_refused=1)
    (one,) = lines(tmp_path / "r.jsonl")
    assert set(one["keys"]) == {"id"}
    assert one["keys"]["id"].startswith("hmac-sha256:")
    assert strict.recorder is not None
    strict.recorder.journal.close()


@pytest.mark.parametrize("action", ["keep", "hash"])
def test_keys_of_refused_rows_are_written_as_those_on_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    monkeypatch.setenv("ASFITTED_HASH_KEY", "k")
    contract = DataContract(
        columns={
            "size": Column(kind="number", max=1),
            "day": Column(kind="datetime", zone="Europe/Berlin"),
            "price": Column(kind="number"),
            "who": Column(kind="category", categories=("a", "z"), unknown="other", other="z"),
        },
        keys=("day", "price", "who"),
    )
    frame = pd.DataFrame(
        {
            "size": [0.0, 1.0, 9.0, 9.0],
            "day": [date(2026, 7, 1), date(2026, 7, 2)] * 2,
            "price": [Decimal("1.50"), Decimal(2)] * 2,
            "who": ["a", "b"] * 2,
        }
    )
    pipeline = make_pipeline(Conform(contract), LogisticRegression())
    pipeline.fit(frame[["size"]].head(2), [0, 1])
    names = dict.fromkeys(contract.keys, action)
    model = recording(FittedModel(pipeline), tmp_path / "log", **names)
    frame.to_parquet(tmp_path / "in.parquet")
    score_file(model, tmp_path / "in.parquet", tmp_path / "out.csv", max_refused=2)
    said = [one["keys"] for one in lines(tmp_path / "out.refused.jsonl")]
    assert said == read_log(tmp_path / "log")["keys"].tolist()
    if action == "keep":
        assert said[1] == {"day": "2026-07-01T22:00:00.000000Z", "price": 2.0, "who": "b"}
    assert model.recorder is not None
    model.recorder.journal.close()


@pytest.mark.parametrize(
    ("limit", "passes"),
    [("0", False), ("4", False), ("5", True), ("19.9%", False), ("20%", True), ("100%", True)],
)
def test_the_limit_at_its_edges(
    model: FittedModel, limit: str, passes: bool, tmp_path: Path
) -> None:
    frame = raw()
    frame.loc[[0, 6, 12, 18, 24], "colour"] = "blue"  # 5 of 25: 20 %
    for ending in ("csv", "parquet"):
        source, target = write(frame, tmp_path / f"in.{ending}"), tmp_path / f"{ending}.csv"
        if passes:
            said = score_file(model, source, target, max_refused=limit, chunk_rows=7)
            assert (said.answered, said.refused) == (20, 5)
            assert len(read(target)) == 20
        else:
            with pytest.raises(ContractViolation, match="colour"):
                score_file(model, source, target, max_refused=limit, chunk_rows=7)
            assert not target.exists()


def test_a_file_all_of_whose_rows_are_refused(recorded: FittedModel, tmp_path: Path) -> None:
    source = write(raw().assign(colour="blue"), tmp_path / "in.parquet")
    for ending in ("csv", "parquet"):
        target = tmp_path / f"{ending}.{ending}"
        said = score_file(recorded, source, target, max_refused="100%", chunk_rows=10)
        assert (said.rows, said.answered, said.refused) == (25, 0, 25)
        assert len(read(target)) == 0
        assert len(lines(tmp_path / f"{ending}.refused.jsonl")) == 25


@pytest.mark.usefixtures("twice")
def test_an_answer_that_must_not_be_sent_refuses_its_row(
    recorded: FittedModel, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score = Scorer.score

    def picky(self: Scorer, conformed: pd.DataFrame) -> pd.DataFrame:
        bad = np.flatnonzero(conformed["size"].round(6).isin([round(8 / 7, 6), round(16 / 7, 6)]))
        if len(bad):
            what = "values are above 1"
            found = [Violation("prediction", "max", what, tuple(bad.tolist()), len(conformed))]
            raise OutputViolation(found)
        return score(self, conformed)

    monkeypatch.setattr(Scorer, "score", picky)
    frame = raw()
    frame.loc[6, "colour"] = "blue"
    source, target = write(frame, tmp_path / "in.csv"), tmp_path / "out.csv"
    said = score_file(recorded, source, target, max_refused=3, chunk_rows=10)
    assert (said.answered, said.refused) == (22, 3)
    got = lines(tmp_path / "out.refused.jsonl")
    assert [one["row"] for one in got] == [6, 8, 16]
    assert got[1]["reasons"] == [
        {"column": "prediction", "rule": "max", "what": "values are above 1"}
    ]
    assert sorted(refusals_on_record(log)["code"]) == [
        "contract_violation",
        "output_violation",
        "output_violation",
    ]
    # The third is found in the second chunk: the first one is answered by then, and stays.
    with pytest.raises(OutputViolation, match=r"rows 16") as caught:
        score_file(recorded, source, target, max_refused=2, chunk_rows=10, overwrite=True)
    assert "3 of 25 rows are refused so far and 2 may be" in caught.value.mend
    assert len(read_log(log)) == 22 + 8
    # A higher limit goes on from there.
    again = score_file(recorded, source, target, max_refused="50%", chunk_rows=10, overwrite=True)
    assert (again.answered, again.refused, again.resumed_rows) == (22, 3, 10)
    assert len(read_log(log)) == 44


def test_limits_that_say_nothing() -> None:
    for given in ("", "-1", "1.5", "101%", "%", "1e2", "1 %", "nan%", "100.5%"):
        with pytest.raises(ConfigError, match="no number of rows"):
            Limit.parse(given)
    assert Limit.parse("0.125%") == Limit(None, Decimal("0.125"))
    assert Limit.parse("0.1%").allows(1, 1000)
    assert not Limit.parse("0.1%").allows(1, 999)
    assert Limit.parse("0%").allows(0, 0)
