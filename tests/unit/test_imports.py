"""The direction of imports, read from the source and not from what happens to be loaded."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import asfitted

HOME = Path(asfitted.__file__).parent

# Each line may import the lines above it, and itself; not its neighbours on the line,
# but for those named in AMONG.
LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"_version"}),
    frozenset({"_yaml", "errors"}),
    frozenset({"_metrics", "_mlflow", "_progress", "_s3"}),
    frozenset({"config"}),
    frozenset({"contract", "prediction_log"}),
    frozenset({"preprocessing", "wire", "artifact", "monitor", "cache"}),
    frozenset({"scoring", "outcomes"}),
    frozenset({"serving", "batch"}),
    frozenset({"flavor"}),
    frozenset({"save"}),
    frozenset({"registry"}),
    frozenset({"cli"}),
    frozenset({"__main__"}),
)
AMONG: set[tuple[str, str]] = set()
LEVEL = {part: level for level, parts in enumerate(LAYERS) for part in parts}

MAY_IMPORT_MLFLOW = {"_mlflow", "save", "serving", "registry", "batch"}
# The log knows nothing of MLflow, but for the sink that is one.
SINK_OF_MLFLOW = HOME / "prediction_log" / "sinks" / "mlflow_artifacts.py"
NOT_SHIPPED = {"_progress", "cli", "registry", "save", "__main__"}
SHIPPED_NEEDS = {
    "numpy",
    "pandas",
    "scipy",
    "sklearn",
    "pyarrow",
    "pydantic",
    "yaml",
    "joblib",
    "threadpoolctl",
    "cloudpickle",
    "skops",
    "packaging",
    "mlflow",
    # The server's, beside what MLflow brings.
    "prometheus_client",
    "starlette",
    "uvloop",
    "orjson",
}
# The first come with MLflow, whose errors are told apart by theirs; a sink is loaded
# where one is used.
ONLY_IN = {
    "requests": {"_mlflow"},
    "sqlalchemy": {"_mlflow", "prediction_log"},
    "alembic": {"prediction_log"},
    "importlib_metadata": {"artifact"},
    "pandera": {"contract"},
    "duckdb": {"prediction_log"},
    "boto3": {"_s3"},
    "botocore": {"_s3"},
}
# One file each, so that what is optional is asked for in one place.
ONE_FILE = {"pyspark", "psycopg", "boto3", "uvloop", "pandera", "duckdb"}


def part_of(file: Path) -> str:
    first = file.relative_to(HOME).parts[0]
    return first.removesuffix(".py")


def imports(tree: ast.AST, package: tuple[str, ...]) -> Iterator[str]:
    """Yield the full name of everything that is imported anywhere in a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def everything() -> Iterator[tuple[Path, str]]:
    for file in sorted(HOME.rglob("*.py")):
        package = ("asfitted", *file.relative_to(HOME).parent.parts)
        for name in imports(ast.parse(file.read_text(encoding="utf-8")), package):
            yield file, name


IMPORTS = list(everything())


def ours(name: str) -> str | None:
    top, _, rest = name.partition(".")
    if top != "asfitted":
        return None
    part = rest.partition(".")[0]
    # `from asfitted import load_model` means the part that the name comes from.
    home = {**asfitted._HOMES, "__version__": "asfitted._version"}.get(part, f"asfitted.{part}")
    return home.split(".")[1] or None


def test_every_part_has_its_place() -> None:
    parts = {part_of(file) for file in HOME.rglob("*.py")} - {"__init__"}
    assert parts <= set(LEVEL), parts - set(LEVEL)
    assert len(IMPORTS) > 300


def test_imports_go_one_way() -> None:
    wrong = set()
    for file, name in IMPORTS:
        source, target = part_of(file), ours(name)
        if target is None or source in {"__init__", target}:
            continue
        if target not in LEVEL:
            wrong.add(f"{file.relative_to(HOME)}: {name} is no part of ours")
        elif LEVEL[target] >= LEVEL[source] and (source, target) not in AMONG:
            wrong.add(f"{file.relative_to(HOME)}: {source} imports {target}")
    assert not wrong, "\n".join(sorted(wrong))


def test_the_package_itself_imports_nothing_but_its_version() -> None:
    names = {name for file, name in IMPORTS if file == HOME / "__init__.py"}
    assert {name for name in names if name.startswith("asfitted")} == {
        "asfitted._version.__version__"
    }


def test_only_those_that_face_mlflow_import_it() -> None:
    files = {file for file, name in IMPORTS if name.partition(".")[0] == "mlflow"}
    found = {part_of(file) for file in files - {SINK_OF_MLFLOW}}
    assert found <= MAY_IMPORT_MLFLOW, found - MAY_IMPORT_MLFLOW
    assert "save" in found


def test_what_travels_with_a_model_needs_little() -> None:
    strange = {
        f"{file.relative_to(HOME)}: {name}"
        for file, name in IMPORTS
        if part_of(file) not in NOT_SHIPPED
        and (top := name.partition(".")[0]) not in SHIPPED_NEEDS | {"asfitted"}
        and top not in sys.stdlib_module_names
        and part_of(file) not in ONLY_IN.get(top, set())
    }
    assert not strange, "\n".join(sorted(strange))


@pytest.mark.parametrize("package", sorted(ONE_FILE))
def test_one_file_imports_each_optional_dependency(package: str) -> None:
    files = {file for file, name in IMPORTS if name.partition(".")[0] == package}
    assert len(files) <= 1, files


def test_the_reader_of_imports_sees_what_it_should() -> None:
    text = (
        "import a.b, c\nfrom d.e import f\nfrom . import g\nfrom ..h import i\ndef k():\n import l"
    )
    tree = ast.parse(text)
    assert set(imports(tree, ("asfitted", "scoring"))) == {
        "a.b", "c", "d.e.f", "asfitted.scoring.g", "asfitted.h.i", "l",
    }  # fmt: skip
