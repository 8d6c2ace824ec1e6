"""A fitted pipeline becomes an artifact: proved first, written, sealed, proved afresh."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from asfitted.artifact import (
    code,
    environment,
    golden,
    layout,
    manifest,
    permissions,
    serialize,
)
from asfitted.artifact.resources import declared, of_model
from asfitted.config import Config
from asfitted.contract import Column, Conform, DataContract, Fill
from asfitted.errors import (
    AsfittedError,
    ContractViolation,
    ResourceNotShipped,
    SaveRefused,
    Violation,
)
from asfitted.scoring import input_example, outputs, proof, shortcut_proof
from asfitted.scoring.check_proof import prove_checks
from asfitted.scoring.loading import sample
from asfitted.scoring.outputs import PredictFn
from asfitted.scoring.probes import probe
from asfitted.scoring.rowwise import SAMPLE_ROWS, plan
from asfitted.scoring.scorer import Scorer, unwrap

GOLDEN_ROWS = 100


@dataclass(frozen=True)
class Built:
    """What MLmodel says about the artifact.

    Attributes
    ----------
    answer : ndarray or DataFrame
        Of the golden examples, as a caller gets it.
    """

    name: str
    contract: DataContract
    predict_fn: PredictFn
    whole_steps: int
    shortcuts: list[str]
    fields: Mapping[str, str]
    model_file: str
    serialization_format: str
    trusted: list[str]
    answer: Any


def build(
    root: Path,
    pipeline: Any,
    reference: pd.DataFrame,
    *,
    name: str,
    code_paths: Sequence[Path],
    resources: Mapping[str, Path] | None,
    predict_fn: PredictFn,
    serialization_format: str | None,
    config: Config,
    describe: Callable[[Built], None],
) -> None:
    """Write the artifact to `root`, or refuse; see `asfitted.save_model`.

    Parameters
    ----------
    describe : callable
        Writes MLmodel; called before the manifest seals it.
    """
    fields = config.field_policy(name)
    pipeline = _without_ranges(unwrap(pipeline), fields)
    scorer = Scorer(pipeline)
    outputs.refuse_predict_fn(scorer.estimator, predict_fn)
    _refuse_unfitted(pipeline)
    conformed = _conformed(scorer.contract, reference)
    files = _resource_files(declared() if resources is None else resources)
    with of_model(files):
        scorer.whole_steps = _planned(scorer, conformed)
        probes, _ = probe(scorer, conformed)
        proved_on = sample(conformed, SAMPLE_ROWS)
        prove_checks(scorer, proved_on)
        shortcuts = shortcut_proof.proved(scorer, [proved_on, probes])
        examples = _without_secrets(sample(conformed, GOLDEN_ROWS), scorer.contract, fields)
        expected = scorer.score(examples)
    _refuse_two_of_a_name(scorer.contract, expected)
    with _whole_or_nothing(root):
        code.ship(root, code_paths)
        pins = environment.closure(
            [*environment.RUNTIME, *code.distributions(root, _needed(pipeline, scorer.contract))]
        )
        written, trusted = serialize.dump(pipeline, root, serialization_format)
        environment.write(root, pins)
        scorer.contract.save(root / layout.CONTRACT)
        placed = _ship_resources(root, files)
        golden.write(root, examples, expected)
        input_example.write(root, scorer.contract, examples)
        describe(
            Built(
                name=name,
                contract=scorer.contract,
                predict_fn=predict_fn,
                whole_steps=scorer.whole_steps,
                shortcuts=shortcuts,
                fields=fields,
                model_file=layout.SKOPS if written == "skops" else layout.PICKLE,
                serialization_format=written,
                trusted=trusted,
                answer=outputs.answer(expected, predict_fn),
            )
        )
        shown = ("mlflow", "scikit-learn", "pandas", "numpy")
        manifest.seal(root, placed, {package: pins[package] for package in shown})
        permissions.check_save(root)
        _refuse_unproved(root)


def _needed(pipeline: Any, contract: DataContract) -> dict[str, set[str]]:
    modules = code.needed(pipeline)
    for check in contract.checks:
        modules.setdefault(check.module, set()).add(check.name)
    return modules


def _planned(scorer: Scorer, conformed: pd.DataFrame) -> int:
    try:
        return plan(scorer.steps, sample(conformed, SAMPLE_ROWS))
    except AsfittedError:
        raise
    except Exception as error:
        # A probe knows the column and the value; the step's own error does not.
        probe(scorer, conformed)
        raise SaveRefused(
            f"the pipeline fails on its own reference: {type(error).__name__}: {error}",
            "reference, the raw training frame",
            "pass the frame that the pipeline was fitted on",
        ) from error


@contextmanager
def _whole_or_nothing(root: Path) -> Iterator[None]:
    """Leave no half artifact, which would look like one."""
    root.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        shutil.rmtree(root, ignore_errors=True)
        raise


def _refuse_unfitted(pipeline: Any) -> None:
    try:
        check_is_fitted(pipeline)
    except NotFittedError as error:
        raise SaveRefused(
            "the pipeline is not fitted", type(pipeline).__name__, "pipeline.fit(X_train, y_train)"
        ) from error


def _refuse_two_of_a_name(contract: DataContract, answers: pd.DataFrame) -> None:
    """A batch job's output has the keys beside the answers, each as one column."""
    both = [name for name in contract.keys if name in answers.columns]
    if both:
        raise SaveRefused(
            f"keys are called as outputs of the model: {', '.join(both)}",
            "the contract's keys",
            "rename these columns, in the data and in the contract",
        )


def _conformed(contract: DataContract, reference: pd.DataFrame) -> pd.DataFrame:
    where = "reference, the raw training frame"
    if isinstance(reference, pd.DataFrame):
        lacking = [n for n in contract.features if n not in reference.columns]
        if lacking:
            raise ContractViolation(
                [Violation(n, "missing_column", "the column is not there") for n in lacking],
                where,
                "pass the frame that the pipeline was fitted on, before any preparation",
            )
    try:
        conformed = contract.conform(reference, keys=False).frame
    except ContractViolation as error:
        raise ContractViolation(error.violations, where, error.mend) from error
    if conformed.empty:
        raise SaveRefused("the reference has no rows", where, "pass the raw training frame")
    return conformed


def _resource_files(resources: Mapping[str, Path]) -> dict[str, Path]:
    files = {name: Path(file).resolve() for name, file in resources.items()}
    for name, file in files.items():
        if not file.exists():
            raise ResourceNotShipped(
                f"the resource {name!r} is not there", str(file), "give the path of a file"
            )
    return files


def _ship_resources(root: Path, files: Mapping[str, Path]) -> dict[str, str]:
    placed = {}
    for name, source in files.items():
        target = root / layout.RESOURCES / f"{name}{''.join(source.suffixes)}"
        target.parent.mkdir(exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copyfile(source, target)
        placed[name] = target.relative_to(root).as_posix()
    return placed


def _without_ranges(step: Any, fields: Mapping[str, str]) -> Any:
    """Leave `observed` of columns that are never written in clear out of a copy of the pipeline.

    It is the smallest and the largest cell of the column.
    """
    new = copy.copy(step)
    if isinstance(step, Pipeline):
        new.steps = [(name, _without_ranges(each, fields)) for name, each in step.steps]
    elif isinstance(step, Conform):
        new.contract = contract = step._contract()
        columns = {
            name: Column.model_validate(column.model_dump(exclude_unset=True, exclude={"observed"}))
            for name, column in contract.columns.items()
            if fields.get(name, "keep") != "keep" and column.observed is not None
        }
        if columns:
            new.contract = contract.model_copy(update={"columns": {**contract.columns, **columns}})
    else:
        return step
    return new


def _without_secrets(
    examples: pd.DataFrame, contract: DataContract, fields: Mapping[str, str]
) -> pd.DataFrame:
    """Put a neutral value into columns that are never written in clear."""
    secret = [name for name in contract.features if fields.get(name, "keep") != "keep"]
    examples = examples.copy()
    for name in secret:
        examples[name] = _neutral(examples[name], contract.columns[name])
    if not secret:
        return examples
    allowed = np.ones(len(examples), dtype=bool)
    for check in contract.row_checks:
        allowed &= check.allowed(examples)
    if not allowed.any():
        raise SaveRefused(
            "with neutral values in the columns that are never written in clear "
            f"({', '.join(secret)}) no golden example passes the row checks",
            "reference, the raw training frame",
            "let the check pass for missing or default values of these columns",
        )
    return examples[allowed].reset_index(drop=True)


def _neutral(series: pd.Series[Any], column: Column) -> Any:
    if column.kind == "category":
        codes = np.arange(len(series)) % len(column.labels)
        return pd.Categorical.from_codes(codes, dtype=series.dtype)
    if column.kind == "text":
        text = column.missing.fill if isinstance(column.missing, Fill) else ""
        if any(any(wrong) for _, wrong in column.broken_by([text])):  # type: ignore[list-item]
            raise SaveRefused(
                f"{series.name} is never written in clear, and its rules leave no neutral text "
                "for the golden examples",
                f"column {series.name}",
                "declare a default: missing: {fill: <a text that the rules allow>}",
            )
        return pd.Series([text] * len(series), dtype=object)
    value: Any = np.datetime64("2000-01-01", "us") if column.kind == "datetime" else 0
    low, high = column.bounds("min"), column.bounds("max")
    value = low if low is not None and value < low else value
    value = high if high is not None and value > high else value
    return pd.Series(np.full(len(series), value)).astype(series.dtype)


def _refuse_unproved(root: Path) -> None:
    said = proof.prove_afresh(root)
    if not said["proved"]:
        raise SaveRefused(
            f"in a fresh process the saved model does not prove itself: {said['what']}",
            said["where"],
            said["mend"] or "ship what it needs: code_paths for modules, resources for files",
        )
