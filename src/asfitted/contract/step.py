"""`Conform`: the contract as the first step of the pipeline."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin

from asfitted.contract.schema import DataContract
from asfitted.contract.target import check_target
from asfitted.errors import ContractInvalid


def _check(y: Any, contract: DataContract) -> None:
    if y is not None and contract.target:
        check_target(y, contract)


class Conform(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Hold every frame to the contract, in training and in production.

    The first step of every pipeline. It takes raw frames, learns nothing, and
    gives the next step typed columns: float64 with NaN, pandas Categoricals
    with the fixed list, text with no missing, datetime64[us] in UTC. Keys are
    left out. Conforming twice is conforming once. Where the contract has a target,
    ``fit`` holds `y` to it.

    Parameters
    ----------
    contract : DataContract, or path to a contract.yaml

    Attributes
    ----------
    feature_names_in_ : ndarray of str
    n_features_in_ : int

    Examples
    --------
    >>> import pandas as pd
    >>> from asfitted import Conform, DataContract
    >>> frame = pd.DataFrame({"size": [1, 2], "colour": ["red", "blue"]})
    >>> step = Conform(DataContract.infer(frame))
    >>> step.fit_transform(frame)["colour"].cat.categories.tolist()
    ['blue', 'red']
    """

    def __init__(self, contract: DataContract | str | os.PathLike[str]) -> None:
        self.contract = contract

    def fit(self, X: pd.DataFrame, y: Any = None) -> Conform:
        """Check that `X` conforms, and `y` where the contract has a target.

        Nothing is learnt from them.

        Raises
        ------
        ContractViolation
        """
        contract = self._contract()
        contract.conform(X, keys=False)
        _check(y, contract)
        self.feature_names_in_ = np.array(list(X.columns), dtype=object)
        self.n_features_in_ = X.shape[1]
        return self

    def fit_transform(self, X: pd.DataFrame, y: Any = None, **fit_params: Any) -> pd.DataFrame:
        """Fit and transform in one pass over the data."""
        frame = self.transform(X)
        _check(y, self._contract())
        self.feature_names_in_ = np.array(list(X.columns), dtype=object)
        self.n_features_in_ = X.shape[1]
        return frame

    def transform(self, X: pd.DataFrame) -> pd.DataFrame:
        """Return `X` as the pipeline must see it.

        Raises
        ------
        ContractViolation
            Every failed check, not only the first.
        """
        return self._contract().conform(X, keys=False).frame

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray[Any, Any]:
        """Return the contract's columns without the keys."""
        return np.array(self._contract().features, dtype=object)

    def _contract(self) -> DataContract:
        if isinstance(self.contract, DataContract):
            return self.contract
        if isinstance(self.contract, (str, os.PathLike)):
            return DataContract.load(self.contract)
        raise ContractInvalid(
            f"Conform needs a DataContract or the path of one, not {type(self.contract).__name__}",
            mend="DataContract.infer(X_train) proposes one",
        )

    # A path stays behind on the machine that trained: what travels is the contract.
    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        return {**state, "contract": self._contract()}

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        tags.requires_fit = False
        return tags
