"""MLflow's deployment plugin: ``mlflow deployments run-local -t asfitted -m URI --name N``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlflow.deployments import BaseDeploymentClient

from asfitted.errors import ConfigError
from asfitted.serving.run import serve

_OPTIONS = ("host", "port", "timeout", "workers", "env-manager")


def run_local(
    name: str, model_uri: str, flavor: str | None = None, config: Mapping[str, str] | None = None
) -> None:
    """Serve a model on this machine; MLflow calls this by name.

    Parameters
    ----------
    name : str
        MLflow wants one; nothing here is kept under it.
    model_uri : str
    flavor : str, optional
        Only ``python_function`` can be served.
    config : mapping, optional
        Options of ``mlflow models serve``: ``-C port=5001 -C workers=2``.

    Raises
    ------
    ConfigError
        For an option that there is not.
    """
    unknown = sorted(set(config or {}) - set(_OPTIONS))
    if unknown:
        raise ConfigError(
            f"no such option: {', '.join(unknown)}", mend=f"options are {', '.join(_OPTIONS)}"
        )
    serve(model_uri, [part for k, v in (config or {}).items() for part in (f"--{k}", str(v))])


def target_help() -> str:
    """Return what ``mlflow deployments help -t asfitted`` prints."""
    return (
        "Serves a model logged with Asfitted on this machine, after its files were verified:\n\n"
        "  mlflow deployments run-local -t asfitted --name flights -m models:/flights@champion "
        "-C port=5001\n\n"
        f"Options (-C name=value): {', '.join(_OPTIONS)}; they are those of mlflow models serve.\n"
        "The routes, codes and variables: docs/serving.md."
    )


class LocalClient(BaseDeploymentClient):  # type: ignore[misc]
    """MLflow demands one; Asfitted deploys to no service, it runs where it is started."""

    def _none(self, *args: Any, **kwargs: Any) -> Any:
        raise ConfigError(
            "the target asfitted only serves locally",
            mend="mlflow deployments run-local -t asfitted, or asfitted serve",
        )

    create_deployment = update_deployment = delete_deployment = _none
    list_deployments = get_deployment = predict = predict_stream = _none
