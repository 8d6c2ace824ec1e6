"""What becomes of each given outcome: what it is of, and whether it is new."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from asfitted.outcomes.matching import Prediction, Wanted, matches
from asfitted.outcomes.reading import Given, same_value
from asfitted.prediction_log import FieldPolicy, strictest
from asfitted.prediction_log.joining import Known, Names, Outcomes, Subjects
from asfitted.prediction_log.joining import read_outcomes as outcomes_on_record
from asfitted.prediction_log.keys import is_hashed, spelled
from asfitted.prediction_log.record import Outcome, to_microseconds
from asfitted.prediction_log.whole import Place

_DAY_US = 86_400_000_000
# What another machine's clock may be ahead.
_SKEW_US = 3_600_000_000


@dataclass
class OutcomeReport:
    """What became of each row that was given: numbers of rows, from 0.

    Attributes
    ----------
    rows : int
        That were given.
    matched : list of int
        Of predictions on record. A row is among the others of this list too.
    unknown : list of int
        Of none; written all the same, since the prediction may still arrive.
    ambiguous : list of int
        Of several predictions with the same keys: it is the outcome of each.
    erased : list of int
        Of a prediction that was erased: not written.
    early : list of int
        Observed before a prediction of theirs was scored, or more than an hour from now;
        written all the same. Midnight in UTC stands for a day, and is observed at its end.
    late : list of int
        Arrived longer than `late_after` after a prediction of theirs was scored.
    duplicates : list of int
        On record already with the same value and time; not written again.
    corrections : list of int
        On record already with another value, or observed at another time; written, and the
        newest counts.
    written : int
        Rows of which something is new.
    dry_run : bool
    """

    rows: int = 0
    matched: list[int] = field(default_factory=list)
    unknown: list[int] = field(default_factory=list)
    ambiguous: list[int] = field(default_factory=list)
    erased: list[int] = field(default_factory=list)
    early: list[int] = field(default_factory=list)
    late: list[int] = field(default_factory=list)
    duplicates: list[int] = field(default_factory=list)
    corrections: list[int] = field(default_factory=list)
    written: int = 0
    dry_run: bool = False


class Adding:
    """The given rows on their way: what each is of, and which of them are new."""

    def __init__(
        self,
        given: Given,
        model: str,
        policy: FieldPolicy,
        source: str,
        late_after: timedelta | None,
        fields_of: Callable[[str], Mapping[str, str]],
    ) -> None:
        self.given, self.model, self.policy, self.source = given, model, policy, source
        # A model's field policy by its name.
        self.fields_of = fields_of
        self.report = OutcomeReport(len(given.outcomes))
        self.new: list[Outcome] = []
        self.now = datetime.now(timezone.utc)
        self.now_us = to_microseconds(self.now, "now")
        self.late_us = None if late_after is None else late_after // timedelta(microseconds=1)

    def join(self, place: Place, on_problem: Callable[[str], None]) -> None:
        """Look at the log once for predictions and once for outcomes, and judge each row."""
        given, n_rows = self.given, self.report.rows
        wanted = Wanted(given.ids, given.keys)
        found = matches(place, wanted, n_rows, model=self.model, on_problem=on_problem)
        hashed = FieldPolicy(dict.fromkeys(wanted.hashed, "hash"))
        self.policy = strictest(self.policy, hashed)
        subjects = Subjects()
        for row, predictions in enumerate(found):
            for each in predictions.values() or [self._nobody(row)]:
                subjects.add(each.prediction_id or None, each.keys)
        known = outcomes_on_record(place, subjects, on_problem=on_problem, strict=True)
        for row, predictions in enumerate(found):
            self._judge(row, predictions, known)

    def _nobody(self, row: int) -> Prediction:
        """Return the prediction that this row is of, as far as the row says."""
        name = self.given.ids[row] if self.given.ids is not None else ""
        keys = self.policy.apply(self.given.keys[row]) if self.given.keys else {}
        return Prediction(name, 0, self.model, "", keys)

    def _judge(self, row: int, predictions: dict[str, Prediction], known: Outcomes) -> None:
        value, report = self.given.outcomes[row], self.report
        mine = list(predictions.values()) or [self._nobody(row)]
        before = [known.of(each.prediction_id, each.model_name, each.keys) for each in mine]
        if any(each.is_erased for each in predictions.values()):
            report.erased.append(row)
            return
        (report.matched if predictions else report.unknown).append(row)
        if len(predictions) > 1:
            report.ambiguous.append(row)
        if self._is_early(self.given.observed_at[row], predictions.values()):
            report.early.append(row)
        if self.late_us is not None and any(
            each.scored_at < self.now_us - self.late_us for each in predictions.values()
        ):
            report.late.append(row)
        if all(one is not None and self._says(one, row) for one in before):
            report.duplicates.append(row)
            return
        if any(one is not None and not self._says(one, row) for one in before):
            report.corrections.append(row)
        # Hashed under two keys, or as text and number, one key has several spellings.
        by_spelling: dict[Names, Outcome] = {}
        for each, one in zip(mine, before, strict=True):
            if one is None or not self._says(one, row):
                outcome = self._outcome(row, each)
                spelling = (outcome.prediction_id or "", *map(spelled, outcome.keys.values()))
                by_spelling.setdefault(spelling, outcome)
        for outcome in by_spelling.values():
            self.new.append(outcome)
            # A later row of this call may be of the same prediction.
            mark = f"~{len(self.new):012d}"  # newer than every id
            known.add(
                outcome.prediction_id,
                outcome.keys,
                Known(self.now, mark, outcome.observed_at, outcome.model_name, value),
            )

    def _says(self, known: Known, row: int) -> bool:
        """Whether what is on record is what the row says; without a time it says nothing of it."""
        observed_at = self.given.observed_at[row]
        return same_value(known.value, self.given.outcomes[row]) and (
            observed_at is None or known.observed_at == observed_at
        )

    def _is_early(self, observed_at: datetime | None, of: Iterable[Prediction]) -> bool:
        if observed_at is None:
            return False
        at_us = to_microseconds(observed_at, "observed_at")
        # Who writes a date means some moment of the day.
        until_us = at_us + _DAY_US if at_us % _DAY_US == 0 else at_us
        return at_us > self.now_us + _SKEW_US or any(until_us < each.scored_at for each in of)

    def _outcome(self, row: int, of: Prediction) -> Outcome:
        given = self.given
        prediction_id = given.ids[row] if given.ids is not None else None
        keys: dict[str, Any] = {}
        if prediction_id is None:
            # As the predictions have them, typed and hashed.
            keys = {name: of.keys[name] for name in given.keys[row]}
            policies = (self.policy.fields, self.fields_of(of.model_name))
            hidden = {n for each in policies for n, action in each.items() if action != "keep"}
            if any(name in hidden and not is_hashed(value) for name, value in keys.items()):
                # Older than the policy: what it hides is not written in clear once more.
                prediction_id, keys = of.prediction_id, {}
        by_id = prediction_id is not None
        return Outcome(
            recorded_at=self.now,
            observed_at=given.observed_at[row],
            model_name=of.model_name if by_id else self.model,
            model_version=of.model_version if by_id else "",
            prediction_id=prediction_id,
            keys=keys,
            outcome=given.outcomes[row],
            source=self.source,
        )
