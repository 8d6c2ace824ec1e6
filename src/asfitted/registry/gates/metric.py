"""The metric gate: good enough, and no worse than the current holder by more than said."""

from __future__ import annotations

import math
from decimal import Decimal

from asfitted.config import MetricGate
from asfitted.registry.decision import Evidence, Measurement, ModelEvidence, Verdict


def decide_metric(gate: MetricGate, evidence: Evidence) -> Verdict:
    """Pass a challenger whose metric keeps every bound that the gate names.

    With `max_drop` and no current holder there is nothing to be worse than: that
    bound passes and the reason says so. With a holder whose metric cannot be had it
    refuses, even where `min` is kept: a champion that breaks must not open the way
    to a worse one.
    """
    label = f"metric {gate.metric}"
    new = _measured(gate, evidence.challenger)
    if new.value is None:
        reason = f"no value for version {evidence.challenger.version}: {new.why}"
        return Verdict(label, False, reason, new.mend)
    refused: list[str] = []
    kept: list[str] = []
    mends: list[str] = []
    if gate.min is not None:
        (kept if new.value >= gate.min else refused).append(_against(new.value, "min", gate.min))
    if gate.max is not None:
        (kept if new.value <= gate.max else refused).append(_against(new.value, "max", gate.max))
    if gate.max_drop is not None:
        passed, reason, mend = _compare(gate, gate.max_drop, new, new.value, evidence.champion)
        (kept if passed else refused).append(reason)
        mends += [mend] if mend else []
    source = f" [{new.source}]" if new.source else ""
    return Verdict(label, not refused, ", ".join(refused or kept) + source, "; ".join(mends))


def _measured(gate: MetricGate, model: ModelEvidence) -> Measurement:
    """Return the measurement that the gate asks for, with None for all that is no number."""
    found = model.measurements.get(gate.measured_by)
    if found is None:
        return Measurement(None, why="it was not measured")
    if found.value is not None and not math.isfinite(found.value):
        return Measurement(None, why=f"it is {found.value}", source=found.source)
    return found


def _against(value: float, bound: str, limit: float) -> str:
    inside = value >= limit if bound == "min" else value <= limit
    side = "within" if inside else ("below" if bound == "min" else "above")
    # Rounded, a value just outside would read as the bound itself.
    shown = f"{value:.6g}"
    return f"{value if float(shown) == limit else shown} is {side} {bound} {limit:g}"


def _compare(
    gate: MetricGate,
    max_drop: float,
    new: Measurement,
    value: float,
    champion: ModelEvidence | None,
) -> tuple[bool, str, str]:
    """Return whether `max_drop` is kept, the reason, and the mend."""
    if champion is None:
        return True, f"{value:.6g} with no current holder to compare with", ""
    old = _measured(gate, champion)
    holder = f"the current holder, version {champion.version},"
    if old.value is None:
        return (
            False,
            f"{holder} has no value to compare with: {old.why}",
            old.mend or "roll the alias back to a version that can be measured, then promote again",
        )
    if new.data_digest != old.data_digest:
        mend = "run it again" if gate.holdout else "give the gate a holdout"
        return False, f"{holder} was measured on other rows", mend
    # Both as they are written: 0.8 to 0.79 is a drop of 0.01, which it is not in binary.
    worse_by = Decimal(repr(float(old.value))) - Decimal(repr(float(value)))
    if not gate.more_is_better:
        worse_by = -worse_by
    passed = worse_by <= Decimal(repr(float(max_drop)))
    how = f"worse by {float(worse_by):.4g}" if worse_by > 0 else "no worse"
    bound = "within" if passed else "above"
    return (
        passed,
        f"{value:.6g} against {old.value:.6g} of version {champion.version}: {how}, "
        f"{bound} max_drop {max_drop:g}",
        "",
    )
