"""Move an alias back to where it was, if what was there still proves itself."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from asfitted.config import Config, ProofGate
from asfitted.errors import RegistryError
from asfitted.registry.decision import Decision, Evidence, ModelEvidence, Proof, Verdict
from asfitted.registry.evidence import Say, prove
from asfitted.registry.gates.proof import decide_proof
from asfitted.registry.history import History, Holder, holders
from asfitted.registry.moves import carry_out, checked_alias, new_decision, notes_on, silent
from asfitted.registry.store import Store

DEFAULT_ALIAS = "champion"


def rollback(name: str, alias: str | None, config: Config) -> Decision:
    """Move the alias back to the version that held it before.

    Promotions push and rollbacks pop: the next rollback goes one further back. Metric
    gates are not asked again, since the version passed them when it was promoted; its
    artifact has to be the one that passed.

    Parameters
    ----------
    alias : str, optional
        By default the one that the configuration names for the model, else ``champion``.

    Raises
    ------
    GateRefused
        The version before is damaged or has changed. The refusal is in the history.
    RegistryError
        There is nothing to go back to.
    StoreUnavailable
        MLflow's store does not answer.
    """
    decision = consider_rollback(name, alias, config)
    decision.raise_for_refusal()
    return decision


def consider_rollback(
    name: str,
    alias: str | None,
    config: Config,
    say: Say = silent,
    store: Store | None = None,
    proved: Callable[[Path, Config], Proof] = prove,
) -> Decision:
    """Do what `rollback` does, but return a refusal instead of raising it."""
    alias = checked_alias(alias or config.model(name).alias or DEFAULT_ALIAS, name)
    store = store or Store()
    holder = store.aliases(name).get(alias)
    kept = History(store, name)
    stack = holders(kept.rows(), alias, holder)
    target = _target(stack, holder, name, alias)
    if not store.exists(name, target.version):
        raise RegistryError(
            f"version {target.version} held {alias} before, but it was deleted",
            f"{name}@{alias}, which stays at {holder or 'no version'}",
            f"choose another: asfitted promote {name} VERSION --to {alias}",
        )
    proof = _proof_of(store, name, target.version, config, say, proved)
    evidence = Evidence(ModelEvidence(target.version, proof))
    notes = notes_on(stack, holder, alias, config)
    if target.digest is None:
        notes += (f"version {target.version} held {alias} before this history began",)
    decision = new_decision(
        name=name,
        action="rollback",
        version=target.version,
        alias=alias,
        holder=holder,
        verdicts=_verdicts(target, evidence, proof),
        evidence=evidence,
        notes=notes,
    )
    return carry_out(decision, store, kept, say)


def _target(stack: Sequence[Holder], holder: str | None, name: str, alias: str) -> Holder:
    """Return the version to go back to: below the holder, or the top where it went astray."""
    if stack and stack[-1].version != holder:
        return stack[-1]
    if len(stack) < 2:
        raise RegistryError(
            f"nothing held {alias} before {holder or 'now'}, so there is no way back",
            f"{name}@{alias}",
            f"choose a version: asfitted promote {name} VERSION --to {alias}",
        )
    return stack[-2]


def _proof_of(
    store: Store,
    name: str,
    version: str,
    config: Config,
    say: Say,
    proved: Callable[[Path, Config], Proof],
) -> Proof:
    with tempfile.TemporaryDirectory(prefix="asfitted-model-") as folder:
        say(f"download version {version}")
        try:
            path = store.download(name, version, Path(folder))
        except RegistryError as error:
            return Proof(False, broken="files", what=error.what, where=error.where)
        say(f"let version {version} prove itself")
        return proved(path, config)


def _verdicts(target: Holder, evidence: Evidence, proof: Proof) -> tuple[Verdict, ...]:
    verdict = decide_proof(ProofGate(gate="proof"), evidence)
    if not verdict.passed or target.digest is None:
        return (verdict,)
    if proof.digest == target.digest:
        same = Verdict("same artifact", True, "it is the one that was promoted")
    else:
        # MLflow lets a registered version's files be overwritten and tells nobody.
        same = Verdict(
            "same artifact",
            False,
            f"its files have the digest {proof.digest}, what was promoted had {target.digest}",
            "promote it through its gates, if the new files are meant",
        )
    return (verdict, same)
