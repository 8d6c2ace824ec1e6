"""What a change of the contract means for callers: what is called compatible is."""

from __future__ import annotations

import json
import sys
import types
from typing import Any

import pandas as pd
import pytest
from contracts import VALUES, changed_columns, changes, columns, contracts, frames, taken
from hypothesis import event, given, settings
from hypothesis import strategies as st

from asfitted.contract import Column, DataContract
from asfitted.contract.diff import Change, diff
from asfitted.errors import ContractViolation

# The law.


@settings(max_examples=settings().max_examples * 5)
@given(data=st.data())
def test_what_is_compatible_keeps_every_row_that_was_allowed(data: st.DataObject) -> None:
    old = data.draw(contracts())
    new = data.draw(changes(old))
    found = diff(old, new)
    compatible = all(change.compatible for change in found)
    event(f"compatible: {compatible}, changes: {bool(found)}")
    frame = data.draw(frames(old, others=new.columns))
    assert len(old.conform(frame).frame) == len(frame)
    if compatible:
        assert len(new.conform(frame).frame) == len(frame)


@settings(max_examples=settings().max_examples * 10)
@given(data=st.data())
def test_a_column_that_is_compatible_takes_every_value_that_it_took(data: st.DataObject) -> None:
    was = data.draw(columns())
    now = data.draw(changed_columns(was))
    old, new = (
        DataContract(columns={"c": one, "rest": Column(kind="boolean")}, keys=("c",))
        for one in (was, now)
    )
    compatible = all(change.compatible for change in diff(old, new))
    triples = zip(VALUES, taken(was), taken(now), strict=True)
    lost = [value for value, before, after in triples if before and not after]
    event(f"compatible: {compatible}, lost: {bool(lost)}")
    assert not (compatible and lost), lost


@given(data=st.data())
def test_words_for_people_break_nothing(data: st.DataObject) -> None:
    old = data.draw(contracts())
    name = data.draw(st.sampled_from(sorted(old.columns)))
    words = {"meaning": data.draw(st.text(max_size=5)), "why": {"kind": data.draw(st.text())}}
    parts = old.model_dump(exclude_unset=True)
    parts["columns"][name] |= words
    new = DataContract.model_validate(parts)
    found = diff(old, new)
    assert {change.rule for change in found} <= {"meaning", "why"}
    assert all(change.compatible for change in found)
    assert {change.where for change in found} <= {f"columns.{name}"}


@given(old=contracts())
def test_nothing_changes_nothing(old: DataContract) -> None:
    assert diff(old, old) == ()
    assert diff(old, DataContract.from_yaml(old.to_yaml())) == ()


@given(data=st.data())
def test_every_change_says_why_and_goes_into_json(data: st.DataObject) -> None:
    old = data.draw(contracts())
    for change in diff(old, data.draw(changes(old))):
        assert change.why
        for value in (change.was, change.now):
            assert json.loads(json.dumps(value)) == value


# Rule by rule, with a row that only the old contract allows where there is such a row.


def column(rules: str) -> DataContract:
    return DataContract.from_yaml(f"columns: {{c: {{{rules}}}, rest: {{kind: boolean}}}}")


OK = object()
NUM, INT, TEXT = "kind: number", "kind: integer", "kind: text"
DATE, CAT = "kind: datetime", "kind: category, categories: "
RULES: list[tuple[str, str, str, Any]] = [
    # old, new, the rule, a value that is refused now
    (NUM, f"{NUM}, max: 5", "max", 5.5),
    (f"{NUM}, max: 5", f"{NUM}, max: 4", "max", 4.5),
    (f"{NUM}, max: 5", f"{NUM}, max: 6", "max", OK),
    (f"{NUM}, max: 5", NUM, "max", OK),
    (f"{NUM}, min: 5", f"{NUM}, min: 5.5", "min", 5),
    (f"{NUM}, min: 5", f"{NUM}, min: 4.5", "min", OK),
    (f"{INT}, max: 5", f"{INT}, max: 4", "max", 5),
    (INT, f"{INT}, max: 9007199254740993", "max", OK),
    (INT, f"{INT}, max: 9007199254740990", "max", 2**53 - 1),
    (NUM, f"{NUM}, observed: [1, 2]", "observed", OK),
    (f"{NUM}, observed: [1, 2]", f"{NUM}, observed: [1, 3]", "observed", OK),
    (INT, NUM, "kind", OK),
    (NUM, INT, "kind", 1.5),
    (NUM, TEXT, "kind", 1.5),
    (TEXT, NUM, "kind", "a"),
    ("kind: boolean", INT, "kind", True),
    (INT, "kind: boolean", "kind", 1),
    (DATE, TEXT, "kind", pd.Timestamp("2020-01-01")),
    (TEXT, DATE, "kind", "a"),
    (f"{CAT}[1, 3]", f"{INT}, max: 3", "kind", OK),
    (f"{CAT}[1, 3]", f"{NUM}, max: 2.5", "kind", 3),
    (f"{CAT}[1, 3], unknown: other, other: 3", f"{INT}, max: 3", "kind", 4),
    (f"{CAT}[1, 3], unknown: other, other: 3", INT, "kind", OK),
    (INT, f"{CAT}[1, 3]", "kind", 2),
    (INT, f"{CAT}[1, 3], unknown: other, other: 3", "kind", OK),
    (NUM, f"{CAT}[1, 3], unknown: other, other: 3", "kind", 1.5),
    (f"{CAT}[a, bb]", f"{TEXT}, max_length: 2", "kind", OK),
    (f"{CAT}[a, bb]", f"{TEXT}, max_length: 1", "kind", "bb"),
    (f"{CAT}[a, bb]", f"{TEXT}, min_length: 2", "kind", "a"),
    (f"{CAT}[a, bb]", f"{TEXT}, pattern: '[ab]'", "kind", "bb"),
    (f"{CAT}[a, bb]", f"{TEXT}, pattern: '[ab]+'", "kind", OK),
    (f"{CAT}[a, bb], unknown: other", TEXT, "kind", "x" * 1001),
    (f"{TEXT}, allow_nul: true", TEXT, "allow_nul", "a\0"),
    (TEXT, f"{TEXT}, allow_nul: true", "allow_nul", OK),
    (f"{CAT}[a], unknown: other, allow_nul: true", f"{CAT}[a], unknown: other", "allow_nul", "\0"),
    (f"{TEXT}, allow_nul: true", f"{CAT}[a], unknown: other", "allow_nul", "a\0"),
    (f"{CAT}[a], allow_nul: true", f"{TEXT}, allow_nul: true", "kind", OK),
    (TEXT, f"{CAT}[a, bb]", "kind", "c"),
    (TEXT, f"{CAT}[a, bb], unknown: other", "kind", OK),
    (TEXT, f"{CAT}[1], unknown: other, other: 1", "kind", "c"),
    (f"{CAT}[a]", INT, "kind", "a"),
    (f"{CAT}[a]", f"{CAT}[1]", "categories", "a"),
    (f"{CAT}[a, b]", f"{CAT}[a]", "categories", "b"),
    (f"{CAT}[a, b]", f"{CAT}[a], unknown: other", "categories", OK),
    (f"{CAT}[a]", f"{CAT}[a, b]", "categories", OK),
    (f"{CAT}[a, b]", f"{CAT}[b, a]", "order", OK),
    (f"{CAT}[a], unknown: other", f"{CAT}[a]", "unknown", "x"),
    (f"{CAT}[a]", f"{CAT}[a], unknown: other", "unknown", OK),
    (
        f"{CAT}[a], missing: pass, unknown: other",
        f"{CAT}[a], missing: pass, unknown: missing",
        "unknown",
        OK,
    ),
    (f"{CAT}[a], unknown: other", f"{CAT}[a], unknown: other, other: a", "other", OK),
    (f"{NUM}, missing: pass", NUM, "missing", None),
    (f"{NUM}, missing: {{fill: 3}}", NUM, "missing", None),
    (NUM, f"{NUM}, missing: pass", "missing", OK),
    (NUM, f"{NUM}, missing: {{fill: 3}}", "missing", OK),
    (f"{NUM}, missing: pass", f"{NUM}, missing: {{fill: 3}}", "missing", OK),
    (f"{NUM}, missing: {{fill: 3}}", f"{NUM}, missing: {{fill: 4}}", "missing", OK),
    (TEXT, f"{TEXT}, min_length: 1", "min_length", ""),
    (f"{TEXT}, min_length: 2", f"{TEXT}, min_length: 1", "min_length", OK),
    (TEXT, f"{TEXT}, max_length: 5", "max_length", "x" * 6),
    (TEXT, f"{TEXT}, max_length: 5000", "max_length", OK),
    (TEXT, f"{TEXT}, pattern: 'a*'", "pattern", "b"),
    (f"{TEXT}, pattern: 'a*'", TEXT, "pattern", OK),
    (f"{TEXT}, pattern: 'a*'", f"{TEXT}, pattern: 'a+'", "pattern", ""),
    (f"{DATE}, min: 2020-01-01", f"{DATE}, min: 2020-01-02", "min", "2020-01-01T12:00"),
    (f"{DATE}, min: 2020-01-02", f"{DATE}, min: 2020-01-01", "min", OK),
    (f"{DATE}, min: 2020-01-02", f"{DATE}, min: '2020-01-02T09:00+09:00'", "min", OK),
    (f"{DATE}, max: 2020-01-02", f"{DATE}, max: '2020-01-02T00:00+09:00'", "max", "2020-01-02"),
    (f"{NUM}, meaning: far", f"{NUM}, meaning: near", "meaning", OK),
    (NUM, f"{NUM}, why: {{max: none}}", "why", OK),
    (NUM, f"{NUM}, unit: m", "unit", OK),
    (f"{NUM}, unit: m", NUM, "unit", OK),
]


@pytest.mark.parametrize(("was", "now", "rule", "witness"), RULES)
def test_one_rule(was: str, now: str, rule: str, witness: Any) -> None:
    old, new = column(was), column(now)
    (change,) = (c for c in diff(old, new) if c.rule == rule)
    assert change.where == "columns.c"
    assert change.compatible == (witness is OK), change
    if witness is OK:
        return
    frame = pd.DataFrame({"c": pd.Series([witness], dtype=object), "rest": [True]})
    old.conform(frame)
    with pytest.raises(ContractViolation):
        new.conform(frame)


def test_a_unit_and_a_zone_give_the_same_text_another_meaning() -> None:
    (change,) = diff(column(f"{NUM}, unit: miles"), column(f"{NUM}, unit: km"))
    assert change == Change(
        "columns.c", "unit", "miles", "km", False, "the same value means something else"
    )
    old, new = (
        column(f"{DATE}, min: 2020-01-01"),
        column(f"{DATE}, min: 2020-01-01, zone: Asia/Tokyo"),
    )
    found = {change.rule: change for change in diff(old, new)}
    assert not found["zone"].compatible
    # The bound's own text is the same, and names an earlier moment now.
    assert found["min"].compatible
    assert set(found) == {"zone", "min"}
    back = {change.rule: change.compatible for change in diff(new, old)}
    assert back == {"zone": False, "min": False}


def test_what_was_and_what_is_now() -> None:
    (change,) = diff(column(f"{NUM}, missing: {{fill: 3}}"), column(f"{NUM}, missing: {{fill: 4}}"))
    assert (change.was, change.now) == ({"fill": 3}, {"fill": 4})
    assert "another answer" in change.why
    gone, came, order = diff(column(f"{CAT}[a, b, c], unknown: other"), column(f"{CAT}[c, b, d]"))[
        :3
    ]
    assert (gone.was, gone.now, gone.compatible) == (["a"], [], False)
    assert (came.was, came.now, came.compatible) == ([], ["d"], True)
    assert (order.rule, order.was, order.now) == ("order", ["a", "b", "c"], ["c", "b", "d"])
    assert "trained anew" in order.why


WHOLE = """\
keys: [id]
columns:
  id: {kind: text}
  a: {kind: number, missing: pass}
  b: {kind: number}
"""
EXTRA, IGNORE = "extra_columns: refuse", "extra_columns: ignore"


def whole(*edits: tuple[str, str], add: str = "") -> DataContract:
    text = WHOLE
    for was, now in edits:
        assert was in text
        text = text.replace(was, now)
    return DataContract.from_yaml(text + add)


A, B, ID = ("  a: {kind: number, missing: pass}\n",), ("  b: {kind: number}\n",), ("keys: [id]\n",)
CASES: dict[str, tuple[DataContract, DataContract, list[tuple[str, str, bool]]]] = {
    "a column came": (whole((*B, "")), whole(), [("columns.b", "column", False)]),
    "one that may miss came": (whole((*A, "")), whole(), [("columns.a", "column", True)]),
    "a column went": (whole(), whole((*B, "")), [("columns.b", "column", False)]),
    "one went and is ignored": (
        whole(add=IGNORE),
        whole((*B, ""), add=IGNORE),
        [("columns.b", "column", True)],
    ),
    "one went as extra columns came to be refused": (
        whole(add=IGNORE),
        whole((*B, "")),
        [("contract", "extra_columns", False), ("columns.b", "column", False)],
    ),
    "one went as extra columns came to be ignored": (
        whole(),
        whole((*B, ""), add=IGNORE),
        [("contract", "extra_columns", True), ("columns.b", "column", True)],
    ),
    "one came that was ignored": (
        whole((*A, ""), add=IGNORE),
        whole(add=IGNORE),
        [("columns.a", "column", False)],
    ),
    "a column is called otherwise": (
        whole(),
        whole(("  b:", "  bb:")),
        [("columns.b", "column", False), ("columns.bb", "column", False)],
    ),
    "a key became a feature": (whole(), whole((*ID, "")), [("columns.id", "use", True)]),
    "a feature became a key": (
        whole(),
        whole(("[id]", "[id, a]")),
        [("columns.a", "use", True)],
    ),
    "a key came": (
        whole((*ID, ""), ("  id: {kind: text}\n", "")),
        whole(),
        [("columns.id", "column", False)],
    ),
    "a key went": (
        whole(),
        whole((*ID, ""), ("  id: {kind: text}\n", "")),
        [("columns.id", "column", False)],
    ),
    "other order": (
        whole((*B, ""), ("  a:", "  b: {kind: number}\n  a:")),
        whole(),
        [("contract", "order", True)],
    ),
    "extra columns": (whole(), whole(add=IGNORE), [("contract", "extra_columns", True)]),
    "no extra columns": (whole(add=IGNORE), whole(), [("contract", "extra_columns", False)]),
    "fewer rows": (
        whole(add="limits: {rows: 10, bytes: 10}"),
        whole(add="limits: {rows: 9, bytes: 11}"),
        [("limits", "rows", False), ("limits", "bytes", True)],
    ),
    "row checks": (
        whole(add="row_checks: [{function: 'm:went'}, {function: 'm:stays'}]"),
        whole(add="row_checks: [{function: 'm:stays', why: now}, {function: 'm:came'}]"),
        [
            ("row_checks", "check", True),
            ("row_checks", "m:stays why", True),
            ("row_checks", "check", False),
        ],
    ),
    "output narrower": (
        whole(add="output: {min: 0}"),
        whole(add="output: {min: 1, max: 5, checks: [{function: 'm:f'}], why: {min: x}}"),
        [
            ("output", "min", True),
            ("output", "max", True),
            ("output", "check", True),
            ("output", "why", True),
        ],
    ),
    "output wider": (
        whole(add="output: {min: 0, max: 5, checks: [{function: 'm:f'}]}"),
        whole(add="output: {max: 6}"),
        [("output", "min", False), ("output", "max", False), ("output", "check", False)],
    ),
    "target": (
        whole(add="target: {y: {kind: number, max: 5, unit: m}, w: {kind: number}}"),
        whole(add="target: {y: {kind: number, max: 4, unit: km}, z: {kind: integer}}"),
        [
            ("target.y", "max", True),
            ("target.y", "unit", True),
            ("target.w", "column", True),
            ("target.z", "column", True),
        ],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_whole(case: str) -> None:
    old, new, said = CASES[case]
    assert [(c.where, c.rule, c.compatible) for c in old.diff(new)] == said


def test_what_a_row_check_sees_decides_too(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("diff_checks")
    module.small = lambda frame: frame["a"] < 5  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "diff_checks", module)
    check = "row_checks: [{function: 'diff_checks:small'}]"
    old, new = (
        whole(("missing: pass", f"missing: {{fill: {fill}}}"), add=check) for fill in (4, 6)
    )
    frame = pd.DataFrame({"id": ["x"], "b": [1.0]})
    old.conform(frame)
    with pytest.raises(ContractViolation, match="small"):
        new.conform(frame)
    (fill, seen) = diff(old, new)
    assert (fill.rule, fill.compatible) == ("missing", True)
    assert (seen.where, seen.rule, seen.compatible) == ("row_checks", "diff_checks:small", False)
    assert "a is not what it saw" in seen.why


SEEN = [
    (NUM, f"{NUM}, missing: pass", False),
    (INT, f"{INT}, missing: pass", True),
    (INT, f"{INT}, missing: {{fill: 1}}", False),
    ("kind: boolean", "kind: boolean, missing: pass", True),
    (f"{NUM}, missing: pass", f"{NUM}, missing: {{fill: 1}}", True),
    (INT, NUM, True),
    (f"{NUM}, max: 4", f"{NUM}, max: 5", False),
    (f"{CAT}[a]", f"{CAT}[a, b]", False),
    (f"{CAT}[a]", f"{CAT}[a], unknown: other", False),
    (f"{CAT}[a, b]", f"{CAT}[a], unknown: other", True),
    (f"{CAT}[a], unknown: other", f"{CAT}[a, b], unknown: other", True),
    (f"{CAT}[a], unknown: other", f"{CAT}[a], unknown: other, other: a", True),
]


@pytest.mark.parametrize(("was", "now", "seen"), SEEN)
def test_which_changes_reach_a_row_check(was: str, now: str, seen: bool) -> None:
    check = ({"function": "m:f"},)
    old, new = (
        DataContract.model_validate(
            {**column(one).model_dump(exclude_unset=True), "row_checks": check}
        )
        for one in (was, now)
    )
    assert [c.where for c in diff(old, new)].count("row_checks") == seen
