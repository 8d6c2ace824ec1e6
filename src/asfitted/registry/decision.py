"""Evidence, verdicts and decisions: the frozen data that the registry's parts hand on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Literal

from asfitted.errors import GateRefused

Action = Literal["promote", "rollback"]


@dataclass(frozen=True)
class Proof:
    """What a model said when it was asked, in a process of its own, to prove itself.

    Attributes
    ----------
    broken : str, optional
        Which of its parts broke: ``files``, ``environment``, ``golden``, …;
        ``process`` where the process gave no answer.
    """

    proved: bool
    digest: str | None = None
    broken: str | None = None
    what: str = ""
    where: str = ""
    mend: str = ""


@dataclass(frozen=True)
class Measurement:
    """A metric of one model.

    Attributes
    ----------
    value : float, optional
        None where it could not be had; then `why` says why, and `mend` what to do.
    source : str
        Where the value is from, for a person.
    data_digest : str, optional
        SHA-256 of the rows' file, where it is known: two values compare only on
        the same rows.
    model_digest : str, optional
        The artifact that was scored, where one was.
    """

    value: float | None
    source: str = ""
    data_digest: str | None = None
    model_digest: str | None = None
    why: str = ""
    mend: str = ""


@dataclass(frozen=True)
class ModelEvidence:
    """What is known about one version.

    Attributes
    ----------
    measurements : mapping
        By the `measured_by` of the gates that asked.
    """

    version: str
    proof: Proof | None = None
    measurements: Mapping[str, Measurement] = field(default_factory=dict)


@dataclass(frozen=True)
class Evidence:
    """The challenger and, where a gate compares, the champion: the alias's current holder."""

    challenger: ModelEvidence
    champion: ModelEvidence | None = None


@dataclass(frozen=True)
class Verdict:
    """What one gate decided, and the sentence that says why."""

    gate: str
    passed: bool
    reason: str
    mend: str = ""


@dataclass(frozen=True)
class Decision:
    """All verdicts on one move of one alias.

    Attributes
    ----------
    version, previous : str
        Where the alias goes and where it was; `previous` is None for a first one.
    digest : str, optional
        The artifact that was proved.
    at : datetime
        UTC.
    notes : tuple of str
        What a reader should know that no gate decides on.
    run_id : str, optional
        The MLflow run that keeps it; None for a dry run.
    """

    name: str
    action: Action
    version: str
    alias: str
    previous: str | None
    digest: str | None
    verdicts: tuple[Verdict, ...]
    who: str
    at: datetime
    evidence: Evidence
    notes: tuple[str, ...] = ()
    dry_run: bool = False
    run_id: str | None = None

    @property
    def passed(self) -> bool:
        """Whether every gate passed; no gates at all is no pass."""
        return bool(self.verdicts) and all(verdict.passed for verdict in self.verdicts)

    @property
    def reason(self) -> str:
        """The refusals' reasons, or all of them for a pass."""
        told = [v for v in self.verdicts if self.passed or not v.passed]
        return "; ".join(f"{v.gate}: {v.reason}" for v in told)

    def raise_for_refusal(self) -> None:
        """Raise `GateRefused`, with the reason of each gate that said no."""
        if self.passed:
            return
        refused = [verdict for verdict in self.verdicts if not verdict.passed]
        reasons = "".join(f"\n  {v.gate}: {v.reason}" for v in refused)
        mends = dict.fromkeys(verdict.mend for verdict in refused if verdict.mend)
        raise GateRefused(
            f"{self.name} version {self.version} may not become {self.alias}:{reasons}",
            f"{self.name}@{self.alias}, which stays at {self.previous or 'no version'}",
            "; ".join(mends),
        )

    def to_json(self) -> dict[str, Any]:
        """Return it as what ``--json`` prints and the history keeps."""
        plain = asdict(self)
        evidence = plain.pop("evidence")
        plain.update(at=self.at.isoformat(), passed=self.passed, reason=self.reason)
        return {"schema_version": 1, **plain, "evidence": evidence}
