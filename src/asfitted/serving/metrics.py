"""What an operator's Prometheus scrapes; right with several workers."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from asfitted.scoring import FittedModel

_FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_PREFIX = "asfitted-metrics-"


def _share_among_workers() -> None:
    """Let the workers of one server add up what they count.

    The client decides where it counts when it is first imported, by this
    variable; workers of one uvicorn are children of one process.
    """
    inherited = Path(os.environ.get(_FOLDER_VARIABLE, _PREFIX)).name
    if inherited.startswith(_PREFIX):
        # Of no one, or of a server that has started this one.
        name = f"{_PREFIX}{os.getuid()}-{os.getppid()}-{_born(os.getppid())}"
        folder = Path(tempfile.gettempdir()) / name
        folder.mkdir(mode=0o700, exist_ok=True)
        os.environ[_FOLDER_VARIABLE] = str(folder)


def _born(pid: int) -> str:
    """Return when a process started, so that a reused pid is another name."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return "0"


_share_among_workers()

from prometheus_client import (  # noqa: E402  reads the variable when it is imported
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
    multiprocess,
)
from prometheus_client.core import InfoMetricFamily  # noqa: E402

CONTENT_TYPE = CONTENT_TYPE_LATEST

# Upper bounds in seconds, from a fifth of a millisecond to MLflow's default timeout.
_SECONDS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1, 5, 20, 60)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

# What the process counts into; what is scraped is read from the files of all.
_own = CollectorRegistry()
REQUESTS = Counter(
    "asfitted_requests", "Requests to /invocations by status.", ["status"], registry=_own
)
ROWS = Counter("asfitted_rows", "Rows answered.", registry=_own)
UNRECORDED = Counter(
    "asfitted_unrecorded_rows",
    "Of these, rows that are not on record: gaps that log.on_failure allows.",
    registry=_own,
)
REFUSALS = Counter("asfitted_refusals", "Requests not answered, by code.", ["code"], registry=_own)
STAGES = Histogram(
    "asfitted_stage_seconds",
    "Time by stage: read, conform, score, record, and a request's total.",
    ["stage"],
    buckets=_SECONDS,
    registry=_own,
)
BATCH_ROWS = Histogram("asfitted_batch_rows", "Rows scored together.", buckets=_ROWS, registry=_own)


def exposition(model: FittedModel) -> bytes:
    """Return the text that Prometheus reads: all workers' counts, and which model answers."""
    everything = CollectorRegistry()
    multiprocess.MultiProcessCollector(everything)
    everything.register(_Info(model))
    return generate_latest(everything)


class _Info:
    """The model as an info metric; collected afresh, since it is one however many workers."""

    def __init__(self, model: FittedModel) -> None:
        self.model = model

    def collect(self) -> Iterator[Any]:
        identity = self.model.identity
        info = InfoMetricFamily("asfitted_model", "Which model answers.")
        info.add_metric(
            [],
            {
                "name": identity.name,
                "version": identity.version,
                "digest": identity.digest,
                "contract": self.model.contract.digest,
            },
        )
        yield info
