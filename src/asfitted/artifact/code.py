"""The code that travels with a model: found missing at save, kept apart at load."""

from __future__ import annotations

import ast
import hashlib
import io
import shutil
import sys
import types
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cloudpickle

import asfitted
from asfitted.artifact import layout
from asfitted.artifact.environment import normal
from asfitted.errors import CodeCollision, CodeNotShipped

if sys.version_info >= (3, 11):
    from importlib import metadata
else:
    # Python 3.10's own does not find the packages of a wheel without top_level.txt;
    # the backport does, and MLflow brings it.
    import importlib_metadata as metadata

# Operators' tools stay at home; everything else of Asfitted is the runtime.
_NOT_RUNTIME = ("cli", "registry", "save")
_IGNORED = shutil.ignore_patterns("__pycache__", "*.pyc", ".git", ".ipynb_checkpoints")
_OURS = "asfitted"

# Which model brought which top-level module into this process, and its digest.
_brought: dict[str, tuple[str, str]] = {}


class _Needs(cloudpickle.Pickler):  # type: ignore[misc]
    """A pickler that notes the classes and functions that it meets."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO())
        self.met: dict[str, set[str]] = {}

    def reducer_override(self, obj: Any) -> Any:
        reduced = super().reducer_override(obj)
        if isinstance(obj, types.FunctionType) and reduced is not NotImplemented:
            # Its code goes along, so its module need not be there.
            return reduced
        if isinstance(obj, (type, types.FunctionType, types.BuiltinFunctionType)):
            module = getattr(obj, "__module__", None) or "builtins"
            self.met.setdefault(module, set()).add(getattr(obj, "__qualname__", str(obj)))
        elif isinstance(obj, types.ModuleType):
            self.met.setdefault(obj.__name__, set())
        return reduced


def needed(pipeline: Any) -> dict[str, set[str]]:
    """Return the modules that the fitted `pipeline` needs at inference.

    Returns
    -------
    dict of module to names
        Of classes and functions; a function that is pickled with its code
        (a lambda) does not count.

    Raises
    ------
    CodeNotShipped
        Where something in it cannot be pickled at all, or a class lives in
        ``__main__``: a script or a notebook is no module to ship.
    """
    pickler = _Needs()
    try:
        pickler.dump(pipeline)
    except Exception as error:
        raise CodeNotShipped(
            f"the pipeline cannot be pickled: {error}",
            mend="keep connections, open files and locks out of fitted steps",
        ) from error
    homeless = sorted(pickler.met.pop("__main__", ()))
    if homeless:
        raise CodeNotShipped(
            f"{', '.join(homeless)} is defined in a notebook or script, which cannot be shipped",
            "__main__",
            "move it to a module, e.g. features.py, and pass code_paths=['features.py']",
        )
    return pickler.met


def ship(root: Path, code_paths: Sequence[str | Path]) -> None:
    """Copy the user's code and the Asfitted runtime into the artifact at `root`.

    Raises
    ------
    CodeNotShipped
        Where a path is not there, or is named as Asfitted is.
    """
    code = root / layout.CODE
    code.mkdir()
    for given in code_paths:
        source = Path(given).resolve()
        if not source.exists():
            raise CodeNotShipped(
                "a path in code_paths does not exist", str(given), "give the path of a file"
            )
        if source.stem == _OURS or (code / source.name).exists():
            raise CodeNotShipped(f"code_paths holds the name {source.name!r} twice", str(given))
        if source.is_dir():
            shutil.copytree(source, code / source.name, ignore=_IGNORED)
        else:
            shutil.copy(source, code / source.name)
    home = Path(asfitted.__file__).parent
    shutil.copytree(home, code / _OURS, ignore=_IGNORED)
    for folder in _NOT_RUNTIME:
        shutil.rmtree(code / _OURS / folder, ignore_errors=True)


def distributions(root: Path, modules: dict[str, set[str]]) -> set[str]:
    """Return the distributions that the pipeline and the shipped code import.

    Parameters
    ----------
    root : Path
        With its code folder filled.
    modules : dict of module to names
        From `needed`.

    Raises
    ------
    CodeNotShipped
        Where a module comes neither from the standard library, nor from an
        installed distribution, nor from `code_paths`.
    """
    code = root / layout.CODE
    installed = metadata.packages_distributions()
    wanted: set[str] = set()
    for module, names in modules.items():
        top = module.partition(".")[0]
        if top == _OURS or top in sys.stdlib_module_names or _is_shipped(code, module):
            continue
        package = _installed_as(module)
        if package in installed:
            wanted.update(installed[package])
            continue
        raise CodeNotShipped(
            f"{', '.join(sorted(names)) or module}: module {module!r} would not be there "
            "at inference",
            str(getattr(sys.modules.get(module), "__file__", None) or module),
            f"log_model(..., code_paths=[{str(_top_of(module))!r}])",
        )
    for top in _imported(code):
        if top in installed and top not in sys.stdlib_module_names:
            wanted.update(installed[top])
    return {normal(name) for name in wanted} - {_OURS}


def _is_shipped(code: Path, module: str) -> bool:
    place = code.joinpath(*module.split("."))
    return place.with_suffix(".py").is_file() or place.is_dir()


def _top_of(module: str) -> Path:
    """Return the file, or the folder of the top-level package, that holds `module`."""
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        return Path(f"{module.partition('.')[0]}.py")
    place = Path(file)
    levels = module.count(".") + (place.name == "__init__.py")
    return place.parents[levels - 1] if levels else place


def _installed_as(module: str) -> str:
    """Return the top-level package below site-packages that `module` was imported from.

    Its name alone does not tell: a folder beside the script may shadow an installed
    package, and some of Cython's modules do not call themselves by their full name.
    """
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        return module.partition(".")[0]
    parts = Path(file).resolve().parts
    for site in ("site-packages", "dist-packages"):
        if site in parts[:-1]:
            return parts[parts.index(site) + 1].partition(".")[0]
    return ""


def _imported(code: Path) -> set[str]:
    """Return the top-level names that the user's shipped files import."""
    tops: set[str] = set()
    for file in code.rglob("*.py"):
        if file.relative_to(code).parts[0] == _OURS:
            continue
        try:
            tree = ast.parse(file.read_bytes())
        except SyntaxError as error:
            raise CodeNotShipped(f"not Python: {error}", str(file)) from error
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                tops.update(alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                tops.add(node.module.partition(".")[0])
    return tops


def admit(root: Path, model: str) -> None:
    """Let the modules of the artifact at `root` into this process, or refuse.

    A process has one module of a name. MLflow puts each model's code folder at
    the front of ``sys.path`` and would in silence run the first model's code
    for the second.

    Parameters
    ----------
    root : Path
    model : str
        What to call it in the error of whoever comes second.

    Raises
    ------
    CodeCollision
        Where other code of the same name is here already.
    """
    code = root / layout.CODE
    shipped = {
        entry.stem if entry.is_file() else entry.name: _tree_digest(entry)
        for entry in sorted(code.iterdir())
        if entry.name not in {_OURS, "__pycache__"} and (entry.is_dir() or entry.suffix == ".py")
    }
    for name, digest in shipped.items():
        first, other = _here(name, code)
        if other not in {None, digest}:
            _leave(code)
            raise CodeCollision(
                f"the module {name!r} of {model} is not the {name!r} that {first} has brought "
                "into this process",
                str(code),
                "load each model in a process of its own, or give the modules different names",
            )
    _brought.update({name: (model, digest) for name, digest in shipped.items()})
    if str(code) not in sys.path:
        sys.path.insert(0, str(code))


def _here(name: str, code: Path) -> tuple[str, str | None]:
    if name in _brought:
        return _brought[name]
    module = sys.modules.get(name)
    file = getattr(module, "__file__", None)
    if module is None or file is None:
        return "", None
    place = Path(file)
    if place.is_relative_to(code):
        return "", None
    return str(place), _tree_digest(place.parent if place.name == "__init__.py" else place)


def _leave(code: Path) -> None:
    # MLflow has put it there before it asked us.
    while str(code) in sys.path:
        sys.path.remove(str(code))


def _tree_digest(place: Path) -> str:
    sha = hashlib.sha256()
    files: Iterable[Path] = [place] if place.is_file() else sorted(place.rglob("*.py"))
    for file in files:
        if "__pycache__" not in file.parts:
            sha.update(str(file.relative_to(place)).encode() + b"\0" + file.read_bytes() + b"\0")
    return sha.hexdigest()
