"""The durable end of a journal that lies in no file: each commit is the sink's own."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from itertools import chain
from typing import Any

from asfitted.prediction_log.journal_file import Rows
from asfitted.prediction_log.place import new_writer
from asfitted.prediction_log.query import Query
from asfitted.prediction_log.sinks.protocol import Row, Sink
from asfitted.prediction_log.sinks.urls import open_sink
from asfitted.prediction_log.tables import TABLES, WRITTEN, Table


class SinkWriter:
    """A writer that puts rows into a sink at once, for machines whose disks do not last.

    In the place of a `JournalFile`. A sink whose answer is lost may have the rows of a
    call that failed; a writer that failed once is given up, so their sequence numbers
    are never used for others.

    Parameters
    ----------
    url : str

    Raises
    ------
    ConfigError, StoreUnavailable
    """

    def __init__(self, url: str) -> None:
        self.writer = new_writer()
        self.written: dict[Table, int] = dict.fromkeys(TABLES, 0)
        self.connection: Sink = open_sink(url)

    def is_gone(self) -> bool:
        """Never: a sink has no name that it could lose."""
        return False

    def is_due(self) -> bool:
        """Never: there is no file to begin anew."""
        return False

    def prove(self) -> None:
        """Ask the sink for nothing, which it can only answer when it is there."""
        future = datetime.max.replace(tzinfo=timezone.utc)
        for _ in self.connection.read(Query(since=future)):
            return

    def write(self, calls: Mapping[Table, Sequence[Rows]]) -> None:
        """Make the rows durable; after an error the writer must be given up.

        Raises
        ------
        StoreUnavailable, RowsRefused
        """
        for table, new in calls.items():
            rows = enumerate(chain.from_iterable(new), self.written[table] + 1)
            numbered = [_placed(table, (*row, self.writer, n)) for n, row in rows]
            size = self.connection.batch_rows
            for start in range(0, len(numbered), size):
                self.connection.write(table, numbered[start : start + size])
        for table, new in calls.items():
            self.written[table] += sum(map(len, new))

    def abandon(self) -> None:
        """Let go of the sink; never raises."""
        self.close()

    def close(self) -> None:
        """Let go of the sink; a second time does nothing."""
        with contextlib.suppress(Exception):
            self.connection.close()


_PLACES: Mapping[Table, list[int]] = {
    table: [WRITTEN[table].index(name) for name in TABLES[table]] for table in TABLES
}


def _placed(table: Table, row: tuple[Any, ...]) -> Row:
    return tuple(row[place] for place in _PLACES[table])
