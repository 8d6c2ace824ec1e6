"""Batches as a flight model would put them on record; also for child processes."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from asfitted.prediction_log import Batch, uuid7
from asfitted.prediction_log.encode import encode

__all__ = ["ONE_FLIGHT", "START", "batch", "child", "encode", "finished"]

START = datetime(2026, 11, 24, 10, 30, 0, 123456, tzinfo=timezone.utc)
ONE_FLIGHT = {
    "carrier": "UA",
    "origin": "EWR",
    "dest": "IAH",
    "tailnum": "N14228",
    "sched_dep": "2026-11-24T15:15:00Z",
    "distance": 1400,
    "temp": 39.02,
}


def batch(n_rows: int = 1, **changes: Any) -> Batch:
    """Return a batch of `n_rows` flights with the given attributes changed."""
    values: dict[str, Any] = {
        "request_id": uuid7(),
        "batch_id": uuid7(),
        "received_at": START,
        "scored_at": START + timedelta(microseconds=7001),
        "model_name": "flights",
        "model_version": "3",
        "model_digest": "sha256:" + "ab" * 32,
        "contract_digest": "sha256:" + "cd" * 32,
        "inputs": [{**ONE_FLIGHT, "distance": 100 + n} for n in range(n_rows)],
        "outputs": [{"prediction": 1, "probability_0": 0.2, "probability_1": 0.8}] * n_rows,
        "findings": [[] for _ in range(n_rows)],
        "keys": [{"flight": 1545 + n} for n in range(n_rows)],
        "params": {},
        "latency_us": 7001,
        "source": "serve",
    }
    return Batch(**{**values, **changes})


def child(script: str, *arguments: Any, **kwargs: Any) -> subprocess.Popen[str]:
    """Start a Python process that can import this module too."""
    here = str(Path(__file__).parent)
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", script, *map(str, arguments)],
        env={**os.environ, **kwargs.pop("env", {}), "PYTHONPATH": here},
        stdout=subprocess.PIPE,
        text=True,
        **kwargs,
    )


def finished(process: subprocess.Popen[str]) -> str:
    """Return what a child printed; it must have ended well."""
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0, out
    return out
