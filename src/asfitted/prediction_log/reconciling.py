"""Does the log add up: every number of every writer on record, removed, or missing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from asfitted.prediction_log.query import Query
from asfitted.prediction_log.reader import warn
from asfitted.prediction_log.shipping_state import Progress, state_of
from asfitted.prediction_log.sinks.urls import public_name
from asfitted.prediction_log.tables import TABLES, Table
from asfitted.prediction_log.whole import Place, scan

# Of sequence numbers: the first and the last of each span, in order, none twice.
Spans = list[list[int]]
Numbers = Mapping[tuple[Table, str], Spans]

# A writer's rows may come in any order: so many spans are put together at a time.
_LOOSE = 10_000


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
        Both are asked; of the numbers that are there only the gaps are in memory.
    on_problem : callable, default logs a warning

    Raises
    ------
    StoreUnavailable
        Where the sink does not answer.
    sqlite3.Error
        Where the shipper's state cannot be read.
    """
    removed, unrecorded = traces(place, on_problem=on_problem)
    there: dict[tuple[Table, str], Spans] = {}
    for table in TABLES:
        rows = scan(place, Query(table=table), ("writer", "sequence"),
                    on_problem=on_problem, strict=True)  # fmt: skip
        for writer, sequence in rows:
            own = there.setdefault((table, writer), [])
            if own and own[-1][1] + 1 == sequence:
                own[-1][1] = sequence
            else:
                own.append([sequence, sequence])
                if len(own) % _LOOSE == 0:
                    own[:] = merged(own)
    shipped: dict[str, Progress] = {}
    if place.folder is not None and place.sink is not None:
        shipped, _, _ = state_of(place.folder, public_name(place.sink))
    names = {writer for _, writer in (*there, *removed)} | set(shipped) | set(unrecorded)
    accounts = []
    for writer in sorted(names):
        missing: dict[Table, list[list[int]]] = {}
        for table in TABLES:
            mine = merged([*there.get((table, writer), []), *removed.get((table, writer), [])])
            known = shipped[writer].last(table) if writer in shipped else 0
            lacking = between(mine, known)
            if lacking:
                missing[table] = lacking
        own = merged(there.get(("predictions", writer), []))
        gone = count(merged([*own, *removed.get(("predictions", writer), [])])) - count(own)
        lost = count(missing.get("predictions", []))
        accounts.append(
            WriterAccount(
                writer=writer,
                answered=count(own) + gone + lost + unrecorded.get(writer, 0),
                on_record=count(own),
                removed=gone,
                unrecorded=unrecorded.get(writer, 0),
                missing=missing,
            )
        )
    return Account(accounts)


def traces(
    place: Place, *, on_problem: Callable[[str], None] = warn
) -> tuple[Numbers, Mapping[str, int]]:
    """Return the numbers that removals explain, and the rows that writers declared unrecorded."""
    removed: dict[tuple[Table, str], Spans] = {}
    declared: dict[str, tuple[str, int]] = {}
    for removal_id, kind, counts, gaps, writer in _removals(place, on_problem):
        try:
            if kind == "gap":
                declared[removal_id] = (writer, int(json.loads(counts).get("predictions", 0)))
            for table, of_writer in json.loads(gaps).items():
                for name, spans in of_writer.items():
                    numbers = removed.setdefault((table, name), [])
                    numbers += [[int(first), int(last)] for first, last in spans]
        except (ValueError, TypeError, AttributeError):
            on_problem(f"the removal {removal_id} is damaged")
    unrecorded: dict[str, int] = {}
    for writer, rows in declared.values():
        unrecorded[writer] = unrecorded.get(writer, 0) + rows
    return {key: merged(spans) for key, spans in removed.items()}, unrecorded


def merged(spans: Iterable[Sequence[int]]) -> Spans:
    """Return spans in order, those that touch or overlap as one.

    Examples
    --------
    >>> merged([[7, 9], [1, 2], [3, 3], [8, 8]])
    [[1, 3], [7, 9]]
    """
    found: Spans = []
    for first, last in sorted(map(list, spans)):
        if found and first <= found[-1][1] + 1:
            found[-1][1] = max(found[-1][1], last)
        else:
            found.append([first, last])
    return found


def between(spans: Spans, known: int) -> Spans:
    """Return the numbers from 1 on that are in none of `spans`, up to their end or `known`.

    Examples
    --------
    >>> between([[2, 3], [5, 5]], 7)
    [[1, 1], [4, 4], [6, 7]]
    """
    found, last = [], 0
    for first, end in [*spans, [known + 1, known + 1]]:
        if first > last + 1:
            found.append([last + 1, first - 1])
        last = max(last, end)
    return found


def count(spans: Iterable[Sequence[int]]) -> int:
    """Return how many numbers are in spans that are apart."""
    return sum(last - first + 1 for first, last in spans)


def _removals(
    place: Place, on_problem: Callable[[str], None]
) -> Iterator[tuple[str, str, str, str, str]]:
    columns = ("removal_id", "kind", "counts", "gaps", "writer")
    return scan(place, Query(table="removals"), columns, on_problem=on_problem, strict=True)  # type: ignore[return-value]
