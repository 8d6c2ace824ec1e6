"""The server's OpenAPI document, from the contract."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from asfitted._version import __version__
from asfitted.contract import DataContract
from asfitted.contract.export import json_schema
from asfitted.errors import SHOWN_VIOLATIONS
from asfitted.scoring import FittedModel
from asfitted.scoring.outputs import PREDICTION, PROBABILITY
from asfitted.serving.replies import REQUEST_ID

Document = dict[str, Any]

_REFUSALS = {
    "400": "The body cannot be read.",
    "401": "A bearer token is needed.",
    "408": "The body did not arrive in time.",
    "413": "Too large, also once it is unpacked, or too many rows or columns.",
    "415": "A Content-Type or encoding that is not read.",
    "422": "The rows are not what the contract allows.",
    "500": "The model failed on these rows.",
    "503": "Too much in work, or the answer could not be recorded.",
    "504": "It took too long.",
}
_BODIES = """\
Rows in one of MLflow's four shapes, as CSV or as Parquet; gzip is read. What a schema \
cannot say is checked all the same: that the columns of `inputs` are of one length, what \
the values of `dataframe_split` are, that a moment exists and lies within its bounds."""


def openapi(model: FittedModel) -> Document:
    """Return the OpenAPI 3.1 document of a served model.

    What the schema of a JSON body does not allow is refused; what it allows is
    answered, except for the rules that no schema can say.
    """
    row = json_schema(model.contract)
    del row["$schema"]
    identity = model.identity
    return {
        "openapi": "3.1.0",
        "info": {
            "title": identity.name or "A model served by Asfitted",
            "version": identity.version or identity.digest[:12] or "unsaved",
            "description": f"Asfitted {__version__}, model {identity.digest}",
        },
        # A token is asked for only where the operator has set one.
        "security": [{}, {"bearer": []}],
        "paths": {
            "/invocations": {"post": _predict()},
            "/ready": {
                "get": {
                    "operationId": "ready",
                    "summary": "The model has proved itself and the log can be written",
                    "responses": {
                        "200": _json("Ready.", {"$ref": "#/components/schemas/Ready"}),
                        **_refusals("401", "503"),
                    },
                }
            },
            "/contract": {
                "get": _other(
                    "contract",
                    "What a row must be",
                    "object",
                    "application/yaml",
                    "application/json",
                )
            },
            "/metrics": {"get": _other("metrics", "For Prometheus", "string", "text/plain")},
        },
        "components": {
            "schemas": {
                "Row": row,
                "Request": _request(model.contract),
                "Answer": _answer(model),
                "Ready": _object({"ready": {"const": True}, "recording": {"type": "boolean"}}),
                "Refusal": _REFUSAL,
            },
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _object(properties: Document, optional: Document | None = None) -> Document:
    """Return the schema of an object that has these properties and no others."""
    return {
        "type": "object",
        "required": list(properties),
        "additionalProperties": False,
        "properties": {**properties, **(optional or {})},
    }


def _json(description: str, schema: Document) -> Document:
    return {
        "description": description,
        "headers": {REQUEST_ID: {"required": True, "schema": {"type": "string"}}},
        "content": {"application/json": {"schema": schema}},
    }


def _refusals(*statuses: str) -> Document:
    schema = {"$ref": "#/components/schemas/Refusal"}
    return {status: _json(_REFUSALS[status], schema) for status in statuses}


def _other(name: str, summary: str, kind: str, *media: str) -> Document:
    content = {one: {"schema": {"type": kind}} for one in media}
    return {
        "operationId": name,
        "summary": summary,
        "responses": {"200": {"description": summary, "content": content}, **_refusals("401")},
    }


def _predict() -> Document:
    return {
        "operationId": "predict",
        "summary": "Rows in, answers out, recorded before they leave",
        "requestBody": {
            "required": True,
            "description": _BODIES,
            "content": {
                "application/json": {"schema": {"$ref": "#/components/schemas/Request"}},
                "text/csv": {"schema": {"type": "string"}},
                "application/vnd.apache.parquet": {
                    "schema": {"type": "string", "format": "binary"}
                },
            },
        },
        "responses": {
            "200": _json("The answers, each on record.", {"$ref": "#/components/schemas/Answer"}),
            **_refusals(*_REFUSALS),
        },
    }


_ROWS = {"type": "array", "items": {"type": "integer", "minimum": 0}}
_VIOLATION = _object(
    {
        "column": {"type": "string"},
        "rule": {"type": "string"},
        "what": {"type": "string"},
        "rows": {**_ROWS, "maxItems": SHOWN_VIOLATIONS},
        "n_rows": {"type": "integer", "minimum": 0},
    }
)
_REFUSAL = _object(
    {
        "code": {"type": "string", "pattern": "^[a-z][a-z0-9_]*$"},
        "message": {"type": "string"},
        "request_id": {"type": "string"},
    },
    {
        "violations": {"type": "array", "maxItems": SHOWN_VIOLATIONS, "items": _VIOLATION},
        "n_violations": {"type": "integer", "minimum": 1},
    },
)


def _request(contract: DataContract) -> Document:
    params = _object({}, {"return_ids": {"type": "boolean"}})
    records = _records(contract)
    shapes = {
        "dataframe_records": records,
        "instances": records,
        "inputs": {"anyOf": [_columns(contract), records]},
        "dataframe_split": _split(contract),
    }
    return {
        "oneOf": [_object({shape: schema}, {"params": params}) for shape, schema in shapes.items()]
    }


def _needed(contract: DataContract) -> list[str]:
    return [name for name, column in contract.columns.items() if not column.may_miss]


def _records(contract: DataContract) -> Document:
    schema: Document = {
        "type": "array",
        "items": {"$ref": "#/components/schemas/Row"},
        "maxItems": contract.limits.rows,
    }
    # Of no rows nobody can tell which columns they have.
    return {**schema, "minItems": 1} if _needed(contract) else schema


def _columns(contract: DataContract) -> Document:
    """Return the schema of `inputs` by column."""
    row = "#/components/schemas/Row/properties/"
    some: Document = {"type": "array", "maxItems": contract.limits.rows}
    return {
        "type": "object",
        "required": _needed(contract),
        "additionalProperties": some if contract.extra_columns == "ignore" else False,
        "properties": {
            name: {**some, "items": {"$ref": row + _pointer(name)}} for name in contract.columns
        },
    }


def _pointer(name: str) -> str:
    """Return a column's name as a part of a JSON pointer in a URI."""
    return quote(name.replace("~", "~0").replace("/", "~1"), safe="~")


def _split(contract: DataContract) -> Document:
    names: Document = {"type": "array", "uniqueItems": True, "items": {"type": "string"}}
    if contract.extra_columns == "refuse":
        names["items"] = {"enum": list(contract.columns)}
    if needed := _needed(contract):
        names["allOf"] = [{"contains": {"const": name}} for name in needed]
    cell: Document = {}
    if contract.extra_columns == "refuse":
        cell = {"type": ["string", "number", "boolean", "null"]}
    label = {"type": ["string", "number", "boolean", "null"]}
    rows = contract.limits.rows
    return _object(
        {
            "columns": names,
            "data": {"type": "array", "maxItems": rows, "items": {"type": "array", "items": cell}},
        },
        {"index": {"type": ["array", "null"], "maxItems": rows, "items": label}},
    )


def _answer(model: FittedModel) -> Document:
    return _object(
        {"predictions": {"type": "array", "items": _one_answer(model)}},
        {"prediction_ids": {"type": "array", "items": {"type": "string"}}},
    )


def _one_answer(model: FittedModel) -> Document:
    """Return the schema of one row's answer: of a classifier with one target."""
    classes = model.classes
    if not all(isinstance(label, (str, int, float)) for label in classes):
        return {}
    label: Document = {"enum": classes}
    if model.predict_fn == "predict":
        return label if classes else {}
    chance = {"type": "number", "minimum": 0, "maximum": 1}
    probabilities = {f"{PROBABILITY}{label}": chance for label in classes}
    if model.predict_fn == "predict_proba":
        return _object(probabilities)
    return _object({PREDICTION: label, **probabilities})
