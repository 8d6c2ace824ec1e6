"""Which predictions on record the given outcomes are of."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from asfitted.errors import ConfigError, ContractViolation, Violation
from asfitted.prediction_log.joining import Names
from asfitted.prediction_log.keys import hashes, is_hashed, spelled
from asfitted.prediction_log.query import Query
from asfitted.prediction_log.tables import ERASED_FINDINGS
from asfitted.prediction_log.whole import Place, scan

_SCANNED = ("prediction_id", "scored_at", "model_name", "model_version", "keys", "findings")


@dataclass(frozen=True, slots=True)
class Prediction:
    """What is kept of a prediction that an outcome is of."""

    prediction_id: str
    scored_at: int
    model_name: str
    model_version: str
    keys: dict[str, Any]
    is_erased: bool = False


class Wanted:
    """The rows that are looked for, by prediction id or by the values of their keys.

    Attributes
    ----------
    hashed : set of str
        Keys that the log was found to hold hashed.
    by_id : bool
    """

    def __init__(self, ids: Sequence[str] | None, keys: Sequence[dict[str, Any]]) -> None:
        self.hashed: set[str] = set()
        self.by_id = bool(ids)
        self._names: Names = tuple(keys[0]) if keys else ()
        self._by_id: dict[str, list[int]] = {}
        self._by_keys: dict[Names, list[int]] = {}
        for row, name in enumerate(ids or ()):
            self._by_id.setdefault(name, []).append(row)
        for row, own in enumerate(keys):
            self._by_keys.setdefault(tuple(map(spelled, own.values())), []).append(row)
        # By which of the keys are hashed on record: the same rows as the log has them.
        self._as_hashed: dict[tuple[bool, ...], dict[Names, list[int]]] = {}

    def rows_of(self, prediction_id: str, keys: str) -> tuple[list[int], dict[str, Any]]:
        """Return the given rows that are of a prediction, and its keys decoded.

        Raises
        ------
        ValueError
            Where its keys are damaged.
        ConfigError
            Where a key is hashed on record, and there is no ASFITTED_HASH_KEY.
        """
        if self._by_id:
            rows = self._by_id.get(prediction_id, [])
            return rows, json.loads(keys) if rows else {}
        own = json.loads(keys)
        values = [own.get(name) for name in self._names]
        if None in values:
            return [], own
        key = tuple(map(spelled, values))
        rows = self._by_keys.get(key, [])
        marks = tuple(map(is_hashed, values))
        if not rows and any(marks):
            if marks not in self._as_hashed:
                self._as_hashed[marks] = self._hashed_where(marks)
            rows = self._as_hashed[marks].get(key, [])
        return rows, own

    def _hashed_where(self, marks: tuple[bool, ...]) -> dict[Names, list[int]]:
        names = [name for name, mark in zip(self._names, marks, strict=True) if mark]
        self.hashed.update(names)
        found: dict[Names, list[int]] = {}
        for key, rows in self._by_keys.items():
            ways = [
                hashes(value) if mark and not is_hashed(value) else [value]
                for value, mark in zip(key, marks, strict=True)
            ]
            for way in product(*ways):
                found.setdefault(tuple(way), []).extend(rows)
        return found


def matches(
    place: Place, wanted: Wanted, n_rows: int, *, model: str, on_problem: Callable[[str], None]
) -> list[dict[str, Prediction]]:
    """Return for each given row the predictions that it is of, by id.

    One pass over the log, of which only what matches is kept.

    Raises
    ------
    StoreUnavailable
        Where the sink does not answer: what is known then is not the whole log.
    ConfigError
        See `Wanted.rows_of`.
    ContractViolation
        Where a row names a prediction of another model: its outcome would never join.
    """
    strangers = set[int]()
    found: list[dict[str, Prediction]] = [{} for _ in range(n_rows)]
    # An id is of one prediction, whatever its model: one of another model is there.
    for row in _predictions(place, "" if wanted.by_id else model, on_problem):
        prediction_id, scored_at, name, version, keys, findings = row
        try:
            rows, own = wanted.rows_of(prediction_id, keys)
        except ConfigError:
            raise
        except (ValueError, TypeError, AttributeError):
            on_problem(f"the keys of the prediction {prediction_id} are damaged")
            continue
        if model not in {"", name}:
            strangers.update(rows)
        is_erased = findings == ERASED_FINDINGS
        for number in rows:
            found[number].setdefault(
                prediction_id, Prediction(prediction_id, scored_at, name, version, own, is_erased)
            )
    if strangers:
        what = f"predictions are of another model than {model}"
        raise ContractViolation(
            [Violation("prediction_id", "model", what, tuple(sorted(strangers)), n_rows)],
            mend="nothing was written; name the model that made them, or none",
        )
    return found


def _predictions(
    place: Place, model: str, on_problem: Callable[[str], None]
) -> Iterator[tuple[Any, ...]]:
    query = Query(model=model or None)
    return scan(place, query, _SCANNED, on_problem=on_problem, strict=True)
