"""The contract, the rows and the pipelines that the tests of scoring share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

import asfitted

CONTRACT = asfitted.DataContract.from_yaml("""
schema_version: 1
keys: [id]
columns:
  id: {kind: text}
  a: {kind: number}
  b: {kind: number, missing: pass, observed: [-2, 2]}
  k: {kind: integer, missing: {fill: 3}}
  f: {kind: boolean, missing: pass}
  c: {kind: category, categories: [x, y, z], missing: pass, unknown: missing}
  d: {kind: category, categories: [2, 1], unknown: other, other: 0}
  t: {kind: text, missing: {fill: ""}}
  m: {kind: datetime, zone: Europe/Berlin, missing: pass}
""")


def make_rows(n_rows: int = 150, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "id": [f"k{seed}-{i}" for i in range(n_rows)],
            "a": rng.normal(size=n_rows),
            "b": rng.normal(size=n_rows),
            "k": rng.integers(0, 9, n_rows),
            "f": rng.choice([True, False], n_rows),
            "c": rng.choice(["x", "y"], n_rows),
            "d": rng.choice([1, 2], n_rows),
            "t": rng.choice(["big red", "small blue", "odd"], n_rows),
            "m": [f"2024-0{1 + i % 9}-11T0{i % 9}:30:00.000001+00:00" for i in range(n_rows)],
        }
    )
    frame.loc[::7, "b"] = np.nan
    return frame


def numbers() -> tuple[str, Any, list[str]]:
    return "num", SimpleImputer(), ["a", "b", "k", "f"]


def pipeline(*transformers: Any, estimator: Any = None, contract: Any = CONTRACT) -> Pipeline:
    return Pipeline(
        [
            ("conform", asfitted.Conform(contract)),
            ("prep", ColumnTransformer(list(transformers))),
            ("clf", LogisticRegression() if estimator is None else estimator),
        ]
    )
