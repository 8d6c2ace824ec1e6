"""Answers that were given without a record, because the operator chose so."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from asfitted.prediction_log.encode import encode_removal


def _now() -> datetime:
    return datetime.now(timezone.utc)


@dataclass(frozen=True)
class Gap:
    """Rows that were answered and are not on record.

    Attributes
    ----------
    rows : int
    reason : str
        Of the last of them.
    model_name, model_version : str
    since, until : aware datetime
        Of the first and the last answer.
    """

    rows: int
    reason: str
    model_name: str
    model_version: str
    since: datetime = field(default_factory=_now)
    until: datetime = field(default_factory=_now)

    @staticmethod
    def joined(earlier: Gap | None, later: Gap | None) -> Gap | None:
        """Return both as one."""
        if earlier is None or later is None:
            return earlier or later
        rows = earlier.rows + later.rows
        name, version = later.model_name, later.model_version
        return Gap(rows, later.reason, name, version, earlier.since, later.until)

    def row(self) -> tuple[Any, ...]:
        """Return the row of the table `removals` that declares it."""
        return encode_removal(
            removed_at=_now(),
            kind="gap",
            who=f"process {os.getpid()} on {socket.gethostname()}",
            model_name=self.model_name,
            model_version=self.model_version,
            condition={"since": self.since.isoformat(), "until": self.until.isoformat()},
            counts={"predictions": self.rows},
            gaps={},
            reason=self.reason,
        )
