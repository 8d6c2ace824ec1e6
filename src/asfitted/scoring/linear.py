"""Linear models in blocks of a fixed size, asked without the checks of each block.

In blocks of 64 rows scikit-learn checks its input longer than it computes. Here the product
with the coefficients is made first, of matrices of the same shape, and the fitted object's
own method makes the answer of it: element by element, so of all rows at once.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import scipy.sparse
from sklearn.utils.extmath import safe_sparse_dot

from asfitted.scoring.blocks import BLOCK_ROWS, in_blocks

_SKLEARN = "sklearn.linear_model."
# What the methods of such an estimator ask for the product.
_CLASSIFIERS = {
    "LogisticRegression": "decision_function",
    "LogisticRegressionCV": "decision_function",
}
_REGRESSORS = dict.fromkeys(
    ("LinearRegression", "Ridge", "RidgeCV", "Lasso", "LassoCV", "ElasticNet", "ElasticNetCV"),
    "_decision_function",
)


class Linear:
    """Stands in for a fitted linear model that is given blocks, and makes them itself.

    Parameters
    ----------
    estimator : fitted estimator

    Raises
    ------
    TypeError
        Where it is none that is known to be one.
    """

    def __init__(self, estimator: Any) -> None:
        kind = type(estimator)
        asked = (_CLASSIFIERS | _REGRESSORS).get(kind.__name__)
        if asked is None or not kind.__module__.startswith(_SKLEARN):
            raise TypeError(f"{kind.__name__} is not known to be linear")
        self.estimator = estimator
        self._flat = asked == "decision_function"
        # It is given the product in the place of its input.
        self._twin = copy.copy(estimator)
        setattr(self._twin, asked, _itself)
        self._coef = estimator.coef_.T if estimator.coef_.ndim == 2 else estimator.coef_

    def call(self, method: str, table: Any) -> Any:
        """Return what `method` of the estimator says of a table, block by block.

        Parameters
        ----------
        method : "predict" or "predict_proba"
        table : ndarray or CSR matrix of shape (n_rows, n_features)
            With at least one row.
        """
        known = type(table) is np.ndarray or scipy.sparse.issparse(table)
        numbers = table.data if scipy.sparse.issparse(table) else table
        if (
            not known
            or table.shape[1] != self.estimator.n_features_in_
            or table.dtype != "float64"
            or not np.isfinite(numbers).all()
        ):
            # What it has to say of those.
            return in_blocks(getattr(self.estimator, method), table)
        product = self._product(table) + self.estimator.intercept_
        if product.ndim == 2 and product.shape[1] == 1 and self._flat:
            product = product.reshape(-1)
        return getattr(self._twin, method)(product)[: table.shape[0]]

    def _product(self, table: Any) -> Any:
        """Return the product with the coefficients, of whole blocks."""
        if scipy.sparse.issparse(table):
            # Each row is added up alone.
            return safe_sparse_dot(table, self._coef, dense_output=True)
        whole = len(table) // BLOCK_ROWS * BLOCK_ROWS
        filled = [table[:whole]]
        if whole < len(table):
            rows = np.minimum(np.arange(whole, whole + BLOCK_ROWS), len(table) - 1)
            filled.append(table[rows])
        products = (
            np.ascontiguousarray(part).reshape(-1, BLOCK_ROWS, table.shape[1]) @ self._coef
            for part in filled
            if len(part)
        )
        return np.concatenate([product.reshape(-1, *product.shape[2:]) for product in products])


def _itself(product: Any) -> Any:
    return product
