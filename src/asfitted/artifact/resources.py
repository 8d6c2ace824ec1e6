"""External data that steps read: one call in training and in production."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from asfitted.artifact import layout
from asfitted.errors import AsfittedError, ConfigError, ResourceNotShipped

# The environment carries the declaration into the worker processes of a
# cross-validation, which a variable of this module would not reach.
VARIABLE = "ASFITTED_RESOURCES"

# What the model that is scoring right now has brought along; None in training.
_of_model: ContextVar[Mapping[str, Path] | None] = ContextVar("asfitted_resources", default=None)


class resources(contextlib.AbstractContextManager["resources"]):
    """Declare the files that steps read while training.

    As a call it holds until the process ends; as a context manager, until the
    block does. A later declaration of a name replaces an earlier one.

    Parameters
    ----------
    **files : path
        A file or a folder for each name that a step asks for.

    Raises
    ------
    ConfigError
        Where one of them does not exist.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "planes.csv"
    >>> _ = file.write_text("tailnum,year")
    >>> with resources(planes=file):
    ...     resource("planes").read_text()
    'tailnum,year'
    """

    def __init__(self, **files: str | os.PathLike[str]) -> None:
        found = {name: Path(file).expanduser().resolve() for name, file in files.items()}
        for name, file in found.items():
            if not file.exists():
                raise ConfigError(
                    f"the resource {name!r} is not there", str(file), "give the path of a file"
                )
        self._before = os.environ.get(VARIABLE)
        os.environ[VARIABLE] = json.dumps(
            {**_declared_text(), **{name: str(file) for name, file in found.items()}}
        )

    def __exit__(self, *exc: Any) -> None:
        if self._before is None:
            os.environ.pop(VARIABLE, None)
        else:
            os.environ[VARIABLE] = self._before


def resource(name: str) -> Path:
    """Return the path of a resource, in training and inside a served model.

    Parameters
    ----------
    name : str
        As declared by `resources` or by ``log_model(resources={name: path})``.

    Returns
    -------
    pathlib.Path
        To read from; a model's own copy when a model is scoring.

    Raises
    ------
    ResourceNotShipped
        Where nobody declared it, or the model did not bring it.
    """
    brought = _of_model.get()
    if brought is not None:
        if name in brought:
            return brought[name]
        raise ResourceNotShipped(
            f"the resource {name!r} is not shipped with the model",
            f"shipped are {', '.join(brought) or 'none'}",
            f"log_model(..., resources={{{name!r}: path}})",
        )
    files = declared()
    if name in files:
        return files[name]
    return _beside_code(name)


def declared() -> dict[str, Path]:
    """Return what `resources` has declared in this process or its parent."""
    return {name: Path(file) for name, file in _declared_text().items()}


def _declared_text() -> dict[str, str]:
    text = os.environ.get(VARIABLE, "{}")
    try:
        files = json.loads(text)
    except ValueError:
        files = None
    if not isinstance(files, dict):
        raise ConfigError("not a JSON object of name to path", VARIABLE, "unset it")
    return files


@contextlib.contextmanager
def of_model(files: Mapping[str, Path]) -> Iterator[None]:
    """Let steps see just the resources of one model."""
    token = _of_model.set(files)
    try:
        yield
    finally:
        _of_model.reset(token)


def _beside_code(name: str) -> Path:
    """Find the resource of a model that ``mlflow.sklearn.load_model`` has loaded.

    Nothing of Asfitted runs then; but MLflow has put the model's ``code`` folder
    on ``sys.path``, and its resources lie beside that.
    """
    found = {}
    for entry in sys.path:
        code = Path(entry)
        if code.name == layout.CODE and (code.parent / layout.MANIFEST).is_file():
            manifest = json.loads((code.parent / layout.MANIFEST).read_text(encoding="utf-8"))
            file = manifest.get("resources", {}).get(name)
            if file:
                found[manifest["files"].get(file, file)] = code.parent / file
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        raise AsfittedError(
            f"several loaded models bring different resources {name!r}",
            mend="load them with asfitted.load_model, which keeps them apart",
        )
    raise ResourceNotShipped(
        f"nobody declared the resource {name!r}",
        mend=f"with asfitted.resources({name}=path): around training, and in log_model",
    )
