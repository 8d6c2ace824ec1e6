"""What two contracts say differently, and whether callers of the old one may stay as they are.

A change is *compatible* when every row that the old contract allows, the new one allows
too, and every answer that the new one allows, the old one allowed. What it does to the
answers is said, and is no part of that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from asfitted.contract.checks import Check
from asfitted.contract.column import Column
from asfitted.contract.diff_column import RETRAIN, Found, arrives_changed, column_changes
from asfitted.contract.schema import DataContract


@dataclass(frozen=True)
class Change:
    """One rule that is no longer what it was.

    Attributes
    ----------
    where : str
        ``columns.distance``, ``target.late``, ``output``, ``limits`` or ``contract``.
    rule : str
        ``max``, ``missing``, …; ``column`` where one came or went.
    was, now : None, bool, number, str, list or dict
        As the contract's YAML has them; None where nothing was said.
    compatible : bool
        Whether callers of the old contract may stay as they are.
    why : str
    """

    where: str
    rule: str
    was: Any
    now: Any
    compatible: bool
    why: str


def diff(old: DataContract, new: DataContract) -> tuple[Change, ...]:
    """Return every change from `old` to `new`, in the order of the contract.

    The code of a check may have changed behind its name: that is not looked at.

    Examples
    --------
    >>> old, new = (
    ...     DataContract.from_yaml(f"columns: {{size: {{kind: number, max: {high}}}}}")
    ...     for high in (9, 5)
    ... )
    >>> [(change.where, change.rule, change.compatible) for change in diff(old, new)]
    [('columns.size', 'max', False)]
    """
    changes = [
        *_placed("contract", _whole(old, new)),
        *_placed("limits", _limits(old, new)),
    ]
    for name in dict.fromkeys((*old.columns, *new.columns)):
        changes += _placed(f"columns.{name}", _one(name, old, new))
    changes += _placed("row_checks", _row_checks(old, new))
    changes += _placed("output", _output(old, new))
    for name in dict.fromkeys((*old.target, *new.target)):
        changes += _placed(f"target.{name}", _target(old.target.get(name), new.target.get(name)))
    return tuple(changes)


def _placed(where: str, found: Iterator[Found]) -> Iterator[Change]:
    return (Change(where, *one) for one in found)


def _whole(old: DataContract, new: DataContract) -> Iterator[Found]:
    if old.extra_columns != new.extra_columns:
        ignored = new.extra_columns == "ignore"
        why = "columns beyond the contract are no longer refused"
        if not ignored:
            why = "columns beyond the contract were ignored and are refused now"
        yield "extra_columns", old.extra_columns, new.extra_columns, ignored, why
    was, now = (
        [name for name in one.features if name in other.features]
        for one, other in ((old, new), (new, old))
    )
    if was != now:
        yield "order", was, now, True, f"callers name their columns; {RETRAIN}"


def _limits(old: DataContract, new: DataContract) -> Iterator[Found]:
    for rule in ("rows", "bytes"):
        was, now = getattr(old.limits, rule), getattr(new.limits, rule)
        if now < was:
            yield rule, was, now, False, f"a request of more than {now:,} {rule} is refused now"
        elif now > was:
            yield rule, was, now, True, "requests may be larger"


def _one(name: str, old: DataContract, new: DataContract) -> Iterator[Found]:
    was, now = old.columns.get(name), new.columns.get(name)
    if now is None and was is not None:
        yield from _gone(name, was, old, new)
    elif was is None and now is not None:
        yield from _came(name, now, old, new)
    elif was is not None and now is not None:
        before, after = ("key" if name in one.keys else "feature" for one in (old, new))
        if before != after:
            sees = "sees it now" if after == "feature" else "no longer sees it"
            why = f"callers send it as before; the pipeline {sees}: {RETRAIN}"
            yield "use", before, after, True, why
        yield from column_changes(was, now)


def _gone(name: str, was: Column, old: DataContract, new: DataContract) -> Iterator[Found]:
    trained = "" if name in old.keys else f"; {RETRAIN}"
    if new.extra_columns == "ignore":
        yield "column", was.kind, None, True, f"a caller's column is ignored{trained}"
    else:
        yield "column", was.kind, None, False, f"callers who send it are refused{trained}"


def _came(name: str, now: Column, old: DataContract, new: DataContract) -> Iterator[Found]:
    trained = "" if name in new.keys else f"; {RETRAIN}"
    if not now.may_miss:
        yield "column", None, now.kind, False, f"no caller sends it, and it may not miss{trained}"
    elif old.extra_columns == "ignore":
        why = f"a caller's column of this name was ignored, and is held to its rules now{trained}"
        yield "column", None, now.kind, False, why
    else:
        yield "column", None, now.kind, True, f"it may miss{trained}"


def _row_checks(old: DataContract, new: DataContract) -> Iterator[Found]:
    before, after = _by_function(old.row_checks), _by_function(new.row_checks)
    yield from _came_and_went(
        before,
        after,
        went=(True, "rows that failed it are allowed"),
        came=(False, "rows that fail it are refused"),
    )
    changed = [
        name
        for name in dict.fromkeys((*old.features, *new.features))
        if name not in old.features
        or name not in new.features
        or arrives_changed(old.columns[name], new.columns[name])
    ]
    for function in before if changed else ():
        if function in after:
            why = f"it may refuse other rows: {', '.join(changed)} is not what it saw before"
            yield function, None, None, False, why


def _output(old: DataContract, new: DataContract) -> Iterator[Found]:
    for rule in ("min", "max"):
        was, now = getattr(old.output, rule), getattr(new.output, rule)
        if was == now:
            continue
        wider = was is not None and (now is None or (now < was if rule == "min" else now > was))
        if wider:
            yield rule, was, now, False, "answers may be outside of what callers were promised"
        else:
            yield rule, was, now, True, "fewer answers are allowed; others are refused"
    yield from _came_and_went(
        _by_function(old.output.checks),
        _by_function(new.output.checks),
        went=(False, "answers that it refused may reach callers"),
        came=(True, "fewer answers are allowed; others are refused"),
    )
    if old.output.why != new.output.why:
        yield "why", old.output.why or None, new.output.why or None, True, "for people"


def _by_function(checks: tuple[Check, ...]) -> dict[str, Check]:
    return {check.function: check for check in checks}


def _came_and_went(
    before: Mapping[str, Check],
    after: Mapping[str, Check],
    *,
    went: tuple[bool, str],
    came: tuple[bool, str],
) -> Iterator[Found]:
    for function in dict.fromkeys((*before, *after)):
        if function not in after:
            yield ("check", function, None, *went)
        elif function not in before:
            yield ("check", None, function, *came)
        elif before[function].why != after[function].why:
            said = (before[function].why or None, after[function].why or None)
            yield f"{function} why", *said, True, "for people, and in the refusal"


def _target(old: Column | None, new: Column | None) -> Iterator[Found]:
    unseen = "callers do not send it"
    if old is None or new is None:
        was, now = (None if column is None else column.kind for column in (old, new))
        yield "column", was, now, True, f"{unseen}; {RETRAIN}"
        return
    for rule, was, now, _, why in column_changes(old, new):
        yield rule, was, now, True, why if why == "for people" else f"{unseen}; {RETRAIN}"
