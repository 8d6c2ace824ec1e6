"""The holdout's metrics: sklearn's numbers, and None where there is no number."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from asfitted.config import HOLDOUT_METRICS
from asfitted.contract import DataContract
from asfitted.errors import ConfigError
from asfitted.registry.holdout import read_rows, score
from asfitted.registry.measures import MEASURES, Scored, measure_all

TRUTH = np.array(["no", "yes", "no", "yes", "yes"])
YES = np.array([0.1, 0.8, 0.6, 0.7, 0.4])


def two_classes() -> Scored:
    prediction = np.where(YES > 0.5, "yes", "no")
    return Scored(TRUTH, prediction, np.column_stack([1 - YES, YES]), ["no", "yes"])


def model(outputs: pd.DataFrame, classes: Sequence[Any] = ()) -> Any:
    contract = DataContract.infer(pd.DataFrame({"x": [1.0, 2.0], "code": ["007", "NA"]}))
    identity = SimpleNamespace(digest="d")
    return SimpleNamespace(
        outputs=lambda frame: outputs, classes=classes, contract=contract, identity=identity
    )


def test_the_config_names_what_there_is() -> None:
    assert set(HOLDOUT_METRICS) == set(MEASURES)


def test_the_numbers_are_sklearns() -> None:
    found, problems = measure_all(two_classes(), ["roc_auc", "log_loss", "f1", "brier_score"])
    truth = TRUTH == "yes"
    assert problems == {}
    assert found == {
        "roc_auc": sk.roc_auc_score(truth, YES),
        "log_loss": sk.log_loss(truth, YES),
        "f1": sk.f1_score(truth, YES > 0.5),
        "brier_score": sk.brier_score_loss(truth, YES),
    }


def test_three_classes() -> None:
    share = np.array([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.1, 0.2, 0.7]])
    scored = Scored([3, 5, 8], [3, 5, 8], share, [3, 5, 8])
    found, problems = measure_all(scored, ["accuracy", "roc_auc_ovr", "f1_macro", "roc_auc", "f1"])
    assert [found[m] for m in ("accuracy", "roc_auc_ovr", "f1_macro")] == [1.0, 1.0, 1.0]
    assert problems["roc_auc"] == "roc_auc: it is for two classes, the model has 3"
    assert set(problems) == {"roc_auc", "f1"}


def test_a_regressor() -> None:
    found, problems = measure_all(Scored([1, 2, 4], [1, 2, 7]), ["rmse", "mae", "accuracy"])
    assert found["rmse"] == pytest.approx(3**0.5)
    assert found["mae"] == 1
    assert "regressor" in problems["accuracy"]


@pytest.mark.parametrize("metric", ["roc_auc", "precision"])
def test_what_is_undefined_is_none(metric: str) -> None:
    # sklearn warns and answers 0 or nan: a gate must not take it for a measurement.
    share = np.array([[0.9, 0.1], [0.8, 0.2]])
    found, problems = measure_all(Scored(["a", "a"], ["a", "a"], share, ["a", "b"]), [metric])
    assert found == {metric: None}
    assert metric in problems[metric]


def test_no_probabilities() -> None:
    found, problems = measure_all(
        Scored(TRUTH, TRUTH, None, ["no", "yes"]), ["roc_auc", "accuracy"]
    )
    assert found == {"roc_auc": None, "accuracy": 1.0}
    assert "no probabilities" in problems["roc_auc"]


def test_labels_that_the_model_does_not_know() -> None:
    with pytest.raises(ConfigError, match="the target has 1 of 2 values that are no class"):
        Scored(["no", "maybe"], ["no", "no"], None, ["no", "yes"])
    with pytest.raises(ConfigError, match="missing in 1 of 2"):
        Scored([1.0, np.nan], [1.0, 1.0])
    with pytest.raises(ConfigError, match="not numbers"):
        Scored(["x", "y"], [1.0, 1.0])


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_a_file_is_scored(tmp_path: Path, ending: str) -> None:
    rows = pd.DataFrame({"x": [1.0, 2.0, 3.0], "late": [0, 1, 1]})
    data = tmp_path / f"rows.{ending}"
    rows.to_parquet(data) if ending == "parquet" else rows.to_csv(data, index=False)
    outputs = pd.DataFrame(
        {
            "prediction": [0, 1, 0],
            "probability_0": [0.9, 0.2, 0.6],
            "probability_1": [0.1, 0.8, 0.4],
        }
    )
    found = score(model(outputs, [0, 1]), data, "late", ["accuracy", "roc_auc"])
    assert found["metrics"] == {"accuracy": pytest.approx(2 / 3), "roc_auc": 1.0}
    assert found["n_rows"] == 3
    assert len(found["data_digest"]) == 64
    assert found["model_digest"] == "d"


def test_a_csv_file_is_read_by_the_contract(tmp_path: Path) -> None:
    data = tmp_path / "rows.csv"
    data.write_text("x,code,late\n1,007,True\n,NA,False\n3,,maybe\n")
    contract = model(pd.DataFrame()).contract
    rows = read_rows(data, contract, "late", [False, True])
    assert rows["x"].isna().tolist() == [False, True, False]
    assert rows["code"].tolist()[:2] == ["007", "NA"]
    assert rows["late"].tolist() == [True, False, "maybe"]
    data.write_text("x,code,late\n1,007,2.5\n")
    assert read_rows(data, contract, "late")["late"].tolist() == [2.5]


def test_several_targets_are_not_measured(tmp_path: Path) -> None:
    data = tmp_path / "rows.parquet"
    pd.DataFrame({"x": [1.0], "late": [1.0]}).to_parquet(data)
    with pytest.raises(ConfigError, match="one target"):
        score(model(pd.DataFrame({"prediction_0": [1.0]})), data, "late", ["mae"])


def test_a_file_that_cannot_be_used(tmp_path: Path) -> None:
    data = tmp_path / "rows.parquet"
    pd.DataFrame({"x": [1.0]}).to_parquet(data)
    with pytest.raises(ConfigError, match="no column 'late'; it has x"):
        score(model(pd.DataFrame()), data, "late", ["mae"])
    pd.DataFrame({"late": []}).to_parquet(data)
    with pytest.raises(ConfigError, match="no rows"):
        score(model(pd.DataFrame()), data, "late", ["mae"])
    data.write_bytes(b"PAR?")
    with pytest.raises(ConfigError, match="not readable"):
        score(model(pd.DataFrame()), data, "late", ["mae"])
