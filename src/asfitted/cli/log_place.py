"""Which log a command means, and what kept it from seeing all of it."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterable
from pathlib import Path

import click

from asfitted.config import SINK_VARIABLE, Config
from asfitted.errors import StoreUnavailable
from asfitted.prediction_log.place import make_folder
from asfitted.prediction_log.query import Query
from asfitted.prediction_log.reader import existing_folder
from asfitted.prediction_log.sinks.reading import SinkDown
from asfitted.prediction_log.tables import Table
from asfitted.prediction_log.whole import Place, scan

PLACE_OPTIONS = (
    click.option(
        "--folder",
        type=click.Path(),
        help="Its journals; alone, no sink.  [default: $ASFITTED_LOG, else log.folder]",
    ),
    click.option(
        "--sink",
        metavar="URL",
        help=f"This sink; alone, no journals.  [default: ${SINK_VARIABLE}, else log.sink]",
    ),
    click.option("--journals-only", is_flag=True, help="Leave out the sink of the configuration."),
)


def local_folder(folder: str | None, config: Config) -> Path:
    """Return the folder of the journals; where records wait for the sink nobody else makes it.

    Raises
    ------
    ConfigError
        Where there is no such folder, and predictions would make it.
    StoreUnavailable
    """
    home = Path(folder) if folder else config.log_folder()
    if not folder and config.log.durability == "sink":
        try:
            make_folder(home)
        except OSError as error:
            raise StoreUnavailable(
                f"the log's folder cannot be made: {error.strerror or error}", str(home)
            ) from error
    return existing_folder(home)


class Problems:
    """Prints what is wrong with a log's files, and remembers that its sink did not answer."""

    def __init__(self) -> None:
        self.sink_down = False
        self._said: set[str] = set()

    def __call__(self, problem: str) -> None:
        self.sink_down |= isinstance(problem, SinkDown)
        if problem in self._said:  # of another table
            return
        self._said.add(problem)
        word = "WARNING" if isinstance(problem, SinkDown) else "warning"
        click.echo(f"{word}: {problem}", err=True)

    def exit(self) -> None:
        """Exit with the code of a store that is unavailable, where the answer is not whole."""
        if self.sink_down:
            sys.exit(StoreUnavailable.exit_code)


_WITH_KEYS: tuple[Table, ...] = ("predictions", "outcomes")


def say_unknown_keys(place: Place, names: Iterable[str]) -> None:
    """Say which of these keys no record of the log has, and which keys there are.

    For who found nothing by them: the log is read again, up to a record that has them.
    """
    missing, there = set(names), set[str]()
    problems: list[str] = []
    for table in _WITH_KEYS if missing else ():
        for (keys,) in scan(place, Query(table=table), ("keys",), on_problem=problems.append):
            with contextlib.suppress(ValueError, TypeError):
                there.update(json.loads(keys))
            missing -= there
            if not missing:
                return
    # What cannot be read may have them.
    for name in sorted(missing) if not problems else ():
        known = ", ".join(sorted(there)) or "none"
        click.echo(f"No record has a key {name!r}.\n  mend:  there are {known}", err=True)
