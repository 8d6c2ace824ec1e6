"""Which log a command means, and what kept it from seeing all of it."""

from __future__ import annotations

import sys

import click

from asfitted.config import SINK_VARIABLE
from asfitted.errors import StoreUnavailable
from asfitted.prediction_log.sinks.reading import SinkDown

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


class Problems:
    """Prints what is wrong with a log's files, and remembers that its sink did not answer."""

    def __init__(self) -> None:
        self.sink_down = False

    def __call__(self, problem: str) -> None:
        self.sink_down |= isinstance(problem, SinkDown)
        word = "WARNING" if isinstance(problem, SinkDown) else "warning"
        click.echo(f"{word}: {problem}", err=True)

    def exit(self) -> None:
        """Exit with the code of a store that is unavailable, where the answer is not whole."""
        if self.sink_down:
            sys.exit(StoreUnavailable.exit_code)
