"""One run over the whole log that takes rows out: count, ask, leave the trace, remove."""

from __future__ import annotations

import contextlib
import getpass
import os
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from asfitted.errors import ConfigError, StoreUnavailable
from asfitted.prediction_log.journal import Durability, Journal
from asfitted.prediction_log.journal_rewrite import Change, rewrite_journal, wait_until_final
from asfitted.prediction_log.place import beside, journal_files, size_of
from asfitted.prediction_log.quarantine import (
    mark_removed,
    meets,
    quarantined_rows,
    rewrite_quarantine,
)
from asfitted.prediction_log.query import Query
from asfitted.prediction_log.shipping_journals import (
    READ_ERRORS,
    ends,
    is_final,
    remove,
    writer_of,
)
from asfitted.prediction_log.shipping_lock import REMOVAL_LOCK, FolderLock
from asfitted.prediction_log.sinks.protocol import Row, Sink
from asfitted.prediction_log.sinks.urls import open_sink, public_name
from asfitted.prediction_log.tables import ID_OF, TABLES, Table
from asfitted.prediction_log.whole import Place, demand_sink, journal_rows, scan

_POLL_S = 0.05
_LOCK_WAIT_S = 60.0


@dataclass
class Removal:
    """What is taken out, or would be.

    Attributes
    ----------
    kind : "prune" or "erase"
    counts : dict of table to int
        Records, wherever they are.
    condition : dict
        As it goes on record.
    gaps : dict of table to dict of writer to list of [first, last]
        Sequence numbers that go; an erased record keeps its own.
    removal_id : str
        "" where nothing was removed.
    """

    kind: Literal["prune", "erase"]
    condition: dict[str, Any]
    counts: dict[str, int] = field(default_factory=dict)
    gaps: dict[str, dict[str, list[list[int]]]] = field(default_factory=dict)
    removal_id: str = ""

    @property
    def total(self) -> int:
        """Records of all tables."""
        return sum(self.counts.values())


@dataclass(frozen=True)
class Rule:
    """What becomes of the rows of one table."""

    query: Query
    change: Change


class Removing:
    """One run: count, ask, wait for writers, leave the trace, remove."""

    def __init__(
        self,
        place: Place,
        removal: Removal,
        rules: Mapping[Table, Rule],
        model: str,
        wait_s: float,
    ) -> None:
        self._place, self._removal, self._rules = place, removal, rules
        self._model, self._wait_s = model, wait_s
        self._touched: dict[Table, set[Path]] = {table: set() for table in rules}

    def run(
        self,
        reason: str,
        who: str,
        confirm: Callable[[Removal], bool],
        before: Callable[[], None] = lambda: None,
    ) -> Removal:
        """Do it, and return what was done; `before` is called when nothing is shipped any more."""
        place, removal = self._place, self._removal
        if place.folder is None:
            raise ConfigError("there is no prediction log", str(place), "name its folder")
        if place.sink is not None:
            demand_sink(place)
            _opened(place.sink).close()
        try:
            with closing(_locked(place.folder)):
                before()
                self._count()
                if not removal.total:
                    self._rewrite(leftovers=True)
                    return removal
                if not confirm(removal):
                    return removal
                touched = set().union(*self._touched.values())
                wait_until_final(place.folder, sorted(touched), self._wait_s)
                durability: Durability = "sink" if place.waits_for_sink else "fsync"
                with Journal(place.folder, durability=durability, sink=place.sink or "") as journal:
                    removal.removal_id = journal.append_removal(
                        removed_at=datetime.now(timezone.utc),
                        kind=removal.kind,
                        who=who or f"{_user()} on {socket.gethostname()}",
                        model_name=self._model,
                        model_version="",
                        condition=removal.condition,
                        counts=removal.counts,
                        gaps=removal.gaps,
                        reason=reason,
                    )
                self._rewrite()
        except READ_ERRORS as error:
            raise StoreUnavailable(
                f"the rows cannot all be removed: {error}", str(place),
                "mend the file, and run the same again: it goes on",
            ) from error  # fmt: skip
        return removal

    def _count(self) -> None:
        """Find what goes: how many records, their numbers, and the journals they are in."""
        folder, sink = self._place.folder, self._place.sink
        assert folder is not None
        for table, rule in self._rules.items():
            tally, names = _Tally(table, rule.change), TABLES[table]
            for path in journal_files(folder):
                for row in journal_rows(path, rule.query, names, on_problem=refuse):
                    if tally.goes(row):
                        self._touched[table].add(path)
            for row in quarantined_rows(folder, table):
                if meets(rule.query, row):
                    tally.goes(row)
            if sink is not None:
                for row in scan(Place(None, sink), rule.query, names):
                    tally.goes(row)
            if tally.ids:
                self._removal.counts[table] = len(tally.ids)
            if tally.numbers:
                found = sorted(tally.numbers.items())
                self._removal.gaps[table] = {writer: spans(own) for writer, own in found}

    def _rewrite(self, *, leftovers: bool = False) -> None:
        folder, sink = self._place.folder, self._place.sink
        assert folder is not None
        with contextlib.ExitStack() as stack:
            store: Sink | None = None
            if sink is not None and not leftovers:
                store = stack.enter_context(closing(_opened(sink)))
            # One table everywhere and then the next: killed in between, the order of the
            # rules still holds, by which the next run finds what is left.
            last = list(self._rules)[-1]
            for table, rule in self._rules.items():
                change = (table, *rule.query.where(), rule.change)
                for path in journal_files(folder):
                    # What a killed run has changed may still stand in a file below its WAL.
                    is_left = size_of(beside(path, "-wal")) and is_final(path)
                    if path in self._touched[table] or (table == last and is_left):
                        rewrite_journal(path, [change])
                if not leftovers:
                    rewrite_quarantine(folder, table, rule.query, rule.change)
                if store is not None:
                    store.rewrite(table, rule.query, rule.change)
        for path in set[Path]().union(*self._touched.values()):
            if self._removal.kind == "prune" and _is_empty(path):
                mark_removed(folder, writer_of(path))
                remove(path)


class _Tally:
    """Records that go, each once wherever it is, and the numbers that go with them."""

    def __init__(self, table: Table, change: Change) -> None:
        names = TABLES[table]
        self._change = change
        self._at = [names.index(name) for name in (ID_OF[table], "writer", "sequence")]
        self.ids: set[str] = set()
        self.numbers: dict[str, set[int]] = {}

    def goes(self, row: Row) -> bool:
        """Whether a row is removed or blanked; counts it."""
        new = self._change(row)
        if new == row:
            return False
        name, writer, sequence = (row[n] for n in self._at)
        self.ids.add(name)
        if new is None:
            self.numbers.setdefault(writer, set()).add(sequence)
        return True


def spans(numbers: Iterable[int]) -> list[list[int]]:
    """Return numbers as spans of consecutive ones.

    Examples
    --------
    >>> spans({5, 1, 2, 3})
    [[1, 3], [5, 5]]
    """
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return found


def _opened(url: str) -> Sink:
    sink = open_sink(url)
    if not hasattr(sink, "rewrite"):
        sink.close()
        raise ConfigError(
            "this sink cannot take rows out", public_name(url), "add Sink.rewrite to its class"
        )
    return sink


def _locked(folder: Path) -> FolderLock:
    """Keep shippers out, and wait for the one that is just sending."""
    end = time.monotonic() + _LOCK_WAIT_S
    while True:
        try:
            return FolderLock(folder, REMOVAL_LOCK)
        except StoreUnavailable:
            if time.monotonic() >= end:
                raise
            time.sleep(_POLL_S)


def _is_empty(path: Path) -> bool:
    last = ends(path)
    return last is not None and not any(last.values())


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return f"user {os.getuid()}"


def refuse(problem: str) -> None:
    # Not a warning: rows that cannot be read may be those that must go.
    raise StoreUnavailable(
        f"the log cannot be read whole: {problem}",
        mend="mend that file or move it away, and try again; nothing was removed",
    )
