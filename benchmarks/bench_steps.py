"""The custom transformer of the measured pipeline, and its frame from a body."""

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin


class HourAndDay(TransformerMixin, BaseEstimator):
    """Hour of the day and day of the week of one column of moments."""

    def fit(self, X, y=None):
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X):
        moments = pd.to_datetime(X.iloc[:, 0])
        hours = moments.dt.hour.to_numpy(dtype="float64", na_value=np.nan)
        days = moments.dt.dayofweek.to_numpy(dtype="float64", na_value=np.nan)
        return np.nan_to_num(np.column_stack([hours, days]), nan=-1.0)


def as_frame(split):
    """Return the rows of a ``dataframe_split`` body as one would by hand."""
    frame = pd.DataFrame(split["data"], columns=split["columns"])
    for name in frame.columns:
        if name.startswith("n") and name != "note":
            frame[name] = frame[name].astype("float64")
    frame["at"] = pd.to_datetime(frame["at"])
    return frame.where(frame.notna(), float("nan"))
