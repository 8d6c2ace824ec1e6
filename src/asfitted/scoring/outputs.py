"""The answer as a frame of named columns, and the check that it may be sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pandas as pd
import scipy.sparse
from sklearn.base import is_classifier

from asfitted.contract import DataContract
from asfitted.contract.checks import broken
from asfitted.errors import ContractInvalid, OutputViolation, SaveRefused, Violation

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


def caller(estimator: Any, method: str) -> Callable[[Any], Any]:
    """Return what asks `estimator` by one of its methods, and gives arrays.

    A list of labels or a sparse matrix of them is an answer as well; the list that
    ``predict_proba`` gives for several targets holds arrays already.
    """
    ask = getattr(estimator, method)

    def call(table: Any) -> Any:
        result = ask(table)
        if scipy.sparse.issparse(result):
            return result.toarray()
        return np.asarray(result) if method == "predict" and isinstance(result, list) else result

    return call


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


def of_pipeline(pipeline: Any, frame: pd.DataFrame, estimator: Any) -> pd.DataFrame:
    """Return everything that a pipeline itself says of raw rows, called as a user calls it.

    Parameters
    ----------
    pipeline : fitted pipeline, search or meta-estimator
    frame : DataFrame of shape (n_rows, n_columns)
    estimator : fitted estimator
        Its last step, which names the answers.
    """
    results = {method: caller(pipeline, method)(frame.copy()) for method in methods(estimator)}
    return name_outputs(estimator, results)


def none(estimator: Any) -> pd.DataFrame:
    """Return the outputs of no rows: the same columns, as far as the estimator tells them."""
    classes = getattr(estimator, "classes_", None)
    several = isinstance(classes, list)
    targets: list[Any] = list(classes) if several and classes else [classes]
    n_targets = max(len(targets), int(getattr(estimator, "n_outputs_", 1)))
    kind = np.dtype("float64") if targets[0] is None else np.asarray(targets[0]).dtype
    results: dict[str, Any] = {"predict": np.empty((0, n_targets) if n_targets > 1 else 0, kind)}
    for method in methods(estimator)[1:]:
        wide = [0 if one is None else len(one) for one in targets]
        if several:
            results[method] = [np.empty((0, n)) for n in wide]
        else:
            # A decision between two classes is one number.
            flat = method == "decision_function" and wide[0] <= 2
            results[method] = np.empty(0 if flat else (0, wide[0]))
    return name_outputs(estimator, results)


def _probabilities(estimator: Any, result: Any) -> dict[str, Any]:
    classes = estimator.classes_
    if isinstance(result, list):
        return {
            f"{PROBABILITY}{target}_{label}": np.asarray(part)[:, i]
            for target, part in enumerate(result)
            for i, label in enumerate(classes[target])
        }
    result = np.asarray(result)
    if isinstance(classes, list):
        # A chain gives of each target the probability of the second of its two classes.
        return {f"{PROBABILITY}{i}_{two[1]}": result[:, i] for i, two in enumerate(classes)}
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
    if predict_fn == "predict":
        single = PREDICTION in outputs
        return outputs[PREDICTION].to_numpy() if single else outputs[_named(outputs, PREDICTION)]
    probabilities = _named(outputs, PROBABILITY)
    if predict_fn == "predict_proba":
        return outputs[probabilities]
    return outputs[_named(outputs, PREDICTION) + probabilities]


def _named(outputs: pd.DataFrame, prefix: str) -> list[str]:
    return [name for name in outputs.columns if name.startswith(prefix)]


def listed(outputs: pd.DataFrame, predict_fn: PredictFn) -> list[Any]:
    """Return what the callers asked for as MLflow's server gives it: one item per row."""
    given = answer(outputs, predict_fn)
    if not isinstance(given, pd.DataFrame):
        return list(given.tolist())
    names = [str(name) for name in given.columns]
    rows = zip(*(given[name].tolist() for name in given.columns), strict=True)
    return [dict(zip(names, row, strict=True)) for row in rows]


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
    if predict_fn == "predict" or "predict_proba" in methods(estimator):
        return
    if hasattr(estimator, "predict_proba") and not is_classifier(estimator):
        raise SaveRefused(
            f"{name} has predict_proba and is no classifier to scikit-learn, so "
            f"predict_fn={predict_fn!r} cannot be served",
            name,
            "inherit from sklearn.base.ClassifierMixin, before BaseEstimator, and let fit set "
            "classes_",
        )
    if "predict_proba" not in methods(estimator):
        raise SaveRefused(
            f"{name} gives no probabilities, so predict_fn={predict_fn!r} cannot be served",
            mend="say predict_fn='predict', or wrap it in CalibratedClassifierCV",
        )


def check(estimator: Any, outputs: pd.DataFrame) -> None:
    """Refuse answers that no model may give.

    Raises
    ------
    OutputViolation
        A number that is not finite, a probability outside [0, 1], a row whose
        probabilities do not sum to 1, a label that is no class of training.
    """
    said: list[tuple[str, str, str, Any]] = []
    for name in outputs.columns:
        values = outputs[name].to_numpy()
        if values.dtype.kind == "f":
            said.append((name, "finite", "values are not finite", ~np.isfinite(values)))
        if name.startswith(PROBABILITY):
            outside = (values < 0) | (values > 1)
            said.append((name, "probability", "probabilities outside [0, 1]", outside))
        elif values.dtype == object:
            said.append((name, "missing", "values are missing", pd.isna(values)))
    probabilities = _named(outputs, PROBABILITY)
    single = PREDICTION in outputs
    if single and probabilities:
        sums = sum(outputs[name].to_numpy(dtype="float64") for name in probabilities)
        apart = np.abs(sums - 1) > _SUM_ATOL
        said.append(("", "probability_sum", "rows' probabilities do not sum to 1", apart))
    if single and is_classifier(estimator) and hasattr(estimator, "classes_"):
        strangers = ~np.isin(outputs[PREDICTION].to_numpy(), np.asarray(estimator.classes_))
        said.append((PREDICTION, "class", "labels are no class of training", strangers))
    _refuse(_violations(said), estimator)


def check_declared(
    contract: DataContract, estimator: Any, conformed: pd.DataFrame, outputs: pd.DataFrame
) -> None:
    """Refuse answers that this contract does not allow: its bounds and its output checks.

    Parameters
    ----------
    contract : DataContract
    estimator : fitted estimator
    conformed : DataFrame of shape (n_rows, n_features)
    outputs : DataFrame of shape (n_rows, n_outputs)

    Raises
    ------
    OutputViolation
    ContractInvalid
        Where bounds are declared for labels.
    CheckFailed
        Where an output check is broken itself.
    """
    declared = contract.output
    said: list[tuple[str, str, str, Any]] = []
    bounded = declared.min is not None or declared.max is not None
    for name in _named(outputs, PREDICTION) if bounded else []:
        values = outputs[name].to_numpy()
        if values.dtype.kind not in "iuf":
            raise ContractInvalid(
                f"output has bounds, and {name} is no number",
                type(estimator).__name__,
                "leave output.min and output.max out for a classifier",
            )
        if declared.min is not None:
            said.append((name, "min", f"values below {declared.min}", values < declared.min))
        if declared.max is not None:
            said.append((name, "max", f"values above {declared.max}", values > declared.max))
    found = _violations(said)
    if declared.checks:
        found += broken(declared.checks, conformed.reset_index(drop=True), outputs)
    _refuse(found, estimator)


def _violations(said: list[tuple[str, str, str, Any]]) -> list[Violation]:
    return [
        Violation(column, rule, what, tuple(np.flatnonzero(mask).tolist()), len(mask))
        for column, rule, what, mask in said
        if mask.any()
    ]


def _refuse(violations: list[Violation], estimator: Any) -> None:
    if violations:
        raise OutputViolation(violations, type(estimator).__name__)
