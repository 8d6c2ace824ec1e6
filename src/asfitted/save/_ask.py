"""What the pipeline itself answers, called as the user calls it, beside what is served."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline

from asfitted.errors import AnswersDiffer, AsfittedError, BatchDependent, SaveRefused
from asfitted.save._compare import rows_apart
from asfitted.save._row_wise import (
    LEARN_IN_FIT,
    called,
    not_reproducible,
    parts_of,
    refuse_row_change,
)
from asfitted.save._rows import Rows
from asfitted.scoring import outputs
from asfitted.scoring.blocks import _stack, in_blocks, n_rows, take
from asfitted.scoring.rounding import answers_apart, repeated_apart
from asfitted.scoring.scorer import Scorer, is_plain, quiet_and_single, split, unwrap
from asfitted.scoring.shortcuts import Steps

WHERE = "reference, the raw training frame"


def ask(given: Any, frame: pd.DataFrame, estimator: Any) -> pd.DataFrame:
    """Return what `given` answers for raw rows, in one call of each method.

    Parameters
    ----------
    given : fitted pipeline, search or meta-estimator
        As the user has passed it, under the user's own scikit-learn settings.
    frame : DataFrame of shape (n_rows, n_columns)
        Raw.
    estimator : fitted estimator
        The last step, which names the answers.

    Returns
    -------
    DataFrame of shape (n_rows, n_outputs)

    Raises
    ------
    SaveRefused
        Where the pipeline is not fitted, or fails on its own training rows.
    BatchDependent
        Where it does not give an answer for each row.
    """
    try:
        results = {m: outputs.caller(given, m)(frame.copy()) for m in outputs.methods(estimator)}
    except AsfittedError:
        raise
    except NotFittedError as error:
        raise SaveRefused(
            f"the pipeline is not fitted: {error}",
            type(given).__name__,
            "pipeline.fit(X_train, y_train); a step that learns nothing says that it needs no "
            "fit by a method __sklearn_is_fitted__ that returns True",
        ) from error
    except Exception as error:
        raise _fails(given, frame, error) from error
    said = _named(estimator, results)
    if len(said) != len(frame):
        refuse_row_change(_steps(given), frame)
        raise AnswersDiffer(
            f"the pipeline gives {len(said)} answers for {len(frame)} rows",
            WHERE,
            "it must give one answer for each row",
        )
    return said


def _named(estimator: Any, results: dict[str, Any]) -> pd.DataFrame:
    """Return the answers by name; refuse those of a form that scikit-learn does not have."""
    kinds = {method: type(result).__name__ for method, result in results.items()}
    try:
        if any(isinstance(result, tuple) for result in results.values()):
            raise TypeError("a tuple is several results, and none of them is the answer")
        return outputs.name_outputs(estimator, results)
    except Exception as error:
        raise SaveRefused(
            "the pipeline answers in a form that cannot be served: "
            f"{type(error).__name__}: {error}",
            ", ".join(f"{method} gives {kind}" for method, kind in kinds.items()),
            "as in scikit-learn, fit sets classes_, predict gives an array of shape (n_rows,) or "
            "(n_rows, n_targets), and predict_proba one of shape (n_rows, n_classes)",
        ) from error


def refuse_other_answers(given: Any, frame: pd.DataFrame, trained: pd.DataFrame) -> None:
    """Refuse a pipeline that does not answer as its steps do, called one by one on all rows.

    What is called is the same, and so are the shapes: hardly a bit may differ, where between
    all rows and blocks of 64 rounding does.

    Raises
    ------
    AnswersDiffer
    """
    pipeline = unwrap(given)
    if not is_plain(pipeline):
        return
    contract, (*steps, last) = split(pipeline)
    estimator = last[1]
    table: Any = contract.conform(frame, keys=False).frame
    for _, step in steps:
        table = step.transform(table)
    said = {m: outputs.caller(estimator, m)(table) for m in outputs.methods(estimator)}
    apart_ = repeated_apart(trained, outputs.name_outputs(estimator, said))
    wrong = np.flatnonzero(apart_ > 1)
    if len(wrong):
        if (repeated_apart(trained, ask(given, frame, estimator)) > 1).any():
            raise not_reproducible([*steps, last], contract.conform(frame, keys=False).frame)
        _refuse_difference(trained, outputs.name_outputs(estimator, said), wrong)


def _refuse_difference(trained: pd.DataFrame, served: pd.DataFrame, rows: Rows) -> None:
    row = int(rows[0])
    raise AnswersDiffer(
        f"{len(rows)} of {len(trained)} rows would be served another answer than the "
        f"pipeline gives; row {row}: {_shown(trained, row)} in training, "
        f"{_shown(served, row)} served",
        f"row {row} of the reference",
        "its steps called one by one, on rows without an index and without keys, must "
        "answer as pipeline.predict does; an answer of its own belongs into a subclass of "
        "Pipeline, which is called whole",
    )


def _steps(given: Any) -> Steps:
    pipeline = unwrap(given)
    if isinstance(pipeline, Pipeline):
        return [(name, step) for name, step in pipeline.steps if not isinstance(step, str)]
    return [(type(pipeline).__name__.lower(), pipeline)]


def _fails(given: Any, frame: pd.DataFrame, error: Exception) -> SaveRefused:
    what = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    if getattr(given, "refit", True) is False:
        return SaveRefused(
            "a search with refit=False has no pipeline to be saved",
            type(given).__name__,
            "refit=True, or save the pipeline that you have fitted with the best parameters",
        )
    return SaveRefused(
        f"the pipeline fails on its own training rows, in step {_failing_step(given, frame)}: "
        f"{what}",
        WHERE,
        "pass the raw frame that the pipeline was fitted on; pipeline.predict(reference) must "
        "work, under the same sklearn.set_config and set_output as in fit",
    )


def _failing_step(given: Any, table: Any) -> str:
    *steps, (name, last) = _steps(given)
    for inner, step in steps:
        try:
            table = step.transform(table) if hasattr(step, "transform") else table
        except Exception:
            return f"{inner} ({called(step)})"
    return f"{name} ({called(last)})"


def serve(scorer: Scorer, conformed: pd.DataFrame, partition: Iterable[Rows]) -> pd.DataFrame:
    """Return the answers of all rows, scored in the given pieces, in the order of the rows."""
    answers, order = [], []
    for rows in partition:
        answers.append(scorer.answers(conformed.iloc[rows]))
        order.append(rows)
    at = np.argsort(np.concatenate(order), kind="stable")
    return pd.concat(answers, ignore_index=True).iloc[at].reset_index(drop=True)


def compare(
    scorer: Scorer,
    steps: Steps,
    conformed: pd.DataFrame,
    trained: pd.DataFrame,
    served: pd.DataFrame,
    partition: Sequence[Rows],
    relative: float,
) -> tuple[Rows, Rows]:
    """Hold what is served against what the pipeline itself answers.

    Parameters
    ----------
    scorer : Scorer
        That has served.
    steps : list of (name, estimator)
        Of the scorer, without shortcuts.
    conformed : DataFrame of shape (n_rows, n_features)
    trained, served : DataFrame of shape (n_rows, n_outputs)
    partition : sequence of ndarray
        The pieces in which it was served.
    relative : float
        As in `asfitted.scoring.rounding.apart`.

    Returns
    -------
    (tied, jumped) : (ndarray of int, ndarray of int)
        Rows whose label may be either, for their scores tie within rounding; and rows
        where a step jumps (a bin, a branch of a tree) between inputs that agree within it.

    Raises
    ------
    BatchDependent
        Names the step that gives a row another answer in another company.
    AnswersDiffer
        Where no step does, and the answers differ all the same.
    """
    off, tied = answers_apart(scorer.estimator, trained, served, relative)
    bad = np.flatnonzero(off > 1)
    jumped = np.array([], dtype=int)
    if len(bad):
        jumped = _Explanation(scorer, steps, partition, relative).jumps(conformed, bad)
        left = np.setdiff1d(bad, jumped)
        if len(left):
            _refuse_difference(trained, served, left)
    return np.flatnonzero(tied), jumped


def _shown(answers: pd.DataFrame, row: int) -> str:
    return ", ".join(f"{name} {answers[name].iloc[row]!s}" for name in answers.columns)


class _Explanation:
    """Finds the step where an answer that is served parts from that of the pipeline.

    Each step is called twice: on the whole table, as in training, and in the pieces and
    blocks in which it serves.
    """

    def __init__(
        self, scorer: Scorer, steps: Steps, partition: Sequence[Rows], relative: float
    ) -> None:
        self.scorer, self.steps, self.partition = scorer, steps, partition
        self.relative = relative

    def jumps(self, conformed: pd.DataFrame, bad: Rows) -> Rows:
        """Return which of the rows in `bad` differ by a jump; refuse a step that depends."""
        was = now = conformed
        jumped = np.zeros(len(conformed), dtype=bool)
        with quiet_and_single(self.scorer.transform_output):
            for place, (name, step) in enumerate(self.steps[:-1]):
                self._blocks = place >= self.scorer.whole_steps
                jumped |= self._step(name, step, step.transform, was, now, bad)
                was, now = step.transform(_copy(was)), self._served(step.transform, now)
            name, estimator = self.steps[-1]
            self._blocks = self.scorer.whole_steps < len(self.steps)

            def answers(table: Any) -> Any:
                said = {m: outputs.caller(estimator, m)(table) for m in outputs.methods(estimator)}
                return outputs.name_outputs(estimator, said)

            jumped |= self._leaf(name, estimator, answers, was, now, bad)
        return bad[jumped[bad]]

    def _served(self, call: Callable[[Any], Any], table: Any) -> Any:
        order = np.argsort(np.concatenate(self.partition), kind="stable")
        results = [
            in_blocks(call, part) if self._blocks else call(part)
            for part in (_reset(take(table, rows)) for rows in self.partition)
        ]
        return _reset(take(_stack(results), order))

    def _step(self, name: str, step: Any, call: Any, was: Any, now: Any, bad: Rows) -> Any:
        """Return the mask of the rows that a transformer makes jump."""
        jumped = np.zeros(n_rows(was), dtype=bool)
        if is_plain(step):
            for inner, part in _inner(step):
                jumped |= self._step(f"{name}.{inner}", part, part.transform, was, now, bad)
                was, now = part.transform(_copy(was)), self._served(part.transform, now)
            return jumped
        inside = list(zip(parts_of(step, was), parts_of(step, now), strict=True))
        for (inner, part, sub_was), (_, _, sub_now) in inside:
            jumped |= self._step(f"{name}.{inner}", part, part.transform, sub_was, sub_now, bad)
        return jumped if inside else self._leaf(name, step, call, was, now, bad)

    def _leaf(self, name: str, step: Any, call: Any, was: Any, now: Any, bad: Rows) -> Any:
        trained, served = call(_copy(was)), self._served(call, now)
        off = self._apart(trained, served)
        jumped = np.zeros(len(off), dtype=bool)
        jumped[bad] = off[bad] > 1
        if jumped.any():
            # The same inputs, to the bit, in the company in which it serves.
            depends = jumped & (self._apart(trained, self._served(call, was)) > 1)
            if depends.any():
                row = int(np.flatnonzero(depends)[0])
                raise BatchDependent(
                    f"step {name} ({called(step)}) gives a row another answer beside other rows: "
                    f"{int(depends.sum())} of {len(off)} rows would be served another answer than "
                    f"the pipeline gives, the first is row {row}",
                    f"{name} ({called(step)})",
                    LEARN_IN_FIT,
                )
        return jumped

    def _apart(self, was: Any, now: Any) -> Any:
        named = [isinstance(one, pd.DataFrame) and "prediction" in one for one in (was, now)]
        if all(named):
            return answers_apart(self.scorer.estimator, was, now, self.relative)[0]
        return rows_apart(was, now)


def _inner(pipeline: Any) -> Iterator[tuple[str, Any]]:
    for name, step in pipeline.steps:
        if hasattr(step, "transform") and not isinstance(step, str):
            yield name, step


def _copy(table: Any) -> Any:
    return table.copy() if hasattr(table, "copy") else table


def _reset(table: Any) -> Any:
    is_labelled = isinstance(table, (pd.DataFrame, pd.Series))
    return table.reset_index(drop=True) if is_labelled else table
