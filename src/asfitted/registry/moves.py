"""What promotion and rollback share: the decision written down, then the alias moved."""

from __future__ import annotations

import getpass
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone

from asfitted.config import Config
from asfitted.errors import RegistryError
from asfitted.registry.decision import Action, Decision, Evidence, Verdict
from asfitted.registry.evidence import Say
from asfitted.registry.history import History, Holder
from asfitted.registry.store import Store


def silent(text: str) -> None:
    """Say nothing: progress is for the command line."""


def checked_alias(alias: str, name: str) -> str:
    """Return `alias`, if MLflow will take it; it would say so only after the gates were asked."""
    if not re.fullmatch(r"[\w-]+", alias) or re.fullmatch(r"v\d+|latest", alias, re.IGNORECASE):
        raise RegistryError(
            f"{alias!r} cannot be an alias",
            name,
            "use letters, digits, - and _; `latest` and `v1`, `v2`, … are MLflow's own",
        )
    return alias


def new_decision(
    name: str,
    action: Action,
    version: str,
    alias: str,
    holder: str | None,
    verdicts: tuple[Verdict, ...],
    evidence: Evidence,
    notes: tuple[str, ...],
    dry_run: bool = False,
) -> Decision:
    """Return the decision that these verdicts make, now and by whoever runs this."""
    proof = evidence.challenger.proof
    return Decision(
        name=name,
        action=action,
        version=version,
        alias=alias,
        previous=holder,
        digest=proof.digest if proof else None,
        verdicts=verdicts,
        who=_who(),
        at=datetime.now(timezone.utc),
        evidence=evidence,
        notes=notes,
        dry_run=dry_run,
    )


def carry_out(decision: Decision, store: Store, history: History, say: Say) -> Decision:
    """Keep the decision; if it passed, move the alias, and write down that it moved.

    Raises
    ------
    RegistryError
        The alias moved while the gates were asked, or MLflow will not move it. The
        row is kept as failed.
    StoreUnavailable
        The row, where it was begun, stays unfinished.
    """
    name, alias = decision.name, decision.alias
    say("write the decision to the history")
    run_id = history.begin(decision)
    if decision.passed:
        try:
            # MLflow cannot move an alias on a condition: this leaves a moment, not minutes.
            now = store.aliases(name).get(alias)
            if now != decision.previous:
                raise RegistryError(
                    f"{alias} went from {decision.previous} to {now} while the gates were asked",
                    f"{name}@{alias}",
                    "run it again: the gates compare with the current holder",
                )
            say(f"move {alias} to version {decision.version}")
            store.move(name, alias, decision.version)
        except RegistryError:
            history.finish(run_id, failed=True)
            raise
    history.finish(run_id)
    return replace(decision, run_id=run_id)


def notes_on(
    stack: Sequence[Holder], holder: str | None, alias: str, config: Config
) -> tuple[str, ...]:
    """Return what no gate decides on and a reader should know."""
    notes = [f"environment.allow lets {package} differ: {why}"
             for package, why in config.environment.allow.items()]  # fmt: skip
    if stack and stack[-1].version != holder:
        notes.append(
            f"{alias} is at {holder or 'no version'}, but the history left it at "
            f"{stack[-1].version}: it was moved behind the history's back"
        )
    return tuple(notes)


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container's user may have no name.
        return "unknown"
