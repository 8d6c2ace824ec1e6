"""Labels that are read off the probabilities are those that `predict` gives."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import yaml
from scoring_rows import make_rows, numbers, pipeline
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

import asfitted
from asfitted.scoring.labels import _LARGEST, agree, clear_labels

RNG = np.random.default_rng(0)
TABLE = RNG.normal(size=(300, 4))
# Wide apart, close together and, in whole numbers, often the same.
ASKED = [TABLE, TABLE * 100, TABLE * 1e-9, np.round(TABLE), np.zeros((3, 4))]
TARGETS = {
    "two": np.where(TABLE[:, 0] + RNG.normal(size=300) > 0, "yes", "no"),
    "three": np.digitize(TABLE[:, 0] + RNG.normal(size=300), [-0.5, 0.5]),
}


def made(name: str) -> type:
    module, _, kind = name.rpartition(".")
    found: type = getattr(importlib.import_module(module), kind)
    return found


@pytest.mark.filterwarnings(
    "ignore::FutureWarning", "ignore::sklearn.exceptions.ConvergenceWarning"
)
@pytest.mark.parametrize("target", list(TARGETS))
@pytest.mark.parametrize("name", sorted(_LARGEST))
def test_every_clear_label_is_that_of_predict(name: str, target: str) -> None:
    estimator = made(name)().fit(TABLE, TARGETS[target])
    assert agree(estimator, TABLE)
    clear = 0
    for table in ASKED:
        said, probabilities = estimator.predict(table), estimator.predict_proba(table)
        for row in range(len(table)):
            label = clear_labels(estimator, probabilities[row : row + 1])
            if label is not None:
                clear += 1
                assert (label.dtype, label[0]) == (said.dtype, said[row])
    assert clear > 300


def test_two_classes_that_are_as_probable_are_not_clear() -> None:
    estimator = LogisticRegression().fit(TABLE, TARGETS["two"])
    assert clear_labels(estimator, np.array([[0.2, 0.8], [0.5, 0.5]])) is None
    assert clear_labels(estimator, np.array([[0.2, 0.8], [0.5 + 1e-9, 0.5 - 1e-9]])) is None
    assert clear_labels(estimator, np.array([[np.nan, np.nan]])) is None
    assert clear_labels(estimator, np.array([[0.2, 0.8]], dtype="float32")).tolist() == ["yes"]


class Cautious(LogisticRegression):
    """Says yes only where it is sure."""

    def predict(self, X):
        return self.classes_.take((self.predict_proba(X)[:, 1] > 0.9).astype(int))


@pytest.mark.parametrize(
    "estimator",
    [
        Cautious(),
        FixedThresholdClassifier(LogisticRegression(), threshold=0.9),
        SVC(),
    ],
)
def test_who_decides_in_another_way_is_asked(estimator) -> None:
    assert not agree(estimator.fit(TABLE, TARGETS["two"]), TABLE)


def test_several_targets_and_a_single_class_are_asked() -> None:
    several = np.column_stack([TARGETS["two"], TARGETS["two"][::-1]])
    assert not agree(DecisionTreeClassifier().fit(TABLE, several), TABLE)
    assert not agree(DecisionTreeClassifier().fit(TABLE, ["only"] * len(TABLE)), TABLE)


def test_one_row_that_disagrees_is_enough(monkeypatch) -> None:
    estimator = LogisticRegression().fit(TABLE, TARGETS["two"])
    wrong = estimator.predict(TABLE).copy()
    wrong[123] = "no" if wrong[123] == "yes" else "yes"
    monkeypatch.setattr(LogisticRegression, "predict", lambda self, X: wrong)
    assert not agree(estimator, TABLE)


@pytest.mark.parametrize(
    "estimator",
    [LogisticRegression(), HistGradientBoostingClassifier(), RandomForestClassifier(7)],
)
def test_a_saved_model_computes_the_scores_of_a_clear_row_once(
    estimator, tmp_path, rows, target, monkeypatch
) -> None:
    pipe = pipeline(numbers(), estimator=estimator).fit(rows, target)
    plain = asfitted.FittedModel(pipe).outputs(rows)
    asfitted.save_model(pipe, tmp_path / "model", reference=rows, name="shop")
    said = yaml.safe_load((tmp_path / "model/MLmodel").read_text())["flavors"]["asfitted"]
    assert "labels" in said["shortcuts"]
    model = asfitted.load_model(tmp_path / "model")
    whole = model.outputs(rows)
    assert whole.equals(plain)
    assert whole["prediction"].nunique() == 2

    def asked(self, X):
        raise AssertionError("predict was asked")

    monkeypatch.setattr(type(estimator), "predict", asked)
    row = int(plain["probability_yes"].sub(0.5).abs().idxmax())
    one = model.outputs(rows.iloc[[row]])
    assert one["prediction"].tolist() == [plain["prediction"][row]]


def test_rows_on_the_edge_get_the_label_of_predict_in_any_company(rows, target) -> None:
    """A tie among the rows makes `predict` be asked for all of them: no other label comes."""
    forest = RandomForestClassifier(2, random_state=0)
    pipe = pipeline(numbers(), estimator=forest).fit(rows, target)
    many = make_rows(400, seed=5)
    model = asfitted.FittedModel(pipe, whole_steps=2, shortcuts=["labels"])
    said = model.outputs(many)
    assert (said["probability_yes"] == 0.5).any()
    assert (said["probability_yes"] != 0.5).any()
    expected = asfitted.FittedModel(pipe).outputs(many)["prediction"]
    assert said["prediction"].tolist() == expected.tolist()
    alone = [model.outputs(many.iloc[[i]])["prediction"].item() for i in range(50)]
    assert alone == expected.tolist()[:50]
