"""Bad requests of every class, as data, against the real server.

``requests.jsonl`` holds one request a line: its body, what status and code it must
get. Each is sent between good ones, which must be answered as before.
"""

from __future__ import annotations

import base64
import http.client
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import asfitted

pytestmark = pytest.mark.e2e

HERE = Path(__file__).parent
REQUESTS = [json.loads(line) for line in (HERE / "requests.jsonl").read_text().splitlines()]

CONTRACT = """
schema_version: 1
keys: [id]
extra_columns: refuse
limits: {rows: 1000, bytes: 5000000}
columns:
  id: {kind: text}
  n: {kind: number, min: 0, max: 100}
  m: {kind: number, missing: pass}
  i: {kind: integer}
  j: {kind: integer, missing: pass}
  b: {kind: boolean}
  c: {kind: boolean, missing: pass}
  cat: {kind: category, categories: [x, y, "NA"]}
  catm: {kind: category, categories: [p, q], missing: pass, unknown: missing}
  code: {kind: category, categories: [1, 2, 3]}
  txt: {kind: text, max_length: 50, missing: {fill: ""}}
  when: {kind: datetime, min: "2000-01-01", max: "2100-01-01"}
"""

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
    rng = np.random.default_rng(0)
    n = 200
    X = pd.DataFrame(
        {
            "id": [f"k{i}" for i in range(n)],
            "n": rng.uniform(0, 100, n),
            "m": np.where(rng.random(n) < 0.2, np.nan, rng.normal(size=n)),
            "i": rng.integers(0, 9, n),
            "j": np.where(rng.random(n) < 0.2, np.nan, rng.integers(0, 9, n)),
            "b": rng.random(n) < 0.5,
            "c": rng.choice(np.array([True, False, None]), n),
            "cat": rng.choice(["x", "y", "NA"], n),
            "catm": rng.choice(np.array(["p", "q", None]), n),
            "code": rng.integers(1, 4, n),
            "txt": rng.choice(["hello there", "good bye", "see you"], n),
            "when": pd.date_range("2013-01-01", periods=n, freq="h"),
        }
    )
    contract = asfitted.DataContract.from_yaml(CONTRACT)
    steps = [
        ("categories", asfitted.Dummies(), ["cat", "catm", "code"]),
        ("numbers", SimpleImputer(), ["n", "m", "i", "j", "b", "c"]),
        ("text", TfidfVectorizer(), "txt"),
    ]
    pipeline = make_pipeline(
        asfitted.Conform(contract), ColumnTransformer(steps), LogisticRegression(max_iter=1000)
    )
    pipeline.fit(X, rng.choice(["no", "yes"], n))
    folder = tmp_path_factory.mktemp("hostile") / "model"
    asfitted.save_model(pipeline, folder, reference=X, name="hostile", predict_fn="both")
    return folder


@pytest.fixture(scope="module")
def server(model: Path, serve_for_module: Any) -> Any:
    return serve_for_module(model.parent, model_uri=str(model))


def send(server: Any, request: dict[str, Any]) -> tuple[int, bytes]:
    body = request.get("body", "").encode("utf-8", "surrogatepass")
    if "body_base64" in request:
        body = base64.b64decode(request["body_base64"])
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        connection.request("POST", "/invocations", body, request["headers"])
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def good(server: Any) -> bytes:
    body = json.dumps({"dataframe_records": [GOOD]})
    status, answer = send(
        server, {"body": body, "headers": {"Content-Type": "application/json; charset=UTF-8"}}
    )
    assert status == 200, answer
    return answer


def test_each_is_refused_as_it_should(server: Any) -> None:
    before = good(server)
    wrong = []
    for request in REQUESTS:
        status, body = send(server, request)
        said = json.loads(body)
        problems = []
        if status != request["status"]:
            problems.append(f"status {status} instead of {request['status']}")
        if request["code"] not in {None, said.get("code")}:
            problems.append(f"code {said.get('code')} instead of {request['code']}")
        if len(body) > 4_000:
            problems.append(f"{len(body)} bytes of refusal")
        if re.search(rb"Traceback|site-packages|/tmp/|\.py\b|passwd|script>", body):
            problems.append("a trace, a path or an echo")
        if problems:
            wrong.append(f"{request['name']}: {'; '.join(problems)}: {body[:200]!r}")
    assert not wrong, "\n".join(wrong)
    assert good(server) == before


def test_the_log_agrees(server: Any) -> None:
    """Nothing that was refused stands there as answered, and what was refused stands there."""
    answered = len(asfitted.read_log(server.log))
    refused = len(asfitted.read_log(server.log, refused=True))
    good(server)
    for request in REQUESTS[:20]:
        send(server, request)
    assert len(asfitted.read_log(server.log)) == answered + 1
    assert len(asfitted.read_log(server.log, refused=True)) == refused + 20
    assert "hello" not in server.said(), "a cell's value in the server's own log"
