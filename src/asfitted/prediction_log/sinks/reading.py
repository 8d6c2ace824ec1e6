"""Records read from a sink, alone or together with a folder of journals."""

from __future__ import annotations

import heapq
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing

from asfitted.errors import StoreUnavailable
from asfitted.prediction_log.query import Query
from asfitted.prediction_log.reader import Record, records, selected, warn
from asfitted.prediction_log.sinks.protocol import Sink
from asfitted.prediction_log.sinks.urls import open_sink, public_name
from asfitted.prediction_log.tables import ID_OF, TIME_OF


class SinkDown(str):
    """The problem that a sink does not answer, and that what only it holds is missing."""

    @classmethod
    def of(cls, url: str, error: StoreUnavailable) -> SinkDown:
        """Return the problem that `error` is."""
        return cls(f"{public_name(url)}: {error.what}; what only this sink holds is MISSING here")


def sink_records(
    sink: Sink | str, query: Query | None = None, *, on_problem: Callable[[str], None] = warn
) -> Iterator[Record]:
    """Yield the records of a sink, as `reader.records` does those of a folder.

    Parameters
    ----------
    sink : Sink or str
        A URL is opened here, and closed with the last record.
    query : Query, optional
    on_problem : callable, default logs a warning
        Called with a sentence for each record that cannot be decoded.

    Raises
    ------
    ConfigError, StoreUnavailable
    """
    query = query or Query()
    if not isinstance(sink, str):
        return _matching(sink, query, on_problem)
    return _opened(sink, query, on_problem)


def _opened(url: str, query: Query, on_problem: Callable[[str], None]) -> Iterator[Record]:
    with closing(open_sink(url)) as sink:
        yield from _matching(sink, query, on_problem)


def _matching(sink: Sink, query: Query, on_problem: Callable[[str], None]) -> Iterator[Record]:
    found = 0
    if query.at_most == 0:
        return
    for row in sink.read(query):
        record = selected(row, query, on_problem)
        if record is not None:
            yield record
            found += 1
            if found == query.at_most:
                return


def log_records(
    folder: str | os.PathLike[str] | None,
    sink: Sink | str,
    query: Query,
    *,
    on_problem: Callable[[str], None] = warn,
) -> Iterator[Record]:
    """Yield the records of a sink, and with a folder those of its journals too, each once.

    A sink that does not answer is a problem then, a `SinkDown`, and no error.
    """
    in_sink = sink_records(sink, query, on_problem=on_problem)
    if folder is None:
        return in_sink
    in_sink = _or_none(in_sink, sink if isinstance(sink, str) else "", on_problem)
    # The journals first: what is shipped and deleted meanwhile is in the sink by then.
    return _without_repeats([records(folder, query, on_problem=on_problem), in_sink], query)


def _or_none(
    in_sink: Iterator[Record], url: str, on_problem: Callable[[str], None]
) -> Iterator[Record]:
    try:
        yield from in_sink
    except StoreUnavailable as error:
        on_problem(SinkDown.of(url, error))


def _without_repeats(sources: Iterable[Iterator[Record]], query: Query) -> Iterator[Record]:
    """Merge sources that are each in the order of `query`; a record in several comes once."""
    time, name = TIME_OF[query.table], ID_OF[query.table]
    now, seen, found = None, set[str](), 0
    merged = heapq.merge(
        *sources,
        key=lambda each: (each[time], each["writer"], each["sequence"]),
        reverse=query.newest_first,
    )
    for record in merged:
        if found == query.at_most:
            return
        if record[time] != now:
            now, seen = record[time], set()
        if record[name] not in seen:
            seen.add(record[name])
            found += 1
            yield record
