"""Pipelines, encoders and estimators of other libraries, in the forms in which people use them."""

from __future__ import annotations

from typing import Any

import conformance_dishonest as steps
import numpy as np
import pandas as pd
import pytest
from conformance_dishonest import NUMBERS
from conformance_served import assert_served, proved
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

import asfitted
from asfitted.errors import ProbeFailed

# What these libraries say while they are imported, fitted and asked is their own matter.
pytestmark = pytest.mark.filterwarnings("ignore")

# `mauve` is declared and never seen, and so is what `unknown: other` maps to.
CONTRACT = asfitted.DataContract.from_yaml("""
schema_version: 1
keys: [order]
extra_columns: ignore
columns:
  order: {kind: text}
  amount: {kind: number}
  weight: {kind: number, missing: pass}
  colour: {kind: category, categories: [red, green, blue, mauve], unknown: other}
  shop: {kind: category, categories: [a, b, c]}
  note: {kind: text}
""")
LABELS = ["colour", "shop"]


def _rows(n_rows: int = 500) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    words = ["fine", "small", "old", "worn", "rare", "heavy"]
    return pd.DataFrame(
        {
            "order": [f"o{i}" for i in range(n_rows)],
            "amount": rng.gamma(2.0, 50.0, n_rows),
            "weight": rng.normal(20.0, 3.0, n_rows),
            "colour": rng.choice(["red", "green", "blue"], n_rows),
            "shop": rng.choice(["a", "b", "c"], n_rows),
            "note": [" ".join(rng.choice(words, 4)) for _ in range(n_rows)],
        }
    )


ROWS = _rows()
_CHANCE = np.random.default_rng(1).normal(size=len(ROWS)) * 20
TARGET = (ROWS["amount"] + 30 * (ROWS["colour"] == "red") + _CHANCE > 100).astype(int).to_numpy()


def lib(name: str) -> Any:
    return pytest.importorskip(name)


def encoded(encoder: Any, estimator: Any = None) -> Any:
    """Return a pipeline with an encoder of categories in a ColumnTransformer."""
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    prepare = ColumnTransformer([("cat", encoder, LABELS), ("num", numbers, ["amount", "weight"])])
    return make_pipeline(
        asfitted.Conform(CONTRACT), prepare, estimator or LogisticRegression(max_iter=1000)
    )


def without_text(X: pd.DataFrame) -> pd.DataFrame:
    return X.drop(columns="note").assign(weight=X["weight"].fillna(20.0))


def framed(encoder: Any) -> Any:
    """Return a pipeline with an encoder of frames, as feature-engine has them."""
    return make_pipeline(
        asfitted.Conform(CONTRACT),
        FunctionTransformer(without_text),
        encoder,
        StandardScaler(),
        LogisticRegression(),
    )


# --- imbalanced-learn ----------------------------------------------------------------


def _prepared() -> ColumnTransformer:
    return ColumnTransformer(
        [("cat", asfitted.Dummies(), LABELS), ("num", SimpleImputer(), ["amount", "weight"])]
    )


def _imbalanced(form: str) -> Any:
    pipeline = lib("imblearn.pipeline")
    over, under = lib("imblearn.over_sampling"), lib("imblearn.under_sampling")
    conform, last = asfitted.Conform(CONTRACT), LogisticRegression(max_iter=1000)
    if form == "smote":
        return pipeline.make_pipeline(conform, _prepared(), over.SMOTE(random_state=0), last)
    if form == "sampler before the columns":
        sampler = under.RandomUnderSampler(random_state=0)
        return pipeline.make_pipeline(conform, sampler, _prepared(), last)
    if form == "within scikit-learn's":
        sampler = over.RandomOverSampler(random_state=0)
        return make_pipeline(conform, pipeline.make_pipeline(_prepared(), sampler, last))
    if form == "a function as sampler":
        sampler = lib("imblearn").FunctionSampler(func=_every_second, validate=False)
        return pipeline.make_pipeline(conform, _prepared(), sampler, last)
    if form == "within a meta-estimator":
        sampler = over.SMOTE(random_state=0)
        whole = pipeline.make_pipeline(conform, _prepared(), sampler, last)
        return CalibratedClassifierCV(whole, cv=2, ensemble=False)
    forest = lib("imblearn.ensemble").BalancedRandomForestClassifier(10, random_state=0)
    return make_pipeline(conform, _prepared(), forest)


def _every_second(X: Any, y: Any) -> Any:
    return X[::2], y[::2]


@pytest.mark.parametrize(
    "form",
    [
        "smote",
        "sampler before the columns",
        "within scikit-learn's",
        "a function as sampler",
        "within a meta-estimator",
        "balanced forest",
    ],
)
def test_imbalanced_learn(form) -> None:
    assert_served(_imbalanced(form).fit(ROWS, TARGET), ROWS)


# --- category_encoders and feature-engine ------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "TargetEncoder",
        "LeaveOneOutEncoder",
        "JamesSteinEncoder",
        "MEstimateEncoder",
        "CatBoostEncoder",
        "WOEEncoder",
        "QuantileEncoder",
    ],
)
def test_an_encoder_that_learns_from_the_target_gives_the_unseen_its_prior(name) -> None:
    encoder = getattr(lib("category_encoders"), name)()
    assert_served(encoded(encoder).fit(ROWS, TARGET), ROWS)


def test_feature_engine_gives_the_unseen_its_prior() -> None:
    encoder = lib("feature_engine.encoding").MeanEncoder(
        variables=LABELS, ignore_format=True, unseen="encode"
    )
    assert_served(framed(encoder).fit(ROWS, TARGET), ROWS)


def test_feature_engine_that_fails_on_the_unseen_is_told_what_it_has() -> None:
    encoder = lib("feature_engine.encoding").MeanEncoder(variables=LABELS, ignore_format=True)
    with pytest.raises(ProbeFailed) as error:
        proved(framed(encoder).fit(ROWS, TARGET), ROWS)
    assert "colour = 'mauve'" in error.value.what
    assert "MeanEncoder(unseen='encode')" in error.value.mend


@pytest.mark.parametrize("name", ["OneHotEncoder", "OrdinalEncoder", "BinaryEncoder"])
def test_a_declared_category_that_is_lost_is_refused_with_a_hint_that_fits(name) -> None:
    encoder = getattr(lib("category_encoders"), name)()
    with pytest.raises(ProbeFailed) as error:
        proved(encoded(encoder).fit(ROWS, TARGET), ROWS)
    assert "colour = 'mauve', which training never saw" in error.value.what
    assert "'other'" not in error.value.what, "what is mapped there is unknown by contract"
    assert "contract.categories" not in error.value.mend, "the encoder has no such parameter"
    # The hint: what training never saw is left out, and mapped.
    columns = dict(CONTRACT.columns)
    columns["colour"] = columns["colour"].model_copy(
        update={"categories": ("red", "green", "blue")}
    )
    followed = encoded(encoder).set_params(
        conform__contract=CONTRACT.model_copy(update={"columns": columns})
    )
    assert_served(followed.fit(ROWS, TARGET), ROWS)


# --- skrub and CatBoost ------------------------------------------------------------------


def test_skrub() -> None:
    skrub = lib("skrub")
    prepare = ColumnTransformer(
        [
            ("note", skrub.StringEncoder(4, random_state=0), "note"),
            ("num", SimpleImputer(), ["amount", "weight"]),
            ("cat", asfitted.Dummies(), LABELS),
        ]
    )
    model = make_pipeline(
        asfitted.Conform(CONTRACT), prepare, StandardScaler(), LogisticRegression()
    )
    assert_served(model.fit(ROWS, TARGET), ROWS)


@pytest.mark.parametrize("native", [False, True])
def test_catboost(native) -> None:
    options: dict[str, Any] = {"iterations": 20, "verbose": 0, "allow_writing_files": False}
    if native:
        options |= {"cat_features": LABELS, "text_features": ["note"]}
    model = lib("catboost").CatBoostClassifier(**options)
    whole = make_pipeline(asfitted.Conform(CONTRACT), model)
    assert_served((whole if native else encoded(asfitted.Dummies(), model)).fit(ROWS, TARGET), ROWS)


@pytest.mark.parametrize("name", ["lightgbm", "xgboost"])
def test_boosting_within_a_meta_estimator(name) -> None:
    module = lib(name)
    kind = module.LGBMClassifier if name == "lightgbm" else module.XGBClassifier
    options = {"verbose": -1} if name == "lightgbm" else {}
    inner = encoded(asfitted.Dummies(), kind(n_estimators=5, n_jobs=1, **options))
    assert_served(FixedThresholdClassifier(inner, threshold=0.3).fit(ROWS, TARGET), ROWS)


def test_rows_of_the_other_suite_go_through_a_sampler_too() -> None:
    """A text of many values, moments and a sampler that copies rows of a frame."""
    orders = steps.orders(600)
    sampler = lib("imblearn.over_sampling").RandomOverSampler(random_state=0)
    prepare = ColumnTransformer(
        [("hours", FunctionTransformer(steps.hours), ["sold"]), ("num", SimpleImputer(), NUMBERS)]
    )
    model = lib("imblearn.pipeline").make_pipeline(
        asfitted.Conform(steps.CONTRACT), sampler, prepare, LogisticRegression(max_iter=1000)
    )
    assert_served(model.fit(orders, steps.target(orders)), orders)
