"""Rows that are not answered: which, why, and how many a job may have."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

from asfitted.contract import Conformed, DataContract, Finding
from asfitted.contract.kinds import read_column
from asfitted.contract.plain import plain
from asfitted.errors import ConfigError, ContractViolation, OutputViolation, Violation
from asfitted.prediction_log import FieldPolicy
from asfitted.scoring.recording import received

Refused = ContractViolation | OutputViolation


@dataclass(frozen=True)
class Limit:
    """How many refused rows a job may have.

    Attributes
    ----------
    count : int or None
    percent : Decimal or None
        Of all rows; one of the two is None.

    Examples
    --------
    >>> Limit.parse("1%").allows(10, 1000), Limit.parse("1%").allows(11, 1000)
    (True, False)
    >>> Limit.parse("0").allows(0, 5), Limit.parse(2).allows(3, None)
    (True, False)
    """

    count: int | None = 0
    percent: Decimal | None = None

    @classmethod
    def parse(cls, given: str | int) -> Limit:
        """Return the limit that ``"12"`` or ``"0.5%"`` says.

        Raises
        ------
        ConfigError
        """
        text = str(given).strip()
        if re.fullmatch(r"\d{1,18}", text, re.ASCII):
            return cls(int(text))
        if re.fullmatch(r"\d{1,3}(\.\d{1,9})?%", text, re.ASCII):
            percent = Decimal(text[:-1])
            if percent <= 100:
                return cls(None, percent)
        raise ConfigError(
            f"{text!r} is no number of rows", "--max-refused", "write 20 or 0.5% (up to 100%)"
        )

    def allows(self, refused: int, total: int | None) -> bool:
        """Whether `refused` of `total` rows are few enough; None for a total not known yet."""
        if self.count is not None:
            return refused <= self.count
        return total is None or Decimal(refused) * 100 <= self.percent * total  # type: ignore[operator]

    def __str__(self) -> str:
        return f"{self.count:,}" if self.count is not None else f"{self.percent}%"


class Reasons:
    """Why rows of one chunk are refused.

    Attributes
    ----------
    errors : dict of type to list of Violation
        With rows as positions in the chunk, by the kind of refusal.
    """

    def __init__(self, n_rows: int) -> None:
        self.n_rows = n_rows
        self.errors: dict[type[Refused], list[Violation]] = {}

    def add(self, error: Refused, kept: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Take over what `error` says of rows and return the rows that are left.

        Parameters
        ----------
        error : ContractViolation or OutputViolation
            Raised for the rows `kept`.
        kept : ndarray of int of shape (n_kept,)
            Positions in the chunk.

        Raises
        ------
        ContractViolation, OutputViolation
            `error` itself, where it is about the table and not about rows of it.
        """
        if any(not violation.rows for violation in error.violations):
            raise error
        for said in error.violations:
            rows = tuple(kept[list(said.rows)].tolist())
            moved = Violation(said.column, said.rule, said.what, rows, self.n_rows)
            self.errors.setdefault(type(error), []).append(moved)
        gone = sorted({row for said in error.violations for row in said.rows})
        return np.delete(kept, gone)

    @property
    def violations(self) -> list[Violation]:
        """All of them, those of the contract first."""
        return [said for kind in self.errors.values() for said in kind]

    @property
    def rows(self) -> list[int]:
        """The positions of the refused rows, in order."""
        return sorted({row for said in self.violations for row in said.rows})

    def error(self, file: str, start: int, mend: str) -> Refused:
        """Return the refusal of a whole job over these rows, counted as the file counts."""
        kind, said = next(iter(self.errors.items()))
        return kind(moved(said, start), file, mend)

    def lines(
        self,
        frame: pd.DataFrame,
        contract: DataContract,
        policy: FieldPolicy,
        file: str,
        start: int,
    ) -> list[str]:
        """Return one line of JSON per refused row; see `docs/batch.md`.

        No cell is copied but those of keys that are not refused themselves, and
        those as the log has them, by the field policy.
        """
        reasons: dict[int, list[dict[str, str]]] = {row: [] for row in self.rows}
        for said in self.violations:
            shown = {"column": said.column, "rule": said.rule, "what": said.what}
            for row in said.rows:
                reasons[row].append(shown)
        recorded = _keys_as_recorded(frame.iloc[list(reasons)], contract, policy)
        lines = []
        for at, (row, why) in enumerate(reasons.items()):
            accused = {reason["column"] for reason in why}
            keys = {name: values[at] for name, values in recorded.items() if name not in accused}
            line = {"file": file, "row": start + row, "keys": keys, "reasons": why}
            lines.append(json.dumps(line))
        return lines


def moved(violations: Iterable[Violation], start: int) -> list[Violation]:
    """Return `violations` with their rows counted from `start` on."""
    return [
        Violation(v.column, v.rule, v.what, tuple(start + row for row in v.rows), v.n_rows)
        for v in violations
    ]


def _keys_as_recorded(
    frame: pd.DataFrame, contract: DataContract, policy: FieldPolicy
) -> dict[str, list[Any]]:
    """Return the keys of rows as the log writes them: so they are found there, hashed or not.

    What a key's own rule refuses is anything.
    """
    columns: dict[str, Any] = {}
    findings: list[Finding] = []
    for name in contract.keys:
        if name in frame.columns:
            read = read_column(plain(frame[name]), contract.columns[name])
            is_object = read.values.dtype == object
            columns[name] = pd.Series(read.values, dtype=object) if is_object else read.values
            for rule, mask, sent in read.notes:
                rows = np.flatnonzero(mask)
                findings.append(Finding(name, rule, rows, None if sent is None else sent[rows]))
    conformed = Conformed(pd.DataFrame(), pd.DataFrame(columns), tuple(findings))
    _, keys = received(contract, conformed)
    return {
        name: [None if value != value else value for value in np.asarray(values, object).tolist()]
        for name, values in policy.apply_columns(keys).items()
    }


def over(limit: Limit, refused: int, total: int | None) -> str:
    """Return the mend of a job with too many refusals."""
    share = f" of {total:,}" if total is not None else ""
    return (
        f"{refused:,}{share} rows are refused so far and {limit} may be: "
        "mend the rows, or allow some with --max-refused"
    )
