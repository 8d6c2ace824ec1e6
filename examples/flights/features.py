"""What the model derives from a raw row; travels with the model.

Both steps take the conformed frame and give it back with columns added and the
columns that they have used up left out. Each row is treated by itself: nothing is
counted, ranked or averaged over the rows that happen to be there.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin

import asfitted

# The register's spellings of the makers of nearly all planes. Fixed here and not
# learnt, so that a register with a new maker in it changes no other column.
MAKERS = {
    "AIRBUS": "airbus",
    "AIRBUS INDUSTRIE": "airbus",
    "BOEING": "boeing",
    "BOMBARDIER INC": "bombardier",
    "CANADAIR": "bombardier",
    "CANADAIR LTD": "bombardier",
    "EMBRAER": "embraer",
    "MCDONNELL DOUGLAS": "mcdonnell",
    "MCDONNELL DOUGLAS AIRCRAFT CO": "mcdonnell",
    "MCDONNELL DOUGLAS CORPORATION": "mcdonnell",
}
_MAKER_LABELS = [*sorted(set(MAKERS.values())), "other"]


class _Derive(TransformerMixin, BaseEstimator):
    """A step that learns nothing: columns out, columns in."""

    _adds: tuple[str, ...] = ()

    def _used(self) -> list[str]:
        raise NotImplementedError

    def fit(self, X: pd.DataFrame, y: Any = None) -> _Derive:
        """Note the columns; nothing is learnt from the rows."""
        self.feature_names_in_ = np.array(list(X.columns), dtype=object)
        self.n_features_in_ = X.shape[1]
        return self

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray[Any, Any]:
        """Return the names of the columns that `transform` gives, in order."""
        names = self.feature_names_in_ if input_features is None else input_features
        kept = [name for name in names if name not in self._used()]
        return np.array([*kept, *self._adds], dtype=object)


class Calendar(_Derive):
    """The clock and the calendar at the airport, from a moment in UTC.

    Parameters
    ----------
    column : str, default "scheduled_departure"
        datetime64, UTC, naive: as `asfitted.Conform` gives it.
    zone : str, default "America/New_York"
        Where the clock hangs.

    Notes
    -----
    Adds ``hour`` (Categorical, 0 to 23), ``weekday`` (Categorical, 0 is Monday) and
    ``minute_of_day`` (from midnight). A missing moment gives missing values.

    Examples
    --------
    >>> moment = pd.DataFrame({"scheduled_departure": pd.to_datetime(["2013-11-28T13:30"])})
    >>> Calendar().fit_transform(moment).astype(float).iloc[0].tolist()
    [8.0, 3.0, 510.0]
    """

    _adds = ("hour", "weekday", "minute_of_day")

    def __init__(self, column: str = "scheduled_departure", zone: str = "America/New_York") -> None:
        self.column = column
        self.zone = zone

    def _used(self) -> list[str]:
        return [self.column]

    def transform(self, X: pd.DataFrame) -> pd.DataFrame:
        """Return `X` with the moment replaced by what a clock and a calendar say."""
        local = X[self.column].dt.tz_localize("UTC").dt.tz_convert(self.zone).dt
        return X.drop(columns=self.column).assign(
            hour=_categorical(local.hour, range(24)),
            weekday=_categorical(local.day_of_week, range(7)),
            minute_of_day=(local.hour * 60 + local.minute).astype("float64"),
        )


class Plane(_Derive):
    """What the register of planes knows of a tail number.

    The register is the resource ``planes``: a CSV file with ``tailnum``, ``year``,
    ``manufacturer`` and ``seats``. A tail number that is missing, or that it does
    not know, gives missing values.

    Parameters
    ----------
    column : str, default "tailnum"
    moment : str, default "scheduled_departure"
        The age is that in the year of this moment. The column is kept.
    resource : str, default "planes"

    Notes
    -----
    Adds ``plane_maker`` (Categorical), ``plane_age`` (years) and ``plane_seats``.
    """

    _adds = ("plane_maker", "plane_age", "plane_seats")

    def __init__(
        self,
        column: str = "tailnum",
        moment: str = "scheduled_departure",
        resource: str = "planes",
    ) -> None:
        self.column = column
        self.moment = moment
        self.resource = resource

    def _used(self) -> list[str]:
        return [self.column]

    def transform(self, X: pd.DataFrame) -> pd.DataFrame:
        """Return `X` with the tail number replaced by what is known of the plane."""
        register = _register(str(asfitted.resource(self.resource)))
        at = register.index.get_indexer(X[self.column])
        known = register.take(np.where(at < 0, len(register) - 1, at))
        return X.drop(columns=self.column).assign(
            plane_maker=known["maker"].array,
            plane_age=X[self.moment].dt.year.to_numpy() - known["year"].to_numpy(),
            plane_seats=known["seats"].to_numpy(),
        )


@lru_cache(maxsize=8)
def _register(path: str) -> pd.DataFrame:
    """Read the register once per process; its last row stands for "not known"."""
    columns = ["tailnum", "year", "manufacturer", "seats"]
    table = pd.read_csv(path, usecols=columns, index_col="tailnum")
    maker = table["manufacturer"].map(MAKERS).where(lambda m: m.notna(), "other")
    maker = maker.where(table["manufacturer"].notna())
    known = pd.DataFrame(
        {
            "year": table["year"].astype("float64"),
            "seats": table["seats"].astype("float64"),
            "maker": _labelled(maker, _MAKER_LABELS),
        },
        index=table.index,
    )
    # No tail number is empty: that is what a missing one is after Conform.
    nobody = pd.DataFrame({"year": [np.nan], "seats": [np.nan]}, index=[""])
    nobody["maker"] = _labelled([None], _MAKER_LABELS)
    return pd.concat([known, nobody])


def _categorical(numbers: pd.Series, labels: range) -> pd.Categorical:
    codes = numbers.fillna(-1).astype("int64") - labels.start
    return pd.Categorical.from_codes(codes, categories=list(labels))


def _labelled(values: Any, labels: list[str]) -> pd.Categorical:
    index = pd.Index(labels, dtype=object)
    return pd.Categorical.from_codes(index.get_indexer(np.asarray(values, object)), index)
