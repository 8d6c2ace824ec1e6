"""What a sink is: where the journals' rows are moved to, each once however often it is sent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

from asfitted.prediction_log.query import Query, Table

# The columns of `COLUMNS` or `REFUSAL_COLUMNS`, in their order, as a journal holds
# them: texts, JSON as its text, times as microseconds since 1970 in UTC.
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
    """A store of predictions and refusals.

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

    def close(self) -> None:
        """Let go of connections and files; a second time does nothing."""
        ...
