"""Asfitted: what a model answers in production is what it answered in training.

A tour in nine lines::

    contract = asfitted.DataContract.infer(X_train)      # read it, edit it, commit it
    contract.save("contract.yaml")
    pipeline = make_pipeline(
        asfitted.Conform(contract),                      # the first step, always
        ColumnTransformer([("cat", asfitted.Dummies(), cats), ("num", StandardScaler(), nums)]),
        LogisticRegression(),
    ).fit(X_train, y_train)
    asfitted.log_model(pipeline, name="flights", reference=X_train,
                       registered_model_name="flights")
    asfitted.load_model("models:/flights@champion").predict(X_new)   # answered means logged
"""

from __future__ import annotations

import importlib
from typing import Any

from asfitted._version import __version__

# MLflow takes seconds to import and a custom step wants only `asfitted.resource`:
# each public name is imported when it is first asked for.
_HOMES = {
    "AsfittedError": "asfitted.errors",
    "Column": "asfitted.contract",
    "Conform": "asfitted.contract",
    "ContractViolation": "asfitted.errors",
    "DataContract": "asfitted.contract",
    "Dummies": "asfitted.preprocessing",
    "FittedModel": "asfitted.scoring",
    "add_outcomes": "asfitted.outcomes",
    "check_target": "asfitted.contract",
    "load_model": "asfitted.flavor",
    "log_model": "asfitted.save",
    "read_log": "asfitted.prediction_log",
    "resource": "asfitted.artifact.resources",
    "resources": "asfitted.artifact.resources",
    "save_model": "asfitted.save",
    "show_versions": "asfitted.artifact.versions",
}

__all__ = [
    "AsfittedError",
    "Column",
    "Conform",
    "ContractViolation",
    "DataContract",
    "Dummies",
    "FittedModel",
    "__version__",
    "add_outcomes",
    "check_target",
    "load_model",
    "log_model",
    "read_log",
    "resource",
    "resources",
    "save_model",
    "show_versions",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'asfitted' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
