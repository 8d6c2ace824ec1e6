"""The answer as a frame of named columns, and the check that it may be sent."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd
from sklearn.base import is_classifier

from asfitted.errors import OutputViolation, SaveRefused

PredictFn = Literal["predict", "predict_proba", "both"]
PREDICTION, PROBABILITY, DECISION = "prediction", "probability_", "decision"

# Probabilities are float sums of a few hundred terms at most.
_SUM_ATOL = 1e-6


def methods(estimator: Any) -> list[str]:
    """Return what to call on the last step: the answer, and the scores behind it."""
    called = ["predict"]
    if is_classifier(estimator):
        scores = [m for m in ("predict_proba", "decision_function") if hasattr(estimator, m)]
        called += scores[:1]
    return called


def name_outputs(estimator: Any, results: dict[str, Any]) -> pd.DataFrame:
    """Return everything that the last step said, one column each.

    Parameters
    ----------
    estimator : fitted estimator
    results : dict of method to result

    Returns
    -------
    DataFrame of shape (n_rows, n_outputs)
        ``prediction``, then ``probability_<class>`` in the order of
        ``classes_``, or ``decision``. With several targets,
        ``prediction_0``, ``prediction_1``, …
    """
    columns: dict[str, Any] = {}
    prediction = np.asarray(results["predict"])
    if prediction.ndim == 2 and prediction.shape[1] == 1:
        prediction = prediction[:, 0]
    if prediction.ndim == 1:
        columns[PREDICTION] = prediction
    else:
        columns |= {f"{PREDICTION}_{i}": prediction[:, i] for i in range(prediction.shape[1])}
    if "predict_proba" in results:
        columns |= _probabilities(estimator, results["predict_proba"])
    elif "decision_function" in results:
        decision = np.asarray(results["decision_function"])
        if decision.ndim == 1:
            columns[DECISION] = decision
        else:
            columns |= {f"{DECISION}_{i}": decision[:, i] for i in range(decision.shape[1])}
    return pd.DataFrame(columns)


def _probabilities(estimator: Any, result: Any) -> dict[str, Any]:
    classes = estimator.classes_
    if isinstance(result, list):
        return {
            f"{PROBABILITY}{target}_{label}": np.asarray(part)[:, i]
            for target, part in enumerate(result)
            for i, label in enumerate(classes[target])
        }
    result = np.asarray(result)
    return {f"{PROBABILITY}{label}": result[:, i] for i, label in enumerate(classes)}


def answer(outputs: pd.DataFrame, predict_fn: PredictFn) -> Any:
    """Return what the caller asked for.

    Returns
    -------
    ndarray of shape (n_rows,)
        For "predict" and one target, as scikit-learn and ``mlflow.sklearn`` do.
    DataFrame
        Otherwise: columns ``prediction``, ``probability_<class>``.
    """
    probabilities = outputs.columns.str.startswith(PROBABILITY)
    predictions = outputs.columns.str.startswith(PREDICTION)
    if predict_fn == "predict":
        chosen = outputs.loc[:, predictions]
        return chosen[PREDICTION].to_numpy() if PREDICTION in chosen else chosen
    return outputs.loc[
        :, probabilities if predict_fn == "predict_proba" else probabilities | predictions
    ]


def refuse_predict_fn(estimator: Any, predict_fn: str) -> None:
    """Refuse a `predict_fn` that the last step cannot serve.

    Raises
    ------
    SaveRefused
    """
    if predict_fn not in {"predict", "predict_proba", "both"}:
        raise SaveRefused(
            f"there is no predict_fn {predict_fn!r}", mend="say predict, predict_proba or both"
        )
    name = type(estimator).__name__
    if not hasattr(estimator, "predict"):
        raise SaveRefused(
            f"the last step, {name}, cannot predict",
            mend="end the pipeline with a classifier or a regressor",
        )
    if predict_fn != "predict" and "predict_proba" not in methods(estimator):
        raise SaveRefused(
            f"{name} gives no probabilities, so predict_fn={predict_fn!r} cannot be served",
            mend="say predict_fn='predict', or wrap it in CalibratedClassifierCV",
        )


def check(estimator: Any, outputs: pd.DataFrame) -> None:
    """Refuse answers that must not be sent as a success.

    Raises
    ------
    OutputViolation
        A number that is not finite, a probability outside [0, 1], a row whose
        probabilities do not sum to 1, a label that is no class of training.
    """
    problems = []
    for name in outputs.columns:
        values = outputs[name].to_numpy()
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            problems.append(f"{name}: {int((~np.isfinite(values)).sum())} values are not finite")
        elif name.startswith(PROBABILITY) and ((values < 0) | (values > 1)).any():
            problems.append(f"{name}: probabilities outside [0, 1]")
        elif values.dtype == object and pd.isna(values).any():
            problems.append(f"{name}: values are missing")
    probabilities = outputs.loc[:, outputs.columns.str.startswith(PROBABILITY)]
    single = PREDICTION in outputs
    if single and not problems and probabilities.shape[1]:
        sums = probabilities.to_numpy(dtype="float64").sum(axis=1)
        if (np.abs(sums - 1) > _SUM_ATOL).any():
            problems.append("the probabilities of a row do not sum to 1")
    if single and is_classifier(estimator) and hasattr(estimator, "classes_"):
        strangers = ~np.isin(outputs[PREDICTION].to_numpy(), np.asarray(estimator.classes_))
        if strangers.any():
            problems.append(f"{PREDICTION}: a label that is no class of training")
    if problems:
        raise OutputViolation(
            "the model's answer is not one: " + "; ".join(problems),
            f"{type(estimator).__name__}, {len(outputs)} rows",
        )
