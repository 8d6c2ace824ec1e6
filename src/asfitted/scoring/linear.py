"""Linear models in blocks of a fixed size, asked without the checks of each block.

In blocks of 64 rows scikit-learn checks its input longer than it computes. Here the same
fitted object computes with the same matrices of the same shape: its product with the
coefficients is made first, and its own method makes the answer of that.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import scipy.sparse
from sklearn.utils.extmath import safe_sparse_dot

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
    """Stands in for a fitted linear model that is given blocks.

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

    def call(self, method: str, block: Any) -> Any:
        """Return what `method` of the estimator says of a block.

        Parameters
        ----------
        method : "predict" or "predict_proba"
        block : ndarray or CSR matrix of shape (n_rows, n_features)
        """
        known = type(block) is np.ndarray or scipy.sparse.issparse(block)
        numbers = block.data if scipy.sparse.issparse(block) else block
        if not known or block.shape[1] != self.estimator.n_features_in_:
            return getattr(self.estimator, method)(block)
        if block.dtype != "float64" or not np.isfinite(numbers).all():
            # What it has to say of those.
            return getattr(self.estimator, method)(block)
        product = safe_sparse_dot(block, self._coef, dense_output=True) + self.estimator.intercept_
        if product.ndim == 2 and product.shape[1] == 1 and self._flat:
            product = product.reshape(-1)
        return getattr(self._twin, method)(product)


def _itself(product: Any) -> Any:
    return product
