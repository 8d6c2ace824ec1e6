"""A fitted pipeline becomes an artifact: proved first, written, sealed, proved afresh."""

from __future__ import annotations

import copy
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console

from asfitted._progress import showing
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
from asfitted.errors import OutputViolation, ResourceNotShipped, SaveRefused
from asfitted.save._ask import ask
from asfitted.save._prove import Proof, Proved, prove_model
from asfitted.scoring import input_example, outputs, proof
from asfitted.scoring.outputs import PredictFn
from asfitted.scoring.rounding import answers_apart
from asfitted.scoring.scorer import Scorer, contracts_within, is_plain, split, unwrap

# Rows of the reference, and rows that hold what training may never have seen.
GOLDEN_ROWS, GOLDEN_PROBES = 100, 300


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
    transform_output: str
    proof: Proof
    fields: Mapping[str, str]
    model_file: str
    serialization_format: str
    trusted: list[str]
    answer: Any


def build(
    root: Path,
    given: Any,
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
    pipeline = _without_ranges(unwrap(given), fields)
    contract = split(pipeline)[0]
    estimator = split(pipeline)[1][-1][1]
    outputs.refuse_predict_fn(estimator, predict_fn)
    files = _resource_files(declared() if resources is None else resources)
    modules = _needed(pipeline, contract)
    with _whole_or_nothing(root):
        code.ship(root, code_paths)
        pins = environment.closure([*environment.RUNTIME, *code.distributions(root, modules)])
        # As fit has left it: what answering may change in a step does not travel.
        written, trusted = serialize.dump(pipeline, root, serialization_format)
        with (
            of_model(files),
            showing(Console(stderr=True)) as advance,
            warnings.catch_warnings(),
        ):
            # What fit has said already is said again of each of thousands of calls.
            warnings.simplefilter("ignore")
            proved = prove_model(given, reference, advance)
            golden_examples = _golden(given, proved, contract, fields)
        expected = golden_examples[1]
        _refuse_two_of_a_name(contract, expected)
        environment.write(root, pins)
        contract.save(root / layout.CONTRACT)
        placed = _ship_resources(root, files)
        golden.write(root, *golden_examples, relative=proved.relative)
        input_example.write(root, contract, golden_examples[0])
        describe(
            Built(
                name=name,
                contract=contract,
                predict_fn=predict_fn,
                whole_steps=proved.scorer.whole_steps,
                shortcuts=proved.shortcuts,
                transform_output=proved.scorer.transform_output,
                proof=proved.proof,
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


def _golden(
    given: Any, proved: Proved, contract: DataContract, fields: Mapping[str, str]
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return rows, what is served for them and what the pipeline itself says of them."""
    scorer = proved.scorer
    # Without shortcuts: a load, which takes them, proves them once more.
    plain = Scorer(unwrap(given), scorer.whole_steps, (), scorer.transform_output)
    rows = _without_secrets(sample(proved.conformed, GOLDEN_ROWS), contract, fields)
    # In another order than they were proved in: what a step remembers shows in a fresh process.
    probes = sample(proved.probes, GOLDEN_PROBES).iloc[::-1].reset_index(drop=True)
    probes = _without_secrets(probes, contract, fields)
    parts = [part for part in ((rows, plain.score(rows)), _allowed(plain, probes)) if len(part[0])]
    examples, served = (pd.concat(tables, ignore_index=True) for tables in zip(*parts, strict=True))
    examples.attrs = dict(rows.attrs)
    trained = ask(given, examples, scorer.estimator)
    off, tied = answers_apart(scorer.estimator, trained, served, proved.relative)
    clear = np.flatnonzero((off <= 1) & ~tied)
    return tuple(part.iloc[clear].reset_index(drop=True) for part in (examples, served, trained))  # type: ignore[return-value]


def _allowed(scorer: Scorer, probes: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the probes whose answers the contract allows, and these answers."""
    answers = scorer.answers(probes)
    try:
        outputs.check_declared(scorer.contract, scorer.estimator, probes, answers)
    except OutputViolation as error:
        wrong = sorted({row for violation in error.violations for row in violation.rows})
        kept = np.setdiff1d(np.arange(len(probes)), wrong)
        probes, answers = (part.iloc[kept].reset_index(drop=True) for part in (probes, answers))
    return probes, answers


def _needed(pipeline: Any, contract: DataContract) -> dict[str, set[str]]:
    modules = code.needed(pipeline)
    for check in contract.checks:
        check.load()
        modules.setdefault(check.module, set()).add(check.name)
    return modules


@contextmanager
def _whole_or_nothing(root: Path) -> Iterator[None]:
    """Leave no half artifact, which would look like one."""
    root.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        shutil.rmtree(root, ignore_errors=True)
        raise


def _refuse_two_of_a_name(contract: DataContract, answers: pd.DataFrame) -> None:
    """A batch job's output has the keys beside the answers, each as one column."""
    both = [name for name in contract.keys if name in answers.columns]
    if both:
        raise SaveRefused(
            f"keys are called as outputs of the model: {', '.join(both)}",
            "the contract's keys",
            "rename these columns, in the data and in the contract",
        )


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
    if is_plain(step):
        new = copy.copy(step)
        new.steps = [(name, _without_ranges(each, fields)) for name, each in step.steps]
        return new
    if isinstance(step, Conform):
        new = copy.copy(step)
        new.contract = _without_observed(step._contract(), fields)
        return new
    replaced = {id(c): _without_observed(c, fields) for c in contracts_within(step)}
    # A copy in which each contract is another one, wherever it is held.
    return copy.deepcopy(step, replaced) if replaced else step


def _without_observed(contract: DataContract, fields: Mapping[str, str]) -> DataContract:
    columns = {
        name: Column.model_validate(column.model_dump(exclude_unset=True, exclude={"observed"}))
        for name, column in contract.columns.items()
        if fields.get(name, "keep") != "keep" and column.observed is not None
    }
    if not columns:
        return contract
    return contract.model_copy(update={"columns": {**contract.columns, **columns}})


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
            "ship what it needs (code_paths for modules, resources for files), and let no step "
            "change itself while it answers" + (f"; {said['mend']}" if said["mend"] else ""),
        )


def sample(conformed: pd.DataFrame, rows: int) -> pd.DataFrame:
    """Return rows at even distances, from the first to the last."""
    if len(conformed) <= rows:
        return conformed.reset_index(drop=True)
    step = (len(conformed) - 1) / (rows - 1)
    chosen = [round(i * step) for i in range(rows)]
    return conformed.iloc[chosen].reset_index(drop=True)
