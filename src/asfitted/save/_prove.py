"""The proof, at save, that what will be served is what the pipeline itself answers."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from time import monotonic
from typing import Any

import numpy as np
import pandas as pd
from sklearn import get_config
from threadpoolctl import threadpool_limits

from asfitted.contract import DataContract
from asfitted.errors import (
    AnswersDiffer,
    AsfittedError,
    BatchDependent,
    ContractViolation,
    SaveRefused,
    Violation,
)
from asfitted.save._ask import WHERE, ask, compare, refuse_other_answers, serve
from asfitted.save._checks import prove_checks
from asfitted.save._compare import deviation
from asfitted.save._losses import transform
from asfitted.save._probes import Probes, probe, with_repeated
from asfitted.save._row_wise import (
    LEARN_IN_FIT,
    SAMPLE_ROWS,
    called,
    not_reproducible,
    plan,
    refuse_row_change,
    rows_of,
)
from asfitted.save._rows import (
    SHUFFLED_PIECES,
    Rows,
    companies,
    further_companies,
    in_time,
    pieces,
    spread,
)
from asfitted.save._shortcuts import proved as proved_shortcuts
from asfitted.scoring.blocks import call_by_rows, n_rows
from asfitted.scoring.rounding import answers_apart, single_precision
from asfitted.scoring.scorer import Scorer, quiet_and_single, split, unwrap

# Rows of the reference that the pipeline itself is asked about, and that are then scored as
# they will be served: as many as each does in its time, and no fewer than the least.
_ROWS, _LEAST_ROWS, _ASK_S, _SERVE_S = 20_000, 1_000, 20.0, 5.0
# Rows that are scored alone and in many companies.
_POOL_ROWS = 1_000
# What all rows alone, and all companies, may take; the least of each is always done.
_ALONE_S, _COMPANIES_S = 0.5, 0.5
_LEAST_ALONE, _LEAST_COMPANIES = 16, 24

Advance = Callable[[str, int, "int | None"], None]


@dataclass(frozen=True)
class Proof:
    """How much was proved at save; it stands in the artifact.

    Attributes
    ----------
    rows : int
        Rows of the reference whose answers are those of ``pipeline.predict``.
    alone : int
        Rows of these, and probes, that were scored alone.
    companies : int
        Batches in which rows were scored beside others.
    probes : int
        Rows that hold what the contract allows and training may never have seen.
    tied : int
        Rows whose label may be either: their scores tie within rounding.
    jumped : int
        Rows where a step jumps between inputs that agree within rounding.
    """

    rows: int
    alone: int
    companies: int
    probes: int
    tied: int
    jumped: int


@dataclass(frozen=True)
class Proved:
    """A model that may be saved.

    Attributes
    ----------
    scorer : Scorer
        As it will serve.
    shortcuts : list of str
    conformed : DataFrame of shape (n_rows, n_features)
        The rows of the reference that were proved, but for those that tie or jump.
    probes : DataFrame of shape (n_probes, n_features)
    relative : float
        Relative difference that counts as rounding, where it is more than the type's own.
    proof : Proof
    """

    scorer: Scorer
    shortcuts: list[str]
    conformed: pd.DataFrame
    probes: pd.DataFrame
    relative: float
    proof: Proof


def prove_model(given: Any, reference: pd.DataFrame, advance: Advance) -> Proved:
    """Prove that rows will be answered as the pipeline answers them, or refuse.

    Parameters
    ----------
    given : fitted pipeline, search or meta-estimator
        As the user calls it.
    reference : DataFrame of shape (n_rows, n_columns)
        Raw.
    advance : callable
        Is told of progress: the phase, further rows, and all rows where they are known.

    Raises
    ------
    SaveRefused
        And its children.
    ContractViolation
        Where the reference does not conform.
    """
    contract, _ = split(unwrap(given))
    conformed = conform_reference(contract, reference)
    with warnings.catch_warnings(), threadpool_limits(1, "openmp"):
        # What fit has said already, scikit-learn says again of each of thousands of calls;
        # and for a few rows the threads of a boosting model take ten times their work.
        warnings.simplefilter("ignore")
        return _proved(given, reference, conformed, advance)


def _proved(
    given: Any, reference: pd.DataFrame, conformed: pd.DataFrame, advance: Advance
) -> Proved:
    pipeline = unwrap(given)
    estimator = split(pipeline)[1][-1][1]
    few = reference.iloc[:_LEAST_ROWS]
    afford = _affordable(lambda: ask(given, few, estimator), len(reference), _ASK_S)
    chosen = spread(conformed, afford)
    raw, conformed = (
        reference.iloc[chosen],
        conformed.iloc[chosen].reset_index(drop=True),
    )
    trained = ask(given, raw, estimator)
    advance("trained", len(raw), len(raw))
    refuse_other_answers(given, raw, trained)
    last: AsfittedError | None = None
    setting = get_config()["transform_output"]
    for transform_output in dict.fromkeys([setting, "default"]):
        try:
            return _served(given, conformed, trained, transform_output, advance)
        except (SaveRefused, ContractViolation) as error:
            last = last or error
    assert last is not None
    raise last


def _affordable(call: Callable[[], Any], total: int, within_s: float) -> int:
    """Return how many rows there is time for: that of a call with the least tells.

    Parameters
    ----------
    call : callable
        Does to the first `_LEAST_ROWS` rows what is to be done to more.
    total : int
        Rows that there are.
    within_s : float
    """
    if total <= 3 * _LEAST_ROWS:
        return total
    begun = monotonic()
    call()
    a_row = (monotonic() - begun) / _LEAST_ROWS
    return int(min(_ROWS, max(_LEAST_ROWS, within_s / max(a_row, 1e-9))))


def _served(
    given: Any,
    conformed: pd.DataFrame,
    trained: pd.DataFrame,
    transform_output: str,
    advance: Advance,
) -> Proved:
    pipeline = unwrap(given)
    scorer = Scorer(pipeline, transform_output=transform_output)
    steps = scorer.steps
    pool = conformed.iloc[spread(conformed, _POOL_ROWS)].reset_index(drop=True)
    sample = pool.iloc[spread(pool, SAMPLE_ROWS)].reset_index(drop=True)
    scorer.whole_steps = _planned(scorer, sample)
    relative = single_precision(transform(scorer, sample))
    probes = with_repeated(scorer, conformed, probe(scorer, conformed))
    prove_checks(scorer, sample)
    few = conformed.iloc[:_LEAST_ROWS]
    chosen = spread(conformed, _affordable(lambda: scorer.answers(few), len(conformed), _SERVE_S))
    conformed, trained = (part.iloc[chosen].reset_index(drop=True) for part in (conformed, trained))
    for whole_steps in dict.fromkeys([scorer.whole_steps, 0]):
        scorer = Scorer(pipeline, whole_steps, transform_output=transform_output)
        shortcuts = proved_shortcuts(scorer, [sample, probes.frame])
        scorer = Scorer(pipeline, whole_steps, shortcuts, transform_output)
        order = list(pieces(len(conformed)))
        served = _in_pieces(scorer, conformed, order, "served", advance)
        tied, jumped = compare(scorer, steps, conformed, trained, served, order, relative)
        shuffled = np.random.default_rng(0).permutation(len(conformed))
        other = [shuffled[piece] for piece in pieces(len(conformed), SHUFFLED_PIECES)]
        again = _in_pieces(scorer, conformed, other, "shuffled", advance)
        compare(scorer, steps, conformed, trained, again, other, relative)
        table = _with_probes(pool, probes)
        _compare_probes(given, scorer, steps, probes, relative)
        moved, alone, beside = _moved(scorer, steps, table, len(probes.frame), relative, advance)
        if not (moved or _differs(served, again)):
            break
    else:
        raise not_reproducible(steps, sample)
    clean = np.setdiff1d(np.arange(len(conformed)), np.union1d(tied, jumped))
    if len(clean) == 0:
        raise AnswersDiffer(
            "of no row of the reference is the answer the same, at once and in blocks: each time a "
            "step jumps, or scores tie, within rounding",
            WHERE,
            "round what the step is given, or use a step that does not turn on the last bits",
        )
    return Proved(
        scorer,
        shortcuts,
        conformed.iloc[clean].reset_index(drop=True),
        probes.frame,
        relative,
        Proof(len(conformed), alone, beside, len(probes.frame), len(tied), len(jumped)),
    )


def _planned(scorer: Scorer, sample: pd.DataFrame) -> int:
    try:
        return plan(scorer.steps, sample, scorer.transform_output)
    except AsfittedError:
        raise
    except Exception as error:
        what = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        raise SaveRefused(
            f"the pipeline answers its training rows, and step {_failing_step(scorer, sample)} "
            f"fails on the same rows as production has them: {what}",
            WHERE,
            "in production a row has the contract's columns, no index and no keys: make a feature "
            "of the index (reset_index()) and of what a step needs; a global "
            "sklearn.set_config(transform_output=…) must be the same as in fit, or say it with "
            "the step's own .set_output",
        ) from error


def _failing_step(scorer: Scorer, table: Any) -> str:
    with quiet_and_single(scorer.transform_output):
        for name, step in scorer.steps[:-1]:
            try:
                table = step.transform(table)
            except Exception:
                return f"{name} ({called(step)})"
    name, estimator = scorer.steps[-1]
    return f"{name} ({called(estimator)})"


def _in_pieces(
    scorer: Scorer, conformed: pd.DataFrame, order: list[Rows], phase: str, advance: Advance
) -> pd.DataFrame:
    def told() -> Iterator[Rows]:
        for piece in order:
            yield piece
            advance(phase, len(piece), len(conformed))

    try:
        return serve(scorer, conformed, told())
    except Exception:
        refuse_row_change(scorer.steps, conformed)
        raise


def _with_probes(pool: pd.DataFrame, probes: Probes) -> pd.DataFrame:
    """Return the probes, then the rows of the reference."""
    table = pd.concat([probes.frame, pool], ignore_index=True)
    table.attrs = dict(pool.attrs)
    return table


def _compare_probes(
    given: Any, scorer: Scorer, steps: Any, probes: Probes, relative: float
) -> None:
    """Hold what is served for the probes against what the pipeline says of them."""
    trained = ask(given, probes.frame, scorer.estimator)
    order = list(pieces(len(probes.frame)))
    served = serve(scorer, probes.frame, order)
    compare(scorer, steps, probes.frame, trained, served, order, relative)


def _moved(
    scorer: Scorer,
    steps: Any,
    table: pd.DataFrame,
    n_probes: int,
    relative: float,
    advance: Advance,
) -> tuple[bool, int, int]:
    """Score rows alone and in many companies; refuse where an answer is another one.

    Parameters
    ----------
    table : DataFrame of shape (n_rows, n_features)
        The probes, then rows of the reference.

    Returns
    -------
    (moved, alone, companies) : (bool, int, int)
        Whether any answer moved by rounding, and how many rows were scored alone, and in
        how many batches.
    """
    expected = serve(scorer, table, [np.arange(len(table))])
    moved = False

    def held(batches: Iterable[Rows], phase: str, least: int, within_s: float) -> int:
        nonlocal moved
        done = 0
        for rows in in_time(batches, least, within_s):
            moved |= _prove_company(scorer, steps, table, expected, rows, relative)
            done += 1
            advance(phase, 1, None)
        return done

    rng = np.random.default_rng(1)
    # Each probe beside strangers, in turn; then whatever the sample of rows offers.
    beside = [
        np.concatenate([part, rng.integers(0, len(table), 1 + 2 * len(part))])
        for part in np.array_split(rng.permutation(n_probes), max(1, n_probes // 16))
    ]
    batches = [*companies(len(table)), *beside, *further_companies(table)]
    order = [batches[i] for i in rng.permutation(len(batches)) if len(batches[i]) > 1]
    if scorer.whole_steps:
        # As many rows as a step may ever see.
        order.insert(0, rng.integers(0, len(table), scorer.most_rows))
    done = held(order, "beside", _LEAST_COMPANIES, _COMPANIES_S)
    single = np.concatenate(
        [rng.permutation(n_probes), n_probes + rng.permutation(len(table) - n_probes)]
    )[:_POOL_ROWS]
    alone = held((np.array([row]) for row in single), "alone", _LEAST_ALONE, _ALONE_S)
    return moved, alone, done


def _prove_company(
    scorer: Scorer,
    steps: Any,
    table: pd.DataFrame,
    expected: pd.DataFrame,
    rows: Rows,
    relative: float,
) -> bool:
    """Return whether the answers of some rows move by rounding; refuse where by more."""
    part = table.iloc[rows].reset_index(drop=True)
    was = expected.iloc[rows].reset_index(drop=True)
    try:
        now = scorer.answers(part)
    except Exception as error:
        refuse_row_change(steps, part)
        raise _dependent(scorer, steps, table, rows, f"fails: {error}") from error
    off, _ = answers_apart(scorer.estimator, was, now, relative)
    if (off > 1).any():
        raise _dependent(scorer, steps, table, rows, "gives a row another answer")
    return _differs(was, now)


def _differs(was: pd.DataFrame, now: pd.DataFrame) -> bool:
    return not was.equals(now)


def _dependent(
    scorer: Scorer, steps: Any, table: pd.DataFrame, rows: Rows, what: str
) -> BatchDependent:
    name = _moving_step(scorer, steps, table, rows)
    company = "alone" if len(rows) == 1 else f"beside {len(rows) - 1} others"
    return BatchDependent(
        f"step {name} {what} {company}: its answer for a row depends on the rows beside it",
        name,
        LEARN_IN_FIT,
    )


def _moving_step(scorer: Scorer, steps: Any, table: Any, rows: Rows) -> str:
    """Return the name of the first step that gives `rows` another result by themselves."""
    with quiet_and_single(scorer.transform_output):
        for name, step in steps[:-1]:
            try:
                whole = call_by_rows(step.transform, rows_of(table, np.arange(n_rows(table))), name)
                part = call_by_rows(step.transform, rows_of(table, rows), name)
            except Exception:
                return f"{name} ({called(step)})"
            if deviation(rows_of(whole, rows), part) > 1:
                return f"{name} ({called(step)})"
            table = whole
    name, estimator = steps[-1]
    return f"{name} ({called(estimator)})"


def conform_reference(contract: DataContract, reference: pd.DataFrame) -> pd.DataFrame:
    """Return the reference as the pipeline must see it.

    Raises
    ------
    ContractViolation
    SaveRefused
        Where it has no rows.
    """
    if isinstance(reference, pd.DataFrame):
        lacking = [n for n in contract.features if n not in reference.columns]
        if lacking:
            raise ContractViolation(
                [Violation(n, "missing_column", "the column is not there") for n in lacking],
                WHERE,
                "pass the frame that the pipeline was fitted on, before any preparation",
            )
    try:
        conformed = contract.conform(reference, keys=False).frame
    except ContractViolation as error:
        raise ContractViolation(error.violations, WHERE, error.mend) from error
    if conformed.empty:
        raise SaveRefused("the reference has no rows", WHERE, "pass the raw training frame")
    return conformed
