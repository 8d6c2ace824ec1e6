"""`add_outcomes`: join what came true with the log, and put on record what is new."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from asfitted.config import load_config
from asfitted.contract import DataContract
from asfitted.errors import ConfigError, ContractViolation, Violation
from asfitted.outcomes.judging import Adding, OutcomeReport
from asfitted.outcomes.reading import read_outcomes, read_table
from asfitted.prediction_log import FieldPolicy, Journal, strictest
from asfitted.prediction_log.reader import warn
from asfitted.prediction_log.whole import Place, existing_sink


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
    adding = Adding(given, model, policy, source, late_after, config.field_policy)
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
