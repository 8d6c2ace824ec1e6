"""`asfitted log`: read the prediction log, and move it to its sink."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar, get_args

import click

from asfitted.cli import log_output
from asfitted.cli.log_ship import ship, stats
from asfitted.errors import ConfigError
from asfitted.prediction_log.follow import Follower
from asfitted.prediction_log.place import journal_files
from asfitted.prediction_log.query import Query
from asfitted.prediction_log.reader import Record, existing_folder, records
from asfitted.prediction_log.record import Source
from asfitted.prediction_log.sinks import log_records, public_name

_POLL_S = 0.5
_TABLE_LIMIT = 100

Command = TypeVar("Command", bound=Callable[..., Any])


_FOLDER = click.option(
    "--folder",
    type=click.Path(),
    help="The log.  [default: $ASFITTED_LOG, else ./prediction_log]",
)
_OPTIONS = (
    _FOLDER,
    click.option("--model", help="Name of the registered model."),
    click.option("--version", help="Version of the model."),
    click.option("--since", metavar="TIME", help="From then on. ISO 8601, UTC without an offset."),
    click.option("--until", metavar="TIME", help="Before then."),
    click.option(
        "--key", "keys", multiple=True, metavar="NAME=VALUE", help="A key's value; repeatable."
    ),
    click.option("--id", "prediction_id", help="Prediction id, or its last 12 characters."),
    click.option("--request", "request_id", help="Request id."),
    click.option("--source", type=click.Choice(get_args(Source)), help="How it was asked."),
    click.option("--refused", is_flag=True, help="Refused requests instead of predictions."),
    click.option(
        "--columns",
        metavar="NAME,…",
        help="Only these: names as in --csv, such as temp, output.prediction, key.flight.",
    ),
    click.option("--table", "form", flag_value="table", help="For a person (the default)."),
    click.option("--json", "form", flag_value="json", help="One JSON object."),
    click.option("--csv", "form", flag_value="csv", help="CSV with one column per feature."),
)


def _filters(command: Command) -> Command:
    """Add the conditions of `Query` and the forms of output."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.group()
def log() -> None:
    """Read the prediction log, and move it to its sink."""


log.add_command(ship)
log.add_command(stats)


@log.command()
@_filters
@click.option(
    "--sink", metavar="URL", help="What is in this sink; with --folder, of both, each once."
)
@click.option("--limit", type=click.IntRange(min=0), help="At most this many, the newest.")
def query(limit: int | None, sink: str | None, **options: Any) -> None:
    """Print the records that match, oldest first.

    A table shows the 100 newest of them unless --limit says otherwise.
    """
    form, columns = options["form"] or "table", _columns(options["columns"])
    cut = _TABLE_LIMIT if limit is None and form == "table" else None
    # One more than is shown, to know whether that is all.
    asked = _query(options, cut + 1 if cut is not None else limit, newest_first=True)
    if sink:
        found = list(log_records(options["folder"], sink, asked, on_problem=_warn))
    else:
        found = list(records(options["folder"], asked, on_problem=_warn))
    if cut is not None and len(found) > cut:
        found = found[:cut]
        click.echo(f"The {cut} newest are shown; --limit, --csv and --json give more.", err=True)
    if sink and not found:
        click.echo(f"No records match.\n  where: {public_name(sink)}", err=True)
    elif not sink:
        _say_if_none(found, options)
    log_output.print_records(found[::-1], form, columns, asked.table)


@log.command()
@_filters
@click.option("-n", "count", type=click.IntRange(min=0), default=10, help="How many (10).")
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written, until Ctrl-C.")
def tail(count: int, follow: bool, **options: Any) -> None:
    """Print the newest records, the newest last."""
    form, columns = options["form"] or "table", _columns(options["columns"])
    if follow and form == "csv":
        raise click.UsageError("--follow prints a table or --json, one object a line")
    asked = _query(options, count, newest_first=True)
    follower = Follower(options["folder"], asked, on_problem=_warn)
    newest = follower.newest()
    _say_if_none(newest, options)
    if not follow:
        log_output.print_records(newest, form, columns, asked.table)
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
@_FOLDER
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def show(prediction_id: str, folder: str | None, as_json: bool) -> None:
    """Print one record in full: ID is a prediction id, or its last 12 characters."""
    found = list(records(folder, Query(prediction_id=prediction_id), on_problem=_warn))
    if not found:
        raise ConfigError(
            f"there is no prediction {prediction_id}",
            str(existing_folder(folder).absolute()),
            "`asfitted log tail` shows ids; a refused request is under `log query --refused`",
        )
    if as_json:
        click.echo(log_output.as_json(found))
        return
    click.echo("\n\n".join(map(log_output.in_full, found)))


def _query(options: dict[str, Any], limit: int | None, *, newest_first: bool) -> Query:
    names = ("model", "version", "since", "until", "prediction_id", "request_id", "source")
    return Query(
        **{name: options[name] for name in names},
        key=dict(map(_pair, options["keys"])),
        limit=limit,
        newest_first=newest_first,
        table="refusals" if options["refused"] else "predictions",
    )


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.UsageError(f"--key {text}: write it as name=value")
    return name, value


def _columns(text: str | None) -> list[str]:
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def _warn(problem: str) -> None:
    click.echo(f"warning: {problem}", err=True)


def _say_if_none(found: list[Record], options: dict[str, Any]) -> None:
    if found:
        return
    folder = existing_folder(options["folder"])
    files = len(journal_files(folder))
    what = "refused requests" if options["refused"] else "predictions"
    if files:
        message = f"No {what} on record match.\n  where: {folder.absolute()} ({files} journals)"
        message += "\n  mend:  leave out a condition, or look in another log with --folder"
    else:
        message = f"No {what} on record yet.\n  where: {folder.absolute()} holds no journal"
        message += "\n  mend:  serve or score with a model, or name another log with --folder"
    click.echo(message, err=True)
