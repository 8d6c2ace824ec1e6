"""What a log holds and how far its shipping is, from its journals and its state alone."""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from asfitted.prediction_log.opening import opened
from asfitted.prediction_log.place import journal_files
from asfitted.prediction_log.reconciling import Numbers, traces
from asfitted.prediction_log.shipping_journals import READ_ERRORS, look, writer_of
from asfitted.prediction_log.shipping_state import Progress, Status, now_us, state_of
from asfitted.prediction_log.sinks.urls import public_name
from asfitted.prediction_log.tables import TABLES, TIME_OF, Table
from asfitted.prediction_log.whole import Place

STATS_VERSION = 1
_TOTALS = (
    "answered", "unrecorded", "recorded", "shipped", "backlog", "quarantined", "missing", "lost",
)  # fmt: skip


@dataclass(frozen=True)
class WriterStats:
    """Of one journal, its tables together.

    Attributes
    ----------
    writer : str
    answered : int
        Predictions that were given: those written and those of `unrecorded`.
    unrecorded : int
        Predictions answered without a record, as far as a journal that is still there
        declares it.
    recorded, shipped, backlog : int
        Rows that were written, that the sink took or that are in quarantine, and
        that are still to be shipped; without a sink the last two are 0.
    backlog_s : float
        Age of the oldest row that is still to be shipped; 0 where there is none.
    quarantined : int
    missing : int
        Sequence numbers below the last that are not in the journal, and that no
        removal on record in the folder explains: there are none, unless someone took
        rows out.
    lost : bool
        The journal is gone, and not because the shipper deleted it.
    problem : str or None
        What keeps the journal from being read.
    """

    writer: str
    answered: int
    unrecorded: int
    recorded: int
    shipped: int
    backlog: int
    backlog_s: float
    quarantined: int
    missing: int
    lost: bool
    problem: str | None


@dataclass(frozen=True)
class LogStats:
    """Of a folder and one sink, or none; see `log_stats`."""

    sink: str | None
    writers: Sequence[WriterStats]
    status: Status

    @property
    def backlog(self) -> int:
        """Rows that are still to be shipped."""
        return sum(writer.backlog for writer in self.writers)

    @property
    def backlog_s(self) -> float:
        """Age of the oldest of them, in seconds."""
        return max((writer.backlog_s for writer in self.writers), default=0.0)

    def totals(self) -> dict[str, int]:
        """Return the sums over all writers."""
        return {name: sum(getattr(writer, name) for writer in self.writers) for name in _TOTALS}

    def as_dict(self) -> dict[str, Any]:
        """Return everything as one object for JSON."""
        return {
            "stats_version": STATS_VERSION,
            "sink": self.sink,
            **self.totals(),
            "backlog_s": self.backlog_s,
            "last_shipped_at_us": self.status.shipped_at,
            "last_failed_at_us": self.status.failed_at,
            "failures": self.status.failures,
            "last_error": self.status.error,
            "writers": [asdict(writer) for writer in self.writers],
        }


def log_stats(folder: str | os.PathLike[str], sink: str | None) -> LogStats:
    """Return what the journals of `folder` hold and how far they are shipped to `sink`.

    Parameters
    ----------
    folder : str or path
    sink : str or None
        Its URL; it is not asked.

    Raises
    ------
    sqlite3.Error
        Where the shipper's state cannot be read.
    """
    home, name = Path(folder), None if sink is None else public_name(sink)
    paths = {writer_of(path): path for path in journal_files(home)}
    # After the files: whatever was deleted meanwhile is marked so.
    progress, status, quarantined = ({}, Status(), {}) if name is None else state_of(home, name)
    # What cannot be read is reported with its journal.
    removed, unrecorded = traces(Place(home, None), on_problem=lambda problem: None)
    writers = []
    for writer in sorted({*paths, *progress}):
        known = progress.get(writer, Progress())
        counts = (unrecorded.get(writer, 0), quarantined.get(writer, 0))
        if writer in paths and known.removed_at is None:
            at = None if name is None else known
            writers.append(_of_journal(paths[writer], writer, at, counts, removed))
        else:
            writers.append(_of_deleted(writer, known, counts))
    return LogStats(name, writers, status)


def _of_deleted(writer: str, known: Progress, counts: tuple[int, int]) -> WriterStats:
    unrecorded, quarantined = counts
    shipped = sum(known.rows.values())
    return WriterStats(
        writer=writer,
        answered=known.last("predictions") + unrecorded,
        unrecorded=unrecorded,
        recorded=shipped,
        shipped=shipped,
        backlog=0,
        backlog_s=0.0,
        quarantined=quarantined,
        missing=0,
        lost=known.removed_at is None,
        problem=None,
    )


def _of_journal(
    path: Path, writer: str, known: Progress | None, counts: tuple[int, int], removed: Numbers
) -> WriterStats:
    unrecorded, quarantined = counts
    answered, recorded, shipped, missing = unrecorded, 0, 0, 0
    oldest, problem = None, None
    try:
        with opened(path) as connection:
            for table in TABLES if connection is not None else ():
                assert connection is not None
                (last,) = connection.execute(
                    f"SELECT coalesce(max(sequence), 0) FROM {table}"
                ).fetchone()
                rows = _rows(connection, path, table, last)
                recorded += last
                answered += last if table == "predictions" else 0
                spans = removed.get((table, writer), [])
                gone = sum(max(0, min(end, last - 1) - first + 1) for first, end in spans)
                missing += max(0, last - rows - gone)
                if known is None:
                    continue
                shipped += min(last, known.last(table))
                sql = f"SELECT min({TIME_OF[table]}) FROM {table} WHERE sequence > ?"
                (time,) = connection.execute(sql, [known.last(table)]).fetchone()
                if time is not None:
                    oldest = time if oldest is None else min(oldest, time)
    except READ_ERRORS as error:
        problem = str(error)
    return WriterStats(
        writer=writer,
        answered=answered,
        unrecorded=unrecorded,
        recorded=recorded,
        shipped=shipped,
        backlog=0 if known is None else recorded - shipped,
        backlog_s=0.0 if oldest is None else max(0.0, (now_us() - oldest) / 1e6),
        quarantined=quarantined,
        missing=missing,
        lost=False,
        problem=problem,
    )


# Of closed journals, by what they look like: a server is asked every few seconds.
_counted: dict[tuple[Path, Table], tuple[tuple[int, ...], int]] = {}


def _rows(connection: sqlite3.Connection, path: Path, table: Table, last: int) -> int:
    """Return how many rows a table has, all of `last` while the journal is being written."""
    (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    if mode == "wal":
        return last
    state = look(path)
    known = _counted.get((path, table))
    if not state or known is None or known[0] != state:
        (rows,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
        known = _counted[path, table] = (state, rows)
    return known[1]


def as_prometheus(stats: LogStats) -> str:
    """Return the text that a node exporter's textfile collector reads.

    Without a sink its label is empty, which Prometheus takes for none.

    Examples
    --------
    >>> print(as_prometheus(LogStats("file:///log", [], Status())).splitlines()[2])
    asfitted_log_answered_rows{sink="file:///log"} 0
    """
    totals: dict[str, float] = {
        **stats.totals(), "backlog_s": stats.backlog_s, "failures": stats.status.failures
    }  # fmt: skip
    problems = sum(writer.problem is not None for writer in stats.writers)
    figures = [
        ("answered_rows", "Predictions that were given, without a record too.", "answered"),
        ("unrecorded_rows", "Of these, without a record: gaps that are declared.", "unrecorded"),
        ("recorded_rows", "Rows on record in the journals, deleted ones included.", "recorded"),
        ("shipped_rows", "Rows that the sink took or that are in quarantine.", "shipped"),
        ("backlog_rows", "Rows still to be shipped.", "backlog"),
        ("backlog_seconds", "Age of the oldest row still to be shipped.", "backlog_s"),
        ("quarantined_rows", "Rows that the sink will never take.", "quarantined"),
        ("missing_rows", "Gaps in the sequence numbers of journals.", "missing"),
        ("lost_journals", "Journals that are gone and were not shipped to the end.", "lost"),
        ("ship_failures", "Calls of the sink that failed since the last that did not.", "failures"),
    ]
    values = [(name, text, totals[key]) for name, text, key in figures]
    values.append(("unreadable_journals", "Journals that cannot be read.", problems))
    for name, text, moment in (
        ("last_shipped", "When the sink last took rows", stats.status.shipped_at),
        ("last_failed", "When a call of the sink last failed", stats.status.failed_at),
    ):
        if moment is not None:
            text = f"{text}, in seconds since 1970."
            values.append((f"{name}_timestamp_seconds", text, moment / 1e6))
    label = (stats.sink or "").replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    lines = []
    for name, text, value in values:
        metric = f"asfitted_log_{name}"
        lines += [f"# HELP {metric} {text}", f"# TYPE {metric} gauge"]
        lines.append(f'{metric}{{sink="{label}"}} {value!r}')
    return "\n".join(lines) + "\n"


def write_whole(path: Path, text: str) -> None:
    """Replace `path` so that a reader finds the old text or the new one.

    Raises
    ------
    OSError
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        temporary.write_text(text, encoding="utf-8")
        # A node exporter is another user.
        temporary.chmod(0o644)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
