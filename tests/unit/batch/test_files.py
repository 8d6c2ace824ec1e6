"""What is answered, the same in CSV and in Parquet, and when a job fails as a whole."""

from __future__ import annotations

import csv
import io
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from batch_rows import CONTRACT, raw, read, recording, refusals_on_record, write
from sklearn.cluster import KMeans
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline

from asfitted import FittedModel, load_model, read_log, save_model
from asfitted.batch import score_file
from asfitted.batch.files import default_chunk_rows
from asfitted.batch.source import Source, find
from asfitted.contract import Check, Column, Conform, DataContract
from asfitted.errors import (
    CheckFailed,
    ConfigError,
    ContractViolation,
    ModelFailed,
    RecordError,
    StoreUnavailable,
)


@pytest.mark.parametrize("chunk_rows", [1, 7, 1000])
def test_csv_and_parquet_give_the_bits_of_the_whole_frame(
    model: FittedModel, chunk_rows: int, tmp_path: Path
) -> None:
    expected = model.answered(raw())
    for source in (write(raw(), tmp_path / "in.csv"), write(raw(), tmp_path / "in.parquet")):
        for ending in ("csv", "parquet"):
            target = tmp_path / f"new-{source.suffix}" / f"out.{ending}"
            seen: list[tuple[str, int, int | None]] = []
            said = score_file(
                model,
                source,
                target,
                chunk_rows=chunk_rows,
                progress=lambda *now, seen=seen: seen.append(now),  # type: ignore[misc]
            )
            assert (said.rows, said.answered, said.refused, said.files) == (25, 25, 0, 1)
            assert (said.refused_file, said.resumed_rows, said.dry_run) == (None, 0, False)
            for phase in ("checking", "scoring"):
                assert sum(n for name, n, _ in seen if name == phase) == 25
            assert [name for name, *_ in seen] == sorted(name for name, *_ in seen)
            assert {total for name, _, total in seen if name == "scoring"} == {25}
            got = read(target)
            assert list(got) == ["id", "order", *expected.outputs]
            for name in expected.outputs:
                assert got[name].to_numpy().tobytes() == expected.outputs[name].to_numpy().tobytes()
            assert got["id"].fillna("").tolist() == raw()["id"].fillna("").tolist()
            order = raw()["order"].astype("float64")
            assert np.array_equal(got["order"].to_numpy(float), order, equal_nan=True)
    for folder in ("new-.csv", "new-.parquet"):
        assert sorted(os.listdir(tmp_path / folder)) == ["out.csv", "out.parquet"]


def test_what_pandas_noted_in_a_parquet_file_changes_nothing(
    model: FittedModel, tmp_path: Path
) -> None:
    score_file(model, write(raw(), tmp_path / "in.parquet"), tmp_path / "out.parquet")
    expected = read(tmp_path / "out.parquet")
    marked = raw()
    marked.attrs["asfitted_conformed"] = True
    said = {
        "feature": raw().set_index("size"),
        "key": raw().set_index("id"),
        "nameless": raw().set_axis([*range(24), 99]),
        "attrs": marked,
    }
    for name, frame in said.items():
        frame.to_parquet(tmp_path / f"{name}.parquet")
        score_file(model, tmp_path / f"{name}.parquet", tmp_path / f"{name}-out.parquet")
        pd.testing.assert_frame_equal(read(tmp_path / f"{name}-out.parquet"), expected)
    assert "__index_level_0__" in pq.read_schema(tmp_path / "nameless.parquet").names
    foreign = raw().rename_axis("stranger").set_axis([*range(24), 99])
    foreign.rename_axis("stranger").to_parquet(tmp_path / "stranger.parquet")
    with pytest.raises(ContractViolation, match="stranger: not a column of the contract"):
        score_file(model, tmp_path / "stranger.parquet", tmp_path / "none.parquet")


def test_keys_are_written_in_their_own_types(model: FittedModel, tmp_path: Path) -> None:
    source = write(raw(), tmp_path / "in.parquet")
    score_file(model, source, tmp_path / "out.parquet", chunk_rows=4)
    schema = pq.read_schema(tmp_path / "out.parquet")
    assert (schema.field("id").type, schema.field("order").type) == (pa.string(), pa.int64())
    score_file(model, source, tmp_path / "out.csv", chunk_rows=4)
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert [line.split(",")[1] for line in lines[1:6]] == ["0", "1", "2", "", "4"]


def test_a_carriage_return_ends_no_line_of_a_csv(model: FittedModel, tmp_path: Path) -> None:
    frame = raw()
    frame.loc[1, "id"] = "a\rb"
    score_file(model, write(raw(), tmp_path / "in.parquet"), tmp_path / "without.csv")
    score_file(model, write(frame, tmp_path / "with.parquet"), tmp_path / "out.csv")
    text = (tmp_path / "out.csv").read_bytes().decode()
    got = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [row["id"] for row in got] == frame["id"].fillna("").tolist()
    without = list(csv.DictReader(io.StringIO((tmp_path / "without.csv").read_text())))
    assert [{**row, "id": ""} for row in got] == [{**row, "id": ""} for row in without]


def test_every_row_is_on_record_with_the_id_beside_its_answer(
    recorded: FittedModel, log: Path, tmp_path: Path
) -> None:
    # With an index that is not the position: rows must not be joined by label.
    source, target = tmp_path / "in.parquet", tmp_path / "out.parquet"
    raw().set_axis(range(100, 125)).to_parquet(source)
    said = recorded.score_file(source, target, chunk_rows=10)
    got, on_record = pd.read_parquet(target), read_log(log)
    assert got["prediction_id"].tolist() == on_record["prediction_id"].tolist()
    ids = [f"r{k}" if k % 4 else None for k in range(25)]
    assert [one["id"] for one in on_record["keys"]] == ids
    assert [one["probability_1"] for one in on_record["outputs"]] == got["probability_1"].tolist()
    assert set(on_record["request_id"]) == {said.job_id}
    assert set(on_record["source"]) == {"batch"}
    # One append, with one batch id, per chunk.
    assert on_record["row"].tolist() == [*range(10), *range(10), *range(5)]
    assert on_record["batch_id"].nunique() == 3
    assert recorded.recorder is not None
    assert recorded.recorder.journal.commits == 3


def test_a_second_run_is_another_job_with_records_of_its_own(
    recorded: FittedModel, log: Path, tmp_path: Path
) -> None:
    source, target = write(raw(), tmp_path / "in.csv"), tmp_path / "out.csv"
    first = score_file(recorded, source, target)
    with pytest.raises(ConfigError, match="there already"):
        score_file(recorded, source, target)
    assert len(read_log(log)) == 25
    second = score_file(recorded, source, target, overwrite=True)
    assert first.job_id != second.job_id
    assert read_log(log)["batch_id"].nunique() == 2
    assert len(read_log(log)) == 50


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_refused_row_refuses_the_file_before_anything_is_scored(
    recorded: FittedModel,
    ending: str,
    log: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(self: FittedModel, frame: pd.DataFrame) -> pd.DataFrame:
        raise AssertionError("scored")

    monkeypatch.setattr(FittedModel, "score", never)
    frame = raw()
    frame.loc[[13, 24], "colour"] = "blue"
    source, target = write(frame, tmp_path / f"in.{ending}"), tmp_path / "out.csv"
    target.write_text("what was there before")
    with pytest.raises(ContractViolation) as caught:
        score_file(recorded, source, target, chunk_rows=10, overwrite=True)
    # The first bad chunk is said, with rows counted over the file.
    (violation,) = caught.value.violations
    assert (violation.column, violation.rule, violation.rows) == ("colour", "category", (13,))
    assert caught.value.where == str(source)
    assert "--max-refused" in caught.value.mend
    assert target.read_text() == "what was there before"
    assert sorted(os.listdir(tmp_path)) == [f"in.{ending}", "log", "out.csv"]
    assert len(read_log(log)) == 0
    (refusal,) = refusals_on_record(log).to_dict("records")
    assert (refusal["code"], refusal["n_rows"]) == ("contract_violation", 20)


def test_what_is_wrong_with_a_table_fails_the_job_whatever_may_be_refused(
    model: FittedModel, tmp_path: Path
) -> None:
    good, folder = raw(), tmp_path / "in"
    folder.mkdir()
    write(good, folder / "a.csv")
    wrongs = {
        "missing_column": "size,on\n",
        "extra_column": "siz," + ",".join(good) + "\n",
        "duplicate": "size," + ",".join(good) + "\n",
        "ragged": ",".join(good) + "\n1,2\n",
        "csv": ",".join(good) + '\n"1"2,\n',
    }
    contract = model.contract
    assert contract.extra_columns == "refuse"
    for rule, text in wrongs.items():
        if rule == "missing_column":
            continue  # every column of this contract may miss
        (folder / "b.csv").write_text(text)
        with pytest.raises(ContractViolation) as caught:
            score_file(model, folder, tmp_path / "out.csv", max_refused="100%")
        assert rule in {said.rule for said in caught.value.violations}
        assert "b.csv" in caught.value.where
        assert os.listdir(tmp_path) == ["in"]


def test_the_first_row_of_a_file_without_a_header_is_not_shown(
    model: FittedModel, tmp_path: Path
) -> None:
    text = write(raw().assign(id="canary"), tmp_path / "in.csv").read_text()
    header, _, rows = text.partition("\n")
    for content in (rows, text.replace(",", ";"), text.replace(",", "\t"), rows.replace(",", ";")):
        (tmp_path / "in.csv").write_text(content)
        with pytest.raises(ContractViolation, match="no name is that of a contract's") as caught:
            score_file(model, tmp_path / "in.csv", tmp_path / "out.csv", max_refused="100%")
        assert "canary" not in str(caught.value)
        assert header.replace(",", ";") not in str(caught.value)


def test_a_file_without_a_header_is_refused_where_other_columns_are_ignored(
    recorded: FittedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lax = CONTRACT.model_copy(update={"extra_columns": "ignore"})
    monkeypatch.setattr(recorded.scorer, "contract", lax)
    text = write(raw().assign(id="canary"), tmp_path / "in.csv").read_text()
    for content in (text.partition("\n")[2], text.replace(",", ";")):
        (tmp_path / "in.csv").write_text(content)
        with pytest.raises(ContractViolation, match="no name is that of a contract's") as caught:
            score_file(recorded, tmp_path / "in.csv", tmp_path / "out.csv", max_refused="100%")
        assert "canary" not in str(caught.value)
    # One of its names is enough.
    (tmp_path / "in.csv").write_text("size,more\n1,2\n")
    assert score_file(recorded, tmp_path / "in.csv", tmp_path / "out.csv").answered == 1


def test_what_pandas_writes_and_csv_does_not_take_is_said(
    model: FittedModel, tmp_path: Path
) -> None:
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    raw().to_csv(source)
    with pytest.raises(ContractViolation, match=r"it has no name.*to_csv\(index=False\)"):
        score_file(model, source, target)
    raw().to_csv(source, index=False)
    score_file(model, source, target)
    expected = model.answered(raw()).outputs
    for name in expected:
        assert read(target)[name].to_numpy().tobytes() == expected[name].to_numpy().tobytes()


@pytest.mark.parametrize(
    ("estimator", "y"),
    [
        (LogisticRegression(), np.array(["no", "yes"])[np.arange(9) % 2]),
        (MultiOutputRegressor(LinearRegression()), np.c_[np.arange(9.0), np.arange(9.0) ** 2]),
        (KMeans(2, n_init=1, random_state=0), None),
    ],
)
def test_a_file_without_an_answer_has_the_types_of_one_with_some(
    estimator: Any, y: Any, tmp_path: Path
) -> None:
    contract = DataContract(columns={"size": Column(kind="number", max=1)})
    frame = pd.DataFrame({"size": np.linspace(0, 1, 9)})
    save_model(
        make_pipeline(Conform(contract), estimator).fit(frame, y),
        tmp_path / "model",
        name="typed",
        reference=frame,
    )
    model = load_model(tmp_path / "model", record=False)
    files = {"none": frame.head(0), "bad": frame + 9, "some": frame}
    for name, rows in files.items():
        rows.to_parquet(tmp_path / f"{name}-in.parquet")
        target = tmp_path / f"{name}.parquet"
        score_file(model, tmp_path / f"{name}-in.parquet", target, max_refused="100%")
    none, bad, some = (pq.read_schema(tmp_path / f"{name}.parquet") for name in files)
    assert none.equals(some)
    assert bad.equals(some)


class Single(LinearRegression):
    """Answers in 32 bits, as boosting libraries do."""

    def predict(self, X: Any) -> Any:
        return super().predict(X).astype("float32")


def test_an_answer_of_32_bits_is_the_same_number_in_csv(tmp_path: Path) -> None:
    contract = DataContract(columns={"size": Column(kind="number")})
    frame = pd.DataFrame({"size": np.linspace(0, 1, 9)})
    model = FittedModel(make_pipeline(Conform(contract), Single()).fit(frame, frame["size"] / 3))
    expected = [float(value) for value in model.predict(frame)]
    frame.to_parquet(tmp_path / "in.parquet")
    for name in ("out.csv", "out.parquet"):
        score_file(model, tmp_path / "in.parquet", tmp_path / name)
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert [float(line) for line in lines[1:]] == expected
    assert pd.read_parquet(tmp_path / "out.parquet")["prediction"].tolist() == expected


def test_a_key_called_as_an_output_takes_no_column_from_it(tmp_path: Path) -> None:
    contract = DataContract(
        columns={"size": Column(kind="number"), "prediction": Column(kind="number")},
        keys=("prediction",),
    )
    frame = pd.DataFrame({"size": [1.0, 2.0], "prediction": [7.0, 8.0]})
    pipeline = make_pipeline(Conform(contract), LinearRegression()).fit(frame[["size"]], [1.0, 2.0])
    frame.to_csv(tmp_path / "in.csv", index=False)
    with pytest.raises(ConfigError, match="key prediction is called as an output"):
        score_file(FittedModel(pipeline), tmp_path / "in.csv", tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


def test_the_target_appears_when_it_is_complete(model: FittedModel, tmp_path: Path) -> None:
    source, target = write(raw(), tmp_path / "in.csv"), tmp_path / "out.csv"

    def watch(phase: str, rows: int, total: int | None) -> None:
        assert not target.exists()

    score_file(model, source, target, chunk_rows=10, progress=watch)
    assert len(read(target)) == 25


@pytest.mark.parametrize("source_ending", ["csv", "parquet"])
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_file_of_no_rows(
    recorded: FittedModel, source_ending: str, ending: str, tmp_path: Path
) -> None:
    source = write(raw().iloc[:0], tmp_path / f"in.{source_ending}")
    target = tmp_path / f"out.{ending}"
    assert score_file(recorded, source, target).rows == 0
    got = read(target)
    assert len(got) == 0
    full = tmp_path / f"full.{ending}"
    score_file(recorded, write(raw(), tmp_path / f"full_in.{source_ending}"), full)
    assert list(got) == list(read(full))
    if ending == "parquet":
        assert pq.read_schema(target).equals(pq.read_schema(full))
    wrong = write(raw().iloc[:0].rename(columns={"size": "siz"}), tmp_path / f"w.{source_ending}")
    with pytest.raises(ContractViolation, match="did you mean size"):
        score_file(recorded, wrong, target, overwrite=True)


def test_a_row_that_the_model_fails_on_is_named_and_not_shown(
    recorded: FittedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score = FittedModel.score

    def breaks(self: FittedModel, conformed: pd.DataFrame) -> pd.DataFrame:
        if (conformed["size"] == 17 / 7).any():
            raise KeyError("a secret of the row")
        return score(self, conformed)

    monkeypatch.setattr(FittedModel, "score", breaks)
    source = write(raw(), tmp_path / "in.csv")
    with pytest.raises(ModelFailed, match=r"(?s)\(KeyError\).*in\.csv, row 17\n") as failed:
        score_file(recorded, source, tmp_path / "out.csv", max_refused=5)
    assert "secret" not in str(failed.value)
    assert failed.value.exit_code == 1
    with pytest.raises(ModelFailed, match="row 17"):
        score_file(recorded, source, tmp_path / "out.csv", chunk_rows=6)
    monkeypatch.undo()
    assert score_file(recorded, source, tmp_path / "out.csv", chunk_rows=6).answered == 25


def test_a_row_that_a_check_fails_on_is_named_and_not_shown(
    recorded: FittedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "batch_checks.py").write_text(
        "def quoting(frame):\n"
        "    if (frame['count'] == 17).any():\n"
        "        raise RuntimeError(f'a secret of the row: {frame}')\n"
        "    return frame['count'] < 99\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    checks = (Check(function="batch_checks:quoting"),)
    monkeypatch.setattr(
        recorded.scorer, "contract", CONTRACT.model_copy(update={"row_checks": checks})
    )
    source = write(raw().assign(count=range(25)), tmp_path / "in.csv")
    for options in ({}, {"chunk_rows": 6}, {"dry_run": True}):
        with pytest.raises(CheckFailed, match=r"quoting fails on a row \(RuntimeError\)") as failed:
            score_file(recorded, source, tmp_path / "out.csv", max_refused=5, **options)
        assert "secret" not in str(failed.value)
        assert failed.value.where.endswith("in.csv, row 17")


def test_a_key_that_misses_in_the_whole_first_chunk(model: FittedModel, tmp_path: Path) -> None:
    frame = raw().assign(id=[None] * 10 + ["x"] * 15)
    target = tmp_path / "out.parquet"
    for name in ("in.csv", "in.parquet"):
        source = write(frame, tmp_path / name)
        score_file(model, source, target, chunk_rows=10, overwrite=True)
        assert read(target)["id"].isna().tolist() == [True] * 10 + [False] * 15
    source = write(raw().assign(id=None), tmp_path / "never.csv")
    score_file(model, source, target, overwrite=True)
    assert pq.read_schema(target).field("id").type == pa.string()


def test_integers_with_missing_ones_stay_exact_in_parquet(
    model: FittedModel, tmp_path: Path
) -> None:
    source = tmp_path / "in.parquet"
    for value, good in ((2**53 - 1, True), (2**53 + 1, False)):
        raw(3).assign(count=pd.array([value, None, 1], dtype="Int64")).to_parquet(source)
        if good:
            assert score_file(model, source, tmp_path / "out.csv").answered == 3
        else:
            with pytest.raises(ContractViolation, match="2\\^53"):
                score_file(model, source, tmp_path / "out.csv", overwrite=True)


def test_files_that_are_not_there_or_of_no_known_format(model: FittedModel, tmp_path: Path) -> None:
    good = write(raw(), tmp_path / "in.csv")
    (tmp_path / "in.txt").write_text("x")
    for source, target in (
        (tmp_path / "in.txt", tmp_path / "out.csv"),
        (good, tmp_path / "out.xlsx"),
        (good, tmp_path / "out"),
        (good, tmp_path / "OUT.CSV"),
    ):
        with pytest.raises(ConfigError, match="no format is known by the ending") as caught:
            score_file(model, source, target)
        assert caught.value.mend == "name it .csv or .parquet"
    with pytest.raises(ConfigError, match=r"no format .* ending '\.gz'") as caught:
        score_file(model, good, tmp_path / "out.csv.gz")
    assert caught.value.mend.startswith("nothing is packed or unpacked")
    with pytest.raises(ConfigError, match="not there"):
        score_file(model, tmp_path / "none.csv", tmp_path / "out.csv")
    with pytest.raises(ConfigError, match=r"no format.*'.txt'"):
        score_file(model, good, tmp_path / "out.csv", refused=tmp_path / "refused.txt")
    torn = tmp_path / "torn.parquet"
    torn.write_bytes(write(raw(), tmp_path / "in.parquet").read_bytes()[:-10])
    with pytest.raises(ConfigError, match="not readable as Parquet"):
        score_file(model, torn, tmp_path / "out.csv")
    assert sorted(os.listdir(tmp_path)) == ["in.csv", "in.parquet", "in.txt", "torn.parquet"]


@pytest.mark.skipif(sys.platform in {"win32", "darwin"}, reason="names are text there")
def test_paths_that_cannot_be_are_refused_before_a_row_is_answered(
    recorded: FittedModel, log: Path, tmp_path: Path
) -> None:
    good = write(raw(), tmp_path / "in.csv")
    bytes_only = tmp_path / os.fsdecode(b"\xff.csv")
    os.mkfifo(tmp_path / "pipe.csv")
    cases: list[tuple[Any, Any, str]] = [
        ("", tmp_path / "out.csv", "a path is empty"),
        (good, "", "a path is empty"),
        (good, bytes_only, "not UTF-8"),
        (tmp_path / "pipe.csv", tmp_path / "out.csv", "neither a file nor a folder"),
        (good, tmp_path / f"{'x' * 230}.csv", "more than 230 bytes"),
    ]
    for source, target, match in cases:
        with pytest.raises(ConfigError, match=match):
            score_file(recorded, source, target)
    good.rename(bytes_only)
    with pytest.raises(ConfigError, match="not UTF-8"):
        score_file(recorded, bytes_only, tmp_path / "out.csv")
    assert not log.exists()
    longest = tmp_path / f"{'x' * 216}.csv"
    assert score_file(recorded, write(raw(), tmp_path / "in.csv"), longest).answered == 25
    assert len(read(longest)) == 25


def test_a_folder_of_both_formats_is_read_in_the_order_of_its_paths(
    recorded: FittedModel, log: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    (folder / "b").mkdir(parents=True)
    (folder / "_delta").mkdir()
    pieces = {"a.parquet": (0, 7), "b/0.csv": (7, 9), "b/1.parquet": (9, 20), "c.csv": (20, 25)}
    for name, (start, stop) in reversed(pieces.items()):
        write(raw().iloc[start:stop], folder / name)
    (folder / "_SUCCESS").touch()
    (folder / "_delta" / "log.json").touch()
    (folder / ".a.parquet.crc").touch()
    said = score_file(recorded, folder, tmp_path / "out.parquet", chunk_rows=4)
    assert (said.files, said.rows, said.answered) == (4, 25, 25)
    expected = recorded.score(recorded.conform(raw()).frame)
    got = read(tmp_path / "out.parquet")
    assert (
        got["probability_1"].to_numpy().tobytes() == expected["probability_1"].to_numpy().tobytes()
    )
    assert got["id"].fillna("").tolist() == raw()["id"].fillna("").tolist()
    assert read_log(log)["prediction_id"].tolist() == got["prediction_id"].tolist()
    (folder / "readme.txt").touch()
    with pytest.raises(ConfigError, match="no format") as caught:
        score_file(recorded, folder, tmp_path / "other.csv")
    assert caught.value.where.endswith("readme.txt")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ConfigError, match="holds no file"):
        score_file(recorded, empty, tmp_path / "other.csv")


def test_nothing_in_a_folder_is_left_out_in_silence(
    model: FittedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, elsewhere = tmp_path / "in", tmp_path / "elsewhere"
    (folder / "sub").mkdir(parents=True)
    elsewhere.mkdir()
    write(raw(), elsewhere / "a.csv")
    (folder / "a.csv").symlink_to(elsewhere / "a.csv")
    (folder / "_linked").symlink_to(elsewhere)
    assert score_file(model, folder, tmp_path / "out.csv", dry_run=True).rows == 25
    for target in (tmp_path / "gone.csv", elsewhere, folder):
        link = folder / "sub" / "b.csv"
        link.symlink_to(target)
        with pytest.raises(ConfigError, match="neither a file nor a folder") as caught:
            score_file(model, folder, tmp_path / "out.csv")
        assert caught.value.where == str(link)
        link.unlink()
    look = os.scandir

    def closed(path: str) -> object:
        if str(path).endswith("sub"):
            raise PermissionError(13, "Permission denied", path)
        return look(path)

    monkeypatch.setattr("os.scandir", closed)
    with pytest.raises(ConfigError, match="cannot be read: Permission denied") as caught:
        score_file(model, folder, tmp_path / "out.csv")
    assert caught.value.where == str(folder / "sub")


def test_the_output_is_no_part_of_the_input(model: FittedModel, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    file = write(raw(), folder / "a.csv")
    (tmp_path / "link").symlink_to(folder)
    for source, target in (
        (file, file),
        (folder, folder / "out.csv"),
        (folder, folder / "deep" / "out.csv"),
        (folder, tmp_path / "link" / "out.csv"),
    ):
        with pytest.raises(ConfigError, match="part of the input"):
            score_file(model, source, target, overwrite=True)
    with pytest.raises(ConfigError, match="part of the input"):
        score_file(model, folder, tmp_path / "out.csv", refused=folder / "r.jsonl")
    assert os.listdir(folder) == ["a.csv"]


def test_an_output_that_can_be_none_is_refused_before_anything_is_on_record(
    recorded: FittedModel, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out, r = write(raw(), tmp_path / "in.csv"), tmp_path / "out.csv", tmp_path / "r.jsonl"
    folders, file = (tmp_path / "folder.csv", tmp_path / "folder.jsonl"), tmp_path / "file"
    file.touch()
    for folder in folders:
        folder.mkdir()
    for dry_run in (True, False):
        options = {"overwrite": True, "dry_run": dry_run}
        for target, refused in ((folders[0], r), (out, folders[1])):
            with pytest.raises(ConfigError, match="what is no file"):
                score_file(recorded, source, target, refused=refused, **options)
        for target, refused in ((file / "out.csv", r), (out, file / "new" / "r.jsonl")):
            with pytest.raises(StoreUnavailable, match="cannot be written there") as caught:
                score_file(recorded, source, target, refused=refused, **options)
            assert caught.value.where == str(file)
        with monkeypatch.context() as patch:
            # As it is for a folder without permission, or on a disk that is mounted so.
            patch.setattr("os.access", lambda path, mode: path != tmp_path)
            with pytest.raises(StoreUnavailable, match="cannot be written there"):
                score_file(recorded, source, tmp_path / "new" / "out.csv", **options)
    (tmp_path / ".out.csv.job").touch()
    with pytest.raises(StoreUnavailable, match="the disk refuses: File exists"):
        score_file(recorded, source, out)
    assert not log.exists()
    assert not (tmp_path / "new").exists()


def test_refused_rows_go_to_a_folder_that_is_not_there_yet(
    model: FittedModel, tmp_path: Path
) -> None:
    source = write(raw().assign(colour="blue"), tmp_path / "in.parquet")
    refused = tmp_path / "new" / "r.jsonl"
    score_file(model, source, tmp_path / "out.csv", refused=refused, max_refused="100%")
    assert len(refused.read_text().splitlines()) == 25


@pytest.mark.parametrize("url", ["gs://b/a.csv", "file:///a.csv", "HTTPS://a.b/c.csv"])
def test_other_urls_than_those_of_s3_are_no_paths(
    model: FittedModel, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(raw(), Path("in.csv"))
    for source, target, refused in (
        (url, "out.csv", None),
        ("in.csv", url, None),
        ("in.csv", "s3://b/a.csv", url),
    ):
        with pytest.raises(ConfigError, match="neither a path nor a place in S3") as caught:
            score_file(model, source, target, refused=refused)
        assert caught.value.where == url
    assert os.listdir() == ["in.csv"]


def test_an_output_or_refusals_that_are_there_are_kept(model: FittedModel, tmp_path: Path) -> None:
    source, target = write(raw(), tmp_path / "in.csv"), tmp_path / "out.csv"
    for there in (target, tmp_path / "out.refused.jsonl"):
        there.write_text("before")
        for dry_run in (False, True):
            with pytest.raises(ConfigError, match="there already") as caught:
                score_file(model, source, target, dry_run=dry_run)
            assert caught.value.where == str(there)
            assert there.read_text() == "before"
        there.unlink()
    # A list of refusals beside an output without any would be of another job.
    (tmp_path / "out.refused.jsonl").write_text("before")
    score_file(model, source, target, overwrite=True)
    assert sorted(os.listdir(tmp_path)) == ["in.csv", "out.csv"]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_few_long_rows_are_not_kept_from_the_check_to_the_scoring(
    model: FittedModel, ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(raw(), tmp_path / f"in.{ending}")
    chunks, read_from = Source.chunks, []

    def counting(self: Source, *arguments: Any) -> Any:
        read_from.append(self.root)
        return chunks(self, *arguments)

    monkeypatch.setattr(Source, "chunks", counting)
    size_bytes = source.stat().st_size
    for most, times in ((size_bytes, 1), (size_bytes - 1, 2)):
        monkeypatch.setattr("asfitted.batch.run._KEPT_BYTES", most)
        read_from.clear()
        score_file(model, source, tmp_path / "out.csv", overwrite=True)
        assert len(read_from) == times


def test_of_a_row_group_some_pages_are_in_memory(tmp_path: Path) -> None:
    rows, wide = 20_000, 1_000
    texts = np.random.default_rng(0).bytes(rows * wide).hex()
    table = pa.table({"id": [texts[k * wide : (k + 1) * wide] for k in range(rows)]})
    file = tmp_path / "in.parquet"
    pq.write_table(table, file, row_group_size=rows, compression="none", use_dictionary=False)
    size_bytes = file.stat().st_size
    del table
    before = pa.total_allocated_bytes()
    peak = max(pa.total_allocated_bytes() for _ in find(file).chunks(CONTRACT, 100))
    assert peak - before < size_bytes / 3


@pytest.mark.parametrize("name", ["out.csv", "out.refused.jsonl"])
@pytest.mark.parametrize("n_bad", [0, 1])
def test_what_another_job_puts_there_meanwhile_is_kept(
    recorded: FittedModel, log: Path, tmp_path: Path, name: str, n_bad: int
) -> None:
    frame = raw()
    frame.loc[: n_bad - 1, "colour"] = "blue"
    source, target, there = write(frame, tmp_path / "in.csv"), tmp_path / "out.csv", tmp_path / name

    def meanwhile(phase: str, rows: int, total: int | None) -> None:
        there.write_text("of another")

    with pytest.raises(ConfigError, match="there already") as caught:
        score_file(recorded, source, target, max_refused=1, progress=meanwhile)
    assert caught.value.where == str(there)
    assert there.read_text() == "of another"
    # Nothing is lost: what is on record is not scored again.
    there.unlink()
    said = score_file(recorded, source, target, max_refused=1)
    assert (said.resumed_rows, said.refused) == (25, n_bad)
    assert len(read_log(log)) == 25 - n_bad


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_an_input_that_changes_or_goes_meanwhile_fails_the_job(
    model: FittedModel, ending: str, kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not kept:
        monkeypatch.setattr("asfitted.batch.run._KEPT_CELLS", 0)
    folder, target = tmp_path / "in", tmp_path / "out.csv"
    folder.mkdir()
    first, second = folder / f"a.{ending}", folder / f"b.{ending}"

    def longer(phase: str, rows: int, total: int | None) -> None:
        if phase == "scoring":
            os.utime(first, ns=(1, 1))

    def gone(phase: str, rows: int, total: int | None) -> None:
        if phase == "scoring":
            second.unlink(missing_ok=True)

    def more(phase: str, rows: int, total: int | None) -> None:
        write(raw(), folder / f"c.{ending}")

    lost = "an input is gone" if kept else "cannot be read|not readable|an input is gone"
    for change, what in ((longer, "the input changed"), (gone, lost), (more, "the input changed")):
        write(raw(), first)
        write(raw(), second)
        with pytest.raises(ConfigError, match=what):
            score_file(model, folder, target, progress=change)
        assert not target.exists()


def test_a_dry_run_looks_at_the_first_rows_of_each_file_and_writes_nothing(
    recorded: FittedModel, log: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    frame = raw(1_500)
    frame.loc[[3, 1_200], "colour"] = "blue"
    write(frame, folder / "a.parquet")
    write(raw(), folder / "b.csv")
    said = score_file(recorded, folder, tmp_path / "new" / "out.csv", max_refused=1, dry_run=True)
    assert (said.rows, said.answered, said.refused) == (1_025, 1_024, 1)
    assert (said.job_id, said.refused_file, said.dry_run) == ("", None, True)
    with pytest.raises(ContractViolation, match=r"colour: 1 of 1000 .* \(rows 3\)"):
        score_file(recorded, folder, tmp_path / "new" / "out.csv", dry_run=True)
    write(raw().rename(columns={"size": "siz"}), folder / "b.csv")
    with pytest.raises(ContractViolation, match="did you mean size"):
        score_file(recorded, folder, tmp_path / "out.csv", max_refused="100%", dry_run=True)
    assert os.listdir(tmp_path) == ["in"]


def test_the_answers_of_a_line_are_those_of_its_row(model: FittedModel, tmp_path: Path) -> None:
    score_file(model, write(raw(), tmp_path / "in.csv"), tmp_path / "out.csv", chunk_rows=6)
    got = read(tmp_path / "out.csv").to_dict("records")
    for i in (0, 5, 6, 24):
        alone = model.outputs(raw().iloc[[i]]).iloc[0]
        assert got[i]["probability_1"] == alone["probability_1"]


def test_a_log_that_cannot_be_written_answers_nothing(model: FittedModel, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    broken = recording(model, tmp_path / "file" / "log")
    seen: list[str] = []
    with pytest.raises(RecordError):
        score_file(
            broken,
            write(raw(), tmp_path / "in.csv"),
            tmp_path / "out.csv",
            progress=lambda phase, rows, total: seen.append(phase),
        )
    # Nor is a row checked for nothing, which may take an hour.
    assert seen == []
    assert sorted(os.listdir(tmp_path)) == ["file", "in.csv"]


def test_a_wide_table_is_read_a_few_rows_at_a_time() -> None:
    def rows(n_columns: int) -> int:
        columns = {f"x{i}": Column(kind="number") for i in range(n_columns)}
        return default_chunk_rows(DataContract(columns=columns))

    assert [rows(1), rows(20), rows(100), rows(500)] == [20_000, 10_000, 2_000, 1_000]
