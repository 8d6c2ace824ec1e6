"""The metrics that a holdout can measure: sklearn's own functions, on equal terms."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn import metrics as sk
from sklearn.exceptions import UndefinedMetricWarning

from asfitted.errors import ConfigError


class Scored:
    """A model's answers beside the truth.

    Parameters
    ----------
    truth, prediction : array of shape (n_rows,)
    probabilities : array of shape (n_rows, n_classes), optional
    classes : sequence, optional
        The labels in the probabilities' order; None for a regressor.
    """

    def __init__(
        self,
        truth: Any,
        prediction: Any,
        probabilities: Any = None,
        classes: Sequence[Any] | None = None,
    ) -> None:
        self.classes = None if classes is None else list(classes)
        if self.classes is None:
            self.truth = _numbers(truth, "the target")
            self.prediction = _numbers(prediction, "the prediction")
        else:
            # Positions in `classes`, so that labels of any type compare alike.
            self.truth = _positions(truth, self.classes, "the target")
            self.prediction = _positions(prediction, self.classes, "the prediction")
        self._probabilities = None if probabilities is None else np.asarray(probabilities, float)

    @property
    def probabilities(self) -> Any:
        """The probabilities, shape (n_rows, n_classes)."""
        if self._probabilities is None:
            raise ValueError("the model gives no probabilities")
        return self._probabilities

    @property
    def labels(self) -> list[int]:
        """The positions of all classes, also of those that the holdout has no row of."""
        if self.classes is None:
            raise ValueError("the model is a regressor: it has no classes")
        return list(range(len(self.classes)))

    @property
    def positive(self) -> Any:
        """The probability of the second of two classes, shape (n_rows,)."""
        self.two_classes()
        return self.probabilities[:, 1]

    def two_classes(self) -> None:
        """Refuse all but two classes."""
        if len(self.labels) != 2:
            raise ValueError(f"it is for two classes, the model has {len(self.labels)}")

    def numbers(self) -> tuple[Any, Any]:
        """Return truth and prediction of a regressor."""
        if self.classes is not None:
            raise ValueError("it is for numbers, the model is a classifier")
        return self.truth, self.prediction

    def names(self) -> tuple[Any, Any]:
        """Return truth and prediction of a classifier, as positions of the classes."""
        _ = self.labels
        return self.truth, self.prediction

    def pair(self) -> tuple[Any, Any]:
        """Return truth and prediction of a classifier of two classes."""
        self.two_classes()
        return self.truth, self.prediction


def _numbers(values: Any, what: str) -> Any:
    try:
        numbers = np.asarray(values, dtype=float)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{what} is not numbers, and the model is a regressor") from error
    missing = int(np.isnan(numbers).sum())
    if missing:
        raise ConfigError(f"{what} is missing in {missing} of {len(numbers)} rows")
    return numbers


def _positions(values: Any, classes: list[Any], what: str) -> Any:
    position = {label: n for n, label in enumerate(classes)}
    known = [position.get(value) for value in pd.Series(values).tolist()]
    strange = sum(place is None for place in known)
    if strange:
        raise ConfigError(
            f"{what} has {strange} of {len(known)} values that are no class of the model",
            mend="write the target with the labels that the model was trained on",
        )
    return np.asarray(known, dtype=int)


MEASURES: Mapping[str, Callable[[Scored], float]] = {
    "accuracy": lambda s: sk.accuracy_score(*s.names()),
    "average_precision": lambda s: sk.average_precision_score(s.truth, s.positive),
    "balanced_accuracy": lambda s: sk.balanced_accuracy_score(*s.names()),
    "brier_score": lambda s: sk.brier_score_loss(s.truth, s.positive),
    "f1": lambda s: sk.f1_score(*s.pair()),
    "f1_macro": lambda s: sk.f1_score(*s.names(), average="macro", labels=s.labels),
    "log_loss": lambda s: sk.log_loss(s.truth, s.probabilities, labels=s.labels),
    "mae": lambda s: sk.mean_absolute_error(*s.numbers()),
    "mape": lambda s: sk.mean_absolute_percentage_error(*s.numbers()),
    "max_error": lambda s: sk.max_error(*s.numbers()),
    "median_absolute_error": lambda s: sk.median_absolute_error(*s.numbers()),
    "mse": lambda s: sk.mean_squared_error(*s.numbers()),
    "precision": lambda s: sk.precision_score(*s.pair()),
    "r2": lambda s: sk.r2_score(*s.numbers()),
    "recall": lambda s: sk.recall_score(*s.pair()),
    "rmse": lambda s: sk.root_mean_squared_error(*s.numbers()),
    "roc_auc": lambda s: sk.roc_auc_score(s.truth, s.positive),
    "roc_auc_ovr": lambda s: sk.roc_auc_score(
        s.truth, s.probabilities, multi_class="ovr", labels=s.labels
    ),
}


def measure_all(
    scored: Scored, metrics: Sequence[str]
) -> tuple[dict[str, float | None], dict[str, str]]:
    """Return each metric's value, None where it has no finite one, and the reasons for those.

    Examples
    --------
    >>> measure_all(Scored([0.0, 1.0], [0.0, 3.0]), ["mae", "roc_auc"])[0]
    {'mae': 1.0, 'roc_auc': None}
    """
    values: dict[str, float | None] = {}
    problems: dict[str, str] = {}
    for metric in metrics:
        try:
            # sklearn warns where a metric is undefined and returns a number all the same.
            with warnings.catch_warnings():
                warnings.simplefilter("error", UndefinedMetricWarning)
                value = float(MEASURES[metric](scored))
            if not math.isfinite(value):
                raise ValueError(f"it is {value}")
        except (ValueError, UndefinedMetricWarning) as error:
            values[metric], problems[metric] = None, f"{metric}: {str(error).splitlines()[0]}"
        else:
            values[metric] = value
    return values, problems
