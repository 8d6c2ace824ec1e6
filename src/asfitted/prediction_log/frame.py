"""The log as a DataFrame, and a record as flat columns."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from asfitted.errors import ConfigError
from asfitted.prediction_log.joining import JOINED_COLUMNS, joined, read_outcomes, with_outcomes
from asfitted.prediction_log.query import Query
from asfitted.prediction_log.reader import Record, warn
from asfitted.prediction_log.sinks.reading import SinkDown
from asfitted.prediction_log.tables import COLUMNS, TABLES, TIME_COLUMNS
from asfitted.prediction_log.whole import place_of, whole_records

if TYPE_CHECKING:
    import pandas as pd

_INTEGERS = ("row", "latency_us", "sequence")
_EXPANDED = frozenset({"inputs", "outputs", "keys"})
# What begins the names of columns that are no features.
_GROUPS = ("key.", "output.", "input.", "outcome.")
_TIMES = TIME_COLUMNS | {"outcome_observed_at", "outcome_recorded_at"}


def read_log(
    folder: str | os.PathLike[str] | None = None,
    *,
    model: str | None = None,
    version: str | int | None = None,
    since: datetime | date | str | None = None,
    until: datetime | date | str | None = None,
    key: Mapping[str, Any] | None = None,
    prediction_id: str | None = None,
    request_id: str | None = None,
    source: str | None = None,
    finding: str | None = None,
    code: str | None = None,
    limit: int | None = None,
    newest_first: bool = False,
    features: bool = False,
    refused: bool = False,
    sink: str | None = None,
    outcomes: bool = False,
    journals_only: bool = False,
) -> pd.DataFrame:
    """Read the prediction log, of all writers as one.

    Parameters
    ----------
    folder : str or path, optional
        Alone, its journals only. Without folder and sink: those of the configuration,
        journals and sink together, each record once.
    model, version, request_id, source : str, optional
    since, until : aware datetime, date or ISO 8601 text, optional
        Scored from `since` on and before `until`; a date or a text without offset is in UTC.
    key : mapping of str, optional
        Values of keys, all of which must match; with ASFITTED_HASH_KEY hashed ones too.
    prediction_id : str, optional
        Or its last 12 characters.
    finding : str, optional
        A rule that a finding of the record names, such as ``filled``, or ``filled=temp``
        with its column.
    code : str, optional
        With `refused`: why, such as ``contract_violation``.
    limit : int, optional
        The most records; with ``newest_first=True`` the newest ones.
    newest_first : bool, default False
        The default is by ``scored_at``, writer and sequence.
    features : bool, default False
        One column per feature instead of ``inputs``, ``output.<name>`` instead of
        ``outputs``, ``key.<name>`` instead of ``keys``. A feature that is called
        as a column of the record becomes ``input.<name>``.
    refused : bool, default False
        The refused requests instead of the predictions; they have no features.
    sink : str, optional
        Read the sink of this URL, and with `folder` both, each record once.
    outcomes : bool, default False
        Each prediction with its newest outcome, in the columns ``outcome``,
        ``outcome_observed_at`` and ``outcome_recorded_at``; nothing where there is none.
        With `features`, of several targets each in ``outcome.<name>``.
    journals_only : bool, default False
        Leave out the sink of the configuration.

    Returns
    -------
    DataFrame of shape (n_records, n_columns)
        The columns of the record; times in UTC with microseconds; ``inputs``,
        ``outputs``, ``findings``, ``keys`` and ``params`` as Python objects.
        A file that cannot be read is named by a warning of the logger
        ``asfitted.prediction_log``, as is a sink that does not answer;
        ``attrs["incomplete"]`` is true then.

    Raises
    ------
    ConfigError
        Where there is no such folder, or a condition makes no sense.
    StoreUnavailable
        Where the sink does not answer and there are no journals.
    """
    import pandas as pd  # a third of a second, and `asfitted log` does without

    query = Query(
        model=model,
        version=None if version is None else str(version),
        since=since,
        until=until,
        key=key or {},
        prediction_id=prediction_id,
        request_id=request_id,
        source=source,
        finding=finding,
        code=code,
        limit=limit,
        newest_first=newest_first,
        table="refusals" if refused else "predictions",
    )
    if outcomes and refused:
        raise ConfigError("a refused request has no outcome", mend="leave out one of the two")
    problems: list[str] = []

    def note(problem: str) -> None:
        problems.append(problem)
        warn(problem)

    place = place_of(folder, sink, journals_only=journals_only)
    found = whole_records(place, query, on_problem=note)
    if outcomes and limit is not None:
        found = with_outcomes(found, place, on_problem=note)
    elif outcomes:
        known = read_outcomes(place, None, on_problem=note)
        found = (joined(record, known) for record in found)
    names = [*TABLES[query.table], *(JOINED_COLUMNS if outcomes else ())]
    expanded = features and not refused
    columns = _columns(map(flat, found) if expanded else found)
    if expanded and columns:
        names = flat_names([columns])
    # One after the other, since a list takes more room than the column that is made of it.
    frame: pd.DataFrame = pd.DataFrame({name: _column(columns.pop(name, [])) for name in names})
    frame.attrs["incomplete"] = any(isinstance(problem, SinkDown) for problem in problems)
    for name in names:
        if name in _TIMES:
            frame[name] = pd.to_datetime(frame[name], utc=True).dt.as_unit("us")
        elif name in _INTEGERS:
            frame[name] = frame[name].astype("int64")
    return frame


def flat(record: Record) -> Record:
    """Return `record` with one entry per feature, key and output; see `read_log`."""
    row = {name: value for name, value in record.items() if name not in _EXPANDED}
    row |= {f"key.{name}": value for name, value in record.get("keys", {}).items()}
    row |= {feature_name(name): value for name, value in record.get("inputs", {}).items()}
    row |= {f"output.{name}": value for name, value in record.get("outputs", {}).items()}
    if isinstance(row.get("outcome"), dict):
        row |= {f"outcome.{name}": value for name, value in row.pop("outcome").items()}
    return row


def feature_name(name: str) -> str:
    """Return what the feature `name` is called beside the record's own columns."""
    taken = name in COLUMNS or name in JOINED_COLUMNS or name.startswith(_GROUPS)
    return f"input.{name}" if taken else name


def flat_names(rows: Iterable[Record]) -> list[str]:
    """Return the names in all of `rows`, each once: record, keys, features, outputs, outcome.

    Rows of several models, or of versions with other features, lie in one log.
    """
    names = dict.fromkeys(name for row in rows for name in row)

    def group(name: str) -> int:
        if name in COLUMNS:
            return 0
        if name in JOINED_COLUMNS or name.startswith("outcome."):
            return 4
        return 1 if name.startswith("key.") else 3 if name.startswith("output.") else 2

    return sorted(names, key=group)


def _columns(rows: Iterable[Record]) -> dict[str, list[Any]]:
    """Return the values of each name in any of `rows`, None where a row has it not."""
    columns: dict[str, list[Any]] = {}
    texts: dict[str, str] = {}
    for count, row in enumerate(rows):
        for name, value in row.items():
            if name not in columns:
                columns[name] = [None] * count
            # Most texts of a record are those of the one before: a writer, a digest.
            shared = name in COLUMNS and name != "prediction_id" and type(value) is str
            columns[name].append(texts.setdefault(value, value) if shared else value)
        for values in columns.values():
            if len(values) == count:
                values.append(None)
    return columns


def _column(values: list[Any]) -> Any:
    import pandas as pd

    # Beside a missing value pandas makes integers floats, which end at 2**53.
    large = any(type(value) is int and abs(value) > 2**53 for value in values)
    nested = any(isinstance(value, (dict, list)) for value in values)
    kept = nested or large or not values
    try:
        return pd.Series(values, dtype=object if kept else None)
    except UnicodeEncodeError:
        return pd.Series(values, dtype=object)  # half of a surrogate pair is among them
