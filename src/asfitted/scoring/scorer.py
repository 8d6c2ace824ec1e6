"""The one way from conformed rows to answers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import joblib
import pandas as pd
from sklearn import config_context
from sklearn.pipeline import Pipeline

from asfitted.contract import Conform, DataContract
from asfitted.errors import NotConformed
from asfitted.scoring import outputs
from asfitted.scoring.blocks import call_by_rows, in_blocks, laid_out
from asfitted.scoring.direct import DirectColumns
from asfitted.scoring.shortcuts import LINEAR, UNMARKED, Steps, asking, taken

_SEARCHES = frozenset(
    f"sklearn.model_selection._search{name}"
    for name in (
        ".GridSearchCV",
        ".RandomizedSearchCV",
        "_successive_halving.HalvingGridSearchCV",
        "_successive_halving.HalvingRandomSearchCV",
    )
)
# What decides what a pipeline or a search answers; one of its own may be set on an object.
_METHODS = frozenset({"predict", "predict_proba", "decision_function", "transform"})
# No step sees more rows, or cells, at once: with more than it was proved with, it could
# answer otherwise.
_MOST_ROWS, _LEAST_MOST_ROWS, _MOST_CELLS = 20_000, 1_000, 2_000_000


def unwrap(estimator: Any) -> Any:
    """Return the best pipeline of a search, or the estimator itself."""
    while _is_exactly(estimator, _SEARCHES) and hasattr(estimator, "best_estimator_"):
        estimator = estimator.best_estimator_
    return estimator


def _is_exactly(estimator: Any, kinds: frozenset[str]) -> bool:
    kind = type(estimator)
    if f"{kind.__module__}.{kind.__qualname__}" not in kinds:
        return False
    return not _METHODS & vars(estimator).keys()


# What the pipelines are that may be taken apart: a subclass may answer otherwise than its
# steps one by one do. imbalanced-learn's leaves its samplers out wherever it is not fitted.
_PIPELINES = frozenset({"sklearn.pipeline.Pipeline", "imblearn.pipeline.Pipeline"})


def split(pipeline: Any) -> tuple[DataContract, Steps]:
    """Return the contract that a model begins with, and the steps after it.

    Pipelines within the pipeline are taken apart, "passthrough" is left out. What is no
    plain pipeline but holds one that begins with `Conform` (a subclass with a `predict` of
    its own, a meta-estimator) is one step, which is called whole.

    Raises
    ------
    NotConformed
        Where the first step is not `Conform`, or nothing comes after it.
    """
    steps = _flat(pipeline) if is_plain(pipeline) else [(_step_name(pipeline), pipeline)]
    if len(steps) == 1 and isinstance(steps[0][1], Conform):
        raise NotConformed(
            "there is no step after Conform", mend="end the pipeline with an estimator"
        )
    if steps and isinstance(steps[0][1], Conform):
        return steps[0][1]._contract(), steps[1:]
    contracts = {c.digest: c for c in contracts_within(steps[0][1])} if steps else {}
    if len(contracts) == 1:
        return next(iter(contracts.values())), steps
    first = type(steps[0][1] if steps else pipeline).__name__
    if contracts:
        raise NotConformed(
            f"{first} holds pipelines that begin with {len(contracts)} different contracts",
            type(pipeline).__name__,
            "let one contract hold all columns, and give it to each Conform",
        )
    raise NotConformed(
        f"the pipeline does not begin with Conform but with {first}",
        type(pipeline).__name__,
        "fit on the raw frame make_pipeline(asfitted.Conform(contract), …, estimator), or "
        f"{_form_around(pipeline)}(make_pipeline(asfitted.Conform(contract), …, estimator))",
    )


def is_plain(estimator: Any) -> bool:
    """Whether a pipeline answers as its steps do one by one: of exactly a known class."""
    return _is_exactly(estimator, _PIPELINES)


def _step_name(estimator: Any) -> str:
    return type(estimator).__name__.lower()


def _form_around(estimator: Any) -> str:
    is_meta = any(hasattr(value, "fit") for value in parts(estimator)[1:])
    return type(estimator).__name__ if is_meta and not is_plain(estimator) else "GridSearchCV"


def contracts_within(estimator: Any) -> Iterator[DataContract]:
    """Yield the contracts of the pipelines, begun by `Conform`, that an estimator is made of."""
    if isinstance(estimator, Pipeline):
        first = estimator.steps[0][1]
        if isinstance(first, Conform):
            yield first._contract()
        else:
            yield from contracts_within(first)
    elif hasattr(estimator, "get_params") and not isinstance(estimator, type):
        for value in estimator.get_params(deep=False).values():
            for part in value if isinstance(value, (list, tuple)) else [value]:
                yield from contracts_within(part[1] if _is_named(part) else part)


def _is_named(part: Any) -> bool:
    return isinstance(part, tuple) and len(part) == 2 and isinstance(part[0], str)


def parts(step: Any) -> list[Any]:
    """Return a step, and the estimators and values that it is made of."""
    params = step.get_params(deep=True) if hasattr(step, "get_params") else {}
    return [step, *params.values()]


def _flat(pipeline: Pipeline, prefix: str = "") -> Steps:
    steps: Steps = []
    for name, step in pipeline.steps:
        if is_plain(step):
            steps += _flat(step, f"{prefix}{name}.")
        elif step is None or isinstance(step, str) or _is_sampler(pipeline, step):
            continue
        else:
            steps.append((f"{prefix}{name}", step))
    return steps


def _is_sampler(pipeline: Any, step: Any) -> bool:
    """Whether a step only resamples, which imbalanced-learn's pipeline does in `fit` alone."""
    return type(pipeline).__module__.startswith("imblearn.") and hasattr(step, "fit_resample")


@contextmanager
def quiet_and_single(transform_output: str = "default") -> Iterator[None]:
    """Hold back what would make the same rows give other bits or other containers.

    A forest that adds up its trees in several threads adds them in another
    order each time; a global ``set_config`` of whoever calls would change what
    the steps pass on.

    Parameters
    ----------
    transform_output : "default" or "pandas"
        scikit-learn's, as it was where the pipeline was fitted.
    """
    with (
        joblib.parallel_config(backend="sequential"),
        config_context(transform_output=transform_output),
    ):
        yield


def through(steps: Steps, table: Any) -> Any:
    """Return what `steps` make of a table, which each gets in the same order of memory.

    Raises
    ------
    RowsChanged
        Where one does not give a row for each row.
    """
    for name, step in steps:
        table = laid_out(call_by_rows(step.transform, table, name))
    return table


def results(
    steps: Steps,
    whole_steps: int,
    table: Any,
    ask: Callable[[Any], list[Any]] | None = None,
) -> list[Any]:
    """Return what each method of the last step says of conformed rows.

    Parameters
    ----------
    steps : list of (name, estimator)
    whole_steps : int
        How many of them run on all rows at once; see `Scorer`.
    table : DataFrame of shape (n_rows, n_features)
    ask : callable, optional
        From `asking`; by default each method of the last step is called.
    """
    ask = ask or asking(*steps[-1])

    def rest(block: Any) -> list[Any]:
        return ask(through(steps[whole_steps:-1], block))

    table = through(steps[:-1][:whole_steps], table)
    if whole_steps == len(steps):
        return rest(table)
    stacked: list[Any] = in_blocks(rest, table)
    return stacked


class Scorer:
    """A fitted pipeline without its first step, called so that rows do not touch.

    Parameters
    ----------
    pipeline : Pipeline
        Fitted, beginning with `Conform`.
    whole_steps : int, default 0
        How many of the steps after `Conform` were proved to give each row the
        same bits in any company; they run on all rows at once, the rest in
        fixed blocks. The last of them is the estimator.
    shortcuts : collection of str
        Those that were proved to give the same bits; see `asfitted.scoring.shortcuts`.
    transform_output : "default" or "pandas"
        scikit-learn's global setting where the pipeline was fitted.
    """

    def __init__(
        self,
        pipeline: Any,
        whole_steps: int = 0,
        shortcuts: Collection[str] = (),
        transform_output: str = "default",
    ) -> None:
        self.contract, steps = split(pipeline)
        self.whole_steps = whole_steps
        self.transform_output = transform_output
        self._keeps_mark = UNMARKED not in shortcuts
        self._makes_blocks = LINEAR in shortcuts and whole_steps == len(steps) - 1
        self.steps = taken(steps, self.contract, whole_steps, shortcuts)
        self._ask = asking(*self.steps[-1], shortcuts)

    @property
    def estimator(self) -> Any:
        """The last step."""
        return self.steps[-1][1]

    @property
    def most_rows(self) -> int:
        """Rows that the steps see at once, at most; a larger table is scored in parts."""
        cells = _MOST_CELLS // len(self.contract.features)
        return max(_LEAST_MOST_ROWS, min(_MOST_ROWS, cells))

    def score(self, conformed: pd.DataFrame) -> pd.DataFrame:
        """Return all outputs for conformed rows.

        Parameters
        ----------
        conformed : DataFrame of shape (n_rows, n_features)

        Returns
        -------
        DataFrame of shape (n_rows, n_outputs)
            See `asfitted.scoring.outputs.name_outputs`.

        Raises
        ------
        OutputViolation
            Where an answer must not be sent.
        CheckFailed
            Where an output check is broken itself.
        """
        named = self.answers(conformed)
        outputs.check_declared(self.contract, self.estimator, conformed, named)
        return named

    def answers(self, conformed: pd.DataFrame) -> pd.DataFrame:
        """Return all outputs, whatever the contract's output section says of them.

        Raises
        ------
        OutputViolation
            For what no model may answer.
        """
        if len(conformed) == 0:
            # No estimator takes no rows; one row tells the columns and types.
            raise ValueError("there is nothing to score")
        most = self.most_rows
        if len(conformed) > most:
            starts = range(0, len(conformed), most)
            parts = [self.answers(conformed.iloc[start : start + most]) for start in starts]
            return pd.concat(parts, ignore_index=True)
        with quiet_and_single(self.transform_output):
            # The caller's index is no property of a row, and a step that writes into
            # its input must not write into what goes on record.
            table: Any = conformed.reset_index(drop=True)
            if not self._keeps_mark:
                # pandas copies it, deeply, with every operation.
                table.attrs = {}
            # A linear model that is asked directly makes its blocks itself.
            at_once = self.whole_steps + self._makes_blocks
            # A direct step lays out what it takes.
            if at_once and not isinstance(self.steps[0][1], DirectColumns):
                table = laid_out(table)
            said = results(self.steps, at_once, table, self._ask)
        called = outputs.methods(self.estimator)
        named = outputs.name_outputs(self.estimator, dict(zip(called, said, strict=True)))
        outputs.check(self.estimator, named)
        return named
