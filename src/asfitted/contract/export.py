"""The contract for other tools: JSON Schema and OpenAPI of a row as it travels."""

from __future__ import annotations

from typing import Any

from asfitted.contract.column import EXACT, Column, Fill
from asfitted.contract.ecma import ecma
from asfitted.contract.schema import DataContract
from asfitted.contract.words import meaning, reasons

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_MOMENT = (
    r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
    r"([T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,6})?)?"
    r"(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])?)?$"
)
_WITHOUT_NUL = r"^[^\x00]*$"


def json_schema(contract: DataContract) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of one row.

    What the contract allows, the schema allows. What JSON Schema cannot say, such as
    that a moment exists, the bounds of a datetime or a row check, is checked all the same.

    Returns
    -------
    dict
        Of an object with one property per column, keys included.

    Examples
    --------
    >>> contract = DataContract.from_yaml(
    ...     "schema_version: 1\\ncolumns: {size: {kind: number, min: 0, missing: pass}}")
    >>> json_schema(contract)["properties"]["size"]
    {'type': ['number', 'null'], 'minimum': 0}
    """
    return {
        "$schema": DIALECT,
        "title": "A row of the data contract",
        "type": "object",
        "properties": {name: _column(column) for name, column in contract.columns.items()},
        "required": [name for name, column in contract.columns.items() if not column.may_miss],
        "additionalProperties": contract.extra_columns == "ignore",
    }


def openapi(contract: DataContract) -> dict[str, Any]:
    """Return an OpenAPI 3.1 document with the schema of a row, for other documents to refer to.

    A served model has a whole one of its own.

    Returns
    -------
    dict
        With the schema under ``components.schemas.Row``.

    Examples
    --------
    >>> contract = DataContract.from_yaml("columns: {size: {kind: boolean}}")
    >>> openapi(contract)["components"]["schemas"]["Row"]["required"]
    ['size']
    """
    row = json_schema(contract)
    del row["$schema"]
    return {
        "openapi": "3.1.0",
        "info": {"title": "Rows of a data contract", "version": contract.digest[:12]},
        "components": {"schemas": {"Row": row}},
    }


def _column(column: Column) -> dict[str, Any]:
    schema = _kind(column)
    if column.may_miss:
        schema["type"] = [schema["type"], "null"]
        if "enum" in schema:
            schema["enum"] = [*schema["enum"], None]
    if isinstance(column.missing, Fill):
        schema["default"] = column.missing.fill
    said = [meaning(column), *reasons(column.why)]
    if column.pattern is not None and "pattern" not in schema:
        said.append(f"the whole text matches Python's regular expression {column.pattern}")
    if any(said):
        schema["description"] = "\n".join(filter(None, said))
    return schema


def _kind(column: Column) -> dict[str, Any]:
    if column.kind == "boolean":
        return {"type": "boolean"}
    if column.kind == "text":
        text: dict[str, Any] = {"type": "string", "maxLength": column.max_length}
        if column.min_length:
            text["minLength"] = column.min_length
        pattern = None if column.pattern is None else ecma(column.pattern)
        if column.pattern is None and not column.allow_nul:
            pattern = _WITHOUT_NUL
        return text if pattern is None else {**text, "pattern": pattern}
    if column.kind == "datetime":
        return {"type": "string", "pattern": _MOMENT}
    if column.kind == "category":
        schema: dict[str, Any] = {
            "type": "string" if isinstance(column.labels[0], str) else "integer"
        }
        if column.unknown == "refuse":
            schema["enum"] = list(column.categories)
        elif schema["type"] == "string" and not column.allow_nul:
            schema["pattern"] = _WITHOUT_NUL
        return schema
    schema = {"type": "number"}
    if column.kind == "integer":
        schema = {"type": "integer", "minimum": -EXACT, "maximum": EXACT}
    if column.min is not None:
        schema["minimum"] = _bound(column.min)
    if column.max is not None:
        schema["maximum"] = _bound(column.max)
    return schema


def _bound(bound: Any) -> Any:
    """Return a bound as values are compared with it: one of many digits is a float's."""
    return float(bound) if abs(bound) > EXACT else bound
