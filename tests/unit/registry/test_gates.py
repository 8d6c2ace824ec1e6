"""Gates: what they decide, and the law that worse evidence never opens one."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asfitted.config import Holdout, MetricGate, ProofGate
from asfitted.registry.decision import Evidence, Measurement, ModelEvidence, Proof, Verdict
from asfitted.registry.gates import decide

HOLDOUT = Holdout(data="holdout.parquet", target="late")
PROVED = Proof(proved=True, digest="ab" * 32)


def gate(metric: str = "roc_auc", **rules: float) -> MetricGate:
    return MetricGate(gate="metric", metric=metric, holdout=HOLDOUT, **rules)


def evidence(
    asked: MetricGate, new: float | None, old: float | None = None, champion: bool = True
) -> Evidence:
    def model(version: str, value: float | None) -> ModelEvidence:
        why = "it broke" if value is None else ""
        measured = {asked.measured_by: Measurement(value, "5 rows", "d", why=why, mend="mend it")}
        return ModelEvidence(version, PROVED, measured)

    return Evidence(model("2", new), model("1", old) if champion else None)


def verdict(asked: MetricGate, *values: float | None, champion: bool = True) -> Verdict:
    (found,) = decide([asked], evidence(asked, *values, champion=champion))
    return found


def test_proof() -> None:
    proof = ProofGate(gate="proof")
    broken = Proof(False, broken="golden", what="3 of 10 rows moved", mend="install numpy 2.4")
    cases = [
        (PROVED, True, "(digest abababababab)"),
        (broken, False, "golden: 3 of 10 rows moved"),
        (None, False, "never asked"),
        (Proof(True), False, "no digest"),
    ]
    for said, passed, reason in cases:
        (found,) = decide([proof], Evidence(ModelEvidence("2", said)))
        assert found.passed is passed
        assert reason in found.reason
    (found,) = decide([proof], Evidence(ModelEvidence("2", broken)))
    assert found.mend == "install numpy 2.4"


@pytest.mark.parametrize(
    ("rules", "new", "passed", "reason"),
    [
        ({"min": 0.6}, 0.6, True, "0.6 is within min 0.6"),
        ({"min": 0.6}, 0.59, False, "0.59 is below min 0.6"),
        ({"max": 0.6}, 0.61, False, "0.61 is above max 0.6"),
        ({"min": 0.1, "max": 0.6}, 0.3, True, "within min 0.1, 0.3 is within max 0.6"),
        ({"min": 0.6}, None, False, "no value for version 2: it broke"),
        ({"min": 0.6}, math.nan, False, "no value for version 2: it is nan"),
        ({"min": 0.6}, math.inf, False, "no value for version 2: it is inf"),
    ],
)
def test_bounds(rules: dict[str, float], new: float | None, passed: bool, reason: str) -> None:
    found = verdict(gate(**rules), new, None)
    assert found.passed is passed
    assert reason in found.reason


@pytest.mark.parametrize(
    ("metric", "new", "old", "passed", "reason"),
    [
        ("roc_auc", 0.79, 0.80, True, "worse by 0.01, within max_drop 0.01"),
        ("roc_auc", 0.78999, 0.80, False, "above max_drop 0.01"),
        ("roc_auc", 0.9, 0.80, True, "no worse"),
        ("log_loss", 0.31, 0.30, True, "worse by 0.01, within"),
        ("log_loss", 0.32, 0.30, False, "worse by 0.02, above"),
        ("log_loss", 0.1, 0.30, True, "no worse"),
    ],
)
def test_max_drop(metric: str, new: float, old: float, passed: bool, reason: str) -> None:
    found = verdict(gate(metric, max_drop=0.01), new, old)
    assert found.passed is passed
    assert reason in found.reason
    assert "of version 1" in found.reason


def test_no_holder_is_nothing_to_be_worse_than() -> None:
    found = verdict(gate(max_drop=0.01), 0.5, champion=False)
    assert found.passed
    assert "no current holder" in found.reason


def test_a_holder_that_breaks_does_not_open_the_way() -> None:
    found = verdict(gate(min=0.6, max_drop=0.01), 0.7, None)
    assert not found.passed
    assert "version 1, has no value to compare with: it broke" in found.reason


def test_other_rows_do_not_compare() -> None:
    asked = gate(max_drop=0.5)
    seen = evidence(asked, 0.7, 0.7)
    moved = {asked.measured_by: replace(seen.challenger.measurements[asked.measured_by],
                                        data_digest="e")}  # fmt: skip
    (found,) = decide([asked], replace(seen, challenger=ModelEvidence("2", PROVED, moved)))
    assert not found.passed
    assert "other rows" in found.reason


def test_a_gate_without_its_measurement_refuses() -> None:
    (found,) = decide([gate(min=0)], Evidence(ModelEvidence("2", PROVED)))
    assert not found.passed
    assert "not measured" in found.reason


# Mostly where metrics are, so that bounds are met from both sides.
share = st.floats(0, 1)
values = share | share | st.sampled_from([None, math.nan, math.inf, -math.inf])


@st.composite
def gates(draw: st.DrawFn) -> MetricGate:
    # A bound on the good side catches the implausible: being worse may well keep it.
    metric, bad_side = draw(st.sampled_from([("roc_auc", "min"), ("log_loss", "max")]))
    rules = {"max_drop": draw(st.floats(0, 0.3)), bad_side: draw(share)}
    chosen = draw(st.sampled_from([["max_drop"], [bad_side], ["max_drop", bad_side]]))
    return gate(metric, **{rule: rules[rule] for rule in chosen})


@settings(max_examples=500, deadline=None)
@given(
    gates(), values, values, share, st.booleans(),
    st.sampled_from(["new is worse", "new is lost", "old is better", "old is lost"]),
)  # fmt: skip
def test_worse_evidence_never_turns_a_refusal_into_a_pass(
    asked: MetricGate, new: float | None, old: float | None, by: float, champion: bool, change: str
) -> None:
    before = verdict(asked, new, old, champion=champion)
    up = by if asked.more_is_better else -by
    if change.startswith("new"):
        new = new - up if new is not None and change == "new is worse" else None
    else:
        old = old + up if old is not None and change == "old is better" else None
    after = verdict(asked, new, old, champion=champion)
    assert before.passed or not after.passed


@given(st.booleans(), st.text(max_size=3), st.sampled_from(["", "files", "golden"]))
def test_a_broken_proof_never_passes(proved: bool, digest: str, broken: str) -> None:
    seen = Evidence(ModelEvidence("2", Proof(proved, digest or None, broken or None)))
    (found,) = decide([ProofGate(gate="proof")], seen)
    assert found.passed is (proved and bool(digest))
