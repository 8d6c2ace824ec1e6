"""A gate is a pure function from evidence to a verdict; this is the list of them.

To add one: its section in `asfitted.config`, a file here, a line in `decide`, and,
where it wants evidence that nobody gathers yet, that in `asfitted.registry.evidence`.
The law every gate keeps, and its tests check: worse evidence never turns a refusal
into a pass. So what is not known refuses.
"""

from __future__ import annotations

from collections.abc import Sequence

from asfitted.config import MetricGate, ProofGate
from asfitted.registry.decision import Evidence, Verdict
from asfitted.registry.gates.metric import decide_metric
from asfitted.registry.gates.proof import decide_proof

__all__ = ["decide"]


def decide(gates: Sequence[ProofGate | MetricGate], evidence: Evidence) -> tuple[Verdict, ...]:
    """Return each gate's verdict, in order; all of them, not only up to the first refusal."""
    return tuple(
        decide_metric(gate, evidence)
        if isinstance(gate, MetricGate)
        else decide_proof(gate, evidence)
        for gate in gates
    )
