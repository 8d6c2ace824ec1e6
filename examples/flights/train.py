"""Train the flights model, measure it on months that it has not seen, and log it.

::

    mlflow run . --env-manager local             # from the root of the repository
    python examples/flights/train.py --infer     # what infer proposes as a contract
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import warnings
from pathlib import Path

import data
import features
import matplotlib
import mlflow
import numpy as np
import pandas as pd
from sklearn.calibration import CalibrationDisplay
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

import asfitted

HERE = Path(__file__).resolve().parent
CONTRACT = HERE / "contract.yaml"
HOLDOUT = HERE / "data" / "holdout.parquet"

LAST_TRAINING_MONTH = 9  # October to December are never trained on
HOLDOUT_ROWS = 20_000  # what the gates score each time; an AUC of 0.68 is known to ±0.009

CATEGORIES = ["carrier", "origin", "dest", "plane_maker", "hour", "weekday"]
NUMBERS = [
    "distance",
    *(name for name in data.WEATHER if name != "wind_gust"),
    "plane_age",
    "plane_seats",
]


def build(contract: asfitted.DataContract, model: str, seed: int) -> Pipeline:
    """Return the unfitted pipeline, from the raw row to the answer."""
    prepare, estimator = {"logistic": _logistic, "hgb": _hgb}[model](seed)
    return Pipeline(
        [
            ("conform", asfitted.Conform(contract)),
            ("plane", features.Plane()),
            ("calendar", features.Calendar()),
            ("prepare", prepare),
            (model, estimator),
        ]
    )


def _logistic(seed: int) -> tuple[ColumnTransformer, LogisticRegression]:
    numbers = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    # A station reports gusts only where there are some.
    gust = make_pipeline(SimpleImputer(strategy="constant", fill_value=0.0), StandardScaler())
    words = CountVectorizer(binary=True, min_df=0.005)
    prepare = ColumnTransformer(
        [
            ("category", asfitted.Dummies(), CATEGORIES),
            ("number", numbers, NUMBERS),
            ("gust", gust, ["wind_gust"]),
            ("words", words, "dest_name"),
        ],
        sparse_threshold=0,
    )
    return prepare, LogisticRegression(solver="newton-cholesky", random_state=seed)


def _hgb(seed: int) -> tuple[ColumnTransformer, HistGradientBoostingClassifier]:
    columns = [*CATEGORIES, *NUMBERS, "wind_gust", "minute_of_day"]
    prepare = ColumnTransformer(
        [("keep", "passthrough", columns)], verbose_feature_names_out=False
    ).set_output(transform="pandas")
    return prepare, HistGradientBoostingClassifier(
        categorical_features="from_dtype",
        learning_rate=0.05,
        max_leaf_nodes=15,
        min_samples_leaf=200,
        l2_regularization=10,
        random_state=seed,
    )


def split(rows: pd.DataFrame, months: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the flights of the first `months`, and those of October to December."""
    month = rows["scheduled_departure"].dt.month
    return rows[month <= months], rows[month > LAST_TRAINING_MONTH]


def measure(late: pd.Series, probability: np.ndarray, prefix: str = "") -> dict[str, float]:
    """Return the metrics of predicted probabilities of being late."""
    return {
        f"{prefix}roc_auc": float(roc_auc_score(late, probability)),
        f"{prefix}log_loss": float(log_loss(late, probability)),
        f"{prefix}brier": float(brier_score_loss(late, probability)),
    }


def evaluate(pipeline: Pipeline, train: pd.DataFrame, later: pd.DataFrame) -> dict[str, float]:
    """Return the metrics on the later months, beside those of knowing nothing."""
    probability = pipeline.predict_proba(later[data.COLUMNS])[:, 1]
    prior = DummyClassifier(strategy="prior").fit(train[data.COLUMNS], train[data.TARGET])
    known = prior.predict_proba(later[data.COLUMNS])[:, 1]
    _plot_calibration(later[data.TARGET], probability)
    return {
        **measure(later[data.TARGET], probability),
        **measure(later[data.TARGET], known, "baseline_"),
        "predicted_late": float(probability.mean()),
        "observed_late": float(later[data.TARGET].mean()),
        "train_rows": len(train),
        "holdout_rows": len(later),
    }


def _plot_calibration(late: pd.Series, probability: np.ndarray) -> None:
    """Log a picture: of the flights given 30 %, were 30 % late?"""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (top, bottom) = pyplot.subplots(
        2, 1, figsize=(6, 6.5), height_ratios=(3, 1), sharex=True, layout="constrained"
    )
    CalibrationDisplay.from_predictions(
        late, probability, n_bins=20, strategy="quantile", ax=top, name="model"
    )
    top.set(
        title=f"{len(late):,} flights of October to December 2013",
        xlabel="",
        ylabel="share that was late",
        xlim=(0, 1),
    )
    bottom.hist(probability, bins=np.linspace(0, 1, 51), color="tab:blue")
    bottom.set(xlabel="predicted probability of being late", ylabel="flights")
    mlflow.log_figure(figure, "calibration.png")
    pyplot.close(figure)


def write_holdout(later: pd.DataFrame) -> None:
    """Write the rows that the gates score: the same ones whatever is trained."""
    rows = later.sample(HOLDOUT_ROWS, random_state=0).sort_index().reset_index(drop=True)
    HOLDOUT.parent.mkdir(exist_ok=True)
    # Another training, or a gate, may be reading it just now.
    with tempfile.TemporaryDirectory(dir=HOLDOUT.parent) as folder:
        written = Path(folder) / HOLDOUT.name
        rows.to_parquet(written, index=False)
        os.replace(written, HOLDOUT)


def _subsample(train: pd.DataFrame, n_rows: int, seed: int) -> pd.DataFrame:
    if not 0 < n_rows < len(train):
        return train
    return train.sample(n_rows, random_state=seed).sort_index()


def run(options: argparse.Namespace) -> str:
    """Train, measure and log; return the report."""
    print("reading the flights of 2013 …", flush=True)
    train, later = split(data.load(), options.train_months)
    write_holdout(later)
    train = _subsample(train, options.rows, options.seed)
    contract = asfitted.DataContract.load(CONTRACT)
    planes = data.planes()
    with mlflow.start_run(), asfitted.resources(planes=planes):
        mlflow.log_params(vars(options))
        print(f"fitting {options.model} on {len(train):,} flights …", flush=True)
        pipeline = build(contract, options.model, options.seed)
        pipeline.fit(train[data.COLUMNS], train[data.TARGET])
        print(f"measuring on {len(later):,} flights …", flush=True)
        metrics = evaluate(pipeline, train, later)
        mlflow.log_metrics(metrics)
        print("proving and logging the model …", flush=True)
        logged = asfitted.log_model(
            pipeline,
            name="flights",
            reference=train[data.COLUMNS],
            code_paths=[HERE / "features.py"],
            resources={"planes": planes},
            registered_model_name=options.registered_model_name,
            predict_fn="both",
        )
    return _report(options, metrics, logged)


def _report(options: argparse.Namespace, metrics: dict[str, float], logged) -> str:
    lines = [
        "",
        f"{options.model}: will the flight arrive {data.LATE_MINUTES} or more minutes late?",
        f"  trained on    {metrics['train_rows']:>9,} flights, months 1 to {options.train_months}",
        f"  measured on   {metrics['holdout_rows']:>9,} flights, months 10 to 12",
        "                    model  always the prior",
    ]
    lines += [
        f"  {name:<14}{metrics[name]:>9.4f}  {metrics['baseline_' + name]:>9.4f}"
        for name in ("roc_auc", "log_loss", "brier")
    ]
    lines += [
        f"  late: {metrics['predicted_late']:.1%} predicted, {metrics['observed_late']:.1%} seen",
        f"  registered as models:/{options.registered_model_name}/"
        f"{logged.registered_model_version}, run {logged.run_id}",
        f"  {HOLDOUT_ROWS:,} of the later flights for the gates: {os.path.relpath(HOLDOUT)}",
    ]
    return "\n".join(lines)


def _infer() -> str:
    train, _ = split(data.load(), LAST_TRAINING_MONTH)
    return asfitted.DataContract.infer(train[data.COLUMNS], keys=[data.KEY]).to_yaml()


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=["logistic", "hgb"], default="logistic")
    parser.add_argument(
        "--train-months",
        type=int,
        choices=range(1, LAST_TRAINING_MONTH + 1),
        default=LAST_TRAINING_MONTH,
        metavar="1…9",
        help="train on January up to this month (%(default)s)",
    )
    parser.add_argument(
        "--rows", type=int, default=0, help="train on a sample of this size; 0 is all (%(default)s)"
    )
    parser.add_argument("--registered-model-name", default="flights")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--infer", action="store_true", help="print the contract that infer proposes, and end"
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit code is that of the error's kind."""
    options = _options(arguments)
    infer = vars(options).pop("infer")
    try:
        print(_infer() if infer else run(options))
    except data.DataError as error:
        print(f"DataError: {error}", file=sys.stderr)
        return 2
    except asfitted.AsfittedError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    warnings.filterwarnings("ignore", module="mlflow")
    sys.exit(main())
