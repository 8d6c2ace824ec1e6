"""Which records of the log are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timezone
from numbers import Integral
from typing import Any, get_args

from asfitted.errors import ConfigError
from asfitted.prediction_log.keys import same
from asfitted.prediction_log.record import Source, to_microseconds
from asfitted.prediction_log.tables import COLUMNS_OF, ID_OF, TIME_OF, Table

# UUIDv7 begins with the time and ends in 62 random bits: short ids are ends.
SHORT_ID = 12
_FULL_ID = 36
_TEXTS = (
    "model", "version", "prediction_id", "request_id", "batch_id", "source", "finding", "code",
)  # fmt: skip
# Conditions on columns that not every table has.
_OWN = ("request_id", "batch_id", "source", "code")
# What to ask instead.
_ASK: Mapping[tuple[Table, str], str] = {
    ("refusals", "keys"): "ask by request id",
    ("refusals", "findings"): "ask by code",
    ("predictions", "code"): "ask for refused requests (--refused; in Python refused=True)",
}

_TIMES = "write 2026-11-24, 2026-11-24T10:35 or …T10:35:00Z"


@dataclass(frozen=True)
class Query:
    """Conditions that all must hold; the default asks for everything, oldest first.

    Attributes
    ----------
    model, version, request_id, batch_id, source, code : str or None
        `code` is why a request was refused, such as ``contract_violation``. A condition
        on what a table has no column for is an error.
    since, until : aware datetime, date, ISO 8601 text or None
        From `since` on, before `until`. A date or a text without an offset is in UTC.
    key : mapping of str
        Values of keys. A text also finds the number that it spells, and with
        ASFITTED_HASH_KEY what the field policy has hashed.
    prediction_id : str or None
        Or its last 12 characters, as the table shows them. Of a refusal: its id;
        of an outcome: that of its prediction.
    finding : str or None
        A rule that a finding of the record names, such as ``filled``, or ``filled=temp``
        with its column.
    limit : int or None
        The most records to return.
    newest_first : bool, default False
    table : {"predictions", "refusals", "outcomes", "removals"}
    """

    model: str | None = None
    version: str | None = None
    since: datetime | date | str | None = None
    until: datetime | date | str | None = None
    key: Mapping[str, Any] = field(default_factory=dict)
    prediction_id: str | None = None
    request_id: str | None = None
    source: str | None = None
    finding: str | None = None
    code: str | None = None
    limit: int | None = None
    newest_first: bool = False
    table: Table = "predictions"
    batch_id: str | None = None

    def __post_init__(self) -> None:
        for name in _TEXTS:
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                # A version that is a number, an id that is a UUID: sinks compare texts.
                object.__setattr__(self, name, str(value))
        named = self.table in {"predictions", "refusals"}
        if named and self.source is not None and self.source not in get_args(Source):
            raise ConfigError(
                f"there is no source {self.source!r}", mend=f"one of {', '.join(get_args(Source))}"
            )
        if self.limit is not None and not isinstance(self.limit, Integral):
            raise ConfigError(f"the limit {self.limit!r} is no whole number")
        if self.limit is not None and self.limit < 0:
            raise ConfigError(f"the limit {self.limit} is below 0")
        asked = {"keys": self.key or None, "findings": self.finding}
        asked |= {name: getattr(self, name) for name in _OWN}
        for column, value in asked.items():
            if value is not None and column not in COLUMNS_OF[self.table]:
                raise ConfigError(
                    f"{self.table} have no {column} on record",
                    mend=_ASK.get((self.table, column), ""),
                )
        if self.prediction_id is not None and len(self.prediction_id) < SHORT_ID:
            raise ConfigError(
                f"the id {self.prediction_id!r} is too short to mean one record",
                mend=f"give it whole, or its last {SHORT_ID} characters",
            )
        for column, _, value in self.conditions():
            try:
                str(value).encode()
            except UnicodeEncodeError as error:
                # As a shell gives it; on record there is no such text.
                raise ConfigError(f"the {column} {value!r} is no text in UTF-8") from error

    def conditions(self) -> list[tuple[str, str, Any]]:
        """Return all but the keys' and the finding's as (column, operator, value).

        The operators are ``=``, ``>=``, ``<`` and ``ends``; times are microseconds
        since 1970 in UTC.
        """
        time = TIME_OF[self.table]
        name = "prediction_id" if self.table == "outcomes" else ID_OF[self.table]
        named = self.prediction_id.lower() if self.prediction_id is not None else None
        conditions: list[tuple[str, str, Any]] = [
            ("model_name", "=", self.model),
            ("model_version", "=", self.version),
            (time, ">=", _moment(self.since, "since")),
            (time, "<", _moment(self.until, "until")),
            (name, "ends", named),
            ("request_id", "=", self.request_id),
            ("batch_id", "=", self.batch_id),
            ("source", "=", self.source),
            ("code", "=", self.code),
        ]
        return [condition for condition in conditions if condition[2] is not None]

    def where(self) -> tuple[str, list[Any]]:
        """Return what SQL can decide, as a condition and its parameters."""
        parts: list[str] = []
        parameters: list[Any] = []
        for column, operator, value in self.conditions():
            if operator == "ends":
                parts.append(f"substr({column}, ?) = ?")
                parameters += [-len(value), value]
            else:
                parts.append(f"{column} {operator} ?")
                parameters.append(value)
        return " AND ".join(parts) or "1", parameters

    def selects(self, record: Mapping[str, Any]) -> bool:
        """Return whether a decoded record meets what SQL does not decide."""
        if self.key and not self.matches(record["keys"]):
            return False
        if self.finding is None:
            return True
        rule, equals, column = self.finding.partition("=")
        return any(
            entry.get("rule") == rule and (not equals or entry.get("column") == column)
            for entry in record["findings"]
        )

    def matches(self, keys: Mapping[str, Any]) -> bool:
        """Return whether a record's keys are those that are asked for."""
        return all(n in keys and same(keys[n], wanted) for n, wanted in self.key.items())

    @property
    def at_most(self) -> int | None:
        """How many records there can be; a whole id names one."""
        whole = self.prediction_id is not None and len(self.prediction_id) == _FULL_ID
        if whole and self.table != "outcomes":
            return min(1, self.limit if self.limit is not None else 1)
        return self.limit


def _moment(value: datetime | date | str | None, name: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = value.isoformat()
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value.strip().replace("Z", "+00:00"))
        except ValueError as error:
            raise ConfigError(f"{name} is {value!r}", mend=_TIMES) from error
        value = moment if moment.utcoffset() is not None else moment.replace(tzinfo=timezone.utc)
    # pandas' missing moment is a datetime that is not itself.
    if not isinstance(value, datetime) or value != value:
        raise ConfigError(f"{name} is {value!r}", mend=_TIMES)
    if value.utcoffset() is None:
        raise ConfigError(f"{name} has no zone", mend="datetime(…, tzinfo=timezone.utc)")
    return to_microseconds(value, name)
