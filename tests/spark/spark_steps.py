"""A step that sees each microsecond, and whether a value is missing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin


class Numbers(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Every column of a conformed frame as two numbers: the value, and whether it is there."""

    def fit(self, X: pd.DataFrame, y: Any = None) -> Numbers:
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X: pd.DataFrame) -> np.ndarray[Any, Any]:
        parts = []
        for name in X.columns:
            values = X[name]
            if isinstance(values.dtype, pd.CategoricalDtype):
                numbers = values.cat.codes.to_numpy().astype("float64")
            elif values.dtype.kind == "M":
                # Hours: at 2^53 µs a float would forget some.
                numbers = (values - pd.Timestamp("2013-01-01")) / pd.Timedelta("1h")
                numbers = numbers.to_numpy()
            else:
                numbers = values.to_numpy().astype("float64")
            # Of one size, or a linear model would have no use for the small ones.
            sized = np.arcsinh(np.nan_to_num(numbers, nan=-1.0))
            parts += [sized, np.isnan(numbers).astype("float64")]
        return np.column_stack(parts)
