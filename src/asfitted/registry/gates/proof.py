"""The proof gate: a version that cannot prove itself goes nowhere."""

from __future__ import annotations

from asfitted.config import ProofGate
from asfitted.registry.decision import Evidence, Verdict


def decide_proof(gate: ProofGate, evidence: Evidence) -> Verdict:
    """Pass a challenger that proved itself and has a digest.

    Examples
    --------
    >>> from asfitted.registry.decision import ModelEvidence, Proof
    >>> broken = Proof(proved=False, broken="files", what="model.skops has changed")
    >>> decide_proof(ProofGate(gate="proof"), Evidence(ModelEvidence("3", broken))).reason
    'files: model.skops has changed'
    """
    proof = evidence.challenger.proof
    if proof is None:
        return Verdict("proof", False, "the model was never asked to prove itself")
    if not proof.proved:
        where = f" ({proof.where})" if proof.where else ""
        return Verdict("proof", False, f"{proof.broken}: {proof.what}{where}", proof.mend)
    if not proof.digest:
        # Without it nobody could say later which artifact was proved.
        return Verdict("proof", False, "the proof names no digest")
    reason = f"files, environment and golden examples hold (digest {proof.digest[:12]})"
    return Verdict("proof", True, reason)
