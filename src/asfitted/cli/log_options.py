"""The options that say which records are meant, and of which log."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar, get_args

import click

from asfitted.cli.log_place import PLACE_OPTIONS
from asfitted.prediction_log.query import Query
from asfitted.prediction_log.record import Source
from asfitted.prediction_log.whole import Place, place_of

Command = TypeVar("Command", bound=Callable[..., Any])

_CONDITIONS = (
    *PLACE_OPTIONS,
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
    click.option(
        "--finding",
        metavar="RULE[=COLUMN]",
        help="With such a finding: filled, unknown_category=carrier, …",
    ),
    click.option("--code", help="With --refused: why, such as contract_violation."),
    click.option("--refused", is_flag=True, help="Refused requests instead of predictions."),
)
_FORMS = (
    click.option(
        "--columns",
        metavar="NAME,…",
        help="Only these: names as in --csv, such as temp, output.prediction, key.flight; "
        "one with a comma in quotes.",
    ),
    click.option("--table", "form", flag_value="table", help="For a person (the default)."),
    click.option("--json", "form", flag_value="json", help="One JSON object."),
    click.option("--csv", "form", flag_value="csv", help="CSV with one column per feature."),
)


def filters(command: Command) -> Command:
    """Add the conditions of `Query` and the forms of output."""
    return conditions(with_options(command, _FORMS))


def conditions(command: Command) -> Command:
    """Add the conditions of `Query`."""
    return with_options(command, _CONDITIONS)


def placed(command: Command) -> Command:
    """Add the options that say which log is meant."""
    return with_options(command, PLACE_OPTIONS)


def with_options(command: Command, options: Iterable[Callable[[Command], Command]]) -> Command:
    """Add options to a command, in their order."""
    for option in reversed(list(options)):
        command = option(command)
    return command


def place_from(options: dict[str, Any]) -> Place:
    """Return the log that the options mean."""
    return place_of(options["folder"], options["sink"], journals_only=options["journals_only"])


def query_from(options: dict[str, Any], limit: int | None, *, newest_first: bool) -> Query:
    """Return the conditions that the options make."""
    names = ("model", "version", "since", "until", "prediction_id", "request_id", "source")
    return Query(
        **{name: options[name] for name in (*names, "finding", "code")},
        key=keys_from(options["keys"]),
        limit=limit,
        newest_first=newest_first,
        table="refusals" if options["refused"] else "predictions",
    )


def keys_from(texts: Iterable[str]) -> dict[str, str]:
    """Return the keys of ``--key NAME=VALUE``, all of which a record must have."""
    keys: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.UsageError(f"--key {text}: write it as name=value")
        if name in keys:
            # Of two values of one key no record has both, and the first would be forgotten.
            raise click.UsageError(f"--key {name} stands there twice: run it once for each value")
        keys[name] = value
    return keys
