"""What came true of which prediction: outcomes join by prediction id, or by keys."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from asfitted.prediction_log.keys import spelled
from asfitted.prediction_log.query import Query
from asfitted.prediction_log.reader import Record, warn
from asfitted.prediction_log.record import from_microseconds
from asfitted.prediction_log.whole import Place, scan

# What a record gets besides, in this order.
JOINED_COLUMNS = ("outcome", "outcome_observed_at", "outcome_recorded_at")

_SCANNED = (
    "outcome_id", "prediction_id", "recorded_at", "observed_at", "model_name", "keys", "outcome",
)  # fmt: skip
_ERASED = "null"

Names = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Known:
    """An outcome that is on record; of two the greater one is the newer."""

    recorded_at: datetime
    outcome_id: str
    observed_at: datetime | None
    model_name: str
    value: Any

    @property
    def age(self) -> tuple[datetime, str]:
        """What sorts by age: ids of one moment are in the order of their making."""
        return self.recorded_at, self.outcome_id


class Subjects:
    """Predictions whose outcomes are wanted, so that no others are kept in memory."""

    def __init__(self) -> None:
        self._ids: set[str] = set()
        self._keys: list[Mapping[str, Any]] = []
        self._spelled: dict[Names, set[Names]] = {}

    def add(self, prediction_id: str | None, keys: Mapping[str, Any]) -> None:
        """Want the outcomes of this prediction."""
        if prediction_id is not None:
            self._ids.add(prediction_id)
        if keys:
            self._keys.append(keys)
            self._spelled.clear()

    def concern(self, prediction_id: str | None, keys: Mapping[str, Any]) -> bool:
        """Whether an outcome with this id, or these keys, may be of one of them."""
        if prediction_id is not None:
            return prediction_id in self._ids
        names = tuple(sorted(keys))
        if names not in self._spelled:
            of_each = (key_of(own, names) for own in self._keys)
            self._spelled[names] = {own for own in of_each if own is not None}
        return key_of(keys, names) in self._spelled[names]


class Outcomes:
    """The newest outcome of every prediction."""

    def __init__(self) -> None:
        self._by_id: dict[str, dict[str, Known]] = {}
        self._by_keys: dict[Names, dict[Names, dict[str, Known]]] = {}

    def add(self, prediction_id: str | None, keys: Mapping[str, Any], known: Known) -> None:
        """Add an outcome of a prediction, or of all that have these keys."""
        if prediction_id is not None:
            of_models = self._by_id.setdefault(prediction_id, {})
        else:
            names = tuple(sorted(keys))
            key = key_of(keys, names)
            if key is None:
                return
            of_models = self._by_keys.setdefault(names, {}).setdefault(key, {})
        before = of_models.get(known.model_name)
        if before is None or before.age < known.age:
            of_models[known.model_name] = known

    def of(self, prediction_id: str, model_name: str, keys: Mapping[str, Any]) -> Known | None:
        """Return the newest outcome of a prediction, None where there is none."""
        found = [self._by_id.get(prediction_id, {})]
        for names, by_key in self._by_keys.items():
            key = key_of(keys, names)
            if key is not None:
                found.append(by_key.get(key, {}))
        mine = [each[name] for each in found for name in ("", model_name) if name in each]
        return max(mine, key=lambda known: known.age, default=None)


def key_of(keys: Mapping[str, Any], names: Names) -> Names | None:
    """Return the values of `names` as they are compared, None where one is missing."""
    values = [keys.get(name) for name in names]
    return None if None in values else tuple(map(spelled, values))


def read_outcomes(
    place: Place,
    subjects: Subjects | None,
    *,
    on_problem: Callable[[str], None] = warn,
    strict: bool = False,
) -> Outcomes:
    """Return the outcomes on record of `subjects`, or all; see `scan`.

    Raises
    ------
    StoreUnavailable
    """
    found = Outcomes()
    rows = scan(place, Query(table="outcomes"), _SCANNED, on_problem=on_problem, strict=strict)
    for outcome_id, prediction_id, recorded_at, observed_at, model_name, keys, outcome in rows:
        if outcome == _ERASED:
            continue
        try:
            values = json.loads(keys)
            if subjects is None or subjects.concern(prediction_id, values):
                value = json.loads(outcome)
                recorded = from_microseconds(recorded_at)
                observed = None if observed_at is None else from_microseconds(observed_at)
                known = Known(recorded, outcome_id, observed, model_name, value)
                found.add(prediction_id, values, known)
        except (ValueError, TypeError, AttributeError, OverflowError):
            on_problem(f"the outcome {outcome_id} is damaged and missing here")
    return found


def with_outcomes(
    found: Iterable[Record], place: Place, *, on_problem: Callable[[str], None] = warn
) -> Iterator[Record]:
    """Yield predictions, each with its newest outcome; see `JOINED_COLUMNS`.

    The predictions are in memory together; of the outcomes those that are theirs.
    """
    predictions, subjects = list(found), Subjects()
    for record in predictions:
        subjects.add(record["prediction_id"], record["keys"])
    outcomes = read_outcomes(place, subjects, on_problem=on_problem)
    for record in predictions:
        yield joined(record, outcomes)


def joined(record: Record, outcomes: Outcomes) -> Record:
    """Return a prediction with its newest outcome; see `JOINED_COLUMNS`."""
    known = outcomes.of(record["prediction_id"], record["model_name"], record["keys"])
    if known is None:
        return {**record, **dict.fromkeys(JOINED_COLUMNS)}
    values = (known.value, known.observed_at, known.recorded_at)
    return {**record, **dict(zip(JOINED_COLUMNS, values, strict=True))}
