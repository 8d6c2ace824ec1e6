"""Row checks and output checks of the contract, from save to answer."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline

import asfitted
from asfitted.artifact import code
from asfitted.config import Config, Model
from asfitted.errors import (
    BatchDependent,
    CheckFailed,
    CodeNotShipped,
    ContractInvalid,
    ContractViolation,
    OutputViolation,
    SaveRefused,
)

RNG = np.random.default_rng(0)
LOW = RNG.normal(size=120)
X = pd.DataFrame({"low": LOW, "high": LOW + RNG.random(120)})
Y = pd.Series(2 * X["high"], name="width")

CHECKS = """
    def low_below_high(frame):
        return frame["low"] <= frame["high"]

    def near_high(frame, outputs):
        return (outputs["prediction"] - 2 * frame["high"]).abs() < 1

    def below_mean(frame):
        return frame["low"] <= frame["high"].mean() + 3

    def ranked(frame, outputs):
        return outputs["prediction"].rank() < 1000 - len(frame) * 9.9

    def needs_two(frame):
        return frame["low"] < np.sort(frame["high"])[1] + 100
"""
_made = iter(range(1000))


@pytest.fixture
def checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module of checks under a name that no other test has."""
    file = tmp_path / f"checks_{next(_made)}.py"
    file.write_text("import numpy as np\n" + textwrap.dedent(CHECKS))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(code, "_brought", {})
    return file


def contract(rest: str, checks: Path | None = None) -> asfitted.DataContract:
    text = asfitted.DataContract.infer(X).to_yaml() + rest
    return asfitted.DataContract.from_yaml(text.replace("CHECKS", checks.stem if checks else ""))


def save(rest: str, checks: Path, tmp_path: Path, **kwargs: Any) -> asfitted.FittedModel:
    pipeline = make_pipeline(asfitted.Conform(contract(rest, checks)), LinearRegression())
    asfitted.save_model(
        pipeline.fit(X, Y),
        tmp_path / "model",
        reference=X,
        **{"code_paths": [checks], **kwargs},
    )
    return asfitted.load_model(tmp_path / "model", record=False)


BOTH = """
row_checks: [{function: "CHECKS:low_below_high", why: the low is the lower}]
output: {min: -20, max: 20, checks: [{function: "CHECKS:near_high"}]}
"""


def test_a_saved_model_asks_its_checks(checks: Path, tmp_path: Path) -> None:
    model = save(BOTH, checks, tmp_path)
    assert model.predict(X[:3]) == pytest.approx(Y[:3].to_numpy())
    with pytest.raises(ContractViolation) as refused:
        model.predict(X[:3].assign(high=[9.0, -9.0, 9.0]))
    (violation,) = refused.value.violations
    assert (violation.rule, violation.rows) == ("low_below_high", (1,))
    assert violation.what == "rows fail low_below_high: the low is the lower"


def test_the_step_asks_them_in_training(checks: Path) -> None:
    step = asfitted.Conform(contract(BOTH, checks))
    with pytest.raises(ContractViolation, match="fail low_below_high"):
        step.fit(X.assign(high=-9.0))


def test_every_failed_check_of_the_answer_is_named(checks: Path, tmp_path: Path) -> None:
    model = save(BOTH, checks, tmp_path)
    model.scorer.estimator.coef_ *= 40
    with pytest.raises(OutputViolation) as refused:
        model.predict(pd.DataFrame({"low": [0.0, 0.0], "high": [0.0, 3.0]}))
    said = [(v.column, v.rule, v.rows) for v in refused.value.violations]
    assert said == [("prediction", "max", (1,)), ("", "near_high", (1,))]


@pytest.mark.parametrize(("bounds", "rule"), [("{min: 0}", "min"), ("{max: 0}", "max")])
def test_an_answer_out_of_bounds_is_refused(bounds: str, rule: str) -> None:
    pipeline = make_pipeline(asfitted.Conform(contract(f"output: {bounds}\n")), LinearRegression())
    model = asfitted.FittedModel(pipeline.fit(X, np.column_stack([Y, -Y])))
    with pytest.raises(OutputViolation) as refused:
        model.predict(pd.DataFrame({"low": [0.0], "high": [5.0]}))
    (violation,) = refused.value.violations
    assert (violation.column, violation.rule) == (f"prediction_{int(rule == 'min')}", rule)


def test_bounds_are_inclusive() -> None:
    pipeline = make_pipeline(asfitted.Conform(contract("output: {min: 3, max: 3}\n")), Constant())
    assert asfitted.FittedModel(pipeline.fit(X, Y)).predict(X[:2]).tolist() == [3.0, 3.0]


class Constant(LinearRegression):  # type: ignore[misc]
    def predict(self, X: Any) -> Any:
        return np.full(len(X), 3.0)


def test_bounds_of_labels_make_no_sense() -> None:
    step = asfitted.Conform(contract("output: {max: 1}\n"))
    pipeline = make_pipeline(step, LogisticRegression()).fit(X, np.where(Y > 0, "y", "n"))
    with pytest.raises(ContractInvalid, match="output has bounds, and prediction is no number"):
        asfitted.FittedModel(pipeline).predict(X[:2])


@pytest.mark.parametrize(
    ("rest", "error", "said"),
    [
        ('row_checks: [{function: "CHECKS:below_mean"}]', BatchDependent, "below_mean judges"),
        (
            'row_checks: [{function: "CHECKS:needs_two"}]',
            CheckFailed,
            "on 1 of 120 rows the check .*needs_two failed: IndexError",
        ),
        ('output: {checks: [{function: "CHECKS:ranked"}]}', BatchDependent, "ranked judges a row"),
        ("output: {max: 0}", OutputViolation, "values above 0"),
    ],
)
def test_what_is_refused_at_save(
    rest: str, error: type[Exception], said: str, checks: Path, tmp_path: Path
) -> None:
    with pytest.raises(error, match=said):
        save(rest, checks, tmp_path)
    assert not (tmp_path / "model").exists()


def test_a_check_must_travel(checks: Path, tmp_path: Path) -> None:
    with pytest.raises(CodeNotShipped, match=r"near_high: module .* would not be there") as refused:
        save('output: {checks: [{function: "CHECKS:near_high"}]}', checks, tmp_path, code_paths=[])
    assert str(checks) in refused.value.mend


def test_golden_examples_with_neutral_values_keep_the_checks(checks: Path, tmp_path: Path) -> None:
    hidden = Config(schema_version=1, models={"m": Model(fields={"low": "drop"})})
    save(BOTH, checks, tmp_path, name="m", config=hidden)
    golden = pd.read_parquet(tmp_path / "model" / "golden.parquet")
    assert set(golden["input.low"]) == {0.0}
    assert 0 < len(golden) < 100
    assert (golden["input.high"] >= 0).all()


def test_no_golden_example_is_left(checks: Path, tmp_path: Path) -> None:
    hidden = Config(schema_version=1, models={"m": Model(fields={"low": "drop"})})
    below = X.assign(low=X["low"] - 50, high=X["high"] - 50)
    pipeline = make_pipeline(asfitted.Conform(contract(BOTH, checks)), LinearRegression())
    pipeline.fit(below, Y)
    with pytest.raises(SaveRefused, match=r"neutral values .*\(low\) no golden example passes"):
        asfitted.save_model(
            pipeline,
            tmp_path / "model",
            reference=below,
            code_paths=[checks],
            name="m",
            config=hidden,
        )
