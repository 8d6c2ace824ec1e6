"""Whatever bytes come: rows that the contract allows, or a small refusal that shows nothing.

Each body is read a second time by `fuzz_oracle`, which is slow and simple: what it
finds good must be accepted with the same values, and nothing else.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fuzz_bodies import LENIENT, PARQUET, STRICT, Body, body
from fuzz_check import LARGEST_REPLY, LEAK, expected, read, run, run_on_all_cores
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import asfitted
from asfitted.contract import DataContract
from asfitted.errors import ContractViolation, RequestRefused
from asfitted.prediction_log import FieldPolicy, Journal
from asfitted.scoring import Identity, Recorder
from asfitted.serving.app import App

GROWTH_BYTES = 50_000_000


@pytest.mark.parametrize(("kind", "n_bodies"), [("j", 1200), ("c", 600), ("p", 600)])
def test_what_is_read_is_right_and_the_rest_is_refused(kind: str, n_bodies: int) -> None:
    tally = run(20_260_101, n_bodies, kind)
    assert not tally.wrong, "\n".join(tally.wrong)
    # That the bodies are neither all good nor all bad in one way.
    assert sum(tally.ends.values()) == n_bodies
    good = sum(n for end, n in tally.ends.items() if end.endswith(" good"))
    assert good > n_bodies / 10
    assert len(tally.ends) >= 5


def test_a_large_body_is_read_as_a_small_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asfitted.wire.json_body._LARGE", 0)
    tally = run(20_261_128, 800, "j")
    assert not tally.wrong, "\n".join(tally.wrong)


@pytest.mark.soak
def test_a_million_bodies() -> None:
    tallies = run_on_all_cores(1, 1_000_000)
    assert not [wrong for tally in tallies for wrong in tally.wrong]
    assert sum(sum(tally.ends.values()) for tally in tallies) >= 990_000
    assert max(tally.grown_bytes for tally in tallies) < GROWTH_BYTES


# -- through the app ------------------------------------------------------------------


def frame(contract: DataContract, n: int) -> pd.DataFrame:
    """Return rows that the contract allows, for a pipeline to be fitted on."""
    rng = np.random.default_rng(0)
    made: dict[str, Any] = {}
    for name, column in contract.columns.items():
        made[name] = {
            "number": lambda: rng.uniform(0, 100, n),
            "integer": lambda: rng.integers(0, 9, n),
            "boolean": lambda: rng.random(n) < 0.5,
            "text": lambda: [f"t{i}" for i in range(n)],
            "datetime": lambda: pd.date_range("2013-01-01", periods=n, freq="h", tz="UTC"),
            "category": lambda labels=column.categories: rng.choice(np.array(labels, object), n),
        }[column.kind]()
    return pd.DataFrame(made)


@pytest.fixture(params=[STRICT, LENIENT], ids=["strict", "lenient"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[App]:
    contract: DataContract = request.param
    X = frame(contract, 60)
    steps = [
        ("categories", asfitted.Dummies(), ["cat", "code"]),
        ("numbers", SimpleImputer(), ["n", "i", "b"]),
    ]
    pipeline = make_pipeline(
        asfitted.Conform(contract), ColumnTransformer(steps), LogisticRegression(max_iter=5000)
    ).fit(X, X["n"] > 50)
    with Journal(tmp_path / "log") as journal:
        recorder = Recorder(journal, FieldPolicy(), Identity("m", "1", "d" * 64), "serve")
        yield App(asfitted.FittedModel(pipeline, predict_fn="both", recorder=recorder), behind=None)


async def post(app: App, content: bytes, **headers: str) -> tuple[int, bytes]:
    """Send one request, its body in pieces."""
    cuts = [content[i : i + 700] for i in range(0, len(content), 700)] or [b""]
    messages = [
        {"type": "http.request", "body": part, "more_body": i + 1 < len(cuts)}
        for i, part in enumerate(cuts)
    ]
    sent: list[Any] = []

    async def receive() -> Any:
        if messages:
            return messages.pop(0)
        return await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    pairs = [(n.replace("_", "-").encode(), v.encode()) for n, v in headers.items()]
    scope = {"type": "http", "method": "POST", "path": "/invocations", "headers": pairs}
    await app(scope, receive, send)
    return sent[0]["status"], b"".join(message["body"] for message in sent[1:])


def unpacked(content: bytes) -> bytes | None:
    """Return what a gzip body holds, None where it is not one whole stream."""
    reader = zlib.decompressobj(wbits=31)
    try:
        plain = reader.decompress(content)
    except zlib.error:
        return None
    return plain if reader.eof and not reader.unused_data else None


def is_good(one: Body) -> bool:
    if one.media != PARQUET or one.table is not None:
        return expected(one) is not None
    try:
        read(one)
    except (RequestRefused, ContractViolation):
        return False
    return True


def never(text: str) -> Any:
    raise AssertionError(f"{text} is not JSON")


def test_through_the_app(app: App) -> None:
    """Status, size and content of every reply; gzip, whole and broken; and the log agrees."""
    rng, answered, refused = random.Random(5), 0, 0
    one = body(rng)
    while answered + refused < 400:
        one = body(rng)
        if one.contract is not app.model.contract:
            continue
        content, headers = one.content, {"content_type": one.media}
        good = len(content) <= one.contract.limits.bytes and is_good(one)
        if rng.random() < 0.3:
            headers["content_encoding"] = rng.choice(("gzip", "GZIP", "x-gzip"))
            content = gzip.compress(content, mtime=0)
            if rng.random() < 0.4:
                at = rng.randrange(len(content))
                content = content[:at] + bytes([rng.randrange(256)]) + content[at + 1 :]
            if rng.random() < 0.2:
                content += rng.choice((b"\0", content, b"more"))
            good = good and unpacked(content) == one.content
        elif rng.random() < 0.05:
            headers["content_encoding"] = rng.choice(("br", "deflate", "gzip, gzip", "x"))
            good = False
        status, said = asyncio.run(post(app, content, **headers))
        told = json.loads(said, parse_constant=never)
        assert (status == 200) == good, (status, said, headers, content)
        if good:
            n_rows = len(told["predictions"])
            answered += 1 if n_rows else 0
            refused += 0 if n_rows else 1
            assert one.media == PARQUET or n_rows == len(expected(one) or [])
        else:
            refused += 1
            assert 400 <= status < 500
            assert len(said) < LARGEST_REPLY
            assert not LEAK.search(said.decode()), said
    recorder = app.model.recorder
    assert recorder is not None
    log = asfitted.read_log(recorder.journal.folder)
    assert log["request_id"].nunique() == answered > 50
