"""MLflow's artifacts, and its errors in our words."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from asfitted.errors import RegistryError, StoreUnavailable, without_secrets

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
