"""From one scoring call to the rows that go on record."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any

import numpy as np
import pandas as pd

from asfitted.contract import Conformed, DataContract
from asfitted.contract.moments import written
from asfitted.errors import ContractViolation, OutputViolation, RecordError, refusal_code
from asfitted.prediction_log import Batch, FieldPolicy, Journal
from asfitted.prediction_log.encode import encode_columns
from asfitted.prediction_log.json_rows import Column, listed

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
    """What goes on record of each row, as JSON: lists of length n_rows."""

    inputs: list[str]
    outputs: list[str]
    findings: list[str]
    keys: list[str]

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
    needs_record : bool, default True
        Whether what cannot be recorded is not answered. Without it, it is answered and
        declared in the log as a gap: the operator's choice, for servers.
    """

    journal: Journal
    policy: FieldPolicy
    identity: Identity
    source: str
    marks: tuple[dict[str, str], ...] = field(default=())
    needs_record: bool = True

    def can_record(self) -> bool:
        """Prove that the log can take a record.

        Returns
        -------
        bool
            False where it cannot, and answers do not need it.

        Raises
        ------
        RecordError
        """
        try:
            self.journal.check()
        except RecordError as error:
            if self.needs_record:
                raise
            logger.error("answers are given without a record: %s", error)
            return False
        return True

    def put(self, batches: Sequence[Batch]) -> list[list[str]]:
        """Put several calls on record in one append; return the prediction ids of each.

        Returns
        -------
        list of list of str
            Empty lists where the rows are not on record and may be answered all the same.

        Raises
        ------
        RecordError
            The answers must not be given then.
        """
        try:
            return self.journal.append_all(batches)
        except RecordError as error:
            if self.needs_record:
                raise
            rows = sum(len(batch.inputs) for batch in batches)
            logger.error("%d rows are answered and not on record: %s", rows, error)
            identity = self.identity
            self.journal.declare_gap(rows, error.what, identity.name, identity.version)
            return [[] for _ in batches]

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
        return self.put([self.batch(contract, entries, received_at, latency_us)])[0]

    def entries(
        self, contract: DataContract, conformed: Conformed, outputs: pd.DataFrame
    ) -> Entries:
        """Return what is to be recorded of each row, with the field policy applied."""
        n_rows = len(outputs)
        marks = list(map(_compact, self.marks))
        found: dict[int, list[str]] = {}
        for finding in conformed.findings:
            said = _compact({"column": finding.column, "rule": finding.rule})
            for row in finding.rows.tolist():
                found.setdefault(row, [*marks]).append(said)
        findings = [f"[{','.join(marks)}]"] * n_rows
        for row, several in found.items():
            findings[row] = f"[{','.join(several)}]"
        inputs, keys = map(self.policy.apply_columns, received(contract, conformed))
        answers = {str(name): _answers(outputs[name]) for name in outputs.columns}
        return Entries(
            encode_columns(inputs, n_rows, "inputs"),
            encode_columns(answers, n_rows, "outputs"),
            findings,
            encode_columns(keys, n_rows, "keys"),
        )

    def batch(
        self,
        contract: DataContract,
        entries: Entries,
        received_at: datetime,
        latency_us: int,
        request_id: str = "",
        batch_id: str = "",
        params: Mapping[str, Any] | None = None,
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
            params=dict(params or {}),
            latency_us=latency_us,
            source=self.source,  # type: ignore[arg-type]
        )

    def refused(
        self,
        error: BaseException,
        n_rows: int | None,
        received_at: datetime,
        request_id: str = "",
        refusal_id: str = "",
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
                code=refusal_code(error),
                n_rows=n_rows,
                violations=[replace(v, column=v.known_column) for v in violations],
                source=self.source,
                refusal_id=refusal_id,
            )
        except RecordError:
            logger.exception("a refusal could not be recorded")


def _compact(finding: dict[str, str]) -> str:
    return json.dumps(finding, separators=(",", ":"))


def received(
    contract: DataContract, conformed: Conformed
) -> tuple[dict[str, Column], dict[str, Column]]:
    """Return what the caller sent, typed, as (inputs, keys): a list or an array per column.

    A default that was filled in is null here, a mapped category what it was: the
    findings say what the pipeline saw, and conforming this again gives that.
    """
    columns: dict[str, Any] = {}
    for frame in (conformed.frame, conformed.keys):
        for name in frame.columns:
            columns[str(name)] = _json_values(frame[name], contract.columns[str(name)].kind)
    for finding in conformed.findings:
        if finding.rule not in {"filled", "unknown_category"}:
            continue
        sent = [None] * len(finding.rows)
        if finding.received is not None:
            sent = finding.received.tolist()
        values = columns[finding.column]
        if not (isinstance(values, np.ndarray) and values.dtype.kind == "f"):
            values = columns[finding.column] = listed(values)
        for row, value in zip(finding.rows.tolist(), sent, strict=True):
            values[row] = np.nan if value is None and isinstance(values, np.ndarray) else value
    keys = {name: columns.pop(name) for name in contract.keys if name in columns}
    return columns, keys


def _json_values(series: pd.Series[Any], kind: str) -> Column:
    """Return a conformed column as JSON has it: null for missing, ISO 8601 for moments.

    Numbers as a copy, NaN for missing; categories as they are.
    """
    held = series.array
    if isinstance(held, pd.Categorical):
        return held
    values = series.to_numpy()
    if kind == "datetime":
        return written(values)
    if kind == "number" or values.dtype.kind == "i":
        return values.copy()
    if values.dtype.kind != "f":
        # Only a key of text may miss here; everything else has its default by now.
        return [None if value is None or value != value else value for value in values.tolist()]
    missing = np.isnan(values)
    whole = np.where(missing, 0, values).astype("bool" if kind == "boolean" else "int64")
    return _with_nulls(whole.tolist(), missing)


def _answers(series: pd.Series[Any]) -> Column:
    values = series.to_numpy()
    if values.dtype.kind == "f":
        # Of fewer bits it would be written as what it is in those, and read as another number.
        return values.astype("float64")
    return values if values.dtype == "int64" else values.tolist()


def _with_nulls(listed: list[Any], missing: np.ndarray[Any, Any]) -> list[Any]:
    if not missing.any():
        return listed
    return [None if gone else value for value, gone in zip(listed, missing, strict=True)]
