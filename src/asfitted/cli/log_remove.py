"""`asfitted log prune` and `asfitted log erase`: take records out of the whole log."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

import click

from asfitted.cli.durations import Duration
from asfitted.cli.log_options import Command, pairs, place_from, placed, with_options
from asfitted.cli.log_output import as_json as as_json_records
from asfitted.cli.log_place import Problems, local_folder, say_unknown_keys
from asfitted.cli.log_table import flat
from asfitted.config import SINK_VARIABLE, load_config
from asfitted.prediction_log import words
from asfitted.prediction_log.query import Query
from asfitted.prediction_log.removal_run import Removal
from asfitted.prediction_log.removing import erase as erase_records
from asfitted.prediction_log.removing import prune as prune_records
from asfitted.prediction_log.whole import Place, whole_records

_OPTIONS = (
    click.option("--who", default="", help="For the trace.  [default: this user and host]"),
    click.option(
        "--folder",
        type=click.Path(),
        help="Its journals.  [default: $ASFITTED_LOG, else log.folder]",
    ),
    click.option(
        "--sink",
        metavar="URL",
        help=f"The sink, always with the journals.  [default: ${SINK_VARIABLE}, else log.sink]",
    ),
    click.option("--dry-run", is_flag=True, help="Say what would go; remove nothing."),
    click.option("--yes", is_flag=True, help="Do not ask."),
    click.option("--json", "as_json", is_flag=True, help="One JSON object; asks nothing."),
)


def _removal(command: Command) -> Command:
    return with_options(command, _OPTIONS)


@click.command()
@click.option("--older-than", type=Duration(), required=True, metavar="400d")
@click.option("--model", default="", help="Of this model only.")
@click.option("--reason", default="", help="For the trace.")
@_removal
def prune(older_than: timedelta, model: str, reason: str, who: str, **options: Any) -> None:
    """Delete what is older from journals and sink: predictions, refusals and outcomes.

    Nothing is shipped meanwhile. A run that was killed is finished by the next. What was
    removed, by whom and why stays on record: `asfitted log removals`.
    """

    def remove(place: Place, confirm: Callable[[Removal], bool]) -> Removal:
        return prune_records(
            place, older_than, model=model, reason=reason, who=who, confirm=confirm
        )

    _run(remove, "deleted", **options)


@click.command()
@click.option(
    "--key",
    "keys",
    multiple=True,
    required=True,
    metavar="NAME=VALUE",
    help="Whose records; of several keys all must match.",
)
@click.option("--reason", required=True, help="For the trace, such as the number of a request.")
@_removal
def erase(keys: tuple[str, ...], reason: str, who: str, **options: Any) -> None:
    """Blank all that is on record of a subject, in journals, quarantine and sink.

    Records keep their id, times, model, writer and sequence, so that counts still agree,
    and their trace is visible. Keys that are hashed are found with ASFITTED_HASH_KEY.
    """
    wanted = pairs(keys)

    def remove(place: Place, confirm: Callable[[Removal], bool]) -> Removal:
        return erase_records(place, wanted, reason=reason, who=who, confirm=confirm)

    _run(remove, "blanked", wanted, **options)


@click.command()
@placed
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def removals(as_json: bool, **options: Any) -> None:
    """Print what was taken out of the log, by whom and why; and gaps that were declared."""
    problems = Problems()
    query = Query(table="removals")
    found = list(whole_records(place_from(options), query, on_problem=problems))
    if as_json:
        click.echo(as_json_records(found))
    else:
        for each in found:
            counts = " and ".join(f"{n:,} {table}" for table, n in each["counts"].items())
            why = f": {each['reason']}" if each["reason"] else ""
            when = words.moment(each["removed_at"])
            span = each["condition"] if each["kind"] == "gap" else {}
            during = f", {span['since']} to {span['until']}" if span else ""
            line = f"{when} UTC  {each['kind']}  {counts}{during}, by {each['who']}{why}"
            click.echo(flat(line))
    problems.exit()


def _run(
    remove: Callable[[Place, Callable[[Removal], bool]], Removal],
    verb: str,
    keys: Iterable[str] = (),
    *,
    folder: str | None,
    sink: str | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    if as_json and not (yes or dry_run):
        raise click.UsageError("--json does not ask: say --yes or --dry-run")
    config = load_config()
    place = Place(
        local_folder(folder, config), sink or config.log_sink(), config.log.durability == "sink"
    )

    def confirm(removal: Removal) -> bool:
        if dry_run:
            return False
        if not yes:
            click.echo(f"{_counted(removal)} in {place}", err=True)
            click.confirm(f"Shall they be {verb}? There is no way back", abort=True, err=True)
        return True

    removal = remove(place, confirm)
    if not removal.total:
        say_unknown_keys(place, keys)
    if as_json:
        said = {"dry_run": dry_run, "counts": removal.counts, "removal_id": removal.removal_id}
        click.echo(json.dumps({"schema_version": 1, "kind": removal.kind, **said}))
        return
    if not removal.total:
        click.echo(f"nothing to be {verb} in {place}")
    else:
        click.echo(f"{_counted(removal)} {f'would be {verb}' if dry_run else verb}, in {place}")


def _counted(removal: Removal) -> str:
    return " and ".join(f"{count:,} {table}" for table, count in removal.counts.items())
