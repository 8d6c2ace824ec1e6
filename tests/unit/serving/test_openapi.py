"""The document says of each column what the contract says, in every shape."""

from __future__ import annotations

import json
from typing import Any

import pytest

import asfitted
from asfitted.contract import DataContract
from asfitted.serving.openapi import openapi

ODD = "a/b~c d%é"


def shapes(document: dict[str, Any]) -> dict[str, Any]:
    choices = document["components"]["schemas"]["Request"]["oneOf"]
    return {choice["required"][0]: choice["properties"] for choice in choices}


def resolve(document: dict[str, Any], schema: dict[str, Any]) -> Any:
    """Follow a reference as a reader of JSON pointers in URIs does."""
    from urllib.parse import unquote

    found: Any = document
    for part in schema["$ref"].removeprefix("#/").split("/"):
        found = found[unquote(part).replace("~1", "/").replace("~0", "~")]
    return found


def test_a_shape_takes_nothing_beside_it(model: asfitted.FittedModel) -> None:
    document = json.loads(json.dumps(openapi(model), allow_nan=False))
    assert set(shapes(document)) == {"dataframe_split", "dataframe_records", "inputs", "instances"}
    for choice in document["components"]["schemas"]["Request"]["oneOf"]:
        assert choice["additionalProperties"] is False
        assert set(choice["properties"]) == {*choice["required"], "params"}
    columns, rows = shapes(document)["inputs"]["inputs"]["anyOf"]
    assert columns["required"] == ["id"]
    assert columns["additionalProperties"] is False
    assert rows["minItems"] == 1
    assert {schema["maxItems"] for schema in columns["properties"].values()} == {50}
    for name, schema in columns["properties"].items():
        row = document["components"]["schemas"]["Row"]
        assert resolve(document, schema["items"]) == row["properties"][name]
    split = shapes(document)["dataframe_split"]["dataframe_split"]["properties"]
    assert split["columns"]["items"] == {"enum": ["id", "a", "c"]}
    assert split["columns"]["allOf"] == [{"contains": {"const": "id"}}]


def test_answers_are_those_of_the_model(model: asfitted.FittedModel) -> None:
    answer = openapi(model)["components"]["schemas"]["Answer"]["properties"]["predictions"]["items"]
    assert answer["required"] == ["prediction", "probability_False", "probability_True"]
    assert answer["properties"]["prediction"] == {"enum": [False, True]}
    model.predict_fn = "predict"
    answer = openapi(model)["components"]["schemas"]["Answer"]["properties"]["predictions"]["items"]
    assert answer == {"enum": [False, True]}


@pytest.mark.parametrize("path", ["/invocations", "/ready", "/contract", "/metrics"])
def test_every_route_says_what_it_refuses_with(model: asfitted.FittedModel, path: str) -> None:
    ((_, operation),) = openapi(model)["paths"][path].items()
    refusal = {"$ref": "#/components/schemas/Refusal"}
    for status, response in operation["responses"].items():
        if status != "200":
            assert response["content"] == {"application/json": {"schema": refusal}}
    assert "401" in operation["responses"]


def test_columns_of_any_name_and_extra_ones(model: asfitted.FittedModel) -> None:
    contract = DataContract.from_yaml(
        f"extra_columns: ignore\ncolumns: {{{json.dumps(ODD)}: {{kind: number, missing: pass}}}}"
    )

    class Other:
        """A model of another contract: all that the document asks of one."""

        identity, classes, predict_fn = model.identity, [], "predict"

    other: Any = Other()
    other.contract = contract
    document = openapi(other)
    columns, rows = shapes(document)["inputs"]["inputs"]["anyOf"]
    assert resolve(document, columns["properties"][ODD]["items"])["type"] == ["number", "null"]
    assert "minItems" not in rows
    assert columns["additionalProperties"]["type"] == "array"
    split = shapes(document)["dataframe_split"]["dataframe_split"]["properties"]
    assert split["columns"]["items"] == {"type": "string"}
    assert document["components"]["schemas"]["Answer"]["properties"]["predictions"]["items"] == {}
