"""`prune` and `erase`: take rows out of journals, quarantine and sink, and leave a trace.

The trace goes on record before the first row goes, so that no gap is ever without its
explanation; a run that was killed is finished by the next, which finds what is left.
While it runs nothing is shipped: no row can be in flight from a journal to the sink.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from asfitted.errors import ConfigError
from asfitted.prediction_log.fields import KEY_VARIABLE, FieldPolicy
from asfitted.prediction_log.joining import Names, Subjects, key_of
from asfitted.prediction_log.journal_rewrite import Change
from asfitted.prediction_log.keys import is_hashed, spelled
from asfitted.prediction_log.query import Query
from asfitted.prediction_log.removal_run import Removal, Removing, Rule, refuse
from asfitted.prediction_log.sinks.protocol import Row
from asfitted.prediction_log.tables import ERASED_FINDINGS, TABLES, Table
from asfitted.prediction_log.whole import Place, scan

PRUNED: tuple[Table, ...] = ("predictions", "refusals", "outcomes")
# Outcomes first: once a prediction is blank, nothing says that its outcome is the subject's.
ERASED: tuple[Table, ...] = ("outcomes", "predictions")

_BLANK: Mapping[Table, Mapping[str, Any]] = {
    "predictions": {
        "request_id": "",
        "inputs": "{}",
        "outputs": "{}",
        "findings": ERASED_FINDINGS,
        "keys": "{}",
        "params": "{}",
    },
    "outcomes": {"observed_at": None, "keys": "{}", "outcome": "null", "source": "erased"},
}
_ROTATION_WAIT_S = 10.0


def prune(
    place: Place,
    older_than: timedelta,
    *,
    model: str = "",
    reason: str = "",
    who: str = "",
    confirm: Callable[[Removal], bool] = lambda removal: True,
    wait_s: float = _ROTATION_WAIT_S,
) -> Removal:
    """Delete predictions, refusals and outcomes that are older, from journals and sink.

    Parameters
    ----------
    place : Place
    older_than : timedelta
        Counted to now, from when a record was scored, refused or recorded.
    model : str, default ""
        Of this model only.
    reason, who : str
        For the trace; by default who runs it.
    confirm : callable
        Called with what would go; false, and nothing does.
    wait_s : float
        How long to wait for the writers of live journals.

    Raises
    ------
    StoreUnavailable
        Where the sink does not answer, a live journal stays live, or a removal is at
        work; the same call again finishes it.
    ConfigError
        Where the sink cannot take rows out.
    """
    until = datetime.now(timezone.utc) - older_than
    condition = {"before": until.isoformat(timespec="seconds")}
    rules = {
        table: Rule(Query(table=table, until=until, model=model or None), lambda row: None)
        for table in PRUNED
    }
    removing = Removing(place, Removal("prune", condition), rules, model, wait_s)
    return removing.run(reason, who, confirm)


def erase(
    place: Place,
    keys: Mapping[str, str],
    *,
    reason: str,
    who: str = "",
    confirm: Callable[[Removal], bool] = lambda removal: True,
    wait_s: float = _ROTATION_WAIT_S,
) -> Removal:
    """Blank what is on record of a subject, and of its outcomes.

    Inputs, outputs, findings, keys, params and request id go, and of outcomes the value;
    ids, times, model, writer and sequence stay, so that counts still agree.

    Parameters
    ----------
    place : Place
    keys : mapping of str
        All must match; hashed keys are found with ASFITTED_HASH_KEY.
    reason, who, confirm, wait_s
        See `prune`.

    Raises
    ------
    StoreUnavailable
        See `prune`.
    ConfigError
        Where no key is given, or one is hashed on record and there is no
        ASFITTED_HASH_KEY.
    """
    if not keys:
        raise ConfigError("no key says whose records are to be erased")
    subject = _Subject(Query(key=keys))
    rules = {table: Rule(Query(table=table), subject.blanked(table)) for table in ERASED}
    removing = Removing(place, Removal("erase", {"keys": _digests(keys)}), rules, "", wait_s)
    return removing.run(reason, who, confirm, before=lambda: subject.look(place))


def _digests(keys: Mapping[str, str]) -> dict[str, str | None]:
    """Return what of a subject's keys may stay: their keyed hash.

    Without a secret there is none: whoever has a plain hash of a number finds the number.
    """
    if not os.environ.get(KEY_VARIABLE):
        return dict.fromkeys(keys)
    policy = FieldPolicy(dict.fromkeys(keys, "hash"))
    return policy.apply({name: spelled(value) for name, value in keys.items()})


class _Subject:
    """The rows of a subject: predictions by their keys, outcomes by keys or prediction."""

    def __init__(self, query: Query) -> None:
        self._query, self._ids = query, set[str]()
        self._values = [spelled(value) for value in query.key.values()]
        # Keys of outcomes, such as an order's, of predictions of this subject alone.
        self._own: dict[Names, set[Names]] = {}

    def look(self, place: Place) -> None:
        """Find the subject's predictions, whose outcomes may have other keys, or none."""
        subjects = Subjects()
        for name, keys in self._scan(place, "predictions", "prediction_id"):
            if self._has(keys):
                self._ids.add(name)
                subjects.add(name, _decoded(keys))
        for name, keys in self._scan(place, "outcomes", "prediction_id"):
            given = _decoded(keys)
            if name is None and given and subjects.concern(None, given):
                names = tuple(sorted(given))
                self._own.setdefault(names, set()).update(filter(None, [key_of(given, names)]))
        if not self._own:
            return
        for name, keys in self._scan(place, "predictions", "prediction_id"):
            if name not in self._ids:
                # Somebody else's, too: it says nothing of the subject alone.
                own = _decoded(keys)
                for names, found in self._own.items():
                    found.discard(key_of(own, names) or ())

    @staticmethod
    def _scan(place: Place, table: Table, name: str) -> Iterator[tuple[Any, ...]]:
        return scan(place, Query(table=table), (name, "keys"), on_problem=refuse, strict=True)

    def blanked(self, table: Table) -> Change:
        """Return the change that blanks the subject's rows of `table`."""
        names, blank = TABLES[table], _BLANK[table]
        keys_at, prediction_at = names.index("keys"), names.index("prediction_id")

        def change(row: Row) -> Row:
            mine = row[prediction_at] in self._ids or self._has(row[keys_at])
            if not mine and table == "outcomes" and row[prediction_at] is None:
                given = _decoded(row[keys_at])
                by = tuple(sorted(given))
                mine = key_of(given, by) in self._own.get(by, ())
            if not mine:
                return row
            return tuple(blank.get(name, value) for name, value in zip(names, row, strict=True))

        return change

    def _has(self, text: Any) -> bool:
        try:
            keys = json.loads(text)
            hashed = [name for name in self._query.key if is_hashed(keys.get(name))]
        except (ValueError, TypeError, AttributeError):
            # Damaged: better one row too many than one of the subject's.
            return all(value in str(text) for value in self._values)
        if hashed and not os.environ.get(KEY_VARIABLE):
            raise ConfigError(
                f"{hashed[0]} is hashed on record",
                f"environment variable {KEY_VARIABLE}",
                "set it to the secret that the records were written with",
            )
        return self._query.matches(keys)


def _decoded(text: Any) -> dict[str, Any]:
    """Return keys as they are on record; of damaged ones none."""
    with contextlib.suppress(ValueError, TypeError):
        keys = json.loads(text)
        if isinstance(keys, dict):
            return keys
    return {}
