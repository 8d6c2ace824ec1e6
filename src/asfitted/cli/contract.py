"""``asfitted contract``: infer, show, check."""

from __future__ import annotations

from pathlib import Path

import click
import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from asfitted.contract import Column, DataContract, Fill
from asfitted.errors import ConfigError
from asfitted.wire.csv import read_csv

_FILE = click.Path(path_type=Path)


@click.group()
def contract() -> None:
    """Infer, show and check a data contract."""


@contract.command()
@click.argument("data", type=_FILE)
@click.option("--key", "keys", multiple=True, help="A column to log and not to feed; repeatable.")
@click.option("--output", type=_FILE, help="Where to write it; by default stdout.")
def infer(data: Path, keys: tuple[str, ...], output: Path | None) -> None:
    """Propose a contract from training data (CSV or Parquet)."""
    frame = _frame(data)
    proposed = DataContract.infer(frame, keys=keys)
    if output is None:
        click.echo(proposed.to_yaml(), nl=False)
    else:
        proposed.save(output)
        click.echo(f"{len(proposed.columns)} columns into {output}; read it, edit it, commit it")


@contract.command()
@click.argument("file", type=_FILE)
def show(file: Path) -> None:
    """Show a contract as a table."""
    loaded = DataContract.load(file)
    table = Table(title=str(loaded))
    for heading in ("column", "kind", "missing", "rules", "meaning"):
        table.add_column(heading)
    for name, column in loaded.columns.items():
        kind = f"{column.kind} (key)" if name in loaded.keys else column.kind
        missing = (
            f"fill {column.missing.fill!r}" if isinstance(column.missing, Fill) else column.missing
        )
        meaning = f"{column.meaning} [{column.unit}]" if column.unit else column.meaning
        # Brackets are the contract's own, not rich's markup.
        table.add_row(*map(escape, (name, kind, missing, _rules(column), meaning)))
    Console().print(table)


@contract.command()
@click.argument("file", type=_FILE)
@click.argument("data", type=_FILE)
def check(file: Path, data: Path) -> None:
    """Check DATA (CSV or Parquet) against a contract; exit 3 where it is refused."""
    loaded = DataContract.load(file)
    rows = 0
    findings: dict[tuple[str, str], int] = {}
    frames = read_csv(data, loaded, 100_000) if data.suffix == ".csv" else iter([_frame(data)])
    for frame in frames:
        for finding in loaded.conform(frame).findings:
            place = (finding.column, finding.rule)
            findings[place] = findings.get(place, 0) + len(finding.rows)
        rows += len(frame)
    click.echo(f"{rows:,} rows conform to {file}")
    for (column, rule), count in findings.items():
        click.echo(f"  {column}: {rule.replace('_', ' ')} in {count:,} rows")


def _frame(data: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(data) if data.suffix == ".csv" else pd.read_parquet(data)
    except (OSError, ValueError) as error:
        raise ConfigError(f"the data cannot be read: {error}", str(data)) from error


def _rules(column: Column) -> str:
    said = []
    if column.kind == "category":
        labels = [str(label) for label in column.labels]
        said.append(", ".join(labels[:6]) + (f", … ({len(labels)})" if len(labels) > 6 else ""))
        said.append(f"unknown: {column.unknown}")
    if column.min is not None or column.max is not None:
        low, high = ("…" if bound is None else bound for bound in (column.min, column.max))
        said.append(f"{low} to {high}")
    if column.kind == "text":
        said.append(f"up to {column.max_length} characters")
    if column.kind == "datetime":
        said.append(column.zone)
    return "; ".join(said)
