"""The proof, at save, that a shortcut gives the same bits; one that does not is not taken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from asfitted.artifact import code
from asfitted.contract import Conform, DataContract
from asfitted.scoring import direct, distinct, labels, outputs
from asfitted.scoring.blocks import in_blocks, laid_out, same_bits
from asfitted.scoring.linear import Linear
from asfitted.scoring.scorer import Scorer, quiet_and_single, through
from asfitted.scoring.shortcuts import COLUMNS, LABELS, LINEAR, TEXTS, UNMARKED, of_texts

_CONTRACT_MODULES = {Conform.__module__, DataContract.__module__}


def proved(scorer: Scorer, tables: Sequence[pd.DataFrame]) -> list[str]:
    """Return the shortcuts that `scorer`, which takes none, may take.

    Parameters
    ----------
    scorer : Scorer
        With its plan made.
    tables : sequence of DataFrame of shape (n_rows, n_features)
        Conformed.
    """
    steps, found = scorer.steps, []
    laid = [laid_out(table) for table in tables]
    if _reads_no_mark(scorer, tables):
        found.append(UNMARKED)
    with quiet_and_single(scorer.transform_output):
        if direct.agrees(steps[0][1], scorer.contract, tables):
            found.append(COLUMNS)
        if _texts(scorer, laid):
            found.append(TEXTS)
        given = [through(steps[:-1], table) for table in laid]
        if scorer.whole_steps < len(steps) and _linear(scorer, given):
            found.append(LINEAR)
        if all(labels.agree(scorer.estimator, table) for table in given):
            found.append(LABELS)
    return found


def _reads_no_mark(scorer: Scorer, tables: Sequence[pd.DataFrame]) -> bool:
    """Whether no step holds a contract, and each answers the same for an unmarked frame.

    A contract within, in whatever holds it, would read moments of its zone a second time.
    """
    met = code.needed([step for _, step in scorer.steps])
    if met.keys() & _CONTRACT_MODULES:
        return False
    for table in tables:
        unmarked = table.copy()
        unmarked.attrs = {}
        try:
            if not scorer.answers(unmarked).equals(scorer.answers(table)):
                return False
        except Exception:
            return False
    return True


def _texts(scorer: Scorer, tables: Sequence[pd.DataFrame]) -> bool:
    try:
        place = of_texts(scorer.steps, scorer.whole_steps)
    except TypeError:
        return False
    given = [through(scorer.steps[:place], table.copy()) for table in tables]
    return distinct.agrees(scorer.steps[place][1], given)


def _linear(scorer: Scorer, tables: Sequence[pd.DataFrame]) -> bool:
    try:
        linear = Linear(scorer.estimator)
        for table in tables:
            for method in outputs.methods(scorer.estimator):
                was = in_blocks(getattr(scorer.estimator, method), table)
                if not _same(was, linear.call(method, table)):
                    return False
    except Exception:
        # It is a short cut: whatever keeps it from being one, the long way stays.
        return False
    return True


def _same(was: Any, now: Any) -> bool:
    if isinstance(was, np.ndarray) and was.dtype.kind == "O":
        return bool(was.dtype == now.dtype and (was == now).all())
    return same_bits(was, now)
