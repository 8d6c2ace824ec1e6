"""``asfitted contract``: infer, show, check, diff and export."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from asfitted.batch.source import demand_format, find
from asfitted.cli.contract_check import check_frames
from asfitted.contract import DataContract, words
from asfitted.contract.export import json_schema, openapi
from asfitted.contract.pandera import pandera_script
from asfitted.errors import ConfigError
from asfitted.wire.csv_types import read_csv_types

_FILE = click.Path(path_type=Path)
_OUTPUT = click.option("--output", type=_FILE, help="Where to write it; by default stdout.")
_CHUNK_ROWS = 100_000
_REFUSED = 3
SCHEMA_VERSION = 1


@click.group()
def contract() -> None:
    """Infer, show, check, compare and export a data contract."""


@contract.command()
@click.argument("data", type=_FILE)
@click.option("--key", "keys", multiple=True, help="A column to log and not to feed; repeatable.")
@click.option("--target", "targets", multiple=True, help="A column that is predicted; repeatable.")
@_OUTPUT
def infer(data: Path, keys: tuple[str, ...], targets: tuple[str, ...], output: Path | None) -> None:
    """Propose a contract from training data (CSV or Parquet)."""
    frame = _frame(data)
    for name in targets:
        if name not in frame.columns or name in keys:
            raise ConfigError(
                f"the target {name!r} is {'a key' if name in keys else 'not a column'}",
                str(data),
                f"the columns are {', '.join(map(str, frame.columns))}",
            )
    proposed = DataContract.infer(
        frame.drop(columns=list(targets)),
        target=frame[list(dict.fromkeys(targets))] if targets else None,
        keys=keys,
    )
    said = f"{len(proposed.columns)} columns into {output}; read it, edit it, commit it"
    _write(proposed.to_yaml(), output, said)


@contract.command()
@click.argument("file", type=_FILE)
def show(file: Path) -> None:
    """Show a contract as a table."""
    loaded = DataContract.load(file)
    table = Table(title=str(loaded))
    for heading in ("column", "kind", "missing", "rules", "meaning, why"):
        table.add_column(heading, overflow="fold")  # half a name is none
    for name, column in loaded.columns.items():
        _add_row(
            table, name, f"{column.kind} (key)" if name in loaded.keys else column.kind, column
        )
    for name, column in loaded.target.items():
        _add_row(table, name, f"{column.kind} (target)", column)
    console = Console()
    console.print(table)
    for said in words.whole(loaded):
        console.print(said, markup=False, highlight=False)


def _add_row(table: Table, name: str, kind: str, column: Any) -> None:
    rules = "; ".join(words.rules(column))
    reasons = (f"– {reason}" for reason in words.reasons(column.why))
    meaning = "\n".join(filter(None, [words.meaning(column), *reasons]))
    # Brackets are the contract's own, not rich's markup.
    table.add_row(*map(escape, (name, kind, words.missing(column), rules, meaning)))


@contract.command()
@click.argument("file", type=_FILE)
@click.argument("data", type=_FILE)
@click.option(
    "--code",
    type=_FILE,
    multiple=True,
    help="A file, package or folder with the modules of the row checks; repeatable.",
)
def check(file: Path, data: Path, code: tuple[Path, ...]) -> None:
    """Check DATA (CSV or Parquet) against a contract; exit 3 where it is refused.

    Rows are counted from 0, behind the header of a CSV.
    """
    loaded = DataContract.load(file)
    frames = (chunk.load() for chunk in find(data).chunks(loaded, _CHUNK_ROWS))
    with _importable(code):
        rows, findings = check_frames(frames, loaded, str(data))
    click.echo(f"{rows:,} rows conform to {file}")
    for (column, rule), count in findings.items():
        click.echo(f"  {column}: {rule.replace('_', ' ')} in {count:,} rows")


@contract.command()
@click.argument("old", type=_FILE)
@click.argument("new", type=_FILE)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def diff(old: Path, new: Path, as_json: bool) -> int:
    """Say what NEW changes for callers of OLD; exit 3 where they cannot stay as they are.

    The code behind the name of a row check or an output check is not looked at.
    """
    before, after = DataContract.load(old), DataContract.load(new)
    changes = before.diff(after)
    refused = sum(not change.compatible for change in changes)
    if as_json:
        said = {
            "schema_version": SCHEMA_VERSION,
            "old": {"file": str(old), "digest": before.digest},
            "new": {"file": str(new), "digest": after.digest},
            "compatible": not refused,
            "changes": [asdict(change) for change in changes],
        }
        click.echo(json.dumps(said, ensure_ascii=False))
    else:
        if changes:
            table = Table()
            for heading in ("where", "rule", "was", "now", "compatible", "why"):
                table.add_column(heading, overflow="fold")
            for change in changes:
                verdict = "yes" if change.compatible else "NO"
                was, now = _short(change.was), _short(change.now)
                cells = (change.where, change.rule, was, now, verdict, change.why)
                table.add_row(*map(escape, cells))
            Console().print(table)
        click.echo(f"changes: {len(changes)}, incompatible for callers: {refused}")
    return _REFUSED if refused else 0


_SHOWN = 60


def _short(value: Any) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


_FORMATS = {
    "json-schema": lambda loaded: json.dumps(json_schema(loaded), indent=2, ensure_ascii=False),
    "openapi": lambda loaded: json.dumps(openapi(loaded), indent=2, ensure_ascii=False),
    "pandera": pandera_script,
}


@contract.command()
@click.argument("file", type=_FILE)
@click.option("--format", "form", type=click.Choice(list(_FORMATS)), required=True)
@_OUTPUT
def export(file: Path, form: str, output: Path | None) -> None:
    """Write a contract for other tools.

    json-schema and openapi: one row as it travels. pandera: a Python module with the
    schema of the conformed frame, which needs pandas and pandera only.
    """
    text = _FORMATS[form](DataContract.load(file)).rstrip("\n") + "\n"
    _write(text, output, f"{form} into {output}")


def _write(text: str, output: Path | None, said: str) -> None:
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"it cannot be written: {error.strerror}", str(output)) from error
    click.echo(said)


def _frame(data: Path) -> pd.DataFrame:
    demand_format(data)
    if data.suffix == ".csv":
        return read_csv_types(data)
    try:
        frame = pd.read_parquet(data)
    except (OSError, ValueError) as error:
        raise ConfigError(f"the data cannot be read: {error}", str(data)) from error
    # An index that has a name is a column, as it is when the file is scored.
    return frame.reset_index([name for name in frame.index.names if name is not None])


@contextlib.contextmanager
def _importable(code: tuple[Path, ...]) -> Iterator[None]:
    """Put the folders of the user's modules in front of sys.path."""
    folders = []
    for path in code:
        if not path.exists():
            raise ConfigError("the code is not there", str(path))
        # As in code_paths, a package is imported by its own name.
        whole = path.is_file() or (path / "__init__.py").is_file()
        folders.append(str((path.parent if whole else path).resolve()))
    before = list(sys.path)
    sys.path[:0] = folders
    try:
        yield
    finally:
        sys.path[:] = before
