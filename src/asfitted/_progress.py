"""How far a batch job is: bars on a terminal, else a line every some seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from rich.console import Console

EVERY_S = 10.0

Advance = Callable[[str, int, "int | None"], None]


@contextmanager
def showing(console: Console) -> Iterator[Advance]:
    """Give what is to be called with the phase, its further rows, and all rows where known."""
    if not console.is_terminal:
        yield Lines(console).advance
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    bars = Progress(
        TextColumn("{task.description:>9}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("rows, {task.fields[speed]}"),
        TimeRemainingColumn(),
        console=console,
    )
    tasks = {}

    def advance(phase: str, rows: int, total: int | None) -> None:
        if phase not in tasks:
            tasks[phase] = bars.add_task(phase, total=total, speed="")
        bars.update(tasks[phase], advance=rows, total=total)
        speed = bars.tasks[tasks[phase]].speed
        bars.update(tasks[phase], speed="" if speed is None else f"{speed:,.0f} rows/s")

    with bars:
        yield advance


class Lines:
    """Prints a line on `console` when `every_s` seconds have passed since the last.

    Parameters
    ----------
    console : Console
    every_s : float, default 10.0
    clock : callable, default time.monotonic
        Returns seconds.
    """

    def __init__(
        self, console: Console, every_s: float = EVERY_S, clock: Callable[[], float] = monotonic
    ) -> None:
        self.console, self.every_s, self.clock = console, every_s, clock
        self.phase, self.rows = "", 0
        self.begun = self.said = self.seen = clock()

    def advance(self, phase: str, rows: int, total: int | None) -> None:
        """Take note of `rows` further rows."""
        now = self.clock()
        if phase != self.phase:
            # A phase began when the one before it was last heard of.
            self.phase, self.rows, self.begun = phase, 0, self.seen
        self.seen = now
        self.rows += rows
        if now - self.said < self.every_s:
            return
        self.said = now
        speed = self.rows / max(now - self.begun, 1e-9)
        of = f" of {total:,}" if total is not None else ""
        left = f", {(total - self.rows) / speed:,.0f} s left" if total and speed else ""
        line = f"{phase} {self.rows:,}{of} rows, {speed:,.0f} rows/s{left}"
        self.console.print(line, highlight=False, soft_wrap=True)
