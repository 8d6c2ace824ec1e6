"""Every supported estimator: saved here, loaded there, the same bits, and on record."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from conformance_cases import CASES
from conformance_journey import Seen

pytestmark = [
    # LightGBM and XGBoost see named columns in training and not in blocks of arrays.
    pytest.mark.filterwarnings("ignore:X does not have valid feature names:UserWarning"),
    pytest.mark.parametrize("name", list(CASES)),
]


def same_bits(was: pd.DataFrame, now: pd.DataFrame) -> None:
    assert list(was.columns) == list(now.columns)
    assert len(was) == len(now)
    for column in was.columns:
        before, after = was[column].to_numpy(), now[column].to_numpy()
        assert before.dtype == after.dtype
        if before.dtype.kind == "f":
            assert np.array_equal(
                before.view(f"u{before.itemsize}"), after.view(f"u{after.itemsize}")
            )
        else:
            assert before.tolist() == after.tolist()


def test_a_fresh_process_gives_the_bits_of_training(seen: Seen) -> None:
    same_bits(seen.before["outputs"], seen.after["outputs"])


def test_a_row_does_not_see_its_company(seen: Seen) -> None:
    for rows, outputs in seen.after["companies"]:
        same_bits(seen.before["outputs"].iloc[rows], outputs)


def test_a_row_does_not_see_strangers(seen: Seen) -> None:
    same_bits(seen.before["outputs"].iloc[:10], seen.after["strangers"])
