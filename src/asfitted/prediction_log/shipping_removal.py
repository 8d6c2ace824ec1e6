"""Delete journals that are wholly shipped, so that the disk holds what was not."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from pathlib import Path

from asfitted.prediction_log.place import SUFFIX, journal_files
from asfitted.prediction_log.shipping_journals import (
    READ_ERRORS,
    ends,
    is_final,
    remove,
    writer_of,
)
from asfitted.prediction_log.shipping_state import Progress, ShippingState, now_us
from asfitted.prediction_log.tables import TABLES


def remove_shipped(
    folder: Path,
    state: ShippingState,
    keep_us: int,
    drained: Collection[str],
    on_problem: Callable[[str], None],
) -> None:
    """Delete the journals that nobody writes and that were shipped long enough ago.

    Parameters
    ----------
    folder : Path
    state : ShippingState
    keep_us : int
        Microseconds from when a journal was found complete to its deletion.
    drained : collection of str
        Names of the files that were read to their end without an error.
    on_problem : callable
        Called with a sentence for a journal that should be deleted and cannot be.
    """
    now = now_us()
    for path in [path for path in journal_files(folder) if path.name in drained]:
        writer = writer_of(path)
        progress = state.progress_of(writer)
        since = progress.completed_at
        if since is not None and since + keep_us > now:
            continue
        try:
            if not _is_shipped(path, progress):
                continue
            if since is None:
                state.mark(writer, "completed_at", now)
                since = now
            if since + keep_us <= now:
                state.mark(writer, "removed_at", now)
                remove(path)
        except READ_ERRORS as error:
            on_problem(f"{path}: {error}; it is shipped and cannot be deleted")


def finish_removals(folder: Path, state: ShippingState) -> None:
    """Delete what a kill left of journals that were being deleted."""
    # By what is there: a log remembers all journals that it ever had.
    left = {re.sub(r"(-wal|-shm|-journal)$", "", path.name) for path in folder.glob("journal-*")}
    for path in [folder / name for name in left if name.endswith(SUFFIX)]:
        if state.progress_of(writer_of(path)).removed_at is not None:
            remove(path)


def _is_shipped(path: Path, progress: Progress) -> bool:
    # In this order: of a journal that is final, no row comes after the count.
    if not is_final(path):
        return False
    last = ends(path)
    return last is not None and all(last[table] <= progress.last(table) for table in TABLES)
