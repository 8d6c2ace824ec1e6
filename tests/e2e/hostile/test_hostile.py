"""Bad requests of every class, as data, against the real server.

``requests.jsonl`` holds one request a line: its body, what status and code it must
get. Each is sent between good ones, which must be answered as before.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hostile_model import CONTRACT, REQUESTS, data, send, steps
from sklearn.pipeline import make_pipeline

import asfitted

pytestmark = pytest.mark.e2e

GOOD = {
    "id": "k1",
    "n": 1.5,
    "m": None,
    "i": 3,
    "j": None,
    "b": True,
    "c": None,
    "cat": "NA",
    "catm": "neither",
    "code": 2,
    "txt": "ohé <b>",
    "when": "2013-05-01T10:00:00Z",
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    X, y = data()
    contract = asfitted.DataContract.from_yaml(CONTRACT)
    pipeline = make_pipeline(asfitted.Conform(contract), *steps(asfitted.Dummies())).fit(X, y)
    folder = tmp_path_factory.mktemp("hostile") / "model"
    asfitted.save_model(pipeline, folder, reference=X, name="hostile", predict_fn="both")
    return folder


@pytest.fixture(scope="module")
def server(model: Path, serve_for_module: Any) -> Any:
    return serve_for_module(model.parent, model_uri=str(model))


def ask(server: Any, rows: list[dict[str, Any]]) -> bytes:
    body = json.dumps({"dataframe_records": rows})
    headers = {"Content-Type": "application/json; charset=UTF-8"}
    status, answer = send(server.port, {"body": body, "headers": headers})
    assert status == 200, answer
    return answer


def test_each_is_refused_as_it_should(server: Any) -> None:
    before = ask(server, [GOOD])
    wrong = []
    for request in REQUESTS:
        status, body = send(server.port, request)
        said = json.loads(body)
        problems = []
        if request["status"] is None:
            if not 400 <= status < 500:
                problems.append(f"status {status}")
        elif status != request["status"]:
            problems.append(f"status {status} instead of {request['status']}")
        elif status == 200 and body != ask(server, request["means"]):
            problems.append("not the answer to the rows that it means")
        if request["code"] not in {None, said.get("code")}:
            problems.append(f"code {said.get('code')} instead of {request['code']}")
        if len(body) > 4_000:
            problems.append(f"{len(body)} bytes of refusal")
        if re.search(rb"Traceback|site-packages|/tmp/|\.py\b|passwd|script>", body):
            problems.append("a trace, a path or an echo")
        if problems:
            wrong.append(f"{request['name']}: {'; '.join(problems)}: {body[:200]!r}")
    assert not wrong, "\n".join(wrong)
    assert ask(server, [GOOD]) == before


def test_the_log_agrees(server: Any) -> None:
    """Nothing that was refused stands there as answered, and what was refused stands there."""
    answered = len(asfitted.read_log(server.log))
    refused = len(asfitted.read_log(server.log, refused=True))
    ask(server, [GOOD])
    for request in REQUESTS[:20]:
        send(server.port, request)
    assert len(asfitted.read_log(server.log)) == answered + 1
    assert len(asfitted.read_log(server.log, refused=True)) == refused + 20
    assert "hello" not in server.said(), "a cell's value in the server's own log"


def test_the_corpus_is_in_order() -> None:
    names = [request["name"] for request in REQUESTS]
    assert len(set(names)) == len(names) > 400
    for request in REQUESTS:
        assert ("means" in request) == (request["status"] == 200)
        assert request["class"].startswith("good") == (request["status"] == 200)
