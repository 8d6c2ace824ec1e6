"""Gather what the gates decide on, each model in processes of its own.

Loading a model runs the code it ships, and two models may ship different code under
one name; so no model is loaded here. Nothing in this file decides anything.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asfitted.config import CONFIG_VARIABLE, LOG_VARIABLE, Config, Holdout, MetricGate, ProofGate
from asfitted.errors import ConfigError, RegistryError
from asfitted.registry.decision import Evidence, Measurement, ModelEvidence, Proof
from asfitted.registry.store import Store

# Half an hour: a holdout of millions of rows ends well before, a model that hangs never.
TIMEOUT_S = 1800
_TAIL_LINES = 15

Say = Callable[[str], None]
Gates = Sequence[ProofGate | MetricGate]


@dataclass(frozen=True)
class Answer:
    """How a process ended: its exit code, the JSON object it printed, the end of its stderr."""

    exit_code: int | None
    printed: dict[str, Any] | None
    tail: str


Ask = Callable[[Sequence[str], Config], Answer]


def ask_process(arguments: Sequence[str], config: Config) -> Answer:
    """Run ``python ARGUMENTS`` where it sees the same configuration but an empty folder.

    Python puts the working directory first on its path: a ``features.py`` that lies
    there would be taken for the one that the model ships.
    """
    environment = dict(os.environ)
    paths = [part for part in environment.get("PYTHONPATH", "").split(os.pathsep) if part]
    environment["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, paths))
    environment[LOG_VARIABLE] = str(config.log_folder())
    environment.pop(CONFIG_VARIABLE, None)
    if config.path:
        environment[CONFIG_VARIABLE] = str(config.path)
    with tempfile.TemporaryDirectory(prefix="asfitted-evidence-") as empty:
        try:
            done = subprocess.run(
                [sys.executable, *arguments],
                cwd=empty,
                env=environment,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Answer(None, None, f"it was still running after {TIMEOUT_S} s")
    tail = "\n".join(done.stderr.strip().splitlines()[-_TAIL_LINES:])
    return Answer(done.returncode, _object_in(done.stdout), tail)


def _object_in(text: str) -> dict[str, Any] | None:
    """Return the JSON object that `text` is, or ends with if a model's code printed before it."""
    lines = text.strip().splitlines()
    starts = [0, *(n for n, line in enumerate(lines) if n and line.startswith("{"))]
    for start in starts:
        try:
            found = json.loads("\n".join(lines[start:]))
        except ValueError:
            continue
        return found if isinstance(found, dict) else None
    return None


def prove(path: Path, config: Config, ask: Ask = ask_process) -> Proof:
    """Let the model at `path` prove itself; whatever is not a clear yes is a no."""
    answer = ask(["-m", "asfitted", "prove", str(path), "--json"], config)
    said = answer.printed
    if said is None or (answer.exit_code == 0) is not (said.get("proved") is True):
        what = f"the process ended with {answer.exit_code} and no clear answer: {answer.tail}"
        return Proof(False, broken="process", what=what)
    if answer.exit_code not in {0, 3}:
        what = f"the process failed with {answer.exit_code}: {said.get('what') or answer.tail}"
        return Proof(False, broken="process", what=what)
    texts = {key: str(said.get(key) or "") for key in ("what", "where", "mend")}
    return Proof(
        proved=bool(said["proved"]), digest=said.get("digest"), broken=said.get("broken"), **texts
    )


def measure(
    path: Path, holdout: Holdout, metrics: Sequence[str], config: Config, ask: Ask = ask_process
) -> dict[str, Measurement]:
    """Score the model at `path` on the holdout; a Measurement for each of `metrics`."""
    data = str(config.resolve(holdout.data))
    command = ["-m", "asfitted.registry.holdout", str(path), data, holdout.target, *metrics]
    answer = ask(command, config)
    said = answer.printed or {}
    error = said.get("error")
    if answer.exit_code != 0 or "metrics" not in said:
        why = error["what"] if error else f"scoring ended with {answer.exit_code}: {answer.tail}"
        mend = error["mend"] if error else ""
        return {metric: Measurement(None, why=why, mend=mend) for metric in metrics}
    source = f"{said['n_rows']} rows of {holdout.data}"
    digests = said["data_digest"], said["model_digest"]
    found = {}
    for metric in metrics:
        value = said["metrics"].get(metric)
        why = "" if value is not None else said["problems"].get(metric, "it was not measured")
        found[metric] = Measurement(value, source, *digests, why=why)
    return found


def gather(
    store: Store,
    name: str,
    version: str,
    holder: str | None,
    gates: Gates,
    config: Config,
    say: Say = lambda text: None,
    ask: Ask = ask_process,
) -> Evidence:
    """Return the evidence on `version` and, where a gate compares, on the alias's `holder`.

    Raises
    ------
    ConfigError
        A gate names a holdout that is not there.
    """
    wanted = [gate for gate in gates if isinstance(gate, MetricGate)]
    for gate in wanted:
        if gate.holdout and not config.resolve(gate.holdout.data).is_file():
            raise ConfigError(
                f"the holdout {gate.holdout.data} is not there",
                str(config.resolve(gate.holdout.data)),
                "write it when the model is trained, or let the gate name another file",
            )
    compared = [gate for gate in wanted if gate.max_drop is not None]
    with ThreadPoolExecutor(max_workers=2) as pool:
        challenger = pool.submit(_on, store, name, version, wanted, True, config, say, ask)
        champion = None
        if holder is not None and compared:
            champion = pool.submit(_on, store, name, holder, compared, False, config, say, ask)
        return Evidence(challenger.result(), champion.result() if champion else None)


def _on(
    store: Store,
    name: str,
    version: str,
    gates: Sequence[MetricGate],
    prove_it: bool,
    config: Config,
    say: Say,
    ask: Ask,
) -> ModelEvidence:
    proof: Proof | None = None
    measured: dict[str, Measurement] = {}
    holdouts: dict[Holdout, list[MetricGate]] = {}
    for gate in gates:
        if gate.holdout is None:
            measured[gate.measured_by] = store.logged_metric(name, version, gate.metric)
        else:
            holdouts.setdefault(gate.holdout, []).append(gate)
    if not prove_it and not holdouts:
        return ModelEvidence(version, None, measured)
    with tempfile.TemporaryDirectory(prefix="asfitted-model-") as folder:
        unusable = ""
        try:
            say(f"download version {version}")
            path = store.download(name, version, Path(folder))
            if prove_it:
                say(f"let version {version} prove itself")
                proof = prove(path, config, ask)
                # What is broken is not scored: it would be refused once more for each gate.
                unusable = "" if proof.proved else "the model did not prove itself"
        except RegistryError as error:
            proof = Proof(False, broken="files", what=error.what, where=error.where)
            unusable = error.what
        for holdout, asking in holdouts.items():
            metrics = sorted({gate.metric for gate in asking})
            if unusable:
                found = {metric: Measurement(None, why=unusable) for metric in metrics}
            else:
                say(f"score version {version} on {holdout.data}")
                found = measure(path, holdout, metrics, config, ask)
            measured.update({gate.measured_by: found[gate.metric] for gate in asking})
    return ModelEvidence(version, proof, measured)
