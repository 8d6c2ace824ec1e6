"""The metrics that a gate knows by name, and whether more of them is better."""

from __future__ import annotations

import re
from collections.abc import Mapping

# What `asfitted.registry.holdout` can measure, and whether more is better. The names
# are those of sklearn's scorers, without `neg_`: the value is the metric itself.
HOLDOUT_METRICS: Mapping[str, bool] = {
    "accuracy": True,
    "average_precision": True,
    "balanced_accuracy": True,
    "brier_score": False,
    "f1": True,
    "f1_macro": True,
    "log_loss": False,
    "mae": False,
    "mape": False,
    "max_error": False,
    "median_absolute_error": False,
    "mse": False,
    "precision": True,
    "r2": True,
    "recall": True,
    "rmse": False,
    "roc_auc": True,
    "roc_auc_ovr": True,
}
# The further names under which MLflow's evaluation and autologging write them.
_ALSO_KNOWN: Mapping[str, bool] = {
    "accuracy_score": True,
    "average_precision_score": True,
    "balanced_accuracy_score": True,
    "brier": False,
    "brier_score_loss": False,
    "explained_variance": True,
    "f1_score": True,
    "matthews_corrcoef": True,
    "mean_absolute_error": False,
    "mean_absolute_percentage_error": False,
    "mean_squared_error": False,
    "precision_recall_auc": True,
    "precision_score": True,
    "r2_score": True,
    "recall_score": True,
    "roc_auc_score": True,
    "root_mean_squared_error": False,
}
_SPLIT = re.compile(r"^(train|training|val|valid|validation|test|eval|holdout)[_/ ]")


def greater_is_better(metric: str) -> bool | None:
    """Return whether more of `metric` is better; None where the name does not say.

    Examples
    --------
    >>> greater_is_better("roc_auc"), greater_is_better("val_log_loss")
    (True, False)
    >>> greater_is_better("neg_log_loss"), greater_is_better("revenue")
    (True, None)
    """
    name = _SPLIT.sub("", metric)
    if name.startswith("neg_"):
        inner = greater_is_better(name.removeprefix("neg_"))
        return None if inner is None else not inner
    return {**_ALSO_KNOWN, **HOLDOUT_METRICS}.get(name)
