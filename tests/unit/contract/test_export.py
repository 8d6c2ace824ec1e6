"""JSON Schema and OpenAPI of a row: what the contract allows, they allow."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import pandas as pd
import pytest
from contracts import contracts, frames
from hypothesis import given, settings
from hypothesis import strategies as st

from asfitted.contract import DataContract
from asfitted.contract.ecma import ecma
from asfitted.contract.export import json_schema, openapi

jsonschema_rs = pytest.importorskip("jsonschema_rs")


def column(rules: str) -> dict[str, Any]:
    contract = DataContract.from_yaml(f"columns: {{c: {{{rules}}}}}")
    return contract.json_schema()["properties"]["c"]


def allows(schema: dict[str, Any], value: Any) -> bool:
    return bool(jsonschema_rs.validator_for(schema).is_valid(value))


def _as_json(value: Any) -> Any:
    """Return what a caller would send for a cell."""
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return None
    return value.isoformat() if hasattr(value, "isoformat") else value


@settings(max_examples=settings().max_examples * 3)
@given(data=st.data())
def test_the_schema_is_never_stricter_than_the_contract(data: st.DataObject) -> None:
    contract = data.draw(contracts())
    frame = data.draw(frames(contract, others=["more"]))
    contract.conform(frame)
    schema = contract.json_schema()
    for row in frame.to_dict("records"):
        said = {name: _as_json(value) for name, value in row.items()}
        assert allows(schema, said), (said, schema)


@given(contract=contracts())
def test_it_is_a_schema_and_json(contract: DataContract) -> None:
    schema = json_schema(contract)
    jsonschema_rs.meta.validate(schema)
    assert json.loads(json.dumps(schema)) == schema
    document = openapi(contract)
    assert document["openapi"].startswith("3.1")
    row = document["components"]["schemas"]["Row"]
    assert {**row, "$schema": schema["$schema"]} == schema
    assert document["info"]["version"] == contract.digest[:12]


REFUSED = [
    ("kind: number, min: 0, max: 9", [-1, 9.5, "1", True, None], [0, 9, 1.5]),
    ("kind: integer, missing: pass", [1.5, 2**53, "1"], [None, 1, 1.0]),
    ("kind: boolean", [0, "true", None], [True]),
    ("kind: category, categories: [a, b]", ["c", 1, None], ["a"]),
    ("kind: category, categories: [1, 2], missing: pass", [3, "1", True], [1, None]),
    ("kind: category, categories: [a], unknown: other", [1, None], ["a", "z"]),
    ("kind: text, min_length: 2, max_length: 3", ["a", "abcd", 1, None], ["ab", "𝟎𝟎"]),
    ("kind: text", ["a\0", "\0"], ["", "a\nb"]),
    ("kind: text, missing: {fill: ''}", ["a\0"], [None, "a"]),
    ("kind: text, allow_nul: true", [1], ["a\0"]),
    ("kind: category, categories: [a], unknown: other", ["a\0"], ["z"]),
    ("kind: text, pattern: '[a-z]{2}', max_length: 9", ["a", "abc", "AB", " ab"], ["ab"]),
    ("kind: datetime", ["2020", "soon", 1], ["2020-01-01", "2020-01-01T00:00:00.5+02:00"]),
]


@pytest.mark.parametrize(("rules", "refused", "allowed"), REFUSED)
def test_what_the_schema_refuses(rules: str, refused: list[Any], allowed: list[Any]) -> None:
    schema = column(rules)
    assert [value for value in refused if allows(schema, value)] == []
    assert [value for value in allowed if not allows(schema, value)] == []


def test_columns_that_must_be_there_and_those_that_may() -> None:
    contract = DataContract.from_yaml(
        "keys: [id]\ncolumns: {id: {kind: text}, a: {kind: number, missing: {fill: 3}}, "
        "b: {kind: number}}"
    )
    schema = contract.json_schema()
    assert schema["required"] == ["id", "b"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["a"]["default"] == 3
    assert contract.model_copy(update={"extra_columns": "ignore"}).json_schema()[
        "additionalProperties"
    ]


def test_a_bound_of_many_digits_is_the_float_that_it_is_compared_as() -> None:
    schema = column(f"kind: number, max: {2**60}, min: {-(2**53) + 1}")
    assert type(schema["maximum"]) is float
    assert type(schema["minimum"]) is int
    # As text the float is a little larger, and must not be refused for it.
    assert allows(schema, json.loads(json.dumps(2.0**60)))
    assert not allows(schema, 2.0**61)


def test_what_people_said_is_in_the_description() -> None:
    assert column("kind: number") == {"type": "number"}
    said = column("kind: number, meaning: How far, unit: miles, why: {max: the antipode, min: x}")
    assert said["description"] == "How far [miles]\nmax: the antipode\nmin: x"
    said = column("kind: text, meaning: A word, pattern: '\\d+'")
    assert "pattern" not in said
    assert said["description"] == (
        "A word\nthe whole text matches Python's regular expression \\d+"
    )
    assert column("kind: text, pattern: 'a'") == {
        "type": "string",
        "maxLength": 1000,
        "pattern": "^(?:a)$",
    }


# Patterns.

TRANSLATED = [
    *(
        "a",
        "a|b",
        "ab|c",
        "abcd|abef",
        "",
        "a*",
        "a+?",
        "a{2}",
        "a{2,}",
        "a{,3}",
        "(?:ab){1,2}",
        "(ab)+c",
    ),
    *("(?P<word>[a-z]+)-(?P<more>x)?", r"[^a-c]", r"[\]\-^]", r"[a\-z]", "[^a]", r"\.\*\/", "-"),
    *(r"\s", r"\S*", r"[\s_]+", r"[^\s]", ".", ".*", r"\Aa\Z", "^a", "a$", "a$\n", r"\n\t\x00"),
    *("(?=a).b?", "(?!ab)[ab]+", "é", "[à-ü]", "𝟎", "(a|b|)c", "(?#said)a", r"\u2028", "x y'\""),
]
LEFT_OUT = [
    *(r"\d", r"\D", r"\w", r"\W", r"\bword\b", r"\B", r"[\da]", r"[^\S]", r"(a)\1"),
    *("(?P<x>a)(?P=x)", "(?i)a", "(?s).", "(?m)^a$", "(?x)a b", "(?a)a", "(?i:a)", "(?-i:a)"),
    *("(?<=a)b", "(?<!a)b", "(a)?(?(1)b|c)", "(a*)*", "(?=a)*b", r"\ud800"),
]
_TEXTS = st.text(
    st.sampled_from("aabbcxyz-_^].*/ \t\n\r\x1c\x85\xa0\u2028\ufeff0é𝟎ü٣'\""), max_size=4
)


@pytest.mark.parametrize("pattern", TRANSLATED)
@given(data=st.data())
def test_a_translated_pattern_means_the_same(pattern: str, data: st.DataObject) -> None:
    translated = ecma(pattern)
    assert translated is not None
    validator = jsonschema_rs.validator_for({"type": "string", "pattern": translated})
    good = st.from_regex(pattern, fullmatch=True, alphabet=st.characters(codec="utf-8"))
    text = data.draw(_TEXTS | good)
    assert validator.is_valid(text) == (re.fullmatch(pattern, text) is not None), translated


def test_a_dot_leaves_out_what_pythons_does() -> None:
    # ECMAScript's own leaves out \r, U+2028 and U+2029 too, which would be stricter.
    assert ecma("a.") == r"^(?:a[^\n])$"


@pytest.mark.parametrize("pattern", LEFT_OUT)
def test_a_pattern_that_is_left_out(pattern: str) -> None:
    re.compile(pattern)
    assert ecma(pattern) is None
    DataContract.from_yaml(json.dumps({"columns": {"c": {"kind": "text", "pattern": pattern}}}))


@pytest.mark.skipif("sys.version_info < (3, 11)", reason="Python 3.11 reads them first")
@pytest.mark.parametrize("pattern", ["a++", "a*+b", "(?>a|ab)c"])
def test_possessive_ones_are_left_out(pattern: str) -> None:
    re.compile(pattern)
    assert ecma(pattern) is None


def test_a_pattern_nested_very_deeply_is_left_out_or_translated() -> None:
    deep = "(?:" * 60 + "a" + ")" * 60
    translated = ecma(deep)
    assert translated is None or re.fullmatch(translated, "a")
