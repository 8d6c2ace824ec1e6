"""Ways to the same bits that do less; a model takes those that were proved at its save."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from asfitted.contract import DataContract
from asfitted.scoring import outputs
from asfitted.scoring.blocks import call_by_rows
from asfitted.scoring.direct import DirectColumns
from asfitted.scoring.distinct import with_distinct
from asfitted.scoring.labels import clear_labels
from asfitted.scoring.linear import Linear

Steps = list[tuple[str, Any]]

# The first step, a ColumnTransformer, is called part by part.
COLUMNS = "columns"
# Vectorizers see each text of a batch once.
TEXTS = "texts"
# A linear model is asked without the checks of each block.
LINEAR = "linear"
# Labels are read off the probabilities where they are clear.
LABELS = "labels"
# No step asks whether the frame that it gets is conformed.
UNMARKED = "unmarked"


def taken(
    steps: Steps, contract: DataContract, whole_steps: int, shortcuts: Collection[str]
) -> Steps:
    """Return the steps with what stands in for some of them.

    Raises
    ------
    TypeError
        Where a step has no such way.
    """
    steps = list(steps)
    if TEXTS in shortcuts:
        place = of_texts(steps, whole_steps)
        steps[place] = steps[place][0], with_distinct(steps[place][1])
    if COLUMNS in shortcuts:
        steps[0] = steps[0][0], DirectColumns(steps[0][1], contract)
    return steps


def of_texts(steps: Steps, whole_steps: int) -> int:
    """Return the place of the first step, of those that run on all rows, that may see less.

    Raises
    ------
    TypeError
        Where there is none.
    """
    for place, (_, step) in enumerate(steps[:-1][:whole_steps]):
        try:
            with_distinct(step)
        except TypeError:
            continue
        return place
    raise TypeError("no step has a transformer of a single column")


def asking(
    name: str, estimator: Any, shortcuts: Collection[str] = ()
) -> Callable[[Any], list[Any]]:
    """Return what asks the last step for all that it says of a table, one result per method.

    Parameters
    ----------
    name : str
        Of the step, for an error.
    estimator : fitted estimator
    shortcuts : collection of str
    """
    methods = outputs.methods(estimator)
    call = Linear(estimator).call if LINEAR in shortcuts else None

    def ask(method: str, table: Any) -> Any:
        if call is not None:
            return call(method, table)
        return call_by_rows(outputs.caller(estimator, method), table, name)

    def labels_and_scores(table: Any) -> list[Any]:
        probabilities = ask("predict_proba", table)
        labels = clear_labels(estimator, probabilities)
        return [ask("predict", table) if labels is None else labels, probabilities]

    if LABELS in shortcuts:
        return labels_and_scores
    return lambda table: [ask(method, table) for method in methods]
