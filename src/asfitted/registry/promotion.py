"""Move an alias to a version, through the gates and on the record."""

from __future__ import annotations

from collections.abc import Callable

from asfitted.config import Config
from asfitted.errors import ConfigError
from asfitted.registry.decision import Decision, Evidence
from asfitted.registry.evidence import Gates, Say, gather
from asfitted.registry.gates import decide
from asfitted.registry.history import History, Row, holders
from asfitted.registry.moves import carry_out, checked_alias, new_decision, notes_on, silent
from asfitted.registry.store import Store


def promote(
    name: str, version: str, to: str | None, config: Config, dry_run: bool = False
) -> Decision:
    """Move the alias `to` to `version`, if every gate of the model passes.

    Parameters
    ----------
    name : str
        The registered model.
    version : str
        Its number, or ``latest``.
    to : str, optional
        The alias; by default the one that the configuration names for the model.
    dry_run : bool, default False
        Gather and decide, but neither move the alias nor keep the decision.

    Raises
    ------
    GateRefused
        A gate said no. The refusal is in the history, the alias where it was.
    ConfigError
        The configuration has no gates for the model.
    RegistryError
        No such model or version.
    StoreUnavailable
        MLflow's store does not answer.
    """
    decision = consider(name, version, to, config, dry_run)
    decision.raise_for_refusal()
    return decision


def consider(
    name: str,
    version: str,
    to: str | None,
    config: Config,
    dry_run: bool = False,
    say: Say = silent,
    store: Store | None = None,
    gathered: Callable[..., Evidence] = gather,
) -> Decision:
    """Do what `promote` does, but return a refusal instead of raising it."""
    gates = _gates(name, config)
    alias = checked_alias(_alias(name, to, config), name)
    store = store or Store()
    version = store.resolve(name, version)
    holder = store.aliases(name).get(alias)
    kept = History(store, name)
    evidence = gathered(store, name, version, holder, gates, config, say)
    decision = new_decision(
        name=name,
        action="promote",
        version=version,
        alias=alias,
        holder=holder,
        verdicts=decide(gates, evidence),
        evidence=evidence,
        notes=notes_on(holders(kept.rows(), alias, holder), holder, alias, config),
        dry_run=dry_run,
    )
    return decision if dry_run else carry_out(decision, store, kept, say)


def history(name: str) -> list[Row]:
    """Return every decision about the model's aliases, the oldest first.

    Raises
    ------
    RegistryError
        There is no such model and never was a decision about one.
    """
    store = Store()
    rows = History(store, name).rows()
    if not rows:
        store.aliases(name)
    return rows


def _gates(name: str, config: Config) -> Gates:
    """Return the model's gates; without any nothing is promoted, rather than everything."""
    gates = config.model(name).gates
    if gates:
        return gates
    where = str(config.path) if config.path else "no registry_config.yaml was found"
    mend = f"add\n\nmodels:\n  {name}:\n    gates:\n      - gate: proof\n"
    if name in config.models:
        mend = f"under models.{name}, add\n\n    gates:\n      - gate: proof\n"
    raise ConfigError(f"there are no gates for {name}, so nothing can pass them", where, mend)


def _alias(name: str, to: str | None, config: Config) -> str:
    alias = to or config.model(name).alias
    if alias is None:
        raise ConfigError(
            "promote to which alias?",
            str(config.path or ""),
            f"say it, with `--to champion` or as models.{name}.alias",
        )
    return alias
