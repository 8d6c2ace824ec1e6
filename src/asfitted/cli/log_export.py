"""`asfitted log export` and `asfitted log sql`: the log for other tools."""

from __future__ import annotations

import io
import json
import math
import os
from datetime import datetime
from pathlib import Path
from typing import Any, cast, get_args

import click

from asfitted.cli.log_options import conditions, place_from, placed, query_from
from asfitted.cli.log_output import SCHEMA_VERSION
from asfitted.cli.log_place import Problems
from asfitted.cli.log_table import LogTable
from asfitted.prediction_log import words
from asfitted.prediction_log.csv_rows import write_csv
from asfitted.prediction_log.exporting import Form
from asfitted.prediction_log.exporting import export as export_log
from asfitted.prediction_log.sql_query import sql as sql_over


@click.command()
@click.option(
    "--output",
    required=True,
    type=click.Path(),
    help="A file, or a folder (one that is there, or ends in /): predictions.FORMAT in it.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(get_args(Form)),
    help="[default: what the file's ending says, else parquet]",
)
@click.option("--features", is_flag=True, help="One column per feature, key and output.")
@click.option("--outcomes", is_flag=True, help="Each prediction with what came true.")
@click.option("--overwrite", is_flag=True, help="Replace an output that is there.")
@conditions
def export(
    output: str,
    form: str | None,
    features: bool,
    outcomes: bool,
    overwrite: bool,
    **options: Any,
) -> None:
    """Write the records that match to a file, oldest first; the log need not fit in memory."""
    query = query_from(options, None, newest_first=False)
    if query.table == "refusals" and (features or outcomes):
        raise click.UsageError("a refused request has no features and no outcome")
    target = Path(output)
    is_folder = target.is_dir() or output.endswith(os.sep)
    ending = "" if is_folder else target.suffix.removeprefix(".")
    if form is None and ending and ending not in get_args(Form):
        raise click.UsageError(
            f"no format is called {ending}: end the name in .{', .'.join(get_args(Form))}, "
            "or say --format"
        )
    chosen = form or ending or "parquet"
    if is_folder:
        target /= f"{query.table}.{chosen}"
    place = place_from(options)
    count = export_log(
        place,
        query,
        target,
        cast(Form, chosen),
        features=features,
        outcomes=outcomes,
        overwrite=overwrite,
        on_problem=Problems(),
    )
    click.echo(f"{count:,} {query.table} of {place} in {target}")


@click.command()
@click.argument("statement")
@placed
@click.option("--table", "form", flag_value="table", help="For a person (the default).")
@click.option("--json", "form", flag_value="json", help="One JSON object.")
@click.option("--csv", "form", flag_value="csv")
def sql(statement: str, form: str | None, **options: Any) -> None:
    """Answer one SELECT over the whole log, with DuckDB (asfitted[duckdb]).

    Tables: predictions, refusals, outcomes, removals. JSON is text:
    "select inputs->>'carrier', count(*) from predictions group by 1". Where two columns
    have one name, the second is called name_1.
    """
    problems = Problems()
    answer = sql_over(place_from(options), statement, on_problem=problems)
    rows = _rows(answer)
    if form == "json":
        click.echo(json.dumps({"schema_version": SCHEMA_VERSION, "rows": rows}))
    elif form == "csv":
        out = io.StringIO()
        write_csv(out, answer.column_names, ([*map(_cell, row.values())] for row in rows))
        click.echo(out.getvalue(), nl=False)
    else:
        cells = [{n: words.scalar(value) for n, value in row.items()} for row in rows]
        LogTable(whole=True).add_columns(cells)
    problems.exit()


def _rows(answer: Any) -> list[dict[str, Any]]:
    columns = []
    for column in answer.columns:
        try:
            columns.append(column.to_pylist())
        except (OverflowError, ValueError):
            # DuckDB knows moments that Python's calendar does not.
            columns.append(column.cast("string").to_pylist())
    rows = zip(*columns, strict=True)
    return [dict(zip(answer.column_names, map(_plain, row), strict=True)) for row in rows]


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, (bool, dict, list)) else value


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds").replace("+00:00", "Z")
    if isinstance(value, float) and not math.isfinite(value):
        return json.dumps(value)  # a text: JSON has no such numbers
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return list(map(_plain, value))
    return value if isinstance(value, (str, int, float, type(None))) else str(value)
