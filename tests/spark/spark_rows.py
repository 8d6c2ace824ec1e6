"""Rows of every type that Spark has for a contract's columns, and the contract."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from asfitted import DataContract

CONTRACT = DataContract.from_yaml(
    """
schema_version: 1
columns:
  id: {kind: integer}
  ref: {kind: integer, missing: pass}
  at: {kind: datetime, zone: America/New_York}
  due: {kind: datetime, zone: Asia/Kolkata, missing: pass}
  day: {kind: datetime, zone: America/New_York}
  written: {kind: datetime, zone: America/New_York, missing: pass}
  weight: {kind: number, missing: pass}
  stops: {kind: integer, missing: pass}
  short: {kind: integer, missing: pass}
  size: {kind: category, categories: [1, 2, 3], missing: pass, unknown: missing}
  late: {kind: boolean, missing: pass}
  price: {kind: number, missing: pass}
  ratio: {kind: number}
  carrier: {kind: category, categories: [AA, UA], missing: pass}
keys: [id, ref]
"""
)


def make_rows(n_rows: int = 400) -> pa.Table:
    """Return rows as Arrow has them: moments with a zone, exact integers beside nulls."""
    rng = np.random.default_rng(7)

    def some(values: list[Any], every: int) -> list[Any]:
        return [None if i % every == 1 else value for i, value in enumerate(values)]

    # All year round, so on both sides of each clock change; not in the hour that repeats.
    hours = rng.integers(0, 8760, n_rows)
    micros = rng.integers(0, 3_600_000_000, n_rows)
    start = dt.datetime(2013, 1, 1, 5, tzinfo=dt.timezone.utc)
    at = [
        start + dt.timedelta(hours=int(h) if h not in range(7348, 7352) else 1, microseconds=int(m))
        for h, m in zip(hours, micros, strict=True)
    ]
    day = [(moment + dt.timedelta(days=3)).date() for moment in at]
    moments = pa.timestamp("us", "UTC")
    columns = {
        "id": pa.array(range(n_rows), pa.int64()),
        "ref": pa.array(some(list(range(n_rows)), 3), pa.int64()),
        "at": pa.array(at, moments),
        "due": pa.array(some([m + dt.timedelta(days=40) for m in at[::-1]], 5), moments),
        "day": pa.array(day, pa.date32()),
        "written": pa.array(some([f"{d.isoformat()}T12:30" for d in day], 4), pa.string()),
        "weight": pa.array(some(rng.integers(-(2**53) + 1, 2**53, n_rows).tolist(), 3), pa.int64()),
        "stops": pa.array(some(rng.integers(0, 2**40, n_rows).tolist(), 6), pa.int64()),
        "short": pa.array(some(rng.integers(-9, 9, n_rows).tolist(), 7), pa.int16()),
        "size": pa.array(some(rng.integers(1, 5, n_rows).tolist(), 8), pa.int32()),
        "late": pa.array(some((rng.random(n_rows) < 0.5).tolist(), 3), pa.bool_()),
        "price": pa.array(
            some([Decimal(int(c)) / 100 for c in rng.integers(0, 10**6, n_rows)], 4),
            pa.decimal128(12, 2),
        ),
        "ratio": pa.array(rng.normal(size=n_rows), pa.float64()),
        "carrier": pa.array(some(rng.choice(["AA", "UA"], n_rows).tolist(), 5), pa.string()),
    }
    return pa.table(columns)


def as_frame(table: pa.Table) -> pd.DataFrame:
    """Return the rows for a call in this process, with every zone and every digit."""
    return table.to_pandas(types_mapper=pd.ArrowDtype)
