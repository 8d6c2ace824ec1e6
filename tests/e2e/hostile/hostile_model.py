"""The model that the corpus is sent to, and how a line of the corpus is sent.

A line of ``requests.jsonl``: ``name`` and ``class``; the request, as ``headers`` (an
object, or pairs where one is repeated), ``path`` and a body; and what it must get,
``status`` and ``code``, null where that is left open (any 4xx). A body is a text, or
``body_base64``, or ``parts``: texts, each with how often it is repeated. A good
request ``means`` these rows.
"""

from __future__ import annotations

import base64
import http.client
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

REQUESTS = [
    json.loads(line)
    for line in (Path(__file__).parent / "requests.jsonl").read_text("utf-8").splitlines()
]

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


def data(n: int = 200) -> tuple[pd.DataFrame, np.ndarray[Any, Any]]:
    """Return rows of every kind of column, and what to predict."""
    rng = np.random.default_rng(0)
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
    return X, rng.choice(["no", "yes"], n)


def steps(categories: Any) -> tuple[ColumnTransformer, LogisticRegression]:
    """Return what becomes of a row; the step for categories is each side's own."""
    units = ("datetime64[us]", "int64")
    moments = [FunctionTransformer(np.asarray, kw_args={"dtype": unit}) for unit in units]
    columns = ColumnTransformer(
        [
            ("categories", categories, ["cat", "catm", "code"]),
            ("numbers", SimpleImputer(), ["n", "m", "i", "j", "b", "c"]),
            ("text", TfidfVectorizer(), "txt"),
            ("when", make_pipeline(*moments, StandardScaler()), ["when"]),
        ]
    )
    return columns, LogisticRegression(max_iter=1000)


def body(request: dict[str, Any]) -> bytes:
    """Return the bytes of a request's body."""
    if "body_base64" in request:
        return base64.b64decode(request["body_base64"])
    parts = request.get("parts", [[request.get("body", ""), 1]])
    return b"".join(text.encode("utf-8", "surrogatepass") * times for text, times in parts)


def send(port: int, request: dict[str, Any], timeout_s: float = 60) -> tuple[int, bytes]:
    """Send a request to a server on this machine; return status and reply."""
    headers = request["headers"]
    pairs = headers.items() if isinstance(headers, dict) else headers
    content = body(request)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.putrequest("POST", request.get("path", "/invocations"))
        for name, value in [*pairs, ("Content-Length", str(len(content)))]:
            connection.putheader(name, value)
        connection.endheaders(content)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()
