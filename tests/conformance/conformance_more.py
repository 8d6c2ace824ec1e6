"""Further pipelines, which go through every door without being saved.

Each of `TRANSFORMERS` is the only one in its pipeline, so that where it runs is told
by the plan of the whole; each of `ESTIMATORS` comes after the same two transformers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import conformance_steps
import numpy as np
import pandas as pd
from conformance_cases import (
    CASES,
    CATEGORIES,
    COLOUR_SHOP,
    CONTRACT,
    NUMBERS,
    Case,
    dummies,
    native,
    numbers,
    pipe,
)
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.compose import TransformedTargetRegressor
from sklearn.cross_decomposition import PLSRegression
from sklearn.decomposition import (
    NMF,
    PCA,
    FactorAnalysis,
    FastICA,
    LatentDirichletAllocation,
    MiniBatchNMF,
    TruncatedSVD,
)
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.ensemble import (
    AdaBoostRegressor,
    BaggingRegressor,
    ExtraTreesClassifier,
    GradientBoostingRegressor,
    IsolationForest,
    RandomForestRegressor,
    StackingRegressor,
    VotingRegressor,
)
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer
from sklearn.feature_selection import SelectFromModel, SelectKBest, VarianceThreshold, f_regression
from sklearn.gaussian_process import GaussianProcessClassifier, GaussianProcessRegressor
from sklearn.impute import IterativeImputer, KNNImputer, MissingIndicator, SimpleImputer
from sklearn.isotonic import IsotonicRegression
from sklearn.kernel_approximation import Nystroem, RBFSampler
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import (
    BayesianRidge,
    ElasticNet,
    HuberRegressor,
    Lasso,
    LinearRegression,
    LogisticRegression,
    Perceptron,
    PoissonRegressor,
    Ridge,
    RidgeClassifier,
    SGDRegressor,
)
from sklearn.mixture import GaussianMixture
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier, RegressorChain
from sklearn.naive_bayes import BernoulliNB, ComplementNB, MultinomialNB
from sklearn.neighbors import (
    KNeighborsRegressor,
    LocalOutlierFactor,
    NearestCentroid,
)
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    Binarizer,
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    SplineTransformer,
    StandardScaler,
    TargetEncoder,
    minmax_scale,
    scale,
)
from sklearn.random_projection import GaussianRandomProjection, SparseRandomProjection
from sklearn.svm import SVC, SVR, LinearSVR, NuSVC
from sklearn.tree import DecisionTreeRegressor, ExtraTreeClassifier

import asfitted

FULL = ["weight", "count"]


def _filled(*then: Any) -> Any:
    """Numbers without missing values, whatever comes next."""
    return make_pipeline(SimpleImputer(), *then)


def _alone(make: Callable[[], Any], columns: Any, last: Callable[[], Any] = Ridge) -> Case:
    return Case(lambda: pipe(("only", make(), columns), then=last()), "number")


# Name in the table of docs/parity.md -> the pipeline where it is alone. Those that
# cannot take a missing value or need another scale come after a step that is row-wise.
TRANSFORMERS: dict[str, Case] = {
    "asfitted.Dummies": _alone(asfitted.Dummies, CATEGORIES),
    "OneHotEncoder": _alone(
        lambda: OneHotEncoder(categories=CONTRACT.categories(CATEGORIES)), CATEGORIES
    ),
    "OrdinalEncoder": _alone(
        lambda: OrdinalEncoder(
            categories=CONTRACT.categories(COLOUR_SHOP), encoded_missing_value=-1
        ),
        COLOUR_SHOP,
    ),
    "TargetEncoder": _alone(TargetEncoder, COLOUR_SHOP),
    "SimpleImputer": _alone(lambda: SimpleImputer(add_indicator=True), NUMBERS),
    "MissingIndicator": _alone(lambda: MissingIndicator(features="all"), NUMBERS),
    "KNNImputer": _alone(KNNImputer, NUMBERS),
    "IterativeImputer": _alone(lambda: IterativeImputer(random_state=0, tol=1.0), NUMBERS),
    "StandardScaler": _alone(lambda: _filled(StandardScaler()), NUMBERS),
    "MinMaxScaler": _alone(lambda: _filled(MinMaxScaler()), NUMBERS),
    "MaxAbsScaler": _alone(lambda: _filled(MaxAbsScaler()), NUMBERS),
    "RobustScaler": _alone(lambda: _filled(RobustScaler()), NUMBERS),
    "Normalizer": _alone(lambda: _filled(Normalizer()), NUMBERS),
    "Binarizer": _alone(lambda: _filled(Binarizer(threshold=0.5)), NUMBERS),
    "QuantileTransformer": _alone(
        lambda: _filled(QuantileTransformer(n_quantiles=50, output_distribution="normal")), NUMBERS
    ),
    "PowerTransformer": _alone(lambda: _filled(PowerTransformer()), NUMBERS),
    "KBinsDiscretizer": _alone(
        lambda: _filled(KBinsDiscretizer(4, encode="ordinal", strategy="uniform")), NUMBERS
    ),
    "PolynomialFeatures": _alone(lambda: _filled(PolynomialFeatures(2)), NUMBERS),
    "SplineTransformer": _alone(lambda: _filled(SplineTransformer(4)), FULL),
    "FunctionTransformer of numpy.log1p": _alone(lambda: FunctionTransformer(np.log1p), FULL),
    "FunctionTransformer of a function that adds up each row": _alone(
        lambda: FunctionTransformer(conformance_steps.row_sums), FULL
    ),
    "VarianceThreshold": _alone(lambda: _filled(VarianceThreshold(1e-4)), NUMBERS),
    "SelectKBest": _alone(lambda: _filled(SelectKBest(f_regression, k=2)), NUMBERS),
    "SelectFromModel": _alone(
        lambda: _filled(SelectFromModel(DecisionTreeRegressor(max_depth=4))), NUMBERS
    ),
    "PCA": _alone(lambda: _filled(PCA(3)), NUMBERS),
    "TruncatedSVD": _alone(lambda: _filled(TruncatedSVD(3, random_state=0)), NUMBERS),
    "FactorAnalysis": _alone(lambda: _filled(FactorAnalysis(2)), NUMBERS),
    "FastICA": _alone(lambda: _filled(FastICA(2, random_state=0, tol=0.1)), NUMBERS),
    "Nystroem": _alone(lambda: _filled(Nystroem(n_components=20, random_state=0)), NUMBERS),
    "RBFSampler": _alone(lambda: _filled(RBFSampler(n_components=20, random_state=0)), NUMBERS),
    "GaussianRandomProjection": _alone(
        lambda: _filled(GaussianRandomProjection(3, random_state=0)), NUMBERS
    ),
    "SparseRandomProjection": _alone(
        lambda: _filled(SparseRandomProjection(3, density=0.5, random_state=0)), NUMBERS
    ),
    "KMeans, as a transformer": _alone(
        lambda: _filled(KMeans(4, n_init=1, random_state=0)), NUMBERS
    ),
    "FeatureUnion of two scalers": _alone(
        lambda: _filled(FeatureUnion([("a", StandardScaler()), ("b", MinMaxScaler())])), NUMBERS
    ),
    "FeatureUnion with a PCA": _alone(
        lambda: _filled(FeatureUnion([("a", StandardScaler()), ("b", PCA(2))])), NUMBERS
    ),
    "TfidfVectorizer": _alone(TfidfVectorizer, "note"),
    "CountVectorizer": _alone(CountVectorizer, "note"),
    "HashingVectorizer": _alone(lambda: HashingVectorizer(n_features=64), "note"),
    "LatentDirichletAllocation": _alone(
        lambda: make_pipeline(CountVectorizer(), LatentDirichletAllocation(3, random_state=0)),
        "note",
    ),
}


def _after(make: Callable[[], Any], target: str = "number", **save: Any) -> Case:
    return Case(lambda: pipe(dummies(), numbers(), then=make()), target, save)


def _counts(make: Callable[[], Any]) -> Case:
    words = ("words", CountVectorizer(), "note")
    return Case(lambda: pipe(dummies(), words, then=make()), "three", {"predict_fn": "both"})


def _lines() -> list[tuple[str, Any]]:
    return [("line", Ridge()), ("tree", DecisionTreeRegressor(max_depth=3))]


_BOTH = {"predict_fn": "both"}

ESTIMATORS: dict[str, Case] = {
    "LinearRegression": _after(LinearRegression),
    "Lasso": _after(lambda: Lasso(0.01)),
    "ElasticNet": _after(lambda: ElasticNet(0.01)),
    "BayesianRidge": _after(BayesianRidge),
    "HuberRegressor": _after(lambda: HuberRegressor(max_iter=1000)),
    "PoissonRegressor": _after(PoissonRegressor),
    "SGDRegressor": _after(lambda: SGDRegressor(random_state=0)),
    "RidgeClassifier": _after(RidgeClassifier, "three"),
    "Perceptron": _after(lambda: Perceptron(random_state=0), "three"),
    "KernelRidge": _after(lambda: KernelRidge(kernel="rbf", gamma=0.1)),
    "PLSRegression": _after(lambda: PLSRegression(2)),
    "QuadraticDiscriminantAnalysis": _after(
        lambda: QuadraticDiscriminantAnalysis(reg_param=0.2), "binary", **_BOTH
    ),
    "DecisionTreeRegressor": _after(lambda: DecisionTreeRegressor(max_depth=6)),
    "ExtraTreeClassifier": _after(lambda: ExtraTreeClassifier(max_depth=6), "three", **_BOTH),
    "RandomForestRegressor": _after(lambda: RandomForestRegressor(10, n_jobs=2, random_state=0)),
    "ExtraTreesClassifier": _after(
        lambda: ExtraTreesClassifier(10, n_jobs=2, random_state=0), "three", **_BOTH
    ),
    "GradientBoostingRegressor": _after(lambda: GradientBoostingRegressor(n_estimators=10)),
    "AdaBoostRegressor": _after(lambda: AdaBoostRegressor(n_estimators=5, random_state=0)),
    "BaggingRegressor": _after(lambda: BaggingRegressor(Ridge(), 5, random_state=0)),
    "IsolationForest": _after(lambda: IsolationForest(n_estimators=10, random_state=0)),
    "SVC": _after(lambda: SVC(decision_function_shape="ovr"), "three"),
    "NuSVC": _after(NuSVC, "binary"),
    "SVR": _after(SVR),
    "LinearSVR": _after(lambda: LinearSVR(C=0.01, max_iter=20_000, random_state=0)),
    "KNeighborsRegressor": _after(lambda: KNeighborsRegressor(5, weights="distance")),
    "NearestCentroid": Case(
        lambda: pipe(numbers(), then=NearestCentroid()), "three", {"predict_fn": "predict"}
    ),
    "LocalOutlierFactor": _after(lambda: LocalOutlierFactor(novelty=True)),
    "MultinomialNB": _counts(MultinomialNB),
    "ComplementNB": _counts(ComplementNB),
    "BernoulliNB": _counts(BernoulliNB),
    "MLPRegressor": _after(
        lambda: MLPRegressor(hidden_layer_sizes=(8,), solver="lbfgs", max_iter=4000, tol=1e-1)
    ),
    "GaussianProcessRegressor": _after(lambda: GaussianProcessRegressor(alpha=0.1, optimizer=None)),
    "GaussianProcessClassifier": _after(
        lambda: GaussianProcessClassifier(optimizer=None), "binary", **_BOTH
    ),
    "GaussianMixture": _after(lambda: GaussianMixture(2, random_state=0, reg_covar=0.1)),
    "KMeans": _after(lambda: KMeans(4, n_init=1, random_state=0)),
    "MiniBatchKMeans": _after(lambda: MiniBatchKMeans(4, n_init=1, random_state=0)),
    "CalibratedClassifierCV of a line": _after(
        lambda: CalibratedClassifierCV(LogisticRegression(), cv=2, method="isotonic"),
        "binary",
        **_BOTH,
    ),
    "OneVsRestClassifier": _after(
        lambda: OneVsRestClassifier(LogisticRegression()), "three", **_BOTH
    ),
    "OneVsOneClassifier": _after(lambda: OneVsOneClassifier(LogisticRegression()), "three"),
    "MultiOutputClassifier": _after(
        lambda: MultiOutputClassifier(LogisticRegression()), "two labels", **_BOTH
    ),
    "RegressorChain": _after(lambda: RegressorChain(Ridge()), "two numbers"),
    "StackingRegressor": _after(lambda: StackingRegressor(_lines(), Ridge(), cv=2)),
    "VotingRegressor": _after(lambda: VotingRegressor(_lines())),
    "TransformedTargetRegressor": _after(
        lambda: TransformedTargetRegressor(
            KNeighborsRegressor(), transformer=QuantileTransformer(n_quantiles=50)
        )
    ),
    "IsotonicRegression": Case(
        lambda: pipe(
            ("only", "passthrough", ["weight"]), then=IsotonicRegression(out_of_bounds="clip")
        ),
        "number",
    ),
}

# Which kernel numpy has for them is the processor's affair, so that what is row-wise on
# one machine may run in blocks on another; the answers are the same bits either way.
BY_MACHINE = {
    "Normalizer",
    "PowerTransformer",
    "QuantileTransformer",
    "FunctionTransformer of numpy.log1p",
    "FunctionTransformer of a function that adds up each row",
}


def _refused(function: Callable[[Any], Any], columns: Any) -> Callable[[], Any]:
    return lambda: pipe(("only", FunctionTransformer(function), columns), then=Ridge())


# What looks at the rows beside it, and so is refused at save.
REFUSED: dict[str, Callable[[], Any]] = {
    "`X - X.mean()`": _refused(lambda X: X - X.mean(), FULL),
    "`X / X.abs().max()`": _refused(lambda X: X / X.abs().max(), FULL),
    "`X.rank()`": _refused(lambda X: X.rank(), FULL),
    "`X.fillna(X.median())`": _refused(lambda X: X.fillna(X.median()), ["size", "weight"]),
    "`X.cumsum()`": _refused(lambda X: X.cumsum(), FULL),
    "`X.shift(fill_value=0)`": _refused(lambda X: X.shift(fill_value=0), FULL),
    "`pandas.get_dummies(X)` of texts": _refused(
        lambda X: pd.get_dummies(X.astype(object)), ["shop"]
    ),
    "`astype('category').cat.codes`": _refused(
        lambda X: X.apply(lambda c: c.astype(object).astype("category").cat.codes), ["shop"]
    ),
    "`pandas.qcut`": _refused(
        lambda X: X.apply(lambda c: pd.qcut(c, 4, labels=False, duplicates="drop")), ["weight"]
    ),
    "`groupby(…).transform('mean')`": _refused(
        lambda X: X.groupby("count").transform("mean"), FULL
    ),
    "`sklearn.preprocessing.scale`": _refused(scale, FULL),
    "`sklearn.preprocessing.minmax_scale`": _refused(minmax_scale, FULL),
    "`numpy.linalg.svd` of the batch": _refused(
        lambda X: np.linalg.svd(X.to_numpy(dtype="float64"), full_matrices=False)[0], FULL
    ),
    "NMF of words": lambda: pipe(
        ("only", make_pipeline(CountVectorizer(), NMF(3, random_state=0, max_iter=2000)), "note"),
        then=Ridge(),
    ),
    "MiniBatchNMF of words": lambda: pipe(
        ("only", make_pipeline(CountVectorizer(), MiniBatchNMF(3, random_state=0)), "note"),
        then=Ridge(),
    ),
}

# Its answer is another one where a single bit of the conformed row is.
FINGERPRINT = Case(lambda: native(conformance_steps.Fingerprint()), "number")

ALL: dict[str, Case] = {**CASES, **TRANSFORMERS, **ESTIMATORS, "fingerprint": FINGERPRINT}

# Nothing between `Conform` and what computes on the frame's own memory.
BARE_CONTRACT = asfitted.DataContract.from_yaml(
    "columns: {" + ", ".join(f"x{i}: {{kind: number}}" for i in range(12)) + "}"
)
BARE: dict[str, Callable[[], list[Any]]] = {
    "LinearRegression": lambda: [LinearRegression()],
    "StandardScaler, Ridge": lambda: [StandardScaler(), Ridge()],
    "PCA, Ridge": lambda: [PCA(3), Ridge()],
    "Normalizer, SVR": lambda: [Normalizer(), SVR()],
    "sums of rows": lambda: [FunctionTransformer(conformance_steps.row_sums), Ridge()],
    "layout": lambda: [FunctionTransformer(conformance_steps.layout), Ridge()],
    "frames in between": lambda: [FunctionTransformer(conformance_steps.doubled), Ridge()],
}


def bare_rows(seed: int, n_rows: int) -> pd.DataFrame:
    """Return rows of nothing but floats."""
    return pd.DataFrame(
        np.random.default_rng(seed).normal(size=(n_rows, 12)), columns=list(BARE_CONTRACT.columns)
    )


def bare(name: str) -> Any:
    """Return a fitted pipeline on `bare_rows`."""
    train = bare_rows(1, 200)
    steps = [asfitted.Conform(BARE_CONTRACT), *BARE[name]()]
    return make_pipeline(*steps).fit(train, train @ np.arange(12.0) + train["x0"] ** 2)
