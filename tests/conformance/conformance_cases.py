"""The rows, and one pipeline of each family that is supported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import conformance_steps
import numpy as np
import pandas as pd
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.multioutput import MultiOutputRegressor
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    StandardScaler,
    TargetEncoder,
)
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier

import asfitted

# `mauve` and `other` are allowed and never seen in training; nor is a missing colour.
CONTRACT = asfitted.DataContract.from_yaml("""
schema_version: 1
keys: [id]
columns:
  id: {kind: text}
  size: {kind: number, missing: pass, observed: [-4, 4]}
  weight: {kind: number}
  count: {kind: integer, min: 0}
  fresh: {kind: boolean, missing: pass}
  colour: {kind: category, categories: [red, green, blue, mauve], missing: pass, unknown: missing}
  shop: {kind: category, categories: [north, south], unknown: other}
  grade: {kind: category, categories: [3, 1, 2], missing: {fill: 1}}
  note: {kind: text, missing: {fill: ""}}
  sold: {kind: datetime, zone: Europe/Berlin}
""")
COLOUR_SHOP = ["colour", "shop"]
CATEGORIES = [*COLOUR_SHOP, "grade"]
NUMBERS = ["size", "weight", "count", "fresh"]
_WORDS = ["fine", "small", "old", "worn", "rare", "blue-ish", "heavy", "great"]
N_ROWS = 200


def rows(seed: int, n_rows: int = N_ROWS) -> pd.DataFrame:
    """Return rows as training sees them."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "id": [f"row-{seed}-{i}" for i in range(n_rows)],
            "size": rng.normal(size=n_rows),
            "weight": rng.gamma(2.0, size=n_rows),
            "count": rng.integers(0, 20, n_rows),
            "fresh": rng.choice(np.array([True, False, None], dtype=object), n_rows),
            "colour": rng.choice(["red", "green", "blue"], n_rows),
            "shop": rng.choice(["north", "south"], n_rows),
            "grade": rng.choice([1, 2, 3], n_rows),
            "note": [" ".join(rng.choice(_WORDS, 3)) for _ in range(n_rows)],
            "sold": pd.Timestamp("2024-01-05")
            + pd.to_timedelta(rng.integers(0, 9000, n_rows), "h"),
        }
    )
    frame["sold"] = frame["sold"].dt.tz_localize("UTC")
    frame.loc[::9, "size"] = np.nan
    return frame


def served() -> pd.DataFrame:
    """Return rows as production sends them, with all that training never saw."""
    frame = rows(seed=2)
    for column in ("colour", "shop", "note", "grade"):
        frame[column] = frame[column].astype(object)
    frame.loc[::5, "colour"] = None
    frame.loc[1::5, "colour"] = "mauve"
    frame.loc[2::15, "colour"] = "a colour of no list"
    frame.loc[::4, "shop"] = "west"
    frame.loc[::6, "grade"] = None
    frame.loc[::7, "note"] = None
    frame.loc[3, "size"] = 40.5
    return frame


def target(kind: str, frame: pd.DataFrame) -> Any:
    """Return a target that depends on the rows."""
    noise = np.random.default_rng(3).normal(size=len(frame))
    score = frame["weight"] + (frame["colour"] == "red") + frame["size"].fillna(0.0) + noise
    if kind == "binary":
        return np.where(score > score.median(), "yes", "no")
    if kind == "three":
        return np.array(["high", "low", "mid"])[pd.qcut(score, 3, labels=False)]
    if kind == "whole":
        return pd.qcut(score, 3, labels=False)
    if kind == "two numbers":
        return np.column_stack([score, noise - score])
    if kind == "two labels":
        return np.column_stack([np.where(score > 2, "b", "a"), np.where(noise > 0, "d", "c")])
    return np.exp(score.to_numpy() / 4)


@dataclass(frozen=True)
class Case:
    """A pipeline to be.

    Attributes
    ----------
    pipeline : callable
        Makes it, not fitted.
    target : str
        See `target`.
    save : dict
        Further arguments of ``save_model``.
    """

    pipeline: Callable[[], Any]
    target: str = "binary"
    save: dict[str, Any] = field(default_factory=dict)


def numbers(*further: Any) -> tuple[str, Any, list[str]]:
    return "num", make_pipeline(SimpleImputer(), StandardScaler(), *further), NUMBERS


def dummies(**options: Any) -> tuple[str, Any, list[str]]:
    return "cat", asfitted.Dummies(**options), CATEGORIES


def one_hot(**options: Any) -> tuple[str, Any, list[str]]:
    lists = CONTRACT.categories(CATEGORIES)
    return "cat", OneHotEncoder(categories=lists, **options), CATEGORIES


def ordinal() -> tuple[str, Any, list[str]]:
    lists = CONTRACT.categories(COLOUR_SHOP)
    return "cat", OrdinalEncoder(categories=lists, encoded_missing_value=-1), COLOUR_SHOP


def pipe(*transformers: Any, then: Any) -> Any:
    steps = then if isinstance(then, tuple) else (then,)
    return make_pipeline(asfitted.Conform(CONTRACT), ColumnTransformer(list(transformers)), *steps)


def native(estimator: Any) -> Any:
    """Give the estimator the conformed frame itself: it reads the category dtype."""
    kept = ["id", *NUMBERS, *CATEGORIES]
    contract = CONTRACT.model_copy(
        update={
            "columns": {name: CONTRACT.columns[name] for name in kept},
            "extra_columns": "ignore",
        }
    )
    return make_pipeline(asfitted.Conform(contract), estimator)


def _search() -> Any:
    return GridSearchCV(
        pipe(dummies(), numbers(), then=LogisticRegression()),
        {"logisticregression__C": [0.1, 1.0]},
        cv=2,
    )


def _stacking() -> Any:
    members = [("tree", DecisionTreeClassifier(max_depth=3)), ("bayes", GaussianNB())]
    return StackingClassifier(members, LogisticRegression(), cv=2)


def _voting() -> Any:
    members = [("line", LogisticRegression()), ("tree", DecisionTreeClassifier(max_depth=3))]
    return VotingClassifier(members, voting="soft")


def _custom() -> Any:
    text = make_pipeline(FunctionTransformer(conformance_steps.texts), TfidfVectorizer(min_df=1))
    return pipe(
        ("price", conformance_steps.Prices(), ["shop"]),
        ("hours", FunctionTransformer(conformance_steps.hours), ["sold"]),
        ("text", text, ["note"]),
        then=LogisticRegression(),
    )


def _lightgbm(kind: str, **options: Any) -> Any:
    import lightgbm

    return getattr(lightgbm, kind)(
        n_estimators=10, min_child_samples=5, verbose=-1, n_jobs=1, **options
    )


def _xgboost(**options: Any) -> Any:
    import xgboost

    return xgboost.XGBClassifier(n_estimators=10, max_depth=3, n_jobs=1, **options)


def _forest() -> Any:
    return RandomForestClassifier(n_estimators=20, n_jobs=2, random_state=0)


def _mlp() -> Any:
    return MLPClassifier((8,), solver="lbfgs", max_iter=4000, tol=1e-2, random_state=0)


def _calibrated() -> Any:
    return CalibratedClassifierCV(SVC(random_state=0), cv=2)


CASES: dict[str, Case] = {
    "logistic_binary": Case(
        lambda: pipe(dummies(), numbers(), then=LogisticRegression()),
        save={"predict_fn": "predict_proba"},
    ),
    "logistic_three": Case(
        lambda: pipe(one_hot(), ("t", TfidfVectorizer(), "note"), then=LogisticRegression()),
        "three",
        {"predict_fn": "both"},
    ),
    "forest_of_two_jobs": Case(lambda: pipe(ordinal(), numbers(), then=_forest()), "three"),
    "hist_native": Case(
        lambda: native(
            HistGradientBoostingClassifier(max_iter=10, categorical_features="from_dtype")
        )
    ),
    "hist_regressor": Case(
        lambda: pipe(dummies(), numbers(), then=HistGradientBoostingRegressor(max_iter=10)),
        "number",
    ),
    "gradient_boosting": Case(
        lambda: pipe(
            dummies(dtype="float64"),
            numbers(KBinsDiscretizer(3, encode="onehot-dense", strategy="uniform")),
            then=GradientBoostingClassifier(n_estimators=10),
        ),
        "whole",
    ),
    "svc_calibrated": Case(lambda: pipe(dummies(), numbers(), then=_calibrated())),
    "linear_svc": Case(
        lambda: pipe(
            dummies(), numbers(PolynomialFeatures(2)), then=LinearSVC(max_iter=20_000, C=0.01)
        ),
        "three",
    ),
    "neighbours": Case(
        lambda: pipe(
            ("cat", TargetEncoder(), COLOUR_SHOP),
            numbers(),
            then=KNeighborsClassifier(7, n_jobs=2),
        )
    ),
    "bayes": Case(lambda: pipe(one_hot(sparse_output=False), numbers(), then=GaussianNB())),
    "mlp": Case(
        lambda: pipe(
            dummies(sparse=True),
            ("t", TfidfVectorizer(), "note"),
            then=(TruncatedSVD(6, random_state=0), StandardScaler(), _mlp()),
        )
    ),
    "ridge": Case(
        lambda: pipe(
            dummies(),
            numbers(FeatureUnion([("pca", PCA(2)), ("same", FunctionTransformer())])),
            then=Ridge(),
        ),
        "number",
    ),
    "multi_output_regressor": Case(
        lambda: pipe(dummies(), numbers(), then=MultiOutputRegressor(Ridge())), "two numbers"
    ),
    "multi_output_classifier": Case(
        lambda: pipe(dummies(), numbers(), then=_forest()),
        "two labels",
        {"predict_fn": "both"},
    ),
    "stacking": Case(lambda: pipe(dummies(), numbers(), then=_stacking())),
    "voting": Case(lambda: pipe(dummies(), numbers(), then=_voting())),
    "transformed_target": Case(
        lambda: pipe(
            dummies(),
            numbers(),
            then=TransformedTargetRegressor(Ridge(), func=np.log1p, inverse_func=np.expm1),
        ),
        "number",
    ),
    "sgd_three": Case(
        lambda: pipe(
            one_hot(),
            ("t", HashingVectorizer(n_features=64), "note"),
            then=SGDClassifier(loss="log_loss", random_state=0),
        ),
        "three",
    ),
    "lda": Case(
        lambda: pipe(one_hot(sparse_output=False), numbers(), then=LinearDiscriminantAnalysis()),
        "three",
    ),
    "search": Case(_search),
    "lightgbm_native": Case(lambda: native(_lightgbm("LGBMClassifier"))),
    "lightgbm_regressor": Case(
        lambda: pipe(dummies(sparse=True), numbers(), then=_lightgbm("LGBMRegressor")), "number"
    ),
    "xgboost": Case(lambda: pipe(dummies(), numbers(), then=_xgboost()), "whole"),
    "xgboost_native": Case(lambda: native(_xgboost(enable_categorical=True)), "whole"),
    "own_steps": Case(_custom, save={"code_paths": [conformance_steps.__file__]}),
}
