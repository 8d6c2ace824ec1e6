"""`asfitted log`: read the prediction log, and move it to its sink."""

from __future__ import annotations

import csv
import time
from collections.abc import Iterable
from typing import Any

import click

from asfitted.cli import log_output
from asfitted.cli.log_compact import compact
from asfitted.cli.log_export import export, sql
from asfitted.cli.log_options import filters, pairs, place_from, placed, query_from
from asfitted.cli.log_place import Problems, say_unknown_keys
from asfitted.cli.log_remove import erase, prune, removals
from asfitted.cli.log_ship import ship, stats
from asfitted.errors import ConfigError
from asfitted.prediction_log.exporting import without_halves
from asfitted.prediction_log.follow import Follower
from asfitted.prediction_log.joining import joined, read_outcomes, with_outcomes
from asfitted.prediction_log.place import journal_files
from asfitted.prediction_log.query import Query
from asfitted.prediction_log.reader import Record
from asfitted.prediction_log.whole import Place, whole_records

_POLL_S = 0.5
_TABLE_LIMIT = 100


@click.group()
def log() -> None:
    """Read the prediction log, and move it to its sink."""


log.add_command(compact)
log.add_command(erase)
log.add_command(export)
log.add_command(prune)
log.add_command(removals)
log.add_command(ship)
log.add_command(sql)
log.add_command(stats)


@log.command()
@filters
@click.option("--limit", type=click.IntRange(min=0), help="At most this many, the newest.")
@click.option("--outcomes", is_flag=True, help="Each prediction with what came true.")
def query(limit: int | None, outcomes: bool, **options: Any) -> None:
    """Print the records that match, oldest first.

    A table shows the 100 newest of them unless --limit says otherwise.
    """
    form, columns = options["form"] or "table", _columns(options["columns"])
    cut = _TABLE_LIMIT if limit is None and form == "table" else None
    # The whole log need not fit in memory; the newest of it do.
    whole = limit is None and cut is None
    # One more than is shown, to know whether that is all.
    asked = query_from(options, cut + 1 if cut is not None else limit, newest_first=not whole)
    if outcomes and asked.table == "refusals":
        raise click.UsageError("--outcomes with --refused: a refused request has no outcome")
    place, problems = place_from(options), Problems()
    found: Iterable[Record] = whole_records(place, asked, on_problem=problems)
    if whole and outcomes:
        known = read_outcomes(place, None, on_problem=problems)
        found = (joined(record, known) for record in found)
    elif not whole:
        newest = list(found)
        if outcomes:
            newest = list(with_outcomes(newest, place, on_problem=problems))
        if cut is not None and len(newest) > cut:
            newest = newest[:cut]
            click.echo(
                f"The {cut} newest are shown; --limit, --csv and --json give more.", err=True
            )
        found = newest[::-1]
    count = log_output.print_records(found, form, columns, asked.table)
    _say_if_none(count, options, place)
    problems.exit()


@log.command()
@filters
@click.option("-n", "count", type=click.IntRange(min=0), default=10, help="How many (10).")
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written, until Ctrl-C.")
def tail(count: int, follow: bool, **options: Any) -> None:
    """Print the newest records, the newest last.

    With --follow, what comes then is read from the journals of the folder only.
    """
    form, columns = options["form"] or "table", _columns(options["columns"])
    if follow and form == "csv":
        raise click.UsageError("--follow prints a table or --json, one object a line")
    asked = query_from(options, count, newest_first=True)
    place, problems = place_from(options), Problems()
    if follow and place.folder is None:
        raise click.UsageError("--follow needs the folder of the journals")
    follower = Follower(place.folder, asked, on_problem=problems) if follow else None
    newest = follower.newest() if follower and place.sink is None else None
    if newest is None:
        if follower:
            follower.skip()  # before the log is read: what comes in between is there twice
        newest = list(whole_records(place, asked, on_problem=problems))[::-1]
    _say_if_none(len(newest), options, place)
    if follower is None:
        log_output.print_records(newest, form, columns, asked.table)
        problems.exit()
        return
    show = log_output.stream(form, columns)
    try:
        show(newest)
        while True:
            time.sleep(_POLL_S)
            show(follower.poll())
    except KeyboardInterrupt:
        return


@log.command()
@click.argument("prediction_id", metavar="ID")
@placed
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def show(prediction_id: str, as_json: bool, **options: Any) -> None:
    """Print one record in full: ID is a prediction id, or its last 12 characters."""
    place, problems = place_from(options), Problems()
    found = list(whole_records(place, Query(prediction_id=prediction_id), on_problem=problems))
    found = list(with_outcomes(found, place, on_problem=problems))
    if not found:
        problems.exit()
        raise ConfigError(
            f"there is no prediction {prediction_id}",
            str(place),
            "`asfitted log tail` shows ids; a refused request is under `log query --refused`",
        )
    if as_json:
        click.echo(log_output.as_json(found))
    else:
        click.echo(without_halves("\n\n".join(map(log_output.in_full, found))))
    problems.exit()


def _columns(text: str | None) -> list[str]:
    # As CSV: a name with a comma in it stands in quotes.
    names = next(csv.reader([text or ""], skipinitialspace=True), [])
    return [name.strip() for name in names if name.strip()]


def _say_if_none(count: int, options: dict[str, Any], place: Place) -> None:
    if count:
        return
    files = len(journal_files(place.folder)) if place.folder is not None else 0
    what = "refused requests" if options["refused"] else "predictions"
    if files or place.sink is not None:
        journals = f" ({files} journals)" if place.folder is not None else ""
        message = f"No {what} on record match.\n  where: {place}{journals}"
        message += "\n  mend:  leave out a condition, or look in another log with --folder"
    else:
        message = f"No {what} on record yet.\n  where: {place} holds no journal"
        message += "\n  mend:  serve or score with a model, or name another log with --folder"
    click.echo(message, err=True)
    say_unknown_keys(place, pairs(options["keys"]))
