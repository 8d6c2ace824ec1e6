"""What a sink is: where the journals' rows are moved to, each once however often it is sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

from asfitted.prediction_log.query import Query
from asfitted.prediction_log.tables import Table

# The columns of `tables.TABLES`, in their order, as a journal holds them: texts, JSON
# as its text, times as microseconds since 1970 in UTC.
Row = tuple[Any, ...]

ENTRY_POINTS = "asfitted.sinks"


class RowsRefused(Exception):
    """The sink works and will never take one of these rows, for what is in it.

    The shipper halves the rows until it knows which one, and puts that one in
    quarantine. Nothing of a refused call has been written, or it does no harm to
    write it again.
    """


@runtime_checkable
class Sink(Protocol):
    """A store of the log's tables.

    Made by a callable that takes the URL and is registered for the URL's scheme
    in the entry-point group ``asfitted.sinks``. It may connect at once or with
    the first call; used by one thread at a time. `SinkConformance` is the suite
    that every sink passes.

    Attributes
    ----------
    batch_rows : int
        The most rows that the shipper sends in one call.
    linger_s : float
        How long the shipper waits, while it follows a log, for a call to fill.
    """

    batch_rows: int
    linger_s: float

    def write(self, table: Table, rows: Sequence[Row]) -> None:
        """Make `rows` durable; a row whose id is there already stays as it is.

        Raises
        ------
        StoreUnavailable
            Some, all or none are there; sending all of them again mends it.
        RowsRefused
            One of them has what this sink cannot hold.
        """
        ...

    def read(self, query: Query) -> Iterator[Row]:
        """Yield the rows of ``query.table`` that meet ``query.conditions()``, by time.

        By ``TIME_OF[query.table]``, then writer and sequence, or the reverse for
        ``newest_first``. Conditions on keys and the limit are the caller's to apply.

        Raises
        ------
        StoreUnavailable
        """
        ...

    def rewrite(self, table: Table, query: Query, change: Callable[[Row], Row | None]) -> int:
        """Replace each row that meets ``query.conditions()`` by what `change` makes of it.

        For erasure and retention. Conditions on keys and the limit are the caller's,
        inside of `change`.

        Parameters
        ----------
        table : str
            That of `query`.
        query : Query
        change : callable
            Gives the new row, None to delete it, or the row itself to leave it as it
            is. Id, model, version, time, writer and sequence are not to be changed.
            It may be asked twice about a row.

        Returns
        -------
        int
            How many rows were changed or deleted.

        Raises
        ------
        StoreUnavailable
            Each row is as it was or as it shall be; the same call again does the rest.
        ConfigError
            Where this sink cannot do it.
        """
        ...

    def close(self) -> None:
        """Let go of connections and files; a second time does nothing."""
        ...
