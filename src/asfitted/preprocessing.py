"""`Dummies`: `pandas.get_dummies` with fixed categories, as a step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from asfitted.errors import ContractInvalid


class Dummies(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """One column per category of each column, and one for missing.

    What ``pd.get_dummies(X, dummy_na=True)`` means for Categoricals with a fixed
    list. The columns come from the lists, which `Conform` takes from the
    contract, and never from the values that a batch happens to hold.

    Parameters
    ----------
    sparse : bool, default False
        Give a CSR matrix instead of an array.
    dtype : numpy dtype, default bool
        As in ``pd.get_dummies``.

    Attributes
    ----------
    categories_ : list of ndarray
        The fixed list of each column.
    feature_names_in_ : ndarray of str
    n_features_in_ : int

    Examples
    --------
    >>> import pandas as pd
    >>> X = pd.DataFrame({"c": pd.Categorical(["b", None], categories=["a", "b"])})
    >>> step = Dummies(dtype=int).fit(X)
    >>> step.get_feature_names_out().tolist()
    ['c_a', 'c_b', 'c_nan']
    >>> step.transform(X).tolist()
    [[0, 1, 0], [0, 0, 1]]
    """

    def __init__(self, *, sparse: bool = False, dtype: Any = bool) -> None:
        self.sparse = sparse
        self.dtype = dtype

    def fit(self, X: pd.DataFrame, y: Any = None) -> Dummies:
        """Take the lists of `X`, a DataFrame of Categoricals; its values do not count.

        Raises
        ------
        ContractInvalid
            Where a column is not a Categorical.
        """
        _refuse_others(X)
        self.categories_ = [X[name].cat.categories.to_numpy() for name in X.columns]
        self.feature_names_in_ = np.array(list(X.columns), dtype=object)
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X: pd.DataFrame) -> Any:
        """Return the dummies.

        Parameters
        ----------
        X : DataFrame of shape (n_rows, n_columns)

        Returns
        -------
        ndarray or csr_matrix of shape (n_rows, n_dummies)

        Raises
        ------
        ContractInvalid
            Where the columns or their lists are not those of ``fit``.
        """
        check_is_fitted(self, "categories_")
        _refuse_others(X)
        names = list(self.feature_names_in_)
        if list(X.columns) != names:
            raise ContractInvalid(
                f"Dummies was fitted on the columns {', '.join(names)}",
                f"a frame with the columns {', '.join(map(str, X.columns))}",
            )
        n_rows = len(X)
        sizes = [len(labels) + 1 for labels in self.categories_]
        starts = np.concatenate([[0], np.cumsum(sizes)])
        hot = np.empty((n_rows, len(names)), dtype=np.int64)
        for i, (name, labels) in enumerate(zip(names, self.categories_, strict=True)):
            if not np.array_equal(X[name].cat.categories.to_numpy(), labels):
                raise ContractInvalid(
                    "the categories are not those of fit",
                    f"column {name}",
                    "let Conform with one contract be the first step",
                )
            codes = X[name].cat.codes.to_numpy()
            hot[:, i] = starts[i] + np.where(codes < 0, len(labels), codes)
        if self.sparse:
            ones = np.ones(hot.size, dtype=self.dtype)
            ends = np.arange(n_rows + 1) * len(names)
            return scipy.sparse.csr_matrix((ones, hot.ravel(), ends), (n_rows, starts[-1]))
        out = np.zeros((n_rows, starts[-1]), dtype=self.dtype)
        out[np.arange(n_rows)[:, None], hot] = 1
        return out

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray[Any, Any]:
        """Return the names that ``pd.get_dummies`` gives: ``column_category``, ``column_nan``."""
        check_is_fitted(self, "categories_")
        return np.array(
            [
                f"{name}_{label}"
                for name, labels in zip(self.feature_names_in_, self.categories_, strict=True)
                for label in [*labels, np.nan]
            ],
            dtype=object,
        )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        return tags


def _refuse_others(X: pd.DataFrame) -> None:
    if not isinstance(X, pd.DataFrame):
        raise ContractInvalid(
            f"Dummies needs a DataFrame of Categoricals, not {type(X).__name__}",
            mend="let Conform be the first step of the pipeline and give Dummies its columns",
        )
    if X.columns.has_duplicates:
        twice = ", ".join(map(str, X.columns[X.columns.duplicated()].unique()))
        raise ContractInvalid("a column stands there twice", f"columns {twice}")
    others = [str(n) for n in X.columns if not isinstance(X[n].dtype, pd.CategoricalDtype)]
    if others:
        raise ContractInvalid(
            "Dummies needs Categoricals",
            f"columns {', '.join(others)}",
            "declare them as kind: category in the contract and let Conform come first",
        )
