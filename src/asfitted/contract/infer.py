"""Propose a contract from training data, with a comment beside each guess."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from statistics import median
from typing import Any, Literal

import numpy as np
import pandas as pd

from asfitted import _yaml
from asfitted._version import __version__
from asfitted.contract.column import DEFAULT_MAX_LENGTH, EXACT, Column
from asfitted.contract.guess_bounds import moment_bounds, number_bounds
from asfitted.contract.hints import misfit
from asfitted.contract.moments import is_zone
from asfitted.contract.numbers import may_be_rounded
from asfitted.contract.plain import Plain, is_number, plain
from asfitted.contract.schema import DataContract
from asfitted.contract.sections import Limits
from asfitted.errors import ContractInvalid

# A text of a handful of spellings is a category whatever the sample's size.
FEW = 20
# As many words of a text in small letters are a phrase; of a name in capital ones, such as
# "Salt Lake City" or "United States of America", there are fewer.
_PHRASE = 3
_NOT_EMPTY = "nothing can be inferred from an empty frame"

_Line = tuple[str, Any, str]
_Use = Literal["feature", "key", "target"]


def propose(
    frame: pd.DataFrame,
    *,
    target: Any = None,
    keys: Sequence[str] = (),
    max_categories: int = 200,
) -> str:
    """Return the YAML of a contract that `frame` conforms to.

    Parameters
    ----------
    frame : DataFrame of shape (n_rows, n_columns)
        The raw training frame.
    target : Series, DataFrame or array of n_rows, optional
        What is predicted.
    keys : sequence of str
        Columns to log and not to feed to the pipeline.
    max_categories : int, default 200
        A column of strings with more distinct values than this is text.

    Raises
    ------
    ContractInvalid
        Where the frame is empty, has unnamed or repeated columns, or a column
        mixes types.
    """
    if not isinstance(frame, pd.DataFrame):
        raise ContractInvalid(
            f"a contract is inferred from a DataFrame, not from {type(frame).__name__}",
            mend="pass the raw training frame, with named columns",
        )
    _refuse_names(frame)
    for key in keys:
        if key not in frame.columns:
            mend = f"its columns are {', '.join(frame.columns)}"
            if key in frame.index.names:
                mend = "it is the frame's index: call reset_index()"
            raise ContractInvalid(f"the key {key!r} is not a column", "the frame", mend)
    today = dt.datetime.now(dt.timezone.utc).date()
    lines = [
        f"# Data contract, inferred from {len(frame):,} rows on {today} by asfitted {__version__}.",
        "# Read it, edit it, commit it: what a comment calls a guess is yours to decide.",
        *_index(frame.index),
        *_head(tuple(keys), "refuse", Limits()),
    ]
    for name in frame.columns:
        lines += _column(name, _guess(frame[name], name in keys, max_categories, today))
    if target is not None:
        lines += [_TARGET]
        for name, series in _targets(target).items():
            lines += _column(name, _guess_target(series))
    return "\n".join(lines) + "\n"


def render(contract: DataContract) -> str:
    """Return the YAML of a contract that was built in Python."""
    lines = _head(contract.keys, contract.extra_columns, contract.limits)
    for name, column in contract.columns.items():
        said = column.model_dump(mode="json", exclude_unset=True)
        lines += _column(name, [(rule, value, "") for rule, value in said.items()])
    for part in ("row_checks", "output"):
        if part in contract.model_fields_set:
            said = contract.model_dump(mode="json", exclude_unset=True)[part]
            lines.append(f"{part}: {_yaml.inline(said, indent=2)}")
    if contract.target:
        lines.append(_TARGET)
    for name, column in contract.target.items():
        said = column.model_dump(mode="json", exclude_unset=True)
        lines += _column(name, [(rule, value, "") for rule, value in said.items()])
    return "\n".join(lines) + "\n"


_TARGET = "target:  # checked before fit, and as an outcome"


def _targets(target: Any) -> dict[str, pd.Series[Any]]:
    """Return what is predicted by name; an array and a nameless Series are called target."""
    if isinstance(target, pd.DataFrame):
        _refuse_names(target)
        return {name: target[name] for name in target.columns}
    array = target if isinstance(target, pd.Series) else np.asarray(target)
    if array.ndim == 2:
        return {f"target_{i}": pd.Series(array[:, i]) for i in range(array.shape[1])}
    name = getattr(array, "name", None)
    return {name if isinstance(name, str) and name else "target": pd.Series(array)}


def _guess_target(series: pd.Series[Any]) -> list[_Line]:
    """Guess the rules of a target: never missing, and its classes are its categories."""
    source = plain(series)
    if source.missing.any():
        raise ContractInvalid(
            f"{int(source.missing.sum())} of {len(series)} values are missing",
            f"target {series.name}",
            "leave out the rows that have no outcome",
        )
    kind, rules = _kind(series, source, source.values, "target", len(series), dt.date.min)
    whole = kind == "integer" and source.family == "int"
    if whole and len(np.unique(source.values)) <= FEW:
        labels = np.unique(source.values).tolist()
        return [("kind", "category", f"guess: {len(labels)} classes"), ("categories", labels, "")]
    if kind not in {"number", "integer", "boolean", "category"}:
        raise ContractInvalid(
            f"a {kind} cannot be a target", f"target {series.name}", "predict a number or a class"
        )
    values = {rule: value for rule, value, _ in rules}
    note = f"guessed from {series.dtype}"
    if kind == "category":
        return [("kind", kind, note), ("categories", values["categories"], "")]
    if "observed" in values:
        note += "; seen {} to {}: min and max would refuse".format(*values["observed"])
    return [("kind", kind, note)]


def _refuse_names(frame: pd.DataFrame) -> None:
    unnamed = [str(name) for name in frame.columns if not isinstance(name, str) or not name]
    if unnamed:
        raise ContractInvalid(
            f"columns without a name in text: {', '.join(unnamed[:5])}",
            "the frame",
            "name them: frame.columns = [...]",
        )
    if frame.columns.has_duplicates:
        twice = frame.columns[frame.columns.duplicated()].unique()
        raise ContractInvalid(f"columns that stand there twice: {', '.join(twice)}", "the frame")
    if frame.empty:
        is_index = len(frame.index) > 0 and not isinstance(frame.index, pd.RangeIndex)
        raise ContractInvalid(_NOT_EMPTY, mend=_RESET if is_index else "")


def _index(index: pd.Index[Any]) -> list[str]:
    """Say that an index which may be a feature is none."""
    names = [str(name) for name in index.names if name is not None]
    if not names and not isinstance(index, pd.DatetimeIndex):
        return []
    said = _yaml.key(", ".join(names)) if names else "of moments"
    return [f"# The frame's index ({said}) is no column and left out: {_RESET}."]


_RESET = "reset_index() makes a column of it"


def _head(keys: tuple[str, ...], extra: str, limits: Limits) -> list[str]:
    return [
        "schema_version: 1",
        f"keys: {_yaml.inline(list(keys))}  # logged with each answer, not fed to the pipeline",
        f"extra_columns: {extra}  # refuse | ignore",
        f"limits: {_yaml.inline(limits.model_dump())}  # of one request",
        "columns:",
    ]


def _column(name: str, rules: list[_Line]) -> list[str]:
    lines = [f"  {_yaml.key(name)}:"]
    for rule, value, comment in rules:
        text = f"    {rule}: {_yaml.inline(value, indent=6)}"
        if comment and "\n" in text:
            lines.append(f"    # {comment}")
            comment = ""
        lines.append(f"{text}  # {comment}" if comment else text)
    return lines


def _guess(
    series: pd.Series[Any], is_key: bool, max_categories: int, today: dt.date
) -> list[_Line]:
    source = plain(series)
    present = source.values[~source.missing]
    n_missing, n_rows = int(source.missing.sum()), len(series)
    if len(present) == 0:
        raise ContractInvalid(
            "every value is missing: the kind cannot be inferred",
            f"column {series.name}",
            "drop the column, or write its contract by hand",
        )
    use: _Use = "key" if is_key else "feature"
    kind, rules = _kind(series, source, present, use, max_categories, today)
    return [
        ("kind", kind, f"guessed from {series.dtype}, {n_rows - n_missing:,} values"),
        _missing_rule(kind, n_missing, n_rows, is_key),
        *rules,
    ]


def _missing_rule(kind: str, n_missing: int, n_rows: int, is_key: bool) -> _Line:
    if n_missing == 0:
        return "missing", "refuse", f"guess: none of {n_rows:,} missing; or pass, or {{fill: …}}"
    share = f"guess: {n_missing:,} of {n_rows:,} missing"
    if kind == "text" and not is_key:
        return "missing", {"fill": ""}, f"{share}; or refuse"
    return "missing", "pass", f"{share}, NaN to the pipeline; or refuse, or {{fill: …}}"


def _kind(
    series: pd.Series[Any],
    source: Plain,
    present: Any,
    use: _Use,
    max_categories: int,
    today: dt.date,
) -> tuple[str, list[_Line]]:
    if isinstance(series.dtype, pd.CategoricalDtype) and use != "key":
        labels = series.dtype.categories.tolist()
        if source.family == "int":
            return "category", _category(labels, "the dtype's own list")
        if _all(labels, (str,)):
            words = [str.__str__(label) for label in labels]
            return "category", _category(words, "the dtype's own list")
    if source.family == "bool":
        return "boolean", []
    family, rounded = source.family, False
    if family == "object" and all(map(is_number, present)):
        # Numbers of several types: decimals, integers among floats.
        whole = all(isinstance(value, (int, np.integer)) for value in present)
        rounded = any(map(may_be_rounded, present))
        present = np.array([_float(value) for value in present])
        family = "int" if whole else "float"
    if family in {"int", "float"}:
        kind = "integer" if family == "int" else "number"
        low, high = present.min(), present.max()
        if not (np.isfinite(low) and np.isfinite(high)):
            raise ContractInvalid(
                "values that are not finite",
                f"column {series.name}",
                "replace inf by a number or by NaN before training",
            )
        if rounded or (kind == "integer" and not -EXACT <= low <= high <= EXACT):
            raise ContractInvalid(
                "whole numbers beyond ±(2^53 − 1), which a float cannot tell apart",
                f"column {series.name}",
                "an identifier is text: make it so before training",
            )
        # Each new key lies outside of those before.
        if use == "key":
            return kind, []
        observed = ("observed", [low.item(), high.item()], "outside is a finding")
        if use == "target":
            return kind, [observed]
        is_whole = kind == "integer"
        bounds = number_bounds(str(series.name), present, today, is_whole=is_whole)
        return kind, [*bounds, observed]
    if source.family in {"moment", "moment_utc"} or _all(present, (dt.date, np.datetime64)):
        return "datetime", _datetime(series, use, today)
    if _all(present, (str,)):
        return _words(present, use, max_categories)
    name, hint = misfit(present)
    if name:
        raise ContractInvalid(
            f"the values are {name}", f"column {series.name}", f"of a column c, {hint}"
        )
    types = ", ".join(sorted({type(value).__name__ for value in present[:10_000]}))
    raise ContractInvalid(
        f"the values are of types that no kind holds together: {types}",
        f"column {series.name}",
        "make them one type before training",
    )


def _float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return np.inf


def _all(present: Any, types: tuple[type, ...]) -> bool:
    return all(isinstance(value, types) for value in present)


def _words(present: Any, use: _Use, max_categories: int) -> tuple[str, list[_Line]]:
    distinct = sorted({str.__str__(word) for word in present})
    n = len(distinct)
    few = n <= FEW or (n <= max_categories and n <= len(present) / 2)
    phrases = use == "feature" and median(map(_words_of_phrase, distinct)) >= _PHRASE
    if few and use != "key" and not phrases:
        return "category", _category(distinct, f"guess: the {n:,} distinct values seen")
    longest = max(map(len, distinct))
    limit = max(DEFAULT_MAX_LENGTH, 2 * longest)
    said = f"guess: {n:,} distinct, the longest has {longest}"
    if few and phrases:
        said += "; phrases of several words, so no category"
    return "text", [("max_length", limit, said), *_nul(distinct)]


def _words_of_phrase(text: str) -> int:
    """Return of how many words a phrase is; fewer where it is a name, in capital letters."""
    words = [
        word for word in (text.lower() if text.isupper() else text).split() if word[0].isalpha()
    ]
    small = sum(not word[0].isupper() for word in words)
    # A sentence begins with a capital letter, too.
    return small + (small > 0 and words[0][0].isupper())


def _category(labels: list[Any], comment: str) -> list[_Line]:
    return [
        ("unknown", "refuse", "guess: what a value outside the list does; or missing, or other"),
        *_nul(labels),
        ("categories", labels, comment),
    ]


def _nul(texts: list[Any]) -> list[_Line]:
    if not any(isinstance(text, str) and "\0" in text for text in texts):
        return []
    return [("allow_nul", True, "U+0000 was seen; not every store of the log can keep it")]


def _datetime(series: pd.Series[Any], use: _Use, today: dt.date) -> list[_Line]:
    arrow = getattr(series.dtype, "pyarrow_dtype", None)
    zone = str(getattr(series.dtype, "tz", None) or getattr(arrow, "tz", None))
    if not is_zone(zone):
        # None, or a fixed offset, which has no name; its moments are what they are.
        zone = "UTC"
    read = Column.model_validate({"kind": "datetime", "missing": "pass", "zone": zone})
    from asfitted.contract.kinds import read_column

    got = read_column(plain(series), read)
    if got.problems:
        raise ContractInvalid(
            "; ".join(what for _, what, _ in got.problems),
            f"column {series.name}",
            "round to microseconds (.dt.floor('us')), and let missing be missing",
        )
    zone_line = ("zone", zone, "guess: of values that carry no offset")
    if use == "key":
        return [zone_line]
    moments = got.values[~np.isnat(got.values)]
    first, last = moments.min(), moments.max()
    return [
        zone_line,
        *moment_bounds(first, last, today),
        ("observed", [f"{first}Z", f"{last}Z"], "outside is a finding"),
    ]
