"""The server's OpenAPI document, from the contract."""

from __future__ import annotations

from typing import Any

import pandas as pd

from asfitted._version import __version__
from asfitted.contract import DataContract
from asfitted.contract.export import json_schema
from asfitted.scoring import FittedModel
from asfitted.scoring.outputs import PROBABILITY

_REFUSALS = {
    "400": "The body cannot be read.",
    "401": "A bearer token is needed.",
    "413": "Too large, or too many rows.",
    "415": "A Content-Type or encoding that is not read.",
    "422": "The rows are not what the contract allows.",
    "500": "The model failed on these rows.",
    "503": "Too much in work, or the answer could not be recorded.",
    "504": "It took too long.",
}


def openapi(model: FittedModel) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of a served model."""
    row = json_schema(model.contract)
    del row["$schema"]
    identity = model.identity
    bodies = {
        "application/json": {"schema": {"$ref": "#/components/schemas/Request"}},
        "text/csv": {"schema": {"type": "string"}},
        "application/vnd.apache.parquet": {"schema": {"type": "string", "format": "binary"}},
    }
    answers = {
        "200": {
            "description": "The answers, each on record.",
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Answer"}}},
        }
    } | {status: _refusal(description) for status, description in _REFUSALS.items()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": identity.name or "A model served by Asfitted",
            "version": identity.version or identity.digest[:12],
            "description": f"Asfitted {__version__}, model {identity.digest}",
        },
        "paths": {
            "/invocations": {
                "post": {
                    "operationId": "predict",
                    "requestBody": {"required": True, "content": bodies},
                    "responses": answers,
                }
            }
        },
        "components": {
            "schemas": {
                "Row": row,
                "Request": _request(model.contract),
                "Answer": _answer(model),
                "Refusal": _REFUSAL,
            }
        },
    }


def _refusal(description: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Refusal"}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


_REFUSAL = {
    "type": "object",
    "required": ["code", "message", "request_id"],
    "properties": {
        "code": {"type": "string"},
        "message": {"type": "string"},
        "request_id": {"type": "string"},
        "violations": {"type": "array", "maxItems": 5, "items": {"type": "object"}},
        "n_violations": {"type": "integer"},
    },
}


def _request(contract: DataContract) -> dict[str, Any]:
    rows = {
        "type": "array",
        "items": {"$ref": "#/components/schemas/Row"},
        "maxItems": contract.limits.rows,
    }
    split = {
        "type": "object",
        "required": ["columns", "data"],
        "additionalProperties": False,
        "properties": {
            "columns": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
            "data": {"type": "array", "items": {"type": "array"}},
            "index": {"type": "array"},
        },
    }
    columns = {"type": "object", "additionalProperties": {"type": "array"}}
    shapes = {
        "dataframe_records": rows,
        "instances": rows,
        "inputs": {"anyOf": [columns, rows]},
        "dataframe_split": split,
    }
    params = {
        "type": "object",
        "additionalProperties": False,
        "properties": {"return_ids": {"type": "boolean"}},
    }
    return {
        "oneOf": [
            {
                "type": "object",
                "required": [shape],
                "additionalProperties": False,
                "properties": {shape: schema, "params": params},
            }
            for shape, schema in shapes.items()
        ]
    }


def _answer(model: FittedModel) -> dict[str, Any]:
    one: dict[str, Any] = {}
    if model.predict_fn != "predict":
        probabilities = {
            f"{PROBABILITY}{label}": {"type": "number", "minimum": 0, "maximum": 1}
            for label in model.classes
            if not isinstance(label, (list, pd.Series))
        }
        one = {"type": "object", "properties": probabilities}
    return {
        "type": "object",
        "required": ["predictions"],
        "properties": {
            "predictions": {"type": "array", "items": one},
            "prediction_ids": {"type": "array", "items": {"type": "string"}},
        },
    }
