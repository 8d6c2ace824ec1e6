"""Fixtures for the tests of scoring."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scoring_rows import make_rows, numbers, pipeline
from sklearn.pipeline import Pipeline

import asfitted
from asfitted.prediction_log import FieldPolicy, Journal
from asfitted.scoring import Identity, Recorder


@pytest.fixture
def rows() -> pd.DataFrame:
    return make_rows()


@pytest.fixture
def target(rows: pd.DataFrame) -> Any:
    return np.where(rows["a"] + (rows["c"] == "x") > 0.3, "yes", "no")


@pytest.fixture
def fitted(rows: pd.DataFrame, target: Any) -> Pipeline:
    return pipeline(("cat", asfitted.Dummies(), ["c", "d"]), numbers()).fit(rows, target)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal(tmp_path / "log") as journal:
        yield journal


@pytest.fixture
def recorded(fitted: Pipeline, journal: Journal) -> asfitted.FittedModel:
    """A model that records in `journal`, as a loaded one does."""
    identity = Identity("shop", "3", "d" * 64)
    recorder = Recorder(journal, FieldPolicy(), identity, "inprocess")
    return asfitted.FittedModel(fitted, whole_steps=1, identity=identity, recorder=recorder)
