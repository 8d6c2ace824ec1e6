"""Steps that people write and that do not give each row its own answer, and honest ones beside."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

import asfitted

CONTRACT = asfitted.DataContract.from_yaml("""
schema_version: 1
keys: [order]
columns:
  order: {kind: text}
  customer: {kind: text}
  shop: {kind: integer}
  amount: {kind: number}
  weight: {kind: number, missing: pass}
  colour: {kind: category, categories: [red, green, blue], missing: pass, unknown: missing}
  sold: {kind: datetime, zone: America/New_York}
""")
NUMBERS = ["shop", "amount", "weight"]


def orders(n_rows: int = 3000, seed: int = 0, rare: int = 12) -> pd.DataFrame:
    """Return orders sorted by customer, as a table of training usually comes; few cells miss."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "order": [f"o{seed}-{i}" for i in range(n_rows)],
            "customer": np.sort(rng.choice([f"c{i:03}" for i in range(n_rows // 8)], n_rows)),
            "shop": rng.integers(1, 40, n_rows),
            "amount": rng.gamma(2.0, 50.0, n_rows),
            "weight": rng.normal(20.0, 3.0, n_rows),
            "colour": rng.choice(["red", "green", "blue"], n_rows),
            "sold": pd.Timestamp("2024-02-01T00:00", tz="America/New_York")
            + pd.to_timedelta(rng.integers(0, 20_000, n_rows), "min"),
        }
    )
    frame.loc[rng.choice(n_rows, rare, replace=False), "weight"] = np.nan
    # Some customers order the same twice; a customer's orders come one after the other.
    again = np.flatnonzero(frame["customer"].to_numpy()[1:] == frame["customer"].to_numpy()[:-1])
    again = again[::20]
    frame.loc[again + 1, "amount"] = frame["amount"].to_numpy()[again]
    return frame


def target(frame: pd.DataFrame) -> Any:
    """Return a class that depends on the rows."""
    noise = np.random.default_rng(3).normal(size=len(frame)) * 20
    return np.where(frame["amount"] + noise > 90, "big", "small")


def numbers(X: pd.DataFrame) -> pd.DataFrame:
    """Give the numbers, with a constant for what misses: honest."""
    return X[NUMBERS].fillna(20.0)


def hours(X: pd.DataFrame) -> Any:
    """Give the hour and the weekday of each moment, in UTC: honest."""
    moments = X["sold"].dt
    return np.column_stack([moments.hour.to_numpy(), moments.day_of_week.to_numpy()])


def one_column(X: pd.DataFrame) -> pd.DataFrame:
    """Give one column of what a ColumnTransformer gives as a frame: honest."""
    return X[["num__amount"]]


# --- steps that look at the rows beside them -----------------------------------------


def count_in_group(X):
    return numbers(X).assign(n=X.groupby("customer")["amount"].transform("count"))


def rank_in_group(X):
    return numbers(X).assign(rank=X.groupby("customer")["amount"].rank())


def previous_in_group(X):
    return numbers(X).assign(lag=X.groupby("customer")["amount"].shift(1).fillna(-1.0))


def mean_in_group(X):
    return numbers(X).assign(mean=X.groupby("shop")["amount"].transform("mean"))


def mean_by_colour(X):
    by_colour = X.groupby("colour", observed=True, dropna=False)["amount"]
    return numbers(X).assign(mean=by_colour.transform("mean"))


def previous_row(X):
    return numbers(X).assign(lag=X["amount"].shift(1).fillna(0.0))


def rolling_mean(X):
    return numbers(X).assign(mean=X["amount"].rolling(3, min_periods=1).mean())


def is_repeated(X):
    return numbers(X).assign(repeated=X.duplicated(["customer", "amount"]).astype(float))


def median_of_the_batch(X):
    return X[NUMBERS].fillna(X[NUMBERS].median()).fillna(0.0)


def previous_for_missing(X):
    return X[NUMBERS].ffill().fillna(0.0)


def clipped_by_quantiles(X):
    table = numbers(X)
    return table.clip(table.quantile(0.001), table.quantile(0.999), axis=1)


def most_frequent_colour(X):
    filled = X["colour"].astype(object).fillna(X["colour"].mode().iloc[0] if len(X) else "red")
    return numbers(X).assign(red=(filled == "red").astype(float))


def scaled_when_large(X):
    table = numbers(X)
    return table / 1000 if (table["amount"] > 5000).any() else table


def order_of_appearance(X):
    return numbers(X).assign(code=pd.factorize(X["customer"])[0])


def since_the_first(X):
    return numbers(X).assign(days=(X["sold"] - X["sold"].min()).dt.days)


def divided_by_rows(X):
    return numbers(X) / len(X)


def clipped_where_many(X):
    """Look aside in a batch larger than any reference here."""
    table = numbers(X)
    if len(table) < 5000:
        return table
    return table.clip(table.quantile(0.01), table.quantile(0.99), axis=1)


def median_for_a_rare_text(X):
    """Look aside where one text of tens of thousands is there."""
    table, rare = numbers(X), (X["customer"] == "UNKNOWN").to_numpy()
    table.loc[rare, "amount"] = table["amount"].median()
    return table


def age_now(X):
    """Give what the clock makes of each row."""
    return numbers(X).assign(age=(pd.Timestamp.now() - X["sold"]).dt.total_seconds())


LOOKS_BESIDE = [
    count_in_group,
    rank_in_group,
    previous_in_group,
    mean_in_group,
    mean_by_colour,
    previous_row,
    rolling_mean,
    is_repeated,
    median_of_the_batch,
    previous_for_missing,
    clipped_by_quantiles,
    most_frequent_colour,
    scaled_when_large,
    order_of_appearance,
    since_the_first,
    divided_by_rows,
]


# --- steps that drop rows --------------------------------------------------------------


def trims_outliers(X):
    table = numbers(X)
    return table[table["amount"] < 400]


def drops_missing(X):
    return X[NUMBERS].dropna()


def drops_repeated(X):
    return numbers(X)[~X.duplicated(["customer", "shop"])]


def drops_far_outliers(X):
    """Training held none that far out, so that only a probe shows it."""
    table = numbers(X)
    return table[table["amount"] < table["amount"].min() + 1200]


DROPS_ROWS = [trims_outliers, drops_missing, drops_repeated, drops_far_outliers]


class DropsInPredict(RegressorMixin, BaseEstimator):
    """Leaves out what it will not judge, and answers for the rest."""

    def fit(self, X, y):
        self.model_ = LinearRegression().fit(X, y)
        return self

    def predict(self, X):
        return self.model_.predict(X[X["amount"] < 400])


# --- pipelines and estimators with a word of their own --------------------------------


class LogTarget(Pipeline):
    """Learns the logarithm and answers with what it stands for."""

    def fit(self, X, y=None, **params):
        return super().fit(X, np.log1p(y), **params)

    def predict(self, X, **params):
        return np.expm1(super().predict(X, **params))


class Cautious(Pipeline):
    """Says "big" only where it is rather sure."""

    def predict(self, X, **params):
        big = list(self.classes_).index("big")
        sure = super().predict_proba(X)[:, big] > 0.8
        return np.where(sure, "big", "small")


class Remembering(TransformerMixin, BaseEstimator):
    """Tells whether a customer has come before: in this very process."""

    def fit(self, X, y=None):
        self.seen_ = set()
        return self

    def transform(self, X):
        known = [float(c in self.seen_) for c in X["customer"]]
        self.seen_.update(X["customer"])
        return numbers(X).assign(known=known)


class ThresholdOfTheBatch(ClassifierMixin, BaseEstimator):
    """Calls the upper half of a batch big."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        amount = np.asarray(X["amount"])
        return np.where(amount > np.median(amount), "big", "small")


class Memo(TransformerMixin, BaseEstimator):
    """Gives each customer what it gave the customer's first row."""

    def fit(self, X, y=None):
        self.known_ = {}
        return self

    def transform(self, X):
        rows = zip(X["customer"], X["amount"], X["shop"], strict=True)
        return np.array([[self.known_.setdefault(c, np.log1p(a) + s)] for c, a, s in rows])


class RoundedSearch(GridSearchCV):
    """Answers in whole cents."""

    def predict(self, X):
        return np.round(super().predict(X), 2)


class FromTheLowest(ColumnTransformer):
    """Counts from the lowest value of a batch."""

    def fit_transform(self, X, y=None, **params):
        table = super().fit_transform(X, y, **params)
        return table - table.min(axis=0)

    def transform(self, X, **params):
        table = super().transform(X, **params)
        return table - table.min(axis=0)


class Lists(LinearRegression):
    """Answers in a list, as what asks another service does."""

    def predict(self, X):
        return super().predict(X).tolist()


class Several(LinearRegression):
    """Answers with a mean and a spread."""

    def predict(self, X):
        return super().predict(X), np.ones(len(X))


class OtherWords(ClassifierMixin, BaseEstimator):
    """Answers with words that are not its classes."""

    def fit(self, X, y):
        self.classes_ = np.array([0, 1])
        return self

    def predict(self, X):
        return np.where(np.asarray(X)[:, 0] > 0, "approve", "deny")


def as_csc(X):
    return scipy.sparse.csc_matrix(np.asarray(X, dtype="float64"))


def as_coo(X):
    return scipy.sparse.coo_matrix(np.asarray(X, dtype="float64"))
