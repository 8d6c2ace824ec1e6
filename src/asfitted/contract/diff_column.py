"""What two columns of one name say differently, rule by rule."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from asfitted.contract.column import EXACT, Column, Fill

RETRAIN = "the model must be trained anew"

# (rule, was, now, compatible, why): a Change without its place.
Found = tuple[str, Any, Any, bool, str]


def column_changes(old: Column, new: Column) -> Iterator[Found]:
    """Yield every rule that is no longer what it was, in the order of a contract."""
    if old.kind != new.kind:
        yield ("kind", old.kind, new.kind, *_kind(old, new))
    if old.missing != new.missing:
        yield ("missing", _plain(old.missing), _plain(new.missing), *_missing(old, new))
    if {old.kind, new.kind} <= {"number", "integer"} or old.kind == new.kind == "datetime":
        yield from _bounds(old, new)
        if old.observed != new.observed:
            yield "observed", _plain(old.observed), _plain(new.observed), True, "findings only"
    if old.kind == new.kind == "category":
        yield from _categories(old, new)
    if old.kind == new.kind == "text":
        yield from _text(old, new)
    if old.allow_nul != new.allow_nul and {old.kind, new.kind} <= {"category", "text"}:
        why = "more texts are allowed" if new.allow_nul else "texts with a NUL are refused now"
        yield "allow_nul", old.allow_nul, new.allow_nul, new.allow_nul, why
    if old.kind == new.kind == "datetime" and old.zone != new.zone:
        why = "the same text without an offset means another moment"
        yield "zone", old.zone, new.zone, False, why
    yield from _words(old, new)


def _words(old: Column, new: Column) -> Iterator[Found]:
    if old.unit != new.unit:
        if old.unit and new.unit:
            why = "the same value means something else"
            yield "unit", old.unit, new.unit, False, why
        else:
            why = "for people; make sure that it is the one that callers send"
            yield "unit", old.unit or None, new.unit or None, True, why
    if old.meaning != new.meaning:
        yield "meaning", old.meaning or None, new.meaning or None, True, "for people"
    if old.why != new.why:
        yield "why", old.why or None, new.why or None, True, "for people"


def _kind(old: Column, new: Column) -> tuple[bool, str]:
    """Return whether every value of the old kind is one of the new, and why."""
    whole = old.kind == "category" and isinstance(old.categories[0], int)
    if old.kind == "integer" and new.kind == "number":
        return True, f"every whole number is a number; {RETRAIN}"
    if whole and new.kind in {"integer", "number"}:
        low, high = _reach(new, "min"), _reach(new, "max")
        taken = old.labels if old.unknown == "refuse" else (-EXACT, EXACT)
        if all(low <= label <= high for label in taken):  # type: ignore[operator]
            return True, f"every code that was allowed is a number in its bounds; {RETRAIN}"
        return False, "codes that were allowed are outside its bounds"
    if old.kind == "category" and not whole and new.kind == "text":
        if old.unknown != "refuse":
            return False, "a text of any length was taken, known or not"
        if not any(any(wrong) for _, wrong in new.broken_by(old.categories)):  # type: ignore[arg-type]
            return True, f"every category is such a text; {RETRAIN}"
        return False, "categories are too short or too long, or do not match the pattern"
    if new.kind == "category" and new.unknown != "refuse":
        codes = isinstance(new.categories[0], int)
        if old.kind == ("integer" if codes else "text"):
            return True, f"what is not in the list is mapped: {new.unknown}; {RETRAIN}"
    return False, f"what was a {old.kind} is no {new.kind}"


def _missing(old: Column, new: Column) -> tuple[bool, str]:
    if not new.may_miss:
        return False, "a missing value, or a missing column, is refused now"
    if not old.may_miss:
        return True, "a missing value is no longer refused"
    return True, "a missing value is allowed as before, and gets another answer"


def _reach(column: Column, rule: str) -> Any:
    """Return a bound, or the end of what the kind can hold at all; None where that has none."""
    bound = column.bounds(rule)
    if column.kind == "datetime":
        return bound
    end = EXACT if column.kind == "integer" else sys.float_info.max
    if rule == "min":
        return -end if bound is None else max(bound, -end)
    return end if bound is None else min(bound, end)


def _bounds(old: Column, new: Column) -> Iterator[Found]:
    for rule in ("min", "max"):
        was, now = getattr(old, rule), getattr(new, rule)
        before, after = _reach(old, rule), _reach(new, rule)
        if was == now and before == after:
            continue
        if was == now and was is None:
            # Nothing was said, and each kind has an end of its own.
            continue
        narrower = after is not None and (
            before is None or (after > before if rule == "min" else after < before)
        )
        if narrower:
            side = "below" if rule == "min" else "above"
            yield rule, was, now, False, f"values {side} {now} are refused now"
        elif before == after:
            yield rule, was, now, True, "the same values are allowed"
        else:
            yield rule, was, now, True, "more values are allowed"


def _categories(old: Column, new: Column) -> Iterator[Found]:
    mapped = new.unknown != "refuse"
    if type(old.categories[0]) is not type(new.categories[0]):
        was, now = _plain(old.categories), _plain(new.categories)
        yield "categories", was, now, False, "text is no number, nor a number text"
    else:
        gone = [label for label in old.categories if label not in new.categories]
        came = [label for label in new.categories if label not in old.categories]
        if gone and not mapped:
            yield "categories", gone, [], False, f"these are refused now; {RETRAIN}"
        elif gone:
            why = f"these are unknown now, and mapped: {new.unknown}; {RETRAIN}"
            yield "categories", gone, [], True, why
        if came:
            yield "categories", [], came, True, f"more values are known; {RETRAIN}"
        before = [label for label in old.categories if label in new.categories]
        after = [label for label in new.categories if label in old.categories]
        if before != after:
            why = f"callers send labels, not positions; {RETRAIN}"
            yield "order", list(old.categories), list(new.categories), True, why
    if old.unknown != new.unknown:
        if not mapped:
            why = "a value that is not in the list is refused now"
        elif old.unknown == "refuse":
            why = f"a value that is not in the list is mapped: {new.unknown}"
        else:
            why = "a value that is not in the list gets another answer"
        yield "unknown", old.unknown, new.unknown, mapped, why
    elif mapped and new.unknown == "other" and old.other != new.other:
        why = "a value that is not in the list becomes another category"
        yield "other", old.other, new.other, True, why


def _text(old: Column, new: Column) -> Iterator[Found]:
    for rule, narrower, side in (
        ("min_length", new.min_length > old.min_length, "shorter"),
        ("max_length", new.max_length < old.max_length, "longer"),
    ):
        was, now = getattr(old, rule), getattr(new, rule)
        if narrower:
            yield rule, was, now, False, f"texts {side} than {now} are refused now"
        elif was != now:
            yield rule, was, now, True, "more texts are allowed"
    if new.pattern is None and old.pattern is not None:
        yield "pattern", old.pattern, None, True, "more texts are allowed"
    elif old.pattern != new.pattern:
        why = "what matches one pattern need not match the other"
        if old.pattern is None:
            why = "texts that do not match are refused now"
        yield "pattern", old.pattern, new.pattern, False, why


def arrives_changed(old: Column, new: Column) -> bool:
    """Whether a row that both allow may reach a row check with another value or dtype."""
    if (old.kind, old.zone) != (new.kind, new.zone):
        return True
    if old.missing != new.missing and (
        old.may_miss or (old.kind in {"integer", "boolean"} and new.missing == "pass")
    ):
        return True
    if old.kind != "category":
        return False
    if old.unknown == "refuse":
        return not set(old.categories) <= set(new.labels)
    return (old.labels, old.unknown, old.other) != (new.labels, new.unknown, new.other)


def _plain(value: Any) -> Any:
    if isinstance(value, Fill):
        return {"fill": value.fill}
    return list(value) if isinstance(value, tuple) else value
