"""What is saved answers as the pipeline itself does, or is refused: every kind that was met.

Each kind comes from a public report of somebody whose model answered otherwise in production
than in training.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import conformance_dishonest as steps
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import sklearn
import yaml
from conformance_dishonest import CONTRACT, NUMBERS
from conformance_served import assert_served, proved
from sklearn.base import BaseEstimator, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.decomposition import PCA
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    TunedThresholdClassifierCV,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, KBinsDiscretizer, StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

import asfitted
from asfitted.config import Config
from asfitted.errors import (
    AsfittedError,
    BatchDependent,
    GoldenMismatch,
    NotConformed,
    SaveRefused,
)
from asfitted.prediction_log import FieldPolicy, Journal
from asfitted.scoring import Identity, Recorder
from asfitted.scoring.proof import prove
from asfitted.scoring.rounding import repeated_apart

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
    pytest.mark.filterwarnings("ignore:X does not have valid feature names:UserWarning"),
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:mlflow\..*"),
]

ORDERS = steps.orders()
TARGET = steps.target(ORDERS)
# Whole models are called in blocks, which takes its time.
FEW = ORDERS.iloc[:600]
AMOUNT = 3 * ORDERS["amount"] + ORDERS["shop"]


def pipe(prepare: Any, estimator: Any = None) -> Pipeline:
    step = FunctionTransformer(prepare) if callable(prepare) else prepare
    return make_pipeline(
        asfitted.Conform(CONTRACT), step, StandardScaler(), estimator or LogisticRegression()
    )


def refused(given: Any, kind: type[AsfittedError] = BatchDependent) -> AsfittedError:
    with pytest.raises(kind) as error:
        proved(given, ORDERS)
    assert error.value.where
    assert error.value.mend
    return error.value


# --- steps that look at the rows beside them -------------------------------------------


@pytest.mark.parametrize("step", steps.LOOKS_BESIDE, ids=lambda step: step.__name__)
def test_a_step_that_looks_at_other_rows_is_refused_by_name(step) -> None:
    error = refused(pipe(step).fit(ORDERS, TARGET))
    assert error.where == f"functiontransformer (FunctionTransformer of {step.__name__})"


@pytest.mark.parametrize("step", steps.LOOKS_BESIDE[:4], ids=lambda step: step.__name__)
def test_wherever_it_stands(step) -> None:
    columns = ["customer", *NUMBERS, "colour", "sold"]
    inside = ColumnTransformer(
        [("rest", SimpleImputer(), ["amount"]), ("own", FunctionTransformer(step), columns)]
    )
    error = refused(pipe(inside).fit(ORDERS, TARGET))
    assert error.where == f"columntransformer.own (FunctionTransformer of {step.__name__})"


def test_an_honest_step_is_let_through() -> None:
    found = proved(pipe(steps.numbers).fit(ORDERS, TARGET), ORDERS).proof
    assert found.rows == len(ORDERS)
    assert found.alone >= 16
    assert found.companies >= 24
    assert found.probes > 20
    assert (found.tied, found.jumped) == (0, 0)


def test_an_estimator_that_judges_by_the_batch() -> None:
    model = make_pipeline(
        asfitted.Conform(CONTRACT), FunctionTransformer(steps.numbers), steps.ThresholdOfTheBatch()
    )
    error = refused(model.fit(ORDERS, TARGET))
    assert error.where == "thresholdofthebatch (ThresholdOfTheBatch)"


def rare_beyond_the_sample(X):
    """Look aside only where one of a handful of cells among tens of thousands is there."""
    table = steps.numbers(X)
    return table + (X["weight"].isna().any() and table["amount"].median())


def test_a_rare_cell_among_more_rows_than_are_proved() -> None:
    many = steps.orders(50_000, rare=3)
    model = pipe(rare_beyond_the_sample).fit(many, steps.target(many))
    with pytest.raises(BatchDependent):
        proved(model, many)


# --- steps that drop rows ----------------------------------------------------------------


def exchanged(step: Callable[[Any], Any]) -> Pipeline:
    """Return a fitted pipeline whose step is then another one, as only `predict` sees it."""
    fitted = pipe(steps.numbers).fit(ORDERS, TARGET)
    fitted.steps[1] = (fitted.steps[1][0], FunctionTransformer(step).fit(ORDERS))
    return fitted


@pytest.mark.parametrize("step", steps.DROPS_ROWS, ids=lambda step: step.__name__)
def test_a_step_that_drops_rows_is_refused_by_name(step) -> None:
    error = refused(exchanged(step))
    assert f"step functiontransformer (FunctionTransformer of {step.__name__})" in error.what
    assert "changes the number of rows" in error.what


def test_an_estimator_that_drops_rows_is_refused_by_name() -> None:
    model = make_pipeline(
        asfitted.Conform(CONTRACT), FunctionTransformer(steps.numbers), steps.DropsInPredict()
    )
    error = refused(model.fit(ORDERS, AMOUNT))
    assert "dropsinpredict (DropsInPredict) changes the number of rows" in error.what


def test_a_step_that_drops_rows_gives_no_caller_the_answer_of_another(tmp_path) -> None:
    """What no proof has seen, at inference: an error for the request, and for no other."""
    from asfitted.serving.app import App

    # A request with an outlier loses a row; the answers behind it would move up.
    fitted = exchanged(steps.drops_far_outliers)
    honest = pipe(steps.numbers).fit(ORDERS, TARGET)
    outlier = ORDERS.iloc[:3].assign(amount=[50.0, 99_999.0, 60.0])
    bodies = [ORDERS.iloc[i : i + 2] for i in range(0, 60, 2)]
    bodies.insert(10, outlier)
    with Journal(tmp_path / "log") as journal:
        recorder = Recorder(journal, FieldPolicy(), Identity("m", "1", "d" * 64), "serve")
        app = App(asfitted.FittedModel(fitted, recorder=recorder), None)
        got = asyncio.run(_all_at_once(app, bodies))
        log = asfitted.read_log(tmp_path / "log")
    for body, (status, said) in zip(bodies, got, strict=True):
        if body is outlier:
            assert status == 500
            assert "predictions" not in said
        else:
            assert status == 200
            assert said["predictions"] == honest.predict(body).tolist()
    assert len(log) == 60, "only what was answered is on record"


async def _all_at_once(app: Any, frames: list[pd.DataFrame]) -> list[tuple[int, Any]]:
    import json

    async def one(frame: pd.DataFrame) -> tuple[int, Any]:
        records = json.loads(frame.to_json(orient="records", date_format="iso", date_unit="us"))
        body = json.dumps({"dataframe_records": records}).encode()
        parts = [{"type": "http.request", "body": body, "more_body": False}]
        sent: list[Any] = []

        async def receive() -> Any:
            if parts:
                return parts.pop(0)
            return await asyncio.Event().wait()

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(b"content-type", b"application/json")]
        scope = {"type": "http", "method": "POST", "path": "/invocations", "headers": headers}
        await app(scope, receive, send)
        return sent[0]["status"], json.loads(sent[1]["body"])

    return list(await asyncio.gather(*(one(frame) for frame in frames)))


def test_a_batch_with_a_dropped_row_is_no_answer() -> None:
    model = asfitted.FittedModel(exchanged(steps.drops_far_outliers))
    assert len(model.predict(ORDERS)) == len(ORDERS)
    with pytest.raises(AsfittedError, match=r"step functiontransformer gives \d+ rows for \d+"):
        model.predict(ORDERS.assign(amount=[99_999.0, *ORDERS["amount"][1:]]))


# --- pipelines and estimators with a word of their own ---------------------------------


def named(kind: type[Pipeline], estimator: Any) -> Pipeline:
    return kind(
        [
            ("conform", asfitted.Conform(CONTRACT)),
            ("numbers", FunctionTransformer(steps.numbers)),
            ("scale", StandardScaler()),
            ("model", estimator),
        ]
    )


def test_a_subclass_of_pipeline_keeps_its_own_predict() -> None:
    fitted = named(steps.LogTarget, LinearRegression()).fit(ORDERS, AMOUNT)
    model = assert_served(fitted, ORDERS)
    assert model.predict(ORDERS).mean() > 100, "not the logarithm"


def test_a_subclass_with_a_threshold_of_its_own() -> None:
    fitted = named(steps.Cautious, LogisticRegression()).fit(ORDERS, TARGET)
    assert_served(fitted, ORDERS)
    assert (fitted.predict(ORDERS) != Pipeline.predict(fitted, ORDERS)).any()


def test_a_subclass_within_a_pipeline() -> None:
    inner = steps.Cautious([("scale", StandardScaler()), ("model", LogisticRegression())])
    outer = make_pipeline(asfitted.Conform(CONTRACT), FunctionTransformer(steps.numbers), inner)
    assert_served(outer.fit(ORDERS, TARGET), ORDERS)


def test_a_method_that_was_set_on_the_instance_is_kept() -> None:
    fitted = pipe(steps.numbers).fit(ORDERS, TARGET)
    fitted.predict = lambda X: np.full(len(X), "big")
    assert set(assert_served(fitted, FEW).predict(FEW)) == {"big"}


def test_a_search_with_an_answer_of_its_own_is_not_taken_apart() -> None:
    """A difference of half a cent in a hundred is none that rounding makes."""
    trees = pipe(steps.numbers, DecisionTreeRegressor(max_depth=4, random_state=0))
    search = steps.RoundedSearch(trees, {"decisiontreeregressor__max_depth": [3]}, cv=2)
    model = assert_served(search.fit(FEW, AMOUNT[: len(FEW)]), FEW)
    assert (np.round(model.predict(FEW), 2) == model.predict(FEW)).all()


def test_an_answer_near_zero_beside_huge_ones_is_held_to_its_own_size() -> None:
    amounts = np.where(np.arange(len(FEW)) % 7 == 0, 1e9, AMOUNT[: len(FEW)] * 1e-6)
    fitted = pipe(steps.numbers, DecisionTreeRegressor(random_state=0)).fit(FEW, amounts)
    trained = pd.DataFrame({"prediction": fitted.predict(FEW)})
    moved = trained + np.where(trained < 1, 1e-4, 0.0)
    assert (repeated_apart(trained, moved)[trained["prediction"] < 1] > 1).all()
    assert (repeated_apart(trained, trained) == 0).all()


@pytest.mark.parametrize("step", [steps.as_csc, steps.as_coo], ids=lambda step: step.__name__)
def test_any_sparse_matrix_is_one(step) -> None:
    honest = make_pipeline(FunctionTransformer(steps.numbers), FunctionTransformer(step))
    model = make_pipeline(asfitted.Conform(CONTRACT), honest, LogisticRegression(max_iter=500))
    assert_served(model.fit(FEW, TARGET[: len(FEW)]), FEW)


def last(estimator: Any) -> Any:
    """Return a pipeline that ends so."""
    return make_pipeline(asfitted.Conform(CONTRACT), FunctionTransformer(steps.numbers), estimator)


def test_an_estimator_that_answers_in_a_list() -> None:
    fitted = last(steps.Lists()).fit(FEW, AMOUNT[: len(FEW)])
    proved(fitted, FEW)
    served = asfitted.FittedModel(fitted).predict(FEW)
    np.testing.assert_allclose(served, fitted.predict(FEW), rtol=1e-9)


def test_several_labels_of_which_few_are_set() -> None:
    two = scipy.sparse.csr_matrix(np.column_stack([AMOUNT > 300, ORDERS["shop"] > 20]).astype(int))
    model = last(OneVsRestClassifier(LogisticRegression(max_iter=500)))
    assert proved(model.fit(FEW, two[: len(FEW)]), FEW)


@pytest.mark.parametrize(
    ("model", "target", "what", "hint"),
    [
        (last(steps.Several()), AMOUNT, "in a form that cannot be served", "an array of shape"),
        (last(steps.OtherWords()), TARGET, "no class of training", "predict must return what fit"),
        (
            GridSearchCV(last(LinearRegression()), {}, cv=2, refit=False),
            AMOUNT,
            "refit=False has no pipeline",
            "refit=True",
        ),
    ],
    ids=["a tuple", "other words", "a search that was not fitted again"],
)
def test_answers_that_are_none_are_told_as_what_they_are(model, target, what, hint) -> None:
    with pytest.raises(SaveRefused) as error:
        proved(model.fit(FEW, target[: len(FEW)]), FEW)
    assert what in error.value.what
    assert hint in error.value.mend


def test_a_clock_is_named() -> None:
    error = refused(pipe(steps.age_now).fit(ORDERS, TARGET))
    assert "FunctionTransformer of age_now" in error.what
    assert "another result when it is asked again" in error.what


def test_a_subclass_of_a_column_transformer_is_named() -> None:
    columns = steps.FromTheLowest([("num", SimpleImputer(), NUMBERS)])
    error = refused(pipe(columns).fit(ORDERS, TARGET))
    assert error.where == "fromthelowest (FromTheLowest)"


def test_a_step_that_looks_aside_only_in_a_batch_larger_than_the_reference() -> None:
    error = refused(pipe(steps.clipped_where_many).fit(ORDERS, TARGET))
    assert error.where == "functiontransformer (FunctionTransformer of clipped_where_many)"
    assert "beside 19999 others" in error.what


@pytest.mark.parametrize("row", [41_234, 20_001, 7])
def test_a_text_that_stands_once_among_tens_of_thousands(row) -> None:
    many = steps.orders(50_000, rare=3)
    many.loc[row, "customer"] = "UNKNOWN"
    fitted = pipe(steps.median_for_a_rare_text).fit(many, steps.target(many))
    with pytest.raises(BatchDependent):
        proved(fitted, many)


META = {
    "tuned threshold": lambda p: TunedThresholdClassifierCV(p, cv=2),
    "fixed threshold": lambda p: FixedThresholdClassifier(p, threshold=0.3),
    "calibrated, five pipelines": lambda p: CalibratedClassifierCV(p, cv=2),
    "calibrated, one pipeline": lambda p: CalibratedClassifierCV(p, cv=2, ensemble=False),
    "voting": lambda p: VotingClassifier([("a", p), ("b", clone(p))], voting="soft"),
    "stacking": lambda p: StackingClassifier([("a", p)], LogisticRegression(), cv=2),
    "search": lambda p: GridSearchCV(p, {"logisticregression__C": [0.1, 1.0]}, cv=2),
    "search over a meta-estimator": lambda p: GridSearchCV(
        FixedThresholdClassifier(p), {"threshold": [0.3, 0.6]}, cv=2
    ),
}


def with_hours(estimator: Any = None) -> Pipeline:
    """Return a pipeline that reads moments, whose contract is of another zone than UTC."""
    prepare = ColumnTransformer(
        [("hours", FunctionTransformer(steps.hours), ["sold"]), ("num", SimpleImputer(), NUMBERS)]
    )
    return pipe(prepare, estimator)


@pytest.mark.parametrize("name", META)
def test_meta_estimators_around_the_pipeline(name) -> None:
    assert_served(META[name](with_hours()).fit(FEW, TARGET[: len(FEW)]), FEW)


def test_a_transformed_target_around_the_pipeline() -> None:
    meta = TransformedTargetRegressor(with_hours(Ridge()), func=np.log1p, inverse_func=np.expm1)
    assert_served(meta.fit(FEW, AMOUNT[: len(FEW)]), FEW)


def test_a_meta_estimator_around_what_does_not_begin_with_conform() -> None:
    bare = make_pipeline(SimpleImputer(), LogisticRegression())
    meta = FixedThresholdClassifier(bare).fit(ORDERS[NUMBERS], TARGET)
    with pytest.raises(NotConformed) as error:
        proved(meta, ORDERS)
    assert "make_pipeline(asfitted.Conform(contract), …, estimator)" in error.value.mend
    assert "FixedThresholdClassifier(make_pipeline(asfitted.Conform(" in error.value.mend


def test_two_contracts_within_a_meta_estimator() -> None:
    other = CONTRACT.model_copy(update={"extra_columns": "ignore"})
    second = make_pipeline(
        asfitted.Conform(other), FunctionTransformer(steps.numbers), LogisticRegression()
    )
    meta = VotingClassifier([("a", pipe(steps.numbers)), ("b", second)], voting="soft")
    with pytest.raises(NotConformed, match="2 different contracts"):
        proved(meta.fit(ORDERS, TARGET), ORDERS)


# --- a conformed frame stays one ---------------------------------------------------------


class Hidden(BaseEstimator):
    """Holds a fitted pipeline where `get_params` does not look."""

    def __init__(self, held=None):
        self.held = None
        self._held = held

    def fit(self, X, y=None):
        self.is_fitted_ = True
        return self

    def predict(self, X):
        return self._held.predict(X)


def by_a_global(X):
    """Conform once more, by a contract that only the function's module knows."""
    return steps.hours(CONTRACT.conform(X, keys=False).frame)


def nested(how: str) -> Any:
    inner = with_hours(DecisionTreeRegressor(max_depth=6, random_state=0)).fit(
        ORDERS, ORDERS["sold"].dt.tz_convert("UTC").dt.hour.astype(float)
    )
    conform = asfitted.Conform(CONTRACT)
    if how == "hidden":
        return make_pipeline(conform, Hidden(inner)).fit(ORDERS, AMOUNT)
    if how == "by a global":
        model = make_pipeline(conform, FunctionTransformer(by_a_global), Ridge())
        return model.fit(ORDERS, ORDERS["sold"].dt.tz_convert("UTC").dt.hour)
    if how == "twice":
        return make_pipeline(conform, asfitted.Conform(CONTRACT), *[s for _, s in inner.steps[1:]])
    from sklearn.frozen import FrozenEstimator

    frozen = FrozenEstimator(with_hours().fit(ORDERS, TARGET))
    if how == "frozen and calibrated":
        return make_pipeline(conform, CalibratedClassifierCV(frozen)).fit(ORDERS, TARGET)
    members = [("one", frozen)]
    if how == "frozen and voting":
        meta: Any = VotingClassifier(members, voting="soft")
    else:
        meta = StackingClassifier(members, LogisticRegression(), cv="prefit")
    return make_pipeline(conform, meta).fit(ORDERS, TARGET)


@pytest.mark.parametrize(
    "how",
    [
        "hidden",
        "by a global",
        "twice",
        "frozen and calibrated",
        "frozen and voting",
        "frozen and stacking",
    ],
)
def test_moments_are_read_once_however_deep_a_contract_is_held(how) -> None:
    pytest.importorskip("sklearn.frozen", reason="scikit-learn before 1.6")
    assert_served(nested(how), FEW)


def test_a_model_without_a_contract_within_does_without_the_mark() -> None:
    assert "unmarked" in proved(with_hours().fit(ORDERS, TARGET), ORDERS).shortcuts
    assert "unmarked" not in proved(nested("hidden"), ORDERS).shortcuts


# --- rounding, and what jumps --------------------------------------------------------


def test_a_bin_that_follows_from_rounding_is_counted() -> None:
    """BLAS rounds otherwise in blocks than at once, and quantiles of the data are bin edges."""
    bins = KBinsDiscretizer(50, encode="onehot", strategy="quantile", quantile_method="linear") if (
        "quantile_method" in KBinsDiscretizer().get_params()
    ) else KBinsDiscretizer(50, encode="onehot", strategy="quantile")  # fmt: skip
    prepare = make_pipeline(SimpleImputer(), StandardScaler(), PCA(3), bins)
    inside = pipe(ColumnTransformer([("num", prepare, NUMBERS)]))
    inside.steps.pop(2)
    found = proved(inside.fit(ORDERS, TARGET), ORDERS).proof
    assert 0 <= found.jumped < len(ORDERS) / 10


def test_a_tree_behind_a_rotation() -> None:
    prepare = make_pipeline(FunctionTransformer(steps.numbers), PCA(3))
    assert proved(pipe(prepare, DecisionTreeClassifier()).fit(ORDERS, TARGET), ORDERS)


# --- settings, indexes, and words that are true ----------------------------------------


def test_a_global_output_of_frames_is_kept(tmp_path) -> None:
    columns = ColumnTransformer([("num", SimpleImputer(), NUMBERS)])
    model = make_pipeline(
        asfitted.Conform(CONTRACT),
        columns,
        FunctionTransformer(steps.one_column),
        LogisticRegression(),
    )
    with sklearn.config_context(transform_output="pandas"):
        model.fit(ORDERS, TARGET)
        expected = model.predict(ORDERS)
        asfitted.save_model(
            model, tmp_path / "m", reference=ORDERS, code_paths=_code(), config=_config()
        )
    loaded = asfitted.load_model(tmp_path / "m", record=False)
    assert (loaded.predict(ORDERS) == expected).all()
    flavor = yaml.safe_load((tmp_path / "m" / "MLmodel").read_text())["flavors"]["asfitted"]
    assert flavor["transform_output"] == "pandas"
    assert flavor["proof"]["rows"] == len(ORDERS)


def test_a_global_output_that_is_gone_is_named() -> None:
    columns = ColumnTransformer([("num", SimpleImputer(), NUMBERS)])
    model = make_pipeline(
        asfitted.Conform(CONTRACT),
        columns,
        FunctionTransformer(steps.one_column),
        LogisticRegression(),
    )
    with sklearn.config_context(transform_output="pandas"):
        model.fit(ORDERS, TARGET)
    error = refused(model, SaveRefused)
    assert "fails on its own training rows, in step functiontransformer" in error.what
    assert "FunctionTransformer of one_column" in error.what
    assert "set_config" in error.mend
    assert "set_output" in error.mend


def index_hours(X):
    return np.column_stack([X.index.hour, X["amount"]])


def test_a_feature_that_is_read_from_the_index() -> None:
    frame = ORDERS[["amount"]].set_index(pd.DatetimeIndex(ORDERS["sold"], name=None))
    contract = asfitted.DataContract.infer(frame)
    model = make_pipeline(
        asfitted.Conform(contract), FunctionTransformer(index_hours), LogisticRegression()
    ).fit(frame, TARGET)
    with pytest.raises(SaveRefused) as error:
        proved(model, frame)
    assert "step functiontransformer (FunctionTransformer of index_hours)" in error.value.what
    assert "reset_index" in error.value.mend


def test_a_step_that_fails_on_the_training_rows_themselves() -> None:
    fitted = pipe(SimpleImputer()).set_params(simpleimputer="passthrough")
    fitted = pipe(steps.numbers).fit(ORDERS, TARGET)
    fitted.steps[1] = ("broken", FunctionTransformer(_divide).fit(ORDERS))
    error = refused(fitted, SaveRefused)
    assert "the pipeline fails on its own training rows, in step broken" in error.what
    assert "ZeroDivisionError: no shop has number 0" in error.what


def _divide(X):
    raise ZeroDivisionError("no shop has number 0")


class LearnsNothing(BaseEstimator):
    def fit(self, X, y=None):
        return self

    def predict(self, X):
        return np.zeros(len(X))


def test_an_estimator_that_learns_nothing_is_told_what_to_do() -> None:
    model = make_pipeline(
        asfitted.Conform(CONTRACT), FunctionTransformer(steps.numbers), LearnsNothing()
    ).fit(ORDERS, AMOUNT)
    try:
        model.predict(ORDERS)
    except sklearn.exceptions.NotFittedError:
        error = refused(model, SaveRefused)
        assert "__sklearn_is_fitted__" in error.mend
    LearnsNothing.__sklearn_is_fitted__ = lambda self: True
    assert proved(model, ORDERS)


class Odds(LearnsNothing):
    """Gives probabilities, and is no classifier to scikit-learn."""

    def __sklearn_is_fitted__(self):
        return True

    def predict_proba(self, X):
        return np.tile([0.5, 0.5], (len(X), 1))


def test_probabilities_of_what_is_no_classifier(tmp_path) -> None:
    model = make_pipeline(
        asfitted.Conform(CONTRACT), FunctionTransformer(steps.numbers), Odds()
    ).fit(ORDERS, AMOUNT)
    with pytest.raises(SaveRefused) as error:
        asfitted.save_model(model, tmp_path / "m", reference=ORDERS, predict_fn="predict_proba")
    assert "has predict_proba and is no classifier to scikit-learn" in error.value.what
    assert "ClassifierMixin" in error.value.mend


# --- what the artifact holds -------------------------------------------------------------


def _config() -> Config:
    return Config(schema_version=1)


def _code() -> list[str]:
    return [steps.__file__]


def test_a_step_that_changes_itself_while_it_answers(tmp_path) -> None:
    """What travels is what fit has left; the proof in a fresh process finds what has moved."""
    model = make_pipeline(
        asfitted.Conform(CONTRACT), steps.Remembering(), LogisticRegression(C=1e6)
    )
    first = ORDERS.drop_duplicates("customer")
    model.fit(first, steps.target(first))
    model.steps[1][1].seen_ = set()
    model.steps[2][1].coef_[0, -1] = 5.0
    with pytest.raises(SaveRefused):
        asfitted.save_model(
            model, tmp_path / "m", reference=ORDERS, code_paths=_code(), config=_config()
        )


def test_a_step_that_remembers_the_first_row_of_each_customer(tmp_path) -> None:
    model = make_pipeline(asfitted.Conform(CONTRACT), steps.Memo(), LogisticRegression())
    with pytest.raises(SaveRefused, match="in a fresh process") as error:
        asfitted.save_model(
            model.fit(ORDERS, TARGET),
            tmp_path / "m",
            reference=ORDERS,
            code_paths=_code(),
            config=_config(),
        )
    assert "change itself while it answers" in error.value.mend


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("saved") / "model"
    fitted = with_hours().fit(ORDERS, TARGET)
    asfitted.save_model(fitted, root, reference=ORDERS, code_paths=_code(), config=_config())
    return root


def test_the_golden_examples_hold_what_the_pipeline_said_and_every_probe(saved) -> None:
    from asfitted.artifact import golden

    inputs, outputs, _ = golden.read(saved)
    trained = golden.read_trained(saved)
    assert len(inputs) == len(outputs) == len(trained)
    assert inputs["weight"].isna().any()
    assert set(inputs["colour"].dropna()) == {"red", "green", "blue"}
    assert inputs["colour"].isna().any()
    assert inputs["amount"].max() > ORDERS["amount"].max()
    fitted = with_hours().fit(ORDERS, TARGET)
    assert (trained["prediction"] == fitted.predict(inputs)).all()


def test_the_proof_asks_the_pipeline_again(saved, tmp_path) -> None:
    """A model whose scorer repeats itself, and whose pipeline says something else."""
    from asfitted.artifact import golden, manifest

    root = Path(shutil.copytree(saved, tmp_path / "copy"))
    assert prove(root, _config())["proved"]
    inputs, outputs, _ = golden.read(root)
    trained = golden.read_trained(root)
    trained["probability_big"] = trained["probability_big"] * (1 - 1e-6)
    golden.write(root, CONTRACT.conform(inputs, keys=False).frame, outputs, trained)
    content = manifest.read(root)
    manifest.seal(root, content["resources"], content["versions"])
    asfitted.load_model(root, record=False)
    said = prove(root, _config())
    assert not said["proved"]
    assert said["code"] == GoldenMismatch.code
    assert "another answer than the pipeline gave in training" in said["what"]
