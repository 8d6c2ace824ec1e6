"""What the operator forbids a model to run, with MLflow's own two variables.

``MLFLOW_ALLOW_PICKLE_DESERIALIZATION=false`` forbids pickles.
``MLFLOW_ALLOW_MODEL_CODE_EXECUTION=false``, which MLflow itself reads from 3.18 on, forbids
all code that comes with a model or is named by it: pickles, modules in ``code/``, checks of
the contract, and MLflow's pyfunc loader, which takes a module's name from the model.

skops files are neither: their types are held against the list of the Asfitted that reads
them, never against the artifact's own.
"""

from __future__ import annotations

import os
from pathlib import Path

import asfitted
from asfitted.artifact import layout
from asfitted.contract import DataContract
from asfitted.errors import CodeNotAllowed, ConfigError, SaveRefused

PICKLE = "MLFLOW_ALLOW_PICKLE_DESERIALIZATION"
CODE = "MLFLOW_ALLOW_MODEL_CODE_EXECUTION"

_RUNTIME = {"asfitted", "__pycache__"}
_LOADERS = "use asfitted.load_model or asfitted score with an installed Asfitted"
_VALUES = {"true": True, "1": True, "false": False, "0": False}


def forbids(variable: str) -> bool:
    """Return whether the operator has set `variable` to false.

    Raises
    ------
    ConfigError
        Where its value is none that MLflow knows: it may have been meant to forbid.
    """
    value = os.environ.get(variable, "true")
    if value.lower() not in _VALUES:
        raise ConfigError(
            "its value is neither true nor false",
            f"environment variable {variable}",
            "set it to true or false",
        )
    return not _VALUES[value.lower()]


def pickle_forbidden_by() -> str:
    """Return the variable that forbids pickles, "" where none does."""
    return next((variable for variable in (PICKLE, CODE) if forbids(variable)), "")


def check_load(root: Path) -> None:
    """Refuse the artifact at `root` where loading it would run what the operator forbids.

    To be called when its files are verified, and before anything of it is unpickled or
    imported.

    Raises
    ------
    CodeNotAllowed
    ConfigError
        See `forbids`.
    """
    if forbids(CODE):
        _check_code(root)
    variable = pickle_forbidden_by()
    if variable and not (root / layout.SKOPS).is_file():
        raise CodeNotAllowed(
            f"the pipeline is a pickle, which runs code when it is read, and {variable} is false",
            str(root / layout.PICKLE),
            "save it with serialization_format='skops', which says what stands against it; "
            f"or, if you trust whoever made the model, set {variable} to true",
        )


def check_pyfunc(root: Path) -> None:
    """Refuse the artifact at `root` to ``mlflow.pyfunc``, as MLflow does from 3.18 on.

    Raises
    ------
    CodeNotAllowed
    ConfigError
        See `forbids`.
    """
    if forbids(CODE):
        what = "a pyfunc model names the module that loads it, and brings it along"
        raise _code_not_allowed(what, root / layout.MLMODEL, _LOADERS)


def check_save(root: Path) -> None:
    """Refuse to keep an artifact that no process of this environment would load.

    Raises
    ------
    SaveRefused
    """
    try:
        check_load(root)
    except CodeNotAllowed as error:
        raise SaveRefused(
            f"where these variables hold, no process would load the model: {error.what}",
            error.where,
            error.mend,
        ) from error


def _check_code(root: Path) -> None:
    home = Path(asfitted.__file__).resolve().parent
    if home.parent.name == layout.CODE and (home.parents[1] / layout.MLMODEL).is_file():
        what = "the Asfitted that loads the model is a copy that a model has brought along"
        raise _code_not_allowed(what, home, _LOADERS)
    code = root / layout.CODE
    brought = sorted(entry.name for entry in code.iterdir() if entry.name not in _RUNTIME)
    if brought:
        what = f"the model brings modules of its own: {', '.join(brought)}"
        raise _code_not_allowed(what, code, "build the pipeline of steps that are installed")
    checks = DataContract.load(root / layout.CONTRACT).checks
    if checks:
        what = f"the contract calls functions: {', '.join(check.function for check in checks)}"
        raise _code_not_allowed(what, root / layout.CONTRACT, "say it with rules of columns")


def _code_not_allowed(what: str, where: Path, mend: str) -> CodeNotAllowed:
    trust = f"or, if you trust whoever made the model, set {CODE} to true"
    return CodeNotAllowed(f"{what}, and {CODE} is false", str(where), f"{mend}; {trust}")
