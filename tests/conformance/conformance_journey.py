"""There and back: models are saved in this process and answer in one fresh one per group."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import conformance_fresh
import pandas as pd
from conformance_cases import CASES, Case, rows, served, target

import asfitted
from asfitted.config import LOG_VARIABLE, Config

N_GROUPS = 2
_WAIT_S = 600


@dataclass(frozen=True)
class Seen:
    """One case, before and after the journey.

    Attributes
    ----------
    before : dict
        What the fitted pipeline says here: ``outputs`` of `FittedModel`, and
        ``predict``, ``predict_proba`` of scikit-learn.
    after : dict
        See `conformance_fresh.say`.
    root : Path
        The artifact.
    log : Path
        Where the fresh process recorded its answers.
    """

    name: str
    before: dict[str, Any]
    after: dict[str, Any]
    root: Path
    log: Path


def group_of(name: str) -> int:
    """Return which fresh process a case belongs to; each xdist worker makes one of them."""
    return list(CASES).index(name) % N_GROUPS


def made(folder: Path) -> dict[str, dict[str, Any]]:
    """Make the group at `folder`, or wait for the worker that does."""
    done = folder / "before.pkl"
    try:
        folder.mkdir()
    except FileExistsError:
        deadline = time.monotonic() + _WAIT_S
        while not done.exists():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{folder.name} was never made") from None
            time.sleep(0.2)
    else:
        before = _make(folder, int(folder.name.rpartition("-")[2]))
        partial = folder / "before.partial"
        partial.write_bytes(pickle.dumps(before))
        partial.rename(done)
    return pickle.loads(done.read_bytes())


def _make(folder: Path, group: int) -> dict[str, dict[str, Any]]:
    train, frame = rows(seed=1), served()
    made = {}
    for name, case in CASES.items():
        if group_of(name) != group:
            continue
        try:
            made[name] = _save(case, name, train, frame, folder)
        except Exception:
            made[name] = {"failed": traceback.format_exc()}
    saved = [name for name, before in made.items() if "failed" not in before]
    (folder / "rows.pkl").write_bytes(pickle.dumps((frame, rows(seed=4), saved)))
    command = [sys.executable, conformance_fresh.__file__, str(folder)]
    environment = {**os.environ, LOG_VARIABLE: str(folder / "log")}
    # Neither this folder nor the working directory lends the child a module.
    done = subprocess.run(
        [*command[:1], "-P", *command[1:]] if sys.version_info >= (3, 11) else command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        for name in saved:
            made[name] = {"failed": done.stderr}
    return made


def _save(
    case: Case, name: str, train: pd.DataFrame, frame: pd.DataFrame, folder: Path
) -> dict[str, Any]:
    prices = folder / "prices.csv"
    prices.write_text("shop,price\nnorth,2.5\nsouth,4.25\nother,1.0\n", encoding="utf-8")
    with asfitted.resources(prices=prices):
        pipeline = case.pipeline().fit(train, target(case.target, train))
        model = asfitted.FittedModel(pipeline)
        before: dict[str, Any] = {"outputs": model.outputs(frame)}
        methods = ("predict", "predict_proba")
        before["sklearn"] = {
            m: getattr(pipeline, m)(frame) for m in methods if hasattr(pipeline, m)
        }
        shipped = {"prices": prices} if name == "own_steps" else {}
        asfitted.save_model(
            pipeline,
            folder / name,
            reference=train,
            name=name,
            resources=shipped,
            config=Config(schema_version=1),
            **case.save,
        )
    # What follows must read the model's own copy.
    prices.unlink()
    return before
