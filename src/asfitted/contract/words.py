"""The rules of a contract in words, for tables that people read."""

from __future__ import annotations

from asfitted.contract.checks import Check
from asfitted.contract.column import Column, Fill
from asfitted.contract.schema import DataContract
from asfitted.contract.sections import Output

_SHOWN_LABELS = 6


def missing(column: Column) -> str:
    """Say what becomes of a missing value."""
    if isinstance(column.missing, Fill):
        return f"fill {column.missing.fill!r}"
    return column.missing


def rules(column: Column) -> list[str]:
    """Say what a value must be, one rule an item."""
    said = []
    if column.kind == "category":
        labels = [str(label) for label in column.labels]
        more = f", … ({len(labels)})" if len(labels) > _SHOWN_LABELS else ""
        said.append(", ".join(labels[:_SHOWN_LABELS]) + more)
        unknown = f"{column.unknown} ({column.other})" if _is_renamed(column) else column.unknown
        said.append(f"unknown: {unknown}")
    if column.min is not None or column.max is not None:
        said.append(_between(column.min, column.max))
    if column.observed is not None:
        said.append(f"observed {_between(*column.observed)}")
    if column.kind == "text":
        low = f"{column.min_length} to " if column.min_length else "up to "
        said.append(f"{low}{column.max_length} characters")
    if column.pattern is not None:
        said.append(f"matches {column.pattern}")
    if column.allow_nul:
        said.append("may hold NUL")
    if column.kind == "datetime":
        said.append(column.zone)
    return said


def _is_renamed(column: Column) -> bool:
    return column.unknown == "other" and column.other != "other"


def _between(low: object, high: object) -> str:
    if low is None:
        return f"at most {high}"
    return f"at least {low}" if high is None else f"{low} to {high}"


def meaning(column: Column) -> str:
    """Say what a value means, and in which unit."""
    return f"{column.meaning} [{column.unit}]".strip() if column.unit else column.meaning


def reasons(why: dict[str, str]) -> list[str]:
    """Say the reason of each rule that has one."""
    return [f"{rule}: {reason}" for rule, reason in why.items()]


def check(one: Check) -> str:
    """Say a check and its reason."""
    return f"{one.function}: {one.why}" if one.why else one.function


def output(one: Output) -> list[str]:
    """Say what an answer must be, one rule an item."""
    said = []
    if one.min is not None or one.max is not None:
        said.append(_between(one.min, one.max))
    return [*said, *map(check, one.checks), *reasons(one.why)]


def whole(contract: DataContract) -> list[str]:
    """Say what is not about one column, one rule an item."""
    rows, size = contract.limits.rows, contract.limits.bytes
    return [
        f"extra columns: {contract.extra_columns}",
        f"limits: {rows:,} rows, {size:,} bytes",
        *(f"row check: {check(one)}" for one in contract.row_checks),
        *(f"output: {said}" for said in output(contract.output)),
    ]
