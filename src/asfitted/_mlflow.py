"""MLflow's artifacts, its errors in our words, and its autologging."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from asfitted.errors import RegistryError, StoreUnavailable, without_secrets

logger = logging.getLogger(__name__)

# Those whose autologging logs a scikit-learn pipeline, or a step of one, when it is fitted.
_AUTOLOGGED = ("sklearn", "xgboost", "lightgbm")
_warned: set[str] = set()

# MLflow's client says INTERNAL_ERROR for every connection that failed, and its server
# for every fault of its own: either way nothing is known about the model, and a retry
# may help.
_MAY_PASS = {
    "DEADLINE_EXCEEDED",
    "INTERNAL_ERROR",
    "REQUEST_LIMIT_EXCEEDED",
    "RESOURCE_EXHAUSTED",
    "TEMPORARILY_UNAVAILABLE",
}


@contextmanager
def asking_mlflow(where: str) -> Iterator[None]:
    """Turn what MLflow and its stores raise inside into our errors.

    Raises
    ------
    StoreUnavailable
        The store does not answer, or broke.
    RegistryError
        The store answered no.
    """
    import requests
    import sqlalchemy.exc
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        said = without_secrets(str(error).splitlines()[0][:500])
        if error.error_code in _MAY_PASS:
            raise _unavailable(said, where) from error
        raise RegistryError(f"MLflow refuses: {said}", where) from error
    except (requests.RequestException, sqlalchemy.exc.SQLAlchemyError) as error:
        raise _unavailable(without_secrets(str(error).splitlines()[0]), where) from error


def _unavailable(said: str, where: str) -> StoreUnavailable:
    return StoreUnavailable(
        f"MLflow's store does not answer: {said}",
        where,
        "see that the tracking server or database runs and MLFLOW_TRACKING_URI names it",
    )


def fetch(model_uri: str | os.PathLike[str]) -> Path:
    """Return the local folder of a model, downloaded where it is elsewhere.

    Raises
    ------
    RegistryError
        Where there is no such model.
    StoreUnavailable
    """
    if Path(model_uri).is_dir():
        return Path(model_uri)
    # MLflow takes seconds to import, and a folder needs none of it.
    from mlflow.artifacts import download_artifacts

    with asking_mlflow(f"model {model_uri}"):
        return Path(download_artifacts(artifact_uri=str(model_uri)))


def _autologging() -> Any:
    """Return MLflow's module on autologging, None where it is not what it was in 3.11 to 3.17."""
    try:
        from mlflow.utils import autologging_utils
    except ImportError:
        return None
    needed = ("disable_autologging", "get_autologging_config")
    return autologging_utils if all(hasattr(autologging_utils, n) for n in needed) else None


def autologged() -> list[str]:
    """Return the libraries whose models MLflow logs by itself when they are fitted."""
    if (module := _autologging()) is None:
        return []
    ask = module.get_autologging_config
    return [n for n in _AUTOLOGGED if not ask(n, "disable", True) and ask(n, "log_models", True)]


def warn_of_autologging() -> None:
    """Say, once for each library, that MLflow logs models which nothing has proved."""
    for name in autologged():
        if name in _warned:
            continue
        _warned.add(name)
        logger.warning(
            "mlflow.%s.autolog() logs what is fitted as a model of its own, without "
            "contract and proof: serve and register the one of asfitted.log_model. "
            "mlflow.%s.autolog(log_models=False) keeps the rest of what it logs",
            name,
            name,
        )


@contextmanager
def without_autologging() -> Iterator[None]:
    """Let estimators be asked inside, and MLflow log nothing of it.

    With autologging, the `predict` of an estimator that was fitted by itself logs each table
    that it sees as a dataset of the run, although the run has ended.
    """
    module = _autologging()
    with nullcontext() if module is None else module.disable_autologging():
        yield
