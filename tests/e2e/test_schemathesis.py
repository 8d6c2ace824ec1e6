"""The server against the OpenAPI document that it serves, by Schemathesis.

Requests are made from the document alone: those that it allows are answered, those
that it does not allow are refused, and no reply is one that it does not declare.
"""

from __future__ import annotations

import contextlib
import http.client
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

schemathesis = pytest.importorskip("schemathesis")
checks = pytest.importorskip("schemathesis.specs.openapi.checks")

pytestmark = [
    pytest.mark.e2e,
    # Schemathesis' own, on what it can serialize.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

COLUMNS = ("order", "shop", "price", "weight", "colour", "visits", "member", "note", "placed")
# What the schema of a JSON body cannot say, by the code and the rules of its refusal;
# of a `dataframe_split` it says neither what its values are nor how many labels.
UNSAYABLE_CODES = {"ragged", "contract_violation"}
UNSAYABLE_OF_SPLIT = UNSAYABLE_CODES | {"bad_shape"}
UNSAYABLE_RULES = {"datetime", "zone", "unicode", "finite"}
# Whether a body should be answered, which the tests know better than the document.
JUDGED_HERE = [checks.positive_data_acceptance, checks.negative_data_rejection]


@pytest.fixture(scope="module")
def server(serve_for_module: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return serve_for_module(tmp_path_factory.mktemp("schemathesis"))


@pytest.fixture(scope="module")
def document(server: Any) -> dict[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    with contextlib.closing(connection):
        connection.request("GET", "/openapi.json")
        response = connection.getresponse()
        assert response.getheader("content-type") == "application/json"
        return json.loads(response.read())


@pytest.fixture(scope="module")
def schema(document: dict[str, Any], server: Any) -> Any:
    loaded = schemathesis.openapi.from_dict(json.loads(json.dumps(document)))
    loaded.config.update(base_url=f"http://127.0.0.1:{server.port}")
    return loaded


def steady(n_examples: int) -> Any:
    return settings(
        max_examples=n_examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


def test_the_document_is_openapi(schema: Any, document: dict[str, Any]) -> None:
    schema.validate()
    assert set(document["components"]["schemas"]["Row"]["properties"]) == set(COLUMNS)
    declared = set(document["paths"]["/invocations"]["post"]["responses"])
    assert declared == {"200", "400", "401", "408", "413", "415", "422", "500", "503", "504"}


def predict(schema: Any, mode: Any) -> Any:
    operation = schema["/invocations"]["POST"]
    # CSV and Parquet are texts and bytes to OpenAPI; they have tests of their own.
    kept = [b for b in operation.body if b.media_type == "application/json"]
    assert len(kept) == 1
    operation.body.items[:] = kept
    return operation.as_strategy(generation_mode=mode)


def test_what_the_document_allows_is_answered(schema: Any) -> None:
    seen: dict[str, int] = {}

    @steady(150)
    @given(case=predict(schema, schemathesis.GenerationMode.POSITIVE))
    def positive(case: Any) -> None:
        response = case.call()
        case.validate_response(response, excluded_checks=JUDGED_HERE)
        said = response.json()
        seen[said.get("code", "answered")] = seen.get(said.get("code", "answered"), 0) + 1
        if response.status_code == 200:
            return
        if "dataframe_split" in case.body:
            assert said["code"] in UNSAYABLE_OF_SPLIT, said
            return
        assert said["code"] in UNSAYABLE_CODES, said
        for violation in said.get("violations", []):
            # That a moment lies within its bounds, no schema says.
            bounds = {"min", "max"} if violation["column"] == "placed" else set()
            assert violation["rule"] in UNSAYABLE_RULES | bounds, said

    positive()
    assert seen.get("answered", 0) > 30, seen


def test_what_it_does_not_allow_is_refused(schema: Any) -> None:
    seen: dict[str, int] = {}

    @steady(150)
    @given(case=predict(schema, schemathesis.GenerationMode.NEGATIVE))
    def negative(case: Any) -> None:
        response = case.call()
        case.validate_response(response, excluded_checks=JUDGED_HERE)
        said = response.json()
        # Of no rows nothing was asked, and nothing is answered.
        if said != {"predictions": []}:
            assert 400 <= response.status_code < 500, (case.body, said)
        assert len(response.content) < 4_096
        code = said.get("code", "answered")
        seen[code] = seen.get(code, 0) + 1

    negative()
    assert len(seen) >= 4, seen


@pytest.mark.parametrize("path", ["/ready", "/contract", "/metrics"])
def test_what_an_operator_asks(schema: Any, path: str) -> None:
    @steady(3)
    @given(case=schema[path]["GET"].as_strategy())
    def ask(case: Any) -> None:
        response = case.call()
        assert response.status_code == 200
        case.validate_response(response)

    ask()
