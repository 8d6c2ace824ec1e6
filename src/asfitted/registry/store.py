"""MLflow's registry, as far as promotion needs it, with its errors in our words.

It talks to the tracking and registry URIs of the process (``MLFLOW_TRACKING_URI``),
so a SQLite file and a remote server are the same to it.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asfitted._mlflow import asking_mlflow
from asfitted.errors import RegistryError
from asfitted.registry.decision import Measurement

if TYPE_CHECKING:
    from mlflow import MlflowClient

_GONE = {"NOT_FOUND", "RESOURCE_DOES_NOT_EXIST"}
_SHOWN = 20


class Store:
    """The registered models that the process's MLflow URIs lead to."""

    def __init__(self) -> None:
        # MLflow takes seconds to import: whoever only wants a gate does not pay for it.
        import mlflow

        self.where = str(mlflow.get_registry_uri())
        with asking_mlflow(self.where):
            self.client: MlflowClient = mlflow.MlflowClient()

    def aliases(self, name: str) -> dict[str, str]:
        """Return the version that each alias of the model is at.

        Raises
        ------
        RegistryError
            There is no such model; the message lists those there are.
        """
        with asking_mlflow(self.where):
            model = self._found(lambda: self.client.get_registered_model(name))
            if model is None:
                known = sorted(m.name for m in self.client.search_registered_models())
                raise RegistryError(
                    f"no registered model {name!r}; there {_listed(known)}", self.where
                )
        return {alias: str(version) for alias, version in model.aliases.items()}

    def resolve(self, name: str, version: str) -> str:
        """Return the number of `version`, which may be ``latest``, if it can be promoted."""
        self.aliases(name)
        with asking_mlflow(self.where):
            known = self._versions(name)
            if version == "latest" and known:
                version = known[-1]
            if version not in known:
                raise RegistryError(
                    f"{name} has no version {version!r}; there {_listed(known)}", self.where
                )
            status = self.client.get_model_version(name, version).status
        if status != "READY":
            raise RegistryError(f"{name} version {version} is {status}, not READY", self.where)
        return version

    def exists(self, name: str, version: str) -> bool:
        """Return whether the version is still there."""
        with asking_mlflow(self.where):
            return version in self._versions(name)

    def move(self, name: str, alias: str, version: str) -> None:
        """Let the alias name `version`."""
        with asking_mlflow(f"{name}@{alias} at {self.where}"):
            self.client.set_registered_model_alias(name, alias, version)

    def download(self, name: str, version: str, folder: Path) -> Path:
        """Bring the version's files to `folder`.

        Raises
        ------
        RegistryError
            They are not there any more.
        """
        import mlflow
        from mlflow.exceptions import MlflowException

        where = f"models:/{name}/{version} at {self.where}"
        gone = RegistryError("the files are no longer in the artifact store", where)
        with asking_mlflow(where):
            try:
                found = mlflow.artifacts.download_artifacts(
                    artifact_uri=f"models:/{name}/{version}", dst_path=str(folder)
                )
            except OSError as error:
                raise gone from error
            except MlflowException as error:
                # A folder's download wraps what befell each file into one text.
                if error.error_code in _GONE or re.search(
                    r"No such file|\b404\b|Not Found|NoSuchKey", str(error)
                ):
                    raise gone from error
                raise
        if not (Path(found) / "MLmodel").is_file():
            raise gone
        return Path(found)

    def logged_metric(self, name: str, version: str, metric: str) -> Measurement:
        """Return what was logged as `metric` for the version's model, or else in its run."""
        with asking_mlflow(f"models:/{name}/{version} at {self.where}"):
            found = self.client.get_model_version(name, version)
            # Open-source MLflow says only in the source which logged model a version is.
            source = re.fullmatch(r"models:/(m-\w+)", found.source or "")
            model_id, run_id = source and source[1], found.run_id
            model = model_id and self._found(lambda: self.client.get_logged_model(model_id))
            run = run_id and self._found(lambda: self.client.get_run(run_id))
        logged = [m for m in (model.metrics if model else None) or [] if m.key == metric]
        latest: dict[str | None, Any] = {}
        for entry in sorted(logged, key=lambda m: (m.timestamp, m.step)):
            latest[entry.dataset_name] = entry
        if len({entry.value for entry in latest.values()}) > 1:
            sets = ", ".join(sorted(str(data) for data in latest))
            return Measurement(
                None,
                why=f"{metric} is logged for several data sets ({sets})",
                mend="give the gate a holdout",
            )
        if latest:
            (entry, *_) = latest.values()
            return _finite(entry.value, f"logged for model {model_id}", entry.dataset_digest)
        if run and metric in run.data.metrics:
            return _finite(run.data.metrics[metric], f"logged in run {run_id}")
        known = sorted({*(run.data.metrics if run else ()), *(m.key for m in
                        (model.metrics if model else None) or ())})  # fmt: skip
        return Measurement(
            None,
            why=f"no metric {metric!r} is logged for it; there {_listed(known)}",
            mend="log the metric where the model is trained, or give the gate a holdout",
        )

    def _versions(self, name: str) -> list[str]:
        versions: list[str] = []
        token = None
        while True:
            page = self.client.search_model_versions(f"name = '{name}'", page_token=token)
            versions += [str(found.version) for found in page]
            token = page.token
            if not token:
                return sorted(versions, key=int)

    @staticmethod
    def _found(ask: Any) -> Any:
        """Return what `ask` gets, None where MLflow says there is none."""
        from mlflow.exceptions import MlflowException

        try:
            return ask()
        except MlflowException as error:
            if error.error_code in _GONE:
                return None
            raise


def _finite(value: float, source: str, data_digest: str | None = None) -> Measurement:
    if math.isfinite(value):
        return Measurement(float(value), source, data_digest)
    return Measurement(None, source, why=f"what is logged is {value}")


def _listed(names: list[str]) -> str:
    if not names:
        return "is none"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{'is' if len(names) == 1 else 'are'} {', '.join(names[-_SHOWN:])}{more}"
