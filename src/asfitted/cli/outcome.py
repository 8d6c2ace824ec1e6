"""`asfitted outcome add`: put on record what came true."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import click

from asfitted.cli.durations import Duration
from asfitted.cli.log_options import placed
from asfitted.cli.log_place import Problems

# Rows that are named in a line; --json names all.
_SHOWN = 10


@click.group()
def outcome() -> None:
    """Put on record what came true of predictions."""


@outcome.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.option("--key", "keys", multiple=True, metavar="COLUMN", help="A key column; repeatable.")
@click.option(
    "--outcome",
    "outcomes",
    multiple=True,
    metavar="COLUMN",
    help="The outcome's column.  [default: the contract's target, else outcome]",
)
@click.option("--observed-at", metavar="COLUMN", help="When it came true.  [default: observed_at]")
@click.option("--model", default="", help="Name of the registered model; with keys, of it only.")
@click.option("--model-uri", help="The model whose contract says what an outcome may be.")
@click.option("--contract", type=click.Path(exists=True, dir_okay=False), help="That contract.")
@click.option("--late-after", type=Duration(), metavar="30d", help="Report what arrived later.")
@click.option("--refuse-unknown", is_flag=True, help="A row of no prediction is an error.")
@click.option("--source", default="", help="Where it comes from.  [default: the file's name]")
@click.option("--dry-run", is_flag=True, help="Look and report; write nothing.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, with all row numbers.")
@placed
def add(
    file: str,
    keys: tuple[str, ...],
    outcomes: tuple[str, ...],
    model_uri: str | None,
    contract: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Join a CSV or Parquet FILE of outcomes with the log, and record what is new.

    Rows name their prediction in a column prediction_id, or by --key columns. One bad
    row, or two that give one prediction different values or times, and nothing is written.
    The same outcome again is not written twice; another value or time than on record is a
    correction, and the newest counts.
    """
    from asfitted.outcomes import add_outcomes

    if model_uri is not None and contract is not None:
        raise click.UsageError("--model-uri and --contract: one of the two")
    if model_uri is not None:
        from asfitted._mlflow import fetch
        from asfitted.artifact.layout import CONTRACT

        contract = str(fetch(model_uri) / CONTRACT)
    problems = Problems()
    report = add_outcomes(
        file,
        keys=list(keys) or None,
        outcome=list(outcomes) or None,
        contract=contract,
        on_problem=problems,
        **options,
    )
    if as_json:
        click.echo(json.dumps({"schema_version": 1, **asdict(report)}))
        return
    verb = "to write" if report.dry_run else "written"
    left = len(report.duplicates) + len(report.erased)
    count = report.rows - left if report.dry_run else report.written
    click.echo(f"{report.rows:,} outcomes, {count:,} {verb}, {len(report.matched):,} matched")
    for what, rows in (
        ("unknown, of no prediction on record yet", report.unknown),
        ("ambiguous, of several predictions each", report.ambiguous),
        ("of a prediction that was erased, not written", report.erased),
        ("early, observed before the prediction or in the future", report.early),
        ("late", report.late),
        ("on record already, not written again", report.duplicates),
        ("corrections of what is on record", report.corrections),
    ):
        if rows:
            shown = ", ".join(map(str, rows[:_SHOWN])) + (", …" if len(rows) > _SHOWN else "")
            click.echo(f"  {len(rows):,} {what}: rows {shown}")
