"""A file is answered whole or not at all, the same in CSV and in Parquet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from asfitted import FittedModel
from asfitted.batch.files import score_file
from asfitted.contract import Column, Conform, DataContract
from asfitted.errors import ConfigError, ContractViolation, OutputViolation, Violation
from asfitted.preprocessing import Dummies
from asfitted.scoring.model import Answered

CONTRACT = DataContract(
    columns={
        "id": Column(kind="text", missing="pass"),
        "size": Column(kind="number", missing="pass"),
        "count": Column(kind="integer", missing="pass"),
        "on": Column(kind="boolean", missing="pass"),
        "colour": Column(kind="category", categories=("red", "NA"), missing="pass"),
        "left": Column(kind="datetime", zone="Europe/Berlin", missing="pass"),
        "order": Column(kind="integer", missing="pass"),
    },
    keys=("id", "order"),
)


def raw(n: int = 25) -> pd.DataFrame:
    i = range(n)
    return pd.DataFrame(
        {
            "id": [f"r{k}" if k % 4 else None for k in i],
            "size": [k / 7 if k % 5 else None for k in i],
            "count": pd.array([k if k % 3 else None for k in i], dtype="Int64"),
            "on": pd.array([k % 2 == 0 if k % 7 else None for k in i], dtype="boolean"),
            "colour": [("red", "NA", None)[k % 3] for k in i],
            "left": pd.to_datetime([f"2020-06-{k % 28 + 1:02}T12:00Z" for k in i]),
            "order": pd.array([k if k != 3 else None for k in i], dtype="Int64"),
        }
    )


@pytest.fixture(scope="module")
def model() -> FittedModel:
    columns = ColumnTransformer(
        [
            ("cat", Dummies(), ["colour"]),
            ("num", FunctionTransformer(np.nan_to_num), ["size", "count", "on"]),
        ]
    )
    pipeline = make_pipeline(Conform(CONTRACT), columns, LogisticRegression())
    return FittedModel(pipeline.fit(raw(), np.arange(25) % 2))


def write(frame: pd.DataFrame, file: Path) -> Path:
    if file.suffix == ".csv":
        words = frame.assign(
            on=frame["on"].map({True: "true", False: "false"}),
            left=frame["left"].map(lambda moment: moment.isoformat()),
        )
        words.to_csv(file, index=False)
    else:
        frame.to_parquet(file, index=False)
    return file


def read(file: Path) -> pd.DataFrame:
    if file.suffix == ".csv":
        # By Python's float, which reads what was written to the bit.
        texts = pd.read_csv(file, dtype=str, keep_default_na=False)
        numbers = [name for name in texts if name.startswith(("prob", "order"))]
        for name in numbers:
            texts[name] = [float(v) if v else np.nan for v in texts[name]]
        return texts.assign(
            id=[v or None for v in texts["id"]], prediction=texts["prediction"].astype(int)
        )
    return pd.read_parquet(file)


@pytest.mark.parametrize("chunk_rows", [1, 7, 1000])
def test_csv_and_parquet_agree(model: FittedModel, chunk_rows: int, tmp_path: Path) -> None:
    expected = model.answered(raw())
    for source in (write(raw(), tmp_path / "in.csv"), write(raw(), tmp_path / "in.parquet")):
        for ending in ("csv", "parquet"):
            target = tmp_path / "new" / f"out.{ending}"
            seen: list[tuple[str, int]] = []
            rows = score_file(
                model,
                source,
                target,
                chunk_rows=chunk_rows,
                progress=lambda phase, n, seen=seen: seen.append((phase, n)),
            )
            assert rows == 25
            for phase in ("checking", "scoring"):
                assert sum(n for name, n in seen if name == phase) == 25
            assert [name for name, _ in seen] == sorted(name for name, _ in seen)
            got = read(target)
            assert list(got) == ["id", "order", *expected.outputs]
            for name in expected.outputs:
                assert got[name].to_numpy().tobytes() == expected.outputs[name].to_numpy().tobytes()
            assert got["id"].fillna("").tolist() == raw()["id"].fillna("").tolist()
            assert got["order"].isna().tolist() == raw()["order"].isna().tolist()
            assert [p.name for p in target.parent.iterdir() if "partial" in p.name] == []


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_refused_row_refuses_the_file_before_anything_is_scored(
    model: FittedModel, ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(self: FittedModel, frame: pd.DataFrame) -> Answered:
        raise AssertionError("scored")

    monkeypatch.setattr(FittedModel, "answered", never)
    frame = raw()
    frame.loc[[13, 24], "colour"] = "blue"
    source, target = write(frame, tmp_path / f"in.{ending}"), tmp_path / "out.csv"
    target.write_text("what was there before")
    with pytest.raises(ContractViolation) as caught:
        score_file(model, source, target, chunk_rows=10)
    # The first bad chunk is said, with rows counted over the file.
    (violation,) = caught.value.violations
    assert (violation.column, violation.rule, violation.rows) == ("colour", "category", (13,))
    assert caught.value.where == str(source)
    assert target.read_text() == "what was there before"
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"in.{ending}", "out.csv"]


class Breaking:
    """A model that breaks at the second chunk."""

    contract = CONTRACT

    def __init__(self, model: FittedModel, error: BaseException) -> None:
        self.model, self.error, self.calls = model, error, 0

    def answered(self, frame: pd.DataFrame) -> Answered:
        self.calls += 1
        if self.calls == 2:
            raise self.error
        return self.model.answered(frame)


NOT_FINITE = Violation("prediction", "finite", "values are not finite", (0,), 1)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize(
    "error",
    [
        OutputViolation([Violation("prediction", "finite", "values are not finite", (0,), 1)]),
        KeyboardInterrupt(),
        OSError(28, "full"),
    ],
)
def test_a_failure_in_the_middle_leaves_nothing(
    model: FittedModel, ending: str, error: BaseException, tmp_path: Path
) -> None:
    source, target = write(raw(), tmp_path / "in.csv"), tmp_path / f"out.{ending}"
    with pytest.raises(type(error)):
        score_file(Breaking(model, error), source, target, chunk_rows=10)  # type: ignore[arg-type]
    assert [p.name for p in tmp_path.iterdir()] == ["in.csv"]
    target.write_bytes(b"before")
    with pytest.raises(type(error)):
        score_file(Breaking(model, error), source, target, chunk_rows=10)  # type: ignore[arg-type]
    assert target.read_bytes() == b"before"


def test_the_target_appears_when_it_is_complete(model: FittedModel, tmp_path: Path) -> None:
    source, target = write(raw(), tmp_path / "in.csv"), tmp_path / "out.csv"

    def watch(phase: str, rows: int) -> None:
        assert not target.exists()

    score_file(model, source, target, chunk_rows=10, progress=watch)
    assert len(read(target)) == 25


def test_a_file_may_be_answered_in_its_own_place(model: FittedModel, tmp_path: Path) -> None:
    file = write(raw(), tmp_path / "rows.parquet")
    assert score_file(model, file, file, chunk_rows=4) == 25
    assert "prediction" in read(file)


class Recorded:
    """A model that puts its answers on record."""

    contract = CONTRACT

    def __init__(self, model: FittedModel) -> None:
        self.model, self.given = model, 0

    def answered(self, frame: pd.DataFrame) -> Answered:
        answered = self.model.answered(frame)
        ids = [f"id-{self.given + i}" for i in range(len(frame))]
        self.given += len(frame)
        return Answered(answered.outputs, answered.keys, ids)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_the_ids_of_the_record_stand_beside_the_answers(
    model: FittedModel, ending: str, tmp_path: Path
) -> None:
    # With an index that is not the position: rows must not be joined by label.
    source = tmp_path / "in.parquet"
    raw().set_axis(range(100, 125)).to_parquet(source)
    target = tmp_path / f"out.{ending}"
    score_file(Recorded(model), source, target, chunk_rows=10)  # type: ignore[arg-type]
    got = read(target)
    assert got["prediction_id"].tolist() == [f"id-{i}" for i in range(25)]
    expected = model.outputs(raw())
    assert got["prediction"].tolist() == expected["prediction"].tolist()


@pytest.mark.parametrize("source_ending", ["csv", "parquet"])
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_file_of_no_rows(
    model: FittedModel, source_ending: str, ending: str, tmp_path: Path
) -> None:
    source = write(raw().iloc[:0], tmp_path / f"in.{source_ending}")
    target = tmp_path / f"out.{ending}"
    assert score_file(model, source, target) == 0
    got = read(target)
    assert len(got) == 0
    assert {"id", "order", "prediction"} <= set(got)
    wrong = write(raw().iloc[:0].rename(columns={"size": "siz"}), tmp_path / f"w.{source_ending}")
    with pytest.raises(ContractViolation, match="did you mean size"):
        score_file(model, wrong, target)


def test_a_key_that_misses_in_the_whole_first_chunk(model: FittedModel, tmp_path: Path) -> None:
    frame = raw().assign(id=[None] * 10 + ["x"] * 15)
    for name in ("in.csv", "in.parquet"):
        score_file(model, write(frame, tmp_path / name), tmp_path / "out.parquet", chunk_rows=10)
        got = read(tmp_path / "out.parquet")
        assert got["id"].isna().tolist() == [True] * 10 + [False] * 15
    never = raw().assign(id=None)
    score_file(model, write(never, tmp_path / "in.csv"), tmp_path / "out.parquet")
    assert pq.read_schema(tmp_path / "out.parquet").field("id").type == pa.string()


def test_integers_with_missing_ones_stay_exact_in_parquet(
    model: FittedModel, tmp_path: Path
) -> None:
    source = tmp_path / "in.parquet"
    for value, good in ((2**53 - 1, True), (2**53 + 1, False)):
        raw(3).assign(count=pd.array([value, None, 1], dtype="Int64")).to_parquet(source)
        if good:
            assert score_file(model, source, tmp_path / "out.csv") == 3
        else:
            with pytest.raises(ContractViolation, match="2\\^53"):
                score_file(model, source, tmp_path / "out.csv")


def test_files_that_are_not_there_or_of_no_known_format(model: FittedModel, tmp_path: Path) -> None:
    good = write(raw(), tmp_path / "in.csv")
    for source, target in (
        (tmp_path / "in.txt", tmp_path / "out.csv"),
        (good, tmp_path / "out.xlsx"),
        (good, tmp_path / "out"),
        (tmp_path / "IN.CSV", tmp_path / "out.csv"),
    ):
        with pytest.raises(ConfigError, match="no format is known by the ending") as caught:
            score_file(model, source, target)
        assert "name it .csv or .parquet" in caught.value.mend
    with pytest.raises(ConfigError, match="not there"):
        score_file(model, tmp_path / "none.csv", tmp_path / "out.csv")
    torn = tmp_path / "torn.parquet"
    torn.write_bytes(write(raw(), tmp_path / "in.parquet").read_bytes()[:-10])
    with pytest.raises(ConfigError, match="not readable as Parquet"):
        score_file(model, torn, tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


def test_the_answers_of_a_line_are_those_of_its_row(model: FittedModel, tmp_path: Path) -> None:
    score_file(model, write(raw(), tmp_path / "in.csv"), tmp_path / "out.csv", chunk_rows=6)
    got: list[dict[str, Any]] = json.loads(read(tmp_path / "out.csv").to_json(orient="records"))
    for i in (0, 5, 6, 24):
        alone = model.outputs(raw().iloc[[i]]).iloc[0]
        assert got[i]["prediction"] == alone["prediction"]
