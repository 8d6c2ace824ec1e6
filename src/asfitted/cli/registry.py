"""``asfitted promote``, ``rollback`` and ``history``."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout

import click
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from asfitted.config import load_config
from asfitted.registry.decision import Decision
from asfitted.registry.history import Row
from asfitted.registry.promotion import consider
from asfitted.registry.promotion import history as read_history
from asfitted.registry.rollback import consider_rollback

# MLflow's seven retries take four minutes to say that a server is not running.
_RETRIES = ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")

_config = click.option(
    "--config", type=click.Path(dir_okay=False), help="Default: ./registry_config.yaml."
)
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.command()
@click.argument("name")
@click.argument("version")
@click.option("--to", metavar="ALIAS", help="Default: the alias that the configuration names.")
@_config
@click.option("--dry-run", is_flag=True, help="Ask the gates; move nothing, keep nothing.")
@_json
def promote(
    name: str, version: str, to: str | None, config: str | None, dry_run: bool, as_json: bool
) -> None:
    """Move an alias of the model NAME to VERSION (or `latest`), if its gates pass."""
    with _progress(f"promote {name} version {version}") as say:
        decision = consider(name, version, to, load_config(config), dry_run, say)
    _show(decision, as_json)
    decision.raise_for_refusal()


@click.command()
@click.argument("name")
@click.option("--alias", help="Default: the alias that the configuration names, or champion.")
@_config
@_json
def rollback(name: str, alias: str | None, config: str | None, as_json: bool) -> None:
    """Move an alias of the model NAME back to the version that held it before."""
    with _progress(f"roll {name} back") as say:
        decision = consider_rollback(name, alias, load_config(config), say)
    _show(decision, as_json)
    decision.raise_for_refusal()


@click.command()
@click.argument("name")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True)
@_json
def history(name: str, limit: int, as_json: bool) -> None:
    """Show the decisions about the aliases of the model NAME, the newest first (UTC)."""
    with _progress(f"read the history of {name}"):
        rows = read_history(name)
    shown = rows[::-1][:limit]
    if as_json:
        decisions = [row.to_json() for row in shown]
        told = {"schema_version": 1, "name": name, "total": len(rows), "decisions": decisions}
        click.echo(json.dumps(told, allow_nan=False))
    else:
        console = Console(highlight=False)
        for row in shown:
            console.print(_line(row), soft_wrap=True)
        if len(rows) > len(shown):
            click.echo(f"{len(rows) - len(shown)} older ones; --limit shows more")


@contextmanager
def _progress(title: str) -> Iterator[Callable[[str], None]]:
    """Tell on stderr what takes its time: a spinner on a terminal, lines elsewhere."""
    os.environ.setdefault(*_RETRIES)
    console = Console(stderr=True, markup=False, highlight=False)
    # MLflow's client prints a link for each finished run, and stdout is for the result.
    with redirect_stdout(sys.stderr):
        if console.is_terminal:
            with console.status(Text(title)) as status:
                yield lambda text: status.update(Text(f"{title}: {text}"))
        else:
            yield lambda text: console.print(f"{title}: {text}", soft_wrap=True)


def _show(decision: Decision, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(decision.to_json(), allow_nan=False))
        return
    console = Console(highlight=False)
    table = Table("gate", "verdict", Column("reason", overflow="fold"))
    for verdict in decision.verdicts:
        word = Text("pass", "green") if verdict.passed else Text("refuse", "bold red")
        table.add_row(Text(verdict.gate), word, Text(verdict.reason))
    console.print(table)
    for note in decision.notes:
        console.print(Text(f"note: {note}", "yellow"))
    console.print(Text(_outcome(decision)), soft_wrap=True)


def _outcome(decision: Decision) -> str:
    what, before = f"{decision.name}@{decision.alias}", decision.previous
    stays = f"{what} stays at version {before}" if before else f"{what} stays unset"
    if decision.dry_run:
        would = "would move" if decision.passed else "would be refused"
        return f"dry run: version {decision.version} {would}; {stays}"
    if not decision.passed:
        return f"{stays}; the refusal is kept in run {decision.run_id}"
    came = f" from version {before}" if before else ""
    word = "went back" if decision.action == "rollback" else "went"
    moved = f"{what} {word}{came} to version {decision.version}"
    return f"{moved}; the decision is kept in run {decision.run_id}"


def _line(row: Row) -> Text:
    """One decision on one line, and under it what kept the alias where it was."""
    colours = {"moved": "green", "refused": "bold red", "unfinished": "yellow", "failed": "yellow"}
    what = f"{row.action} {row.alias} {row.previous or '–'} → {row.version}"
    line = Text(f"{row.at:%Y-%m-%d %H:%M:%S}  {row.who}  {what}  ")
    line.append(row.state, colours[row.state])
    if row.state == "refused":
        line.append(f"\n    {row.reason}")
    return line
