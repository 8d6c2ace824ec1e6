"""What `import asfitted` offers: all of it documented, and none of it paid for in advance."""

from __future__ import annotations

import ast
import doctest
import importlib.util
import inspect
import json
import pickle
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import asfitted

NAMES = [name for name in asfitted.__all__ if name != "__version__"]
MODULES = [
    module.name
    for module in pkgutil.walk_packages(asfitted.__path__, "asfitted.")
    if not module.name.endswith("__main__")
]


def test_all_is_what_is_served() -> None:
    assert sorted(asfitted.__all__) == asfitted.__all__
    assert set(NAMES) == set(asfitted._HOMES)
    assert set(asfitted.__all__) == set(dir(asfitted))
    for name in asfitted.__all__:
        assert getattr(asfitted, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        asfitted.nothing  # noqa: B018


def test_a_star_import_gives_them_all() -> None:
    there: dict[str, object] = {}
    exec("from asfitted import *", there)
    assert set(asfitted.__all__) <= set(there)


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_is_documented(name: str) -> None:
    thing = getattr(asfitted, name)
    assert inspect.getdoc(thing), name
    assert len(inspect.getdoc(thing) or "") > 20
    if inspect.isclass(thing) and not issubclass(thing, Exception):
        for member, value in vars(thing).items():
            if member.startswith("_") or not (
                inspect.isfunction(value)
                or isinstance(value, (property, classmethod, staticmethod))
            ):
                continue
            assert inspect.getdoc(value), f"{name}.{member}"


def text_of(module: str) -> str:
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).read_text(encoding="utf-8")


@pytest.mark.parametrize("module", sorted(set(MODULES) - {"asfitted._version"}))
def test_every_module_says_what_it_is(module: str) -> None:
    text = text_of(module)
    assert not text or ast.get_docstring(ast.parse(text))


def test_doctests() -> None:
    """Run the examples of every module that has some."""
    ran = 0
    for name in MODULES:
        if ">>>" not in text_of(name):
            continue
        module = importlib.import_module(name)
        result = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
        assert result.failed == 0, name
        ran += result.attempted
    assert ran >= 15


def test_importing_it_costs_nothing() -> None:
    """A custom step wants only `asfitted.resource`, and MLflow takes seconds."""
    code = (
        "import sys, json; import asfitted; first = set(sys.modules); asfitted.resource; "
        "asfitted.AsfittedError; second = set(sys.modules); "
        "print(json.dumps([sorted({m.partition('.')[0] for m in s}) for s in (first, second)]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for loaded in json.loads(done.stdout):
        assert not {"mlflow", "sklearn", "pandas", "numpy", "pyarrow", "pydantic"} & set(loaded)


def test_the_tour_names_what_there_is() -> None:
    tour = asfitted.__doc__ or ""
    for name in ("DataContract", "Conform", "Dummies", "log_model", "load_model"):
        assert f"asfitted.{name}" in tour
        assert name in asfitted.__all__


def test_errors_have_codes_of_their_own() -> None:
    from asfitted import errors

    tree = errors.__doc__ or ""
    classes = [
        value
        for value in vars(errors).values()
        if inspect.isclass(value) and issubclass(value, errors.AsfittedError)
    ]
    codes = [value.code for value in classes if "code" in vars(value)]
    assert len(codes) == len(set(codes))
    for value in classes:
        assert value.__name__ in tree
        if "code" in vars(value):
            assert f'"{value.code}"' in tree
        assert value.exit_code in {1, 2, 3, 4}


def test_errors_survive_a_pickle() -> None:
    from asfitted import errors

    violations = (errors.Violation("c", "min", "values below 3", (1, 2), 9),) * 7
    for error in (
        errors.ConfigError("what", "where", "mend"),
        errors.ContractViolation(violations, "where", "mend"),
        errors.RequestRefused("not_json", "what", "mend", 413),
    ):
        there = pickle.loads(pickle.dumps(error))
        assert type(there) is type(error)
        assert str(there) == str(error)
        assert vars(there) == vars(error)
        assert (there.code, there.exit_code) == (error.code, error.exit_code)
    assert str(violations[0]) == "c: 2 of 9 values below 3 (rows 1, 2)"
