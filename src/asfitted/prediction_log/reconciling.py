"""Does the log add up: every number of every writer on record, removed, or missing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from asfitted.prediction_log.query import Query
from asfitted.prediction_log.reader import warn
from asfitted.prediction_log.removal_run import spans
from asfitted.prediction_log.shipping_state import Progress, state_of
from asfitted.prediction_log.sinks.urls import public_name
from asfitted.prediction_log.tables import TABLES, Table
from asfitted.prediction_log.whole import Place, scan

Numbers = Mapping[tuple[Table, str], set[int]]


@dataclass(frozen=True)
class WriterAccount:
    """What became of the answers of one writer.

    Attributes
    ----------
    writer : str
    answered : int
        Rows: `on_record`, `removed`, `missing` predictions, and `unrecorded`.
    on_record : int
        Predictions in journals or sink.
    removed : int
        Predictions that a prune took out.
    unrecorded : int
        Answered without a record, because the operator chose so; declared by the writer.
    missing : dict of table to list of [first, last]
        Numbers that are nowhere, and that no removal explains.
    """

    writer: str
    answered: int
    on_record: int
    removed: int
    unrecorded: int
    missing: Mapping[Table, Sequence[Sequence[int]]]


@dataclass(frozen=True)
class Account:
    """Of a whole log; see `reconcile`."""

    writers: Sequence[WriterAccount]

    @property
    def missing(self) -> int:
        """Rows of all tables that are nowhere and that nothing explains."""
        return sum(
            last - first + 1
            for writer in self.writers
            for ranges in writer.missing.values()
            for first, last in ranges
        )

    def as_dict(self) -> dict[str, Any]:
        """Return everything as one object for JSON."""
        names = ("answered", "on_record", "removed", "unrecorded")
        return {
            **{name: sum(getattr(writer, name) for writer in self.writers) for name in names},
            "missing": self.missing,
            "writers": [asdict(writer) for writer in self.writers],
        }


def reconcile(place: Place, *, on_problem: Callable[[str], None] = warn) -> Account:
    """Return what became of every number that a writer has given.

    Numbers run from 1 without gaps per writer and table. The last one known is the last
    that is on record, removed, or noted as shipped: of a writer whose journal is lost,
    what it wrote last and nobody shipped cannot be known.

    Parameters
    ----------
    place : Place
        Both are asked; all sequence numbers are in memory, nothing else.
    on_problem : callable, default logs a warning

    Raises
    ------
    StoreUnavailable
        Where the sink does not answer.
    sqlite3.Error
        Where the shipper's state cannot be read.
    """
    removed, unrecorded = traces(place, on_problem=on_problem)
    there: dict[tuple[Table, str], set[int]] = {}
    for table in TABLES:
        rows = scan(place, Query(table=table), ("writer", "sequence"),
                    on_problem=on_problem, strict=True)  # fmt: skip
        for writer, sequence in rows:
            there.setdefault((table, writer), set()).add(sequence)
    shipped: dict[str, Progress] = {}
    if place.folder is not None and place.sink is not None:
        shipped, _, _ = state_of(place.folder, public_name(place.sink))
    names = {writer for _, writer in (*there, *removed)} | set(shipped) | set(unrecorded)
    accounts = []
    for writer in sorted(names):
        missing: dict[Table, list[list[int]]] = {}
        for table in TABLES:
            mine = there.get((table, writer), set()) | removed.get((table, writer), set())
            known = shipped[writer].last(table) if writer in shipped else 0
            lacking = spans(set(range(1, max([known, *mine]) + 1)) - mine)
            if lacking:
                missing[table] = lacking
        own = there.get(("predictions", writer), set())
        gone = removed.get(("predictions", writer), set()) - own
        lost = sum(last - first + 1 for first, last in missing.get("predictions", []))
        accounts.append(
            WriterAccount(
                writer=writer,
                answered=len(own) + len(gone) + lost + unrecorded.get(writer, 0),
                on_record=len(own),
                removed=len(gone),
                unrecorded=unrecorded.get(writer, 0),
                missing=missing,
            )
        )
    return Account(accounts)


def traces(
    place: Place, *, on_problem: Callable[[str], None] = warn
) -> tuple[Numbers, Mapping[str, int]]:
    """Return the numbers that removals explain, and the rows that writers declared unrecorded."""
    removed: dict[tuple[Table, str], set[int]] = {}
    declared: dict[str, tuple[str, int]] = {}
    for removal_id, kind, counts, gaps, writer in _removals(place, on_problem):
        try:
            if kind == "gap":
                declared[removal_id] = (writer, int(json.loads(counts).get("predictions", 0)))
            for table, of_writer in json.loads(gaps).items():
                for name, ranges in of_writer.items():
                    numbers = removed.setdefault((table, name), set())
                    for first, last in ranges:
                        numbers.update(range(first, last + 1))
        except (ValueError, TypeError, AttributeError):
            on_problem(f"the removal {removal_id} is damaged")
    unrecorded: dict[str, int] = {}
    for writer, rows in declared.values():
        unrecorded[writer] = unrecorded.get(writer, 0) + rows
    return removed, unrecorded


def _removals(
    place: Place, on_problem: Callable[[str], None]
) -> Iterator[tuple[str, str, str, str, str]]:
    columns = ("removal_id", "kind", "counts", "gaps", "writer")
    return scan(place, Query(table="removals"), columns, on_problem=on_problem, strict=True)  # type: ignore[return-value]
