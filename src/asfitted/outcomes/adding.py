"""`add_outcomes`: join what came true with the log, and put on record what is new."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pandas as pd

from asfitted.config import load_config
from asfitted.contract import DataContract
from asfitted.errors import ConfigError, ContractViolation, Violation
from asfitted.outcomes.matching import Prediction, Wanted, matches
from asfitted.outcomes.reading import Given, read_outcomes, read_table, same_value
from asfitted.prediction_log import FieldPolicy, Journal, strictest
from asfitted.prediction_log.joining import Known, Names, Outcomes, Subjects
from asfitted.prediction_log.joining import read_outcomes as outcomes_on_record
from asfitted.prediction_log.keys import is_hashed, spelled
from asfitted.prediction_log.reader import warn
from asfitted.prediction_log.record import Outcome, to_microseconds
from asfitted.prediction_log.whole import Place, existing_sink

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


def add_outcomes(
    outcomes: pd.DataFrame | str | os.PathLike[str],
    *,
    model: str = "",
    contract: DataContract | str | os.PathLike[str] | None = None,
    outcome: str | Sequence[str] | None = None,
    keys: str | Sequence[str] | None = None,
    observed_at: str | None = None,
    late_after: timedelta | None = None,
    refuse_unknown: bool = False,
    source: str = "",
    policy: FieldPolicy | None = None,
    folder: str | os.PathLike[str] | None = None,
    sink: str | None = None,
    journals_only: bool = False,
    dry_run: bool = False,
    on_problem: Callable[[str], None] = warn,
) -> OutcomeReport:
    """Put on record what came true of predictions.

    Rows name their prediction in a column ``prediction_id``, or by the values of keys.
    All of them are written or, where one is bad, none; so too where two give one prediction
    different values or times. Adding the same again writes nothing; another value or time
    than on record is a correction, and the newest counts.

    Parameters
    ----------
    outcomes : DataFrame of shape (n_rows, n_columns), or path of a CSV or Parquet file
        Other columns are passed over.
    model : str, default ""
        Name of the registered model; with "" the outcome is that of any model's
        prediction that has the keys.
    contract : DataContract or path, optional
        Its target says what an outcome may be, and its columns how keys are typed.
    outcome : str or sequence of str, optional
        Columns. Default: the contract's targets, else ``outcome``.
    keys : str or sequence of str, optional
        Columns. Default: none where there is a column ``prediction_id``, else those
        keys of the contract that are there.
    observed_at : str, optional
        Column of when it came true; ``observed_at`` where there is one.
    late_after : timedelta, optional
        Arrivals longer than this after scoring are reported.
    refuse_unknown : bool, default False
        A row of no prediction on record is an error.
    source : str, default ""
        Where it comes from; the file's name where a path is given.
    policy : FieldPolicy, optional
        Beside that of the configuration; of two the stricter wins. Keys that the log
        holds hashed are hashed anyway. Of a prediction that has a key in clear which
        is hashed now, the outcome is written by its prediction id.
    folder, sink, journals_only
        The log, as for `read_log`; with `sink` alone the configuration's folder takes
        the outcomes, for the shipper.
    dry_run : bool, default False
        Look and report; write nothing.
    on_problem : callable, default logs a warning
        Called with a sentence for each file that cannot be read to its end.

    Returns
    -------
    OutcomeReport

    Raises
    ------
    ContractViolation
        Bad values, with the rows; nothing was written.
    ConfigError
    StoreUnavailable
        Where the sink does not answer, so that what is known is not known.
    RecordError
        Where the log cannot be written; nothing was, but for a sink that is waited for.

    Examples
    --------
    >>> add_outcomes("arrived.csv", model="flights", keys="flight_id")  # doctest: +SKIP
    """
    if isinstance(contract, (str, os.PathLike)):
        contract = DataContract.load(contract)
    path = Path(outcomes) if isinstance(outcomes, (str, os.PathLike)) else None
    frame: Any = outcomes if path is None else read_table(path, contract)
    key_names = _key_names(frame, keys, contract)
    strangers = [n for n in key_names if contract is not None and n not in contract.keys]
    if strangers:
        assert contract is not None
        raise ConfigError(
            f"{strangers[0]} is no key of the contract",
            mend=f"its keys are {', '.join(contract.keys) or 'none: join by prediction_id'}",
        )
    targets = list(contract.target) if contract is not None else []
    if contract is not None and not targets:
        on_problem("the contract has no target: the outcomes are held to no rule")
    asked = [outcome] if isinstance(outcome, str) else list(outcome or targets or ["outcome"])
    if targets and asked != targets:
        raise ConfigError(
            f"the outcome is {', '.join(asked)}, and the contract's target {', '.join(targets)}",
            mend="name the columns as the contract does",
        )
    if observed_at is None and "observed_at" in frame.columns:
        observed_at = "observed_at"
    config = load_config()
    policy = strictest(FieldPolicy(config.field_policy(model)), policy or FieldPolicy())
    dropped = [name for name in key_names if policy.fields.get(name) == "drop"]
    if dropped:
        raise ConfigError(
            f"{dropped[0]} is on no record: the field policy drops it",
            mend="join by prediction_id, or by another key",
        )
    given = read_outcomes(
        frame,
        contract=contract,
        outcome=asked,
        keys=key_names,
        observed_at=observed_at,
        is_text=path is not None and path.suffix == ".csv",
        where=str(path or "the outcomes"),
    )
    home = Path(folder) if folder is not None else config.log_folder()
    if sink is not None and folder is None:
        existing_sink(sink)
    elif sink is None and folder is None and not journals_only:
        sink = config.log_sink()
    # The first outcome may come before the first prediction.
    waits = sink is not None and config.log.durability == "sink"
    place = Place(home if home.is_dir() else None, sink, waits)
    source = source or (path.name if path else "")
    adding = _Adding(given, model, policy, source, late_after, config.field_policy)
    adding.join(place, on_problem)
    report = adding.report
    if refuse_unknown and report.unknown:
        what = "rows are of no prediction on record"
        rows = tuple(report.unknown)
        raise ContractViolation(
            [Violation("", "unknown", what, rows, report.rows)], str(path or "the outcomes"),
            "nothing was written; wait for the predictions, or leave out --refuse-unknown",
        )  # fmt: skip
    report.dry_run = dry_run
    if adding.new and not dry_run:
        with Journal(home, durability="sink" if waits else "fsync", sink=sink or "") as journal:
            journal.append_outcomes(adding.new)
        report.written = report.rows - len(report.duplicates) - len(report.erased)
    return report


class _Adding:
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


def _key_names(
    frame: pd.DataFrame, keys: str | Sequence[str] | None, contract: DataContract | None
) -> list[str]:
    if keys is not None:
        return [keys] if isinstance(keys, str) else list(keys)
    if "prediction_id" in frame.columns:
        return []
    there = [name for name in (contract.keys if contract is not None else ()) if name in frame]
    if not there:
        raise ConfigError(
            "nothing says which predictions these are the outcomes of",
            f"columns {', '.join(map(str, frame.columns[:20]))}",
            "have a column prediction_id, or name the key columns",
        )
    return there
