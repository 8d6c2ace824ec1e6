"""Prove a fitted model as saving does, and hold what will serve against the pipeline."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

import asfitted
from asfitted.save._prove import Proved, prove_model


def proved(given: Any, frame: pd.DataFrame) -> Proved:
    """Return what saving proves of a fitted model."""
    return prove_model(given, frame, lambda *_: None)


def assert_served(given: Any, frame: pd.DataFrame) -> asfitted.FittedModel:
    """Prove, and hold the scorer that will serve against the pipeline: alone and in company."""
    found = proved(given, frame)
    model = asfitted.FittedModel(
        given,
        whole_steps=found.scorer.whole_steps,
        shortcuts=found.shortcuts,
        transform_output=found.scorer.transform_output,
    )
    some = frame.iloc[:: len(frame) // 40].reset_index(drop=True)
    expected = given.predict(frame)[:: len(frame) // 40]
    together = model.predict(some)
    alone = np.concatenate([model.predict(some.iloc[[row]]) for row in range(len(some))])
    shuffled = np.random.default_rng(0).permutation(len(some))
    assert (together == alone).all()
    assert (model.predict(some.iloc[shuffled]) == together[shuffled]).all()
    if np.asarray(expected).dtype.kind == "f":
        np.testing.assert_allclose(together, expected, rtol=1e-9)
    else:
        assert (together == expected).all()
    return model
