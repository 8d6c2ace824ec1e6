"""The contract as pandera has it: of the conformed frame, which the pipeline sees."""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from asfitted.contract.column import EXACT, Column
from asfitted.contract.schema import DataContract
from asfitted.errors import ConfigError


@dataclass(frozen=True)
class _Rule:
    """A check of pandera's by its name, or one of the functions below, and its arguments."""

    name: str
    arguments: tuple[Any, ...]


def to_pandera(contract: DataContract) -> Any:
    """Return the pandera schema of a conformed frame.

    Exact dtypes, whether a value may miss, bounds, lengths, patterns, the fixed lists in
    their order, the row checks, and the columns in theirs; keys are not in it.

    Returns
    -------
    pandera.pandas.DataFrameSchema

    Raises
    ------
    ConfigError
        Where pandera is not installed.
    CheckFailed
        Where a row check cannot be imported.
    """
    pandera = _pandera()
    columns = {
        name: pandera.Column(
            _dtype(column),
            [_check(pandera, rule) for rule in _rules(column)],
            nullable=column.missing == "pass",
            description=column.meaning or None,
        )
        for name, column in _features(contract).items()
    }
    return pandera.DataFrameSchema(
        columns,
        checks=[row_check(pandera, one.load(), one.name, one.why) for one in contract.row_checks],
        strict=True,
        ordered=True,
        unique_column_names=True,
    )


def pandera_script(contract: DataContract) -> str:
    """Return Python that makes the schema of `to_pandera` with pandas and pandera alone.

    pandera's own YAML leaves out the lists of categories and the unit of datetimes.
    """
    rules = {name: _rules(column) for name, column in _features(contract).items()}
    used = {rule.name for column in rules.values() for rule in column}
    own = [function for name, function in _OWN.items() if name in used]
    lines = [
        '"""The conformed rows of a data contract, written by asfitted."""\n',
        "from __future__ import annotations\n",
        *(["import numpy as np"] if contract.row_checks else []),
        "import pandas as pd",
        "import pandera.pandas as pandera",
        *sorted({f"import {one.module}" for one in contract.row_checks}),
    ]
    for function in (*own, *([row_check] if contract.row_checks else [])):
        lines.append("\n\n" + inspect.getsource(function).rstrip())
    lines.append("\n\nschema = pandera.DataFrameSchema(\n    {")
    for name, column in _features(contract).items():
        checks = "".join(f"\n                {_said(rule)}," for rule in rules[name])
        lines += [
            f"        {name!r}: pandera.Column(",
            f"            {_dtype_said(column)},",
            f"            [{checks}\n            ],",
            f"            nullable={column.missing == 'pass'},",
            f"            description={column.meaning or None!r},",
            "        ),",
        ]
    lines.append("    },\n    checks=[")
    for one in contract.row_checks:
        lines.append(
            f"        row_check(pandera, {one.module}.{one.name}, {one.name!r}, {one.why!r}),"
        )
    lines += ["    ],", *(f"    {rule}=True," for rule in _STRICT), ")"]
    return "\n".join(lines) + "\n"


_STRICT = ("strict", "ordered", "unique_column_names")


def _pandera() -> Any:
    try:
        import pandera.pandas
    except ImportError as error:
        raise ConfigError(
            f"pandera cannot be imported: {error}", mend="pip install asfitted[pandera]"
        ) from error
    return pandera.pandas


def _features(contract: DataContract) -> dict[str, Column]:
    return {name: contract.columns[name] for name in contract.features}


def _plain_dtype(column: Column) -> str:
    if column.kind in {"integer", "boolean"} and column.missing == "pass":
        return "float64"
    return {
        "number": "float64",
        "integer": "int64",
        "boolean": "bool",
        "text": "object",
        "datetime": "datetime64[us]",
    }[column.kind]


def _labels_dtype(column: Column) -> str:
    return "object" if isinstance(column.labels[0], str) else "int64"


def _dtype(column: Column) -> Any:
    if column.kind != "category":
        return _plain_dtype(column)
    return pd.CategoricalDtype(pd.Index(column.labels, dtype=_labels_dtype(column)))


def _dtype_said(column: Column) -> str:
    if column.kind != "category":
        return repr(_plain_dtype(column))
    labels, dtype = list(column.labels), _labels_dtype(column)
    return f"pd.CategoricalDtype(pd.Index({labels!r}, dtype={dtype!r}))"


def _rules(column: Column) -> list[_Rule]:
    if column.kind == "category":
        return [_Rule("is_in_order", (list(column.labels),))]
    if column.kind == "text":
        lengths = _Rule("str_length", (column.min_length, column.max_length))
        pattern = [] if column.pattern is None else [_Rule("is_whole_match", (column.pattern,))]
        nul = [] if column.allow_nul else [_Rule("is_without_nul", ())]
        return [_Rule("is_text", ()), lengths, *pattern, *nul]
    if column.kind == "boolean":
        return [_Rule("isin", ([0.0, 1.0],))] if column.missing == "pass" else []
    low, high = column.bounds("min"), column.bounds("max")
    if column.kind == "datetime":
        bounds = {"ge": low, "le": high}
        return [
            _Rule("is_in_microseconds", ()),
            *(_Rule(name, (bound,)) for name, bound in bounds.items() if bound is not None),
        ]
    end = EXACT if column.kind == "integer" else sys.float_info.max
    rules = [
        _Rule("ge", (-end if low is None else low,)),
        _Rule("le", (end if high is None else high,)),
    ]
    if column.kind == "integer" and column.missing == "pass":
        rules.append(_Rule("is_whole", ()))
    return rules


def _check(pandera: Any, rule: _Rule) -> Any:
    if rule.name in _OWN:
        return _OWN[rule.name](pandera, *rule.arguments)
    arguments = [
        pd.Timestamp(value) if isinstance(value, np.datetime64) else value
        for value in rule.arguments
    ]
    return getattr(pandera.Check, rule.name)(*arguments)


def _said(rule: _Rule) -> str:
    arguments = [
        f"pd.Timestamp({str(value)!r})" if isinstance(value, np.datetime64) else repr(value)
        for value in rule.arguments
    ]
    if rule.name in _OWN:
        return f"{rule.name}({', '.join(['pandera', *arguments])})"
    return f"pandera.Check.{rule.name}({', '.join(arguments)})"


# Their source goes into the script: they need nothing but what they import and are given.


def is_in_order(pandera: Any, labels: list[Any]) -> Any:
    """Make the check that a category's list is `labels`, in that order."""
    return pandera.Check(
        lambda column: column.cat.categories.tolist() == labels, error="categories in order"
    )


def is_in_microseconds(pandera: Any) -> Any:
    """Make the check of a datetime's unit: pandera takes one for the other."""
    return pandera.Check(lambda column: column.dtype == "datetime64[us]", error="microseconds")


def is_text(pandera: Any) -> Any:
    """Make the check that every value is a text."""
    return pandera.Check(lambda value: isinstance(value, str), element_wise=True, error="text")


def is_without_nul(pandera: Any) -> Any:
    """Make the check that no text holds the character U+0000."""
    return pandera.Check(lambda value: "\0" not in value, element_wise=True, error="no NUL")


def is_whole(pandera: Any) -> Any:
    """Make the check that floats are whole numbers."""
    return pandera.Check(lambda column: column % 1 == 0, error="whole numbers")


def is_whole_match(pandera: Any, pattern: str) -> Any:
    """Make the check that the whole of each text matches `pattern`."""
    import re

    matches = re.compile(pattern).fullmatch
    return pandera.Check(
        lambda value: matches(value) is not None, element_wise=True, error=f"matches {pattern}"
    )


def row_check(pandera: Any, function: Any, name: str, why: str) -> Any:
    """Make the check that `function` returns true for each row."""

    def mask(frame: Any) -> Any:
        allowed = np.asarray(function(frame.reset_index(drop=True)))
        return pd.Series(allowed.astype(bool), index=frame.index)

    error = f"{name}: {why}" if why else name
    return pandera.Check(mask, name=name, error=error, ignore_na=False)


_OWN: dict[str, Any] = {
    function.__name__: function
    for function in (
        is_in_order,
        is_in_microseconds,
        is_text,
        is_without_nul,
        is_whole,
        is_whole_match,
    )
}
