"""A dataset's files among the MLflow artifacts of the runs that made the models.

The records of a registered version lie under ``prediction_log/`` of the version's run;
those of everything else (a model outside the registry, a version without a run, what is
about no model) in runs of the experiment ``asfitted prediction log``, one for each model
and version. Tags say which run holds what, so a version that leaves the registry keeps
its records.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from asfitted._mlflow import asking_mlflow
from asfitted.errors import ConfigError, StoreUnavailable
from asfitted.prediction_log.sinks.parquet_files import ENDING
from asfitted.prediction_log.sinks.store import Entry

EXPERIMENT = "asfitted prediction log"
_ROOT = "prediction_log"
_TAG = "asfitted.prediction_log"
_TIMEOUT_S = 10.0
# What a proxy says of a server that is down.
_DOWN = frozenset({502, 503, 504})


class MlflowStore:
    """A `Store` whose files get another name with another content: MLflow only overwrites.

    Parameters
    ----------
    url : str
        ``mlflow+`` and a tracking URI, such as ``mlflow+http://mlflow.internal:5000``.
    """

    def __init__(self, url: str) -> None:
        from mlflow import MlflowClient

        from asfitted.prediction_log.sinks.urls import public_name

        self.where = public_name(url)
        self._uri = uri = url.partition("+")[2]
        with self._errors():
            self._client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        # Ids of the runs by place, "model=…/version=…", as they were last looked up.
        self._runs: dict[str, list[str]] = {}

    def folders(self, folder: str) -> list[str]:
        """See `Store.folders`."""
        table, *rest = folder.split("/")
        with self._errors():
            self._look_up()
            if len(rest) < 2:
                inside = [place.split("/") for place in self._runs]
                return sorted({parts[len(rest)] for parts in inside if parts[: len(rest)] == rest})
            place = "/".join(rest[:2])
            return sorted({name for _, name, is_dir in self._listed(table, place) if is_dir})

    def files(self, folder: str) -> list[Entry]:
        """See `Store.files`."""
        table, model, version, day = folder.split("/")
        with self._errors():
            found = self._listed(table, f"{model}/{version}", day)
            return [
                # A name comes with its content's digest: it is its own tag.
                Entry(f"{folder}/{name}", f"{run}:{name}", size)
                for (run, size), name, is_dir in found
                if not is_dir
            ]

    def read(self, name: str) -> bytes | None:
        """See `Store.read`."""
        with self._errors(), tempfile.TemporaryDirectory() as here:
            for run in self._runs_of(name):
                path = _path(name)
                listed = self._client.list_artifacts(run, path.rpartition("/")[0])
                if any(info.path == path for info in listed):
                    return Path(self._client.download_artifacts(run, path, here)).read_bytes()
        return None

    def put(self, name: str, content: bytes) -> bool:
        """See `Store.put`; of two contents of one name each is there."""
        digest = hashlib.sha256(content).hexdigest()[:12]
        name = f"{name.removesuffix(ENDING)}.{digest}{ENDING}"
        with self._errors():
            runs = self._runs_of(name) or [self._new_run(*name.split("/")[1:3])]
            self._upload(runs[0], name, content)
        return True

    def replace(self, entry: Entry, content: bytes) -> None:
        """See `Store.replace`; killed in between, both are there: the next call mends it."""
        # Without the mark of the old content, or there would be one more each time.
        head = entry.name.removesuffix(ENDING).rpartition(".")[0]
        with self._errors():
            self.put(f"{head}{ENDING}", content)
            digest = hashlib.sha256(content).hexdigest()[:12]
            if f"{head}.{digest}{ENDING}" != entry.name:
                self.delete(entry)

    def delete(self, entry: Entry) -> None:
        """See `Store.delete`."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        run = entry.tag.partition(":")[0]
        with self._errors():
            repository = get_artifact_repository(
                self._client.get_run(run).info.artifact_uri,
                tracking_uri=self._client.tracking_uri,
            )
            try:
                repository.delete_artifacts(_path(entry.name))
            except NotImplementedError as error:
                raise ConfigError(
                    "this artifact store of MLflow deletes nothing, so records in it cannot be "
                    "changed", self.where, "delete the artifacts in the store itself",
                ) from error  # fmt: skip

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """See `Store.writing`; nobody waits: no file is ever overwritten by another."""
        yield

    @contextlib.contextmanager
    def alone(self) -> Iterator[Callable[[], None]]:
        """See `Store.alone`; on this machine only, MLflow has no lock."""
        mark = hashlib.sha256(self.where.encode()).hexdigest()[:16]
        user = os.getuid() if hasattr(os, "getuid") else ""
        lock = Path(tempfile.gettempdir(), f"asfitted-{user}-{mark}.lock")
        with self._errors_of_disk():
            descriptor = _locked(lock)
        try:
            yield lambda: None
        finally:
            # While it is held: who waits for it sees that it is gone and makes another.
            lock.unlink(missing_ok=True)
            os.close(descriptor)

    def close(self) -> None:
        """Nothing stays open between two calls."""

    def _listed(
        self, table: str, place: str, day: str = ""
    ) -> Iterator[tuple[tuple[str, int], str, bool]]:
        """Yield ((run, size), name, whether it is a folder) of what lies at a place."""
        if place not in self._runs:
            self._look_up()
        folder = _path("/".join([table, place, *([day] if day else [])]))
        for run in self._runs.get(place, []):
            for info in self._client.list_artifacts(run, folder):
                name = _unescaped(info.path.rpartition("/")[2])
                yield (run, info.file_size or 0), name, info.is_dir

    def _runs_of(self, name: str) -> list[str]:
        place = "/".join(name.split("/")[1:3])
        if place not in self._runs:
            self._look_up()
        return self._runs.get(place, [])

    def _look_up(self) -> None:
        """Find all runs that hold records, the oldest first."""
        experiments = [e.experiment_id for e in _pages(self._client.search_experiments)]
        runs: dict[str, list[str]] = {}
        if experiments:
            found = _pages(
                self._client.search_runs,
                experiments,
                filter_string=f"tags.`{_TAG}` = 'yes'",
                order_by=["attributes.start_time ASC"],
            )
            for run in found:
                for name, place in run.data.tags.items():
                    if name.startswith(f"{_TAG}."):
                        runs.setdefault(place, []).append(run.info.run_id)
        self._runs = runs

    def _new_run(self, model: str, version: str) -> str:
        """Return the run for the records of a place that has none, its tags set."""
        place = f"{model}/{version}"
        run = self._run_of_version(
            unquote(model.removeprefix("model=")), unquote(version.removeprefix("version="))
        )
        if run is None:
            number = self._experiment()
            run = self._client.create_run(number, run_name=place).info.run_id
            self._client.set_terminated(run)
        mark = hashlib.sha256(place.encode()).hexdigest()[:16]
        self._client.set_tag(run, f"{_TAG}.{mark}", place)
        self._client.set_tag(run, _TAG, "yes")
        self._runs[place] = [run]
        return str(run)

    def _experiment(self) -> str:
        from mlflow.exceptions import MlflowException

        for _ in range(2):
            found = self._client.get_experiment_by_name(EXPERIMENT)
            if found is not None:
                break
            # Of two that create it at once one is refused.
            with contextlib.suppress(MlflowException):
                return str(self._client.create_experiment(EXPERIMENT))
        if found is None or found.lifecycle_stage != "active":
            raise ConfigError(
                f"the experiment {EXPERIMENT!r} cannot be created or is deleted", self.where,
                "restore it, or purge it with mlflow gc",
            )  # fmt: skip
        return str(found.experiment_id)

    def _run_of_version(self, model: str, version: str) -> str | None:
        from mlflow.exceptions import MlflowException

        try:
            run = self._client.get_model_version(model, version).run_id
            if run and self._client.get_run(run).info.lifecycle_stage == "active":
                return str(run)
        except MlflowException as error:
            if error.error_code not in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
                raise
        return None

    def _upload(self, run: str, name: str, content: bytes) -> None:
        folder, _, last = _path(name).rpartition("/")
        with tempfile.TemporaryDirectory() as here:
            local = Path(here, last)
            local.write_bytes(content)
            self._client.log_artifact(run, str(local), folder)

    def _ask(self) -> None:
        """Ask whether the server is there, before each call: MLflow's client tries for minutes."""
        from mlflow.utils.credentials import get_default_host_creds
        from mlflow.utils.rest_utils import http_request

        if self._uri.startswith(("http://", "https://")):
            http_request(
                get_default_host_creds(self._uri), "/health", "GET",
                max_retries=0, timeout=_TIMEOUT_S, retry_codes=_DOWN,
            )  # fmt: skip

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        with self._errors_of_disk(), asking_mlflow(self.where):
            self._ask()
            yield

    @contextlib.contextmanager
    def _errors_of_disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            # Of artifacts that lie in a folder.
            reason = error.strerror or str(error)
            raise StoreUnavailable(
                f"MLflow's artifacts cannot be reached: {reason}", self.where
            ) from error


def _locked(lock: Path) -> int:
    """Return the descriptor of a file that nobody else has locked, and that has its name."""
    while True:
        descriptor = os.open(lock, os.O_CREAT | os.O_RDWR, 0o600)
        if sys.platform == "win32":
            return descriptor
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(lock)):
                return descriptor
        os.close(descriptor)


def _path(name: str) -> str:
    """Return an artifact's path; MLflow undoes ``%`` and refuses what it finds then."""
    return f"{_ROOT}/{name.replace('~', '~7E').replace('%', '~')}"


def _unescaped(name: str) -> str:
    return name.replace("~7E", "\0").replace("~", "%").replace("\0", "~")


def _pages(search: Callable[..., Any], *arguments: Any, **options: Any) -> Iterator[Any]:
    token = None
    while True:
        page = search(*arguments, page_token=token, **options)
        yield from page
        token = page.token
        if not token:
            return
