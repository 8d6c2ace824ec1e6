"""Every door of a model: what a caller sends through it, and what comes back and is recorded."""

from __future__ import annotations

import asyncio
import csv
import datetime as dt
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from conformance_cases import CONTRACT

import asfitted
from asfitted.contract import DataContract
from asfitted.prediction_log import FieldPolicy, Journal, read_log
from asfitted.save._row_wise import plan
from asfitted.save._shortcuts import proved
from asfitted.scoring import Identity, Recorder, Scorer
from asfitted.scoring.scorer import unwrap
from asfitted.serving.app import App

Row = dict[str, Any]

# Python values of a row to a dtype of each family, by the kind of the contract.
_NUMPY = {
    "number": "float64",
    "integer": "int64",
    "boolean": "bool",
    "datetime": "datetime64[us, UTC]",
}
# What numpy holds such a column in where a value is missing.
_NUMPY_MISSING = {"integer": "float64", "boolean": object}
_NULLABLE = {
    "number": "Float64",
    "integer": "Int64",
    "boolean": "boolean",
    "text": "string",
    "datetime": "datetime64[us, UTC]",
}
_ARROW = {
    "number": pd.ArrowDtype(pa.float64()),
    "integer": pd.ArrowDtype(pa.int64()),
    "boolean": pd.ArrowDtype(pa.bool_()),
    "text": pd.ArrowDtype(pa.string()),
    "datetime": pd.ArrowDtype(pa.timestamp("us", tz="UTC")),
}
FAMILIES: dict[str, Mapping[str, Any]] = {
    "numpy": _NUMPY,
    "nullable": _NULLABLE,
    "arrow": _ARROW,
}


def kind_of(contract: DataContract, name: str) -> str:
    """Return the kind of a column; a list of categories is of the kind of its labels."""
    # A contract may ignore some columns of the other.
    column = contract.columns.get(name) or CONTRACT.columns[name]
    if column.kind != "category":
        return column.kind
    return "integer" if isinstance(column.categories[0], int) else "text"


def as_frame(rows: Sequence[Row], contract: DataContract, family: str) -> pd.DataFrame:
    """Return rows of Python values, None for missing, as a frame of one dtype family."""
    dtypes = FAMILIES[family]
    columns = {}
    for name in rows[0]:
        kind = kind_of(contract, name)
        values = [row[name] for row in rows]
        if kind == "number":
            values = [None if v is None else float(v) for v in values]
        if kind == "datetime":
            values = [None if v is None else _utc(v) for v in values]
        dtype = dtypes.get(kind, object)
        if family == "numpy" and None in values:
            dtype = _NUMPY_MISSING.get(kind, dtype)
        if kind == "datetime" and family == "arrow":
            columns[name] = pd.Series(pd.array(pa.array(values, pa.timestamp("us", "UTC")), dtype))
        else:
            columns[name] = pd.Series(values, dtype=dtype)
    return pd.DataFrame(columns)


def _utc(moment: dt.datetime) -> dt.datetime:
    return moment.astimezone(dt.timezone.utc)


def plain(value: Any) -> Any:
    """Return what JSON has for a value; a moment keeps its own offset."""
    return value.isoformat() if isinstance(value, dt.datetime) else value


def _json(shape: str) -> Callable[[Sequence[Row], DataContract], bytes]:
    def body(rows: Sequence[Row], contract: DataContract) -> bytes:
        names = list(rows[0])
        content: Any = [{n: plain(v) for n, v in row.items()} for row in rows]
        if shape == "dataframe_split":
            content = {"columns": names, "data": [list(row.values()) for row in content]}
        elif shape == "inputs":
            content = {n: [row[n] for row in content] for n in names}
        return json.dumps({shape: content}).encode()

    return body


def _csv(rows: Sequence[Row], contract: DataContract) -> bytes:
    def text(value: Any) -> str:
        if isinstance(value, bool):
            return "true" if value else "false"
        return "" if value is None else str(plain(value))

    stream = io.StringIO(newline="")
    writer = csv.writer(stream)
    writer.writerow(rows[0])
    writer.writerows([map(text, row.values()) for row in rows])
    return stream.getvalue().encode()


def _parquet(rows: Sequence[Row], contract: DataContract) -> bytes:
    types = {n: _ARROW[kind_of(contract, n)].pyarrow_dtype for n in rows[0]}
    columns = {}
    for n, t in types.items():
        values = [row[n] for row in rows]
        if t == pa.float64():
            values = [None if v is None else float(v) for v in values]
        columns[n] = pa.array(values, t)
    stream = io.BytesIO()
    pq.write_table(pa.table(columns), stream)
    return stream.getvalue()


FORMS: dict[str, tuple[str, Callable[[Sequence[Row], DataContract], bytes]]] = {
    **{
        shape: ("application/json", _json(shape))
        for shape in ("dataframe_split", "dataframe_records", "inputs", "instances")
    },
    "csv": ("text/csv", _csv),
    "parquet": ("application/vnd.apache.parquet", _parquet),
}


@dataclass(frozen=True)
class Request:
    """One request over HTTP; its id tells its records."""

    id: str
    content_type: str
    body: bytes


def request(id: str, form: str, rows: Sequence[Row], contract: DataContract) -> Request:
    """Return the request that sends `rows` in one of `FORMS`."""
    content_type, write = FORMS[form]
    return Request(id, content_type, write(rows, contract))


async def post(app: App, request: Request) -> Any:
    """Send one request as uvicorn does; return its predictions, or (status, code)."""
    parts = [{"type": "http.request", "body": request.body, "more_body": False}]
    sent: list[Any] = []

    async def receive() -> Any:
        if not parts:
            await asyncio.Event().wait()
        return parts.pop()

    async def send(message: Any) -> None:
        sent.append(message)

    given = {"content-type": request.content_type, "x-request-id": request.id}
    headers = [(name.encode(), value.encode()) for name, value in given.items()]
    scope = {"type": "http", "method": "POST", "path": "/invocations", "headers": headers}
    await app(scope, receive, send)
    said = json.loads(sent[1]["body"])
    return said["predictions"] if sent[0]["status"] == 200 else (sent[0]["status"], said["code"])


def bits(value: Any) -> Any:
    """Return `value` so that it is equal only where the last bits are, and the sign of a zero."""
    if isinstance(value, dict):
        return {name: bits(v) for name, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [bits(v) for v in value]
    return value.hex() if isinstance(value, float) else (type(value).__name__, value)


def rows_of(outputs: pd.DataFrame) -> list[Row]:
    """Return outputs as one dict of Python values per row; a float32 is the double that it is."""
    columns = {str(name): outputs[name].tolist() for name in outputs.columns}
    return [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]


async def _behind(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("this is for MLflow's own app")


@dataclass(frozen=True)
class House:
    """A model with all its doors, and one log behind them.

    Attributes
    ----------
    app : App
        Serves the model; its recorder is of the source ``serve``.
    inside : FittedModel
        The same model in process.
    """

    app: App
    inside: asfitted.FittedModel
    folder: Path

    @property
    def contract(self) -> DataContract:
        return self.inside.contract

    def together(self, requests: Sequence[Request]) -> list[Any]:
        """Send requests all at the same time; return each one's answer."""

        async def ask() -> list[Any]:
            return await asyncio.gather(*(post(self.app, request) for request in requests))

        return asyncio.run(ask())

    def in_turn(self, requests: Sequence[Request]) -> list[Any]:
        """Send requests one after the other; return each one's answer."""

        async def ask() -> list[Any]:
            return [await post(self.app, request) for request in requests]

        return asyncio.run(ask())

    def answer(self, row: Row) -> Any:
        """Return what a caller over HTTP gets for what the model says of a row."""
        if self.inside.predict_fn == "both":
            return {n: v for n, v in row.items() if n.startswith(("prediction", "probability"))}
        if "prediction" in row:
            return row["prediction"]
        return {n: v for n, v in row.items() if n.startswith("prediction")}

    def record(self) -> pd.DataFrame:
        """Return everything on record, in the order of the rows within each request."""
        return read_log(self.folder).sort_values(["request_id", "row"], kind="stable")


def noted(pipeline: Any, reference: pd.DataFrame) -> dict[str, Any]:
    """Return what saving notes of a fitted pipeline: how `FittedModel` is to run it."""
    scorer = Scorer(pipeline)
    conformed = scorer.contract.conform(reference, keys=False).frame
    scorer.whole_steps = plan(scorer.steps, conformed)
    return {"whole_steps": scorer.whole_steps, "shortcuts": proved(scorer, [conformed])}


@contextmanager
def opened(
    pipeline: Any, reference: pd.DataFrame, folder: Path, predict_fn: str = "predict"
) -> Iterator[House]:
    """Open all doors of a fitted pipeline; what is answered is recorded in `folder`.

    It runs as the saved model would, by what saving notes of `reference`.
    """
    pipeline = unwrap(pipeline)
    options = noted(pipeline, reference)
    identity = Identity("m", "1", "d" * 64)
    with Journal(folder) as journal:
        inside, served = (
            asfitted.FittedModel(
                pipeline,
                predict_fn=predict_fn,
                **options,
                identity=identity,
                recorder=Recorder(journal, FieldPolicy(), identity, source),
            )
            for source in ("inprocess", "serve")
        )
        yield House(App(served, _behind), inside, folder)


def as_rows(frame: pd.DataFrame) -> list[Row]:
    """Return the rows of a frame as Python values, None for missing."""
    columns = {}
    for name in frame.columns:
        values = frame[name].astype(object)
        columns[name] = [
            None if pd.isna(v) else v.to_pydatetime() if isinstance(v, pd.Timestamp) else v
            for v in (x.item() if isinstance(x, np.generic) else x for x in values)
        ]
    return [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]
