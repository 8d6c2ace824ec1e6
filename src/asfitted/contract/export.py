"""The contract for other tools: JSON Schema of a row as it travels."""

from __future__ import annotations

from typing import Any

from asfitted.contract.column import EXACT, Column, Fill
from asfitted.contract.schema import DataContract

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_MOMENT = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+-]\d{2}:\d{2})?)?$"


def json_schema(contract: DataContract) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of one row.

    What JSON Schema cannot say, such as that a moment exists or the bounds of a
    datetime, is checked all the same.

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


def _column(column: Column) -> dict[str, Any]:
    schema = _kind(column)
    if column.may_miss:
        schema["type"] = [schema["type"], "null"]
        if "enum" in schema:
            schema["enum"] = [*schema["enum"], None]
    if isinstance(column.missing, Fill):
        schema["default"] = column.missing.fill
    if column.meaning or column.unit:
        unit = f" [{column.unit}]" if column.unit else ""
        schema["description"] = f"{column.meaning}{unit}".strip()
    return schema


def _kind(column: Column) -> dict[str, Any]:
    if column.kind == "boolean":
        return {"type": "boolean"}
    if column.kind == "text":
        return {"type": "string", "maxLength": column.max_length}
    if column.kind == "datetime":
        return {"type": "string", "pattern": _MOMENT}
    if column.kind == "category":
        schema: dict[str, Any] = {
            "type": "string" if isinstance(column.labels[0], str) else "integer"
        }
        if column.unknown == "refuse":
            schema["enum"] = list(column.categories)
        return schema
    schema = {"type": "number"}
    if column.kind == "integer":
        schema = {"type": "integer", "minimum": -EXACT, "maximum": EXACT}
    if column.min is not None:
        schema["minimum"] = column.min
    if column.max is not None:
        schema["maximum"] = column.max
    return schema
