"""The proof, at save, that a check judges each row by itself."""

from __future__ import annotations

import numpy as np
import pandas as pd

from asfitted.contract.checks import Check
from asfitted.errors import BatchDependent, CheckFailed
from asfitted.save._rows import companies
from asfitted.scoring.scorer import Scorer

_MEND = "compare a row's values with each other or with constants, not with those of other rows"


def prove_checks(scorer: Scorer, sample: pd.DataFrame) -> None:
    """Ask each row check and output check about rows alone and in other company.

    Parameters
    ----------
    scorer : Scorer
    sample : DataFrame of shape (n_rows, n_features)
        Conformed.

    Raises
    ------
    BatchDependent
        Names the check whose word on a row depends on the rows beside it.
    CheckFailed
        Where a check fails on fewer rows.
    """
    contract = scorer.contract
    if not contract.checks:
        return
    sample = sample.reset_index(drop=True)
    # The reference breaks no check, and tells little: rows whose values stem from other
    # rows, or from either end of their columns, may break one.
    tables = [sample, _mixed(sample), _mixed(_ends(sample))]
    for check in contract.row_checks:
        for table in tables:
            _prove(check, table)
    if contract.output.checks:
        answers = scorer.answers(sample)
        for check in contract.output.checks:
            for table in tables:
                _prove(check, table, answers)


def _mixed(sample: pd.DataFrame) -> pd.DataFrame:
    """Return rows whose values stem from different rows."""
    shuffle = np.random.default_rng(0).permutation
    columns = {
        name: sample[name].iloc[shuffle(len(sample))].reset_index(drop=True) for name in sample
    }
    return pd.DataFrame(columns)


def _ends(sample: pd.DataFrame) -> pd.DataFrame:
    """Return rows that hold the lowest or the highest value of each column."""
    table = sample.copy()
    for name in table:
        present = table[name].dropna()
        if len(present):
            order = present.sort_values()
            ends = [order.index[0], order.index[-1]] * len(table)
            table[name] = table[name].loc[ends[: len(table)]].reset_index(drop=True)
    return table


def _prove(check: Check, *frames: pd.DataFrame) -> None:
    together = check.allowed(*frames)
    for rows in companies(len(together)):
        part = [frame.iloc[rows].reset_index(drop=True) for frame in frames]
        try:
            alone = check.allowed(*part)
        except CheckFailed as error:
            what = f"on {len(rows)} of {len(together)} rows {error.what}"
            raise CheckFailed(what, error.where, error.mend) from error
        if (alone != together[rows]).any():
            raise BatchDependent(
                f"the check {check.function} judges a row by the rows beside it", "contract", _MEND
            )
