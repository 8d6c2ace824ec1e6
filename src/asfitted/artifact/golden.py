"""golden.parquet: rows, what is served for them and what the pipeline itself said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from asfitted.artifact import layout, numerics
from asfitted.errors import ArtifactDamaged

INPUT, OUTPUT, TRAINED = "input.", "output.", "trained."
_META = b"asfitted.golden"

# Where the numerics differ, sqrt(eps) of the output's type: half the digits.
# Below that lie the differences of BLAS kernels, above it those of a wrong model.


def tolerance(values: np.ndarray[Any, Any], relative: float = 0.0) -> float:
    """Return the relative difference that other numerics may make; 0 for labels."""
    if values.dtype.kind != "f":
        return 0.0
    return max(float(np.sqrt(np.finfo(values.dtype).eps)), relative)


def write(
    root: Path,
    inputs: pd.DataFrame,
    outputs: pd.DataFrame,
    trained: pd.DataFrame,
    *,
    relative: float = 0.0,
) -> None:
    """Write the golden examples.

    Parameters
    ----------
    root : Path
    inputs : DataFrame of shape (n_rows, n_features)
        Conformed; Categoricals are written as their values.
    outputs : DataFrame of shape (n_rows, n_outputs)
        As they are served: given again at load, to the bit.
    trained : DataFrame of shape (n_rows, n_outputs)
        What ``pipeline.predict`` and its like say: given again at proof, within rounding.
    relative : float, default 0.0
        Relative difference of numbers that counts as rounding, where it is more than that
        of the output's type.
    """
    plain = inputs.copy()
    for name in plain.columns:
        if isinstance(plain[name].dtype, pd.CategoricalDtype):
            plain[name] = plain[name].astype(
                plain[name].cat.categories.dtype if _whole(plain[name]) else object
            )
    both = pd.concat(
        [
            part.reset_index(drop=True)
            for part in (
                plain.add_prefix(INPUT),
                outputs.add_prefix(OUTPUT),
                trained.add_prefix(TRAINED),
            )
        ],
        axis=1,
    )
    table = pa.Table.from_pandas(both, preserve_index=False)
    for i, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            # What is conformed is in UTC; the zone says so to whoever reads it.
            moments = table.column(i).cast(pa.timestamp("us", tz="UTC"))
            table = table.set_column(i, field.name, moments)
    meta = {
        "tolerance": {name: tolerance(outputs[name].to_numpy(), relative) for name in outputs},
        "numerics": numerics.fingerprint(),
        # Says that the inputs are conformed already.
        "attrs": dict(inputs.attrs),
    }
    table = table.replace_schema_metadata(
        {**(table.schema.metadata or {}), _META: json.dumps(meta).encode()}
    )
    pq.write_table(table, root / layout.GOLDEN)


def _whole(series: pd.Series[Any]) -> bool:
    return bool(series.cat.categories.dtype.kind == "i" and series.notna().all())


def read(root: Path) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """Return (inputs, outputs, what was written about them).

    Raises
    ------
    ArtifactDamaged
    """
    try:
        table = pq.read_table(root / layout.GOLDEN)
        meta = json.loads(table.schema.metadata[_META])
        frame = table.to_pandas()
    except (OSError, KeyError, ValueError, TypeError, pa.ArrowException) as error:
        raise ArtifactDamaged(
            "the golden examples cannot be read", str(root / layout.GOLDEN)
        ) from error
    inputs, outputs = _part(frame, INPUT), _part(frame, OUTPUT)
    inputs.attrs = dict(meta.get("attrs", {}))
    return inputs, outputs, meta


def read_trained(root: Path) -> pd.DataFrame:
    """Return what the pipeline itself said of the golden examples, whose file `read` has read."""
    return _part(pq.read_table(root / layout.GOLDEN).to_pandas(), TRAINED)


def _part(frame: pd.DataFrame, prefix: str) -> pd.DataFrame:
    return frame.loc[:, frame.columns.str.startswith(prefix)].rename(
        columns=lambda name: name.removeprefix(prefix)
    )


def differences(
    expected: pd.DataFrame, given: pd.DataFrame, meta: dict[str, Any]
) -> tuple[int, float]:
    """Compare answers with the golden ones.

    Returns
    -------
    (n_rows, largest) : (int, float)
        How many rows differ by more than allowed, and the largest relative
        difference of a number (NaN where it is not about numbers).
    """
    if list(expected.columns) != list(given.columns) or len(expected) != len(given):
        return len(expected), float("nan")
    same_numerics = meta["numerics"] == json.loads(json.dumps(numerics.fingerprint()))
    wrong = np.zeros(len(expected), dtype=bool)
    largest = 0.0
    for name in expected.columns:
        was, now = expected[name].to_numpy(), given[name].to_numpy()
        allowed = 0.0 if same_numerics else float(meta["tolerance"][name])
        if was.dtype.kind == "f" and now.dtype.kind == "f":
            off = _relative(was.astype("float64"), now.astype("float64"))
            largest = max(largest, float(off.max(initial=0)))
            wrong |= off > allowed
        else:
            wrong |= np.array([a != b for a, b in zip(was, now, strict=True)], dtype=bool)
    return int(wrong.sum()), largest


def _relative(was: np.ndarray[Any, Any], now: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    both_nan = np.isnan(was) & np.isnan(now)
    with np.errstate(invalid="ignore", divide="ignore"):
        scale = np.maximum(np.abs(was), np.abs(now))
        off = np.where(was == now, 0.0, np.abs(was - now) / np.where(scale > 0, scale, 1.0))
    return np.where(both_nan, 0.0, np.where(np.isnan(off), np.inf, off))
