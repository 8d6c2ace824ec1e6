"""From one scoring call to the rows that go on record."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any

import numpy as np
import pandas as pd

from asfitted.contract import Conformed, DataContract
from asfitted.errors import ContractViolation, OutputViolation, RecordError
from asfitted.prediction_log import Batch, FieldPolicy, Journal

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Identity:
    """Which model answers.

    Attributes
    ----------
    name, version : str
        Of the registered model; version is "" for a model that is in no registry.
    digest : str
        The artifact's root digest.
    """

    name: str = ""
    version: str = ""
    digest: str = ""


@dataclass(frozen=True)
class Entries:
    """What goes on record of each row: lists of length n_rows."""

    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    findings: list[list[dict[str, str]]]
    keys: list[dict[str, Any]]

    def part(self, start: int, stop: int) -> Entries:
        """Return those of the rows from `start` to before `stop`."""
        rows = slice(start, stop)
        return Entries(self.inputs[rows], self.outputs[rows], self.findings[rows], self.keys[rows])


@dataclass(frozen=True)
class Recorder:
    """Puts answers on record, durably, before they are given.

    Attributes
    ----------
    journal : Journal
    policy : FieldPolicy
        Applied before anything is written.
    identity : Identity
    source : "serve", "batch", "spark" or "inprocess"
    marks : tuple of dict
        Findings of every row, such as an environment that differs by permission.
    """

    journal: Journal
    policy: FieldPolicy
    identity: Identity
    source: str
    marks: tuple[dict[str, str], ...] = field(default=())

    def answered(
        self,
        contract: DataContract,
        conformed: Conformed,
        outputs: pd.DataFrame,
        received_at: datetime,
        latency_us: int,
    ) -> list[str]:
        """Record one scoring call; return the prediction ids when they are durable.

        Raises
        ------
        RecordError
            The answer must not be given then.
        """
        entries = self.entries(contract, conformed, outputs)
        return self.journal.append(self.batch(contract, entries, received_at, latency_us))

    def entries(
        self, contract: DataContract, conformed: Conformed, outputs: pd.DataFrame
    ) -> Entries:
        """Return what is to be recorded of each row, with the field policy applied."""
        inputs, keys = received(contract, conformed)
        findings: list[list[dict[str, str]]] = [list(self.marks) for _ in range(len(outputs))]
        for finding in conformed.findings:
            for row in finding.rows:
                findings[row].append({"column": finding.column, "rule": finding.rule})
        if self.policy.fields:
            inputs = [self.policy.apply(row) for row in inputs]
            keys = [self.policy.apply(row) for row in keys]
        return Entries(inputs, records(outputs), findings, keys)

    def batch(
        self,
        contract: DataContract,
        entries: Entries,
        received_at: datetime,
        latency_us: int,
        request_id: str = "",
        batch_id: str = "",
    ) -> Batch:
        """Return the record of one call."""
        return Batch(
            request_id=request_id or uuid.uuid4().hex,
            batch_id=batch_id or uuid.uuid4().hex,
            received_at=received_at,
            scored_at=datetime.now(timezone.utc),
            model_name=self.identity.name,
            model_version=self.identity.version,
            model_digest=self.identity.digest,
            contract_digest=contract.digest,
            inputs=entries.inputs,
            outputs=entries.outputs,
            findings=entries.findings,
            keys=entries.keys,
            params={},
            latency_us=latency_us,
            source=self.source,  # type: ignore[arg-type]
        )

    def refused(
        self,
        error: BaseException,
        n_rows: int | None,
        received_at: datetime,
        request_id: str = "",
    ) -> None:
        """Record that a request was refused, and why; a refusal is given all the same."""
        told = isinstance(error, (ContractViolation, OutputViolation))
        violations = error.violations if told else ()  # type: ignore[attr-defined]
        try:
            self.journal.append_refusal(
                request_id=request_id or uuid.uuid4().hex,
                received_at=received_at,
                model_name=self.identity.name,
                model_version=self.identity.version,
                model_digest=self.identity.digest,
                code=getattr(error, "code", "internal"),
                n_rows=n_rows,
                violations=[replace(v, column=v.known_column) for v in violations],
                source=self.source,
            )
        except RecordError:
            logger.exception("a refusal could not be recorded")


def received(
    contract: DataContract, conformed: Conformed
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return what the caller sent, typed, as (inputs, keys): one dict per row.

    A default that was filled in is null here, a mapped category what it was: the
    findings say what the pipeline saw, and conforming this again gives that.
    """
    columns: dict[str, list[Any]] = {}
    for frame in (conformed.frame, conformed.keys):
        for name in frame.columns:
            columns[str(name)] = _json_values(frame[name], contract.columns[str(name)].kind)
    for finding in conformed.findings:
        if finding.rule not in {"filled", "unknown_category"}:
            continue
        sent = [None] * len(finding.rows)
        if finding.received is not None:
            sent = finding.received.tolist()
        for row, value in zip(finding.rows.tolist(), sent, strict=True):
            columns[finding.column][row] = value
    keys = {name: columns.pop(name) for name in contract.keys if name in columns}
    n_rows = len(conformed.frame)
    return _rows(columns, n_rows), _rows(keys, n_rows)


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a frame of numbers and labels as one dict of Python values per row."""
    return _rows({str(name): frame[name].tolist() for name in frame.columns}, len(frame))


def _rows(columns: Mapping[str, list[Any]], n_rows: int) -> list[dict[str, Any]]:
    if not columns:
        return [{} for _ in range(n_rows)]
    names = list(columns)
    return [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _json_values(series: pd.Series[Any], kind: str) -> list[Any]:
    """Return a conformed column as JSON has it: null for missing, ISO 8601 for moments."""
    held = series.array
    if isinstance(held, pd.Categorical):
        labels = [*held.categories.tolist(), None]
        return [labels[code] for code in held.codes.tolist()]
    values = series.to_numpy()
    if kind == "datetime":
        moments = values.astype("datetime64[us]")
        listed = np.datetime_as_string(moments, unit="us", timezone="UTC").tolist()
        return _with_nulls(listed, np.isnat(moments))
    if values.dtype.kind != "f":
        # Only a key of text may miss here; everything else has its default by now.
        return [None if value is None or value != value else value for value in values.tolist()]
    missing = np.isnan(values)
    if kind == "number":
        return _with_nulls(values.tolist(), missing)
    whole = np.where(missing, 0, values).astype("bool" if kind == "boolean" else "int64")
    return _with_nulls(whole.tolist(), missing)


def _with_nulls(listed: list[Any], missing: np.ndarray[Any, Any]) -> list[Any]:
    if not missing.any():
        return listed
    return [None if gone else value for value, gone in zip(listed, missing, strict=True)]
