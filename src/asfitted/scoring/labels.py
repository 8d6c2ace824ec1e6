"""Labels read off the probabilities, where the estimator would only compute those again."""

from __future__ import annotations

from typing import Any

import numpy as np

# Classifiers whose `predict` is, in scikit-learn's source, the class whose probability is
# largest, or that of a score which rises with it. Exact types: a subclass may decide
# otherwise, and so do those with a threshold of their own.
_LARGEST = frozenset(
    {
        "sklearn.calibration.CalibratedClassifierCV",
        "sklearn.ensemble._bagging.BaggingClassifier",
        "sklearn.ensemble._forest.ExtraTreesClassifier",
        "sklearn.ensemble._forest.RandomForestClassifier",
        "sklearn.ensemble._gb.GradientBoostingClassifier",
        "sklearn.ensemble._hist_gradient_boosting.gradient_boosting.HistGradientBoostingClassifier",
        "sklearn.linear_model._logistic.LogisticRegression",
        "sklearn.linear_model._logistic.LogisticRegressionCV",
        "sklearn.naive_bayes.GaussianNB",
        "sklearn.neural_network._multilayer_perceptron.MLPClassifier",
        "sklearn.tree._classes.DecisionTreeClassifier",
        "sklearn.tree._classes.ExtraTreeClassifier",
    }
)


def clear_labels(estimator: Any, probabilities: Any) -> np.ndarray[Any, Any] | None:
    """Return the labels that `predict` gives, or None where it has to be asked.

    It has to where two classes are about as probable: the score may rank them by bits
    that the probabilities have not.

    Parameters
    ----------
    estimator : fitted classifier
    probabilities : ndarray of shape (n_rows, n_classes)
    """
    least = float(np.sqrt(np.finfo(probabilities.dtype).eps))
    *_, second, first = np.sort(probabilities, axis=1).T
    if not (first - second > least).all():
        return None
    labels: np.ndarray[Any, Any] = estimator.classes_.take(probabilities.argmax(axis=1))
    return labels


def agree(estimator: Any, table: Any) -> bool:
    """Whether labels may be read off the probabilities: by its type, and on these rows.

    Parameters
    ----------
    estimator : fitted estimator
    table : of shape (n_rows, n_features)
        What the estimator is given.
    """
    kind = f"{type(estimator).__module__}.{type(estimator).__qualname__}"
    # With several targets there is a list of classes for each.
    if kind not in _LARGEST or getattr(estimator.classes_, "ndim", 0) != 1:
        return False
    if len(estimator.classes_) < 2:
        return False
    probabilities, said = estimator.predict_proba(table), estimator.predict(table)
    for row, label in enumerate(said):
        read = clear_labels(estimator, probabilities[row : row + 1])
        if read is not None and (read.dtype != said.dtype or read[0] != label):
            return False
    return True
