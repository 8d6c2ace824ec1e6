"""What is dropped or hashed is in no byte that a server, a job or a sink leaves anywhere."""

from __future__ import annotations

import dataclasses
import json
import secrets
import struct
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from real_postgres import Postgres

from asfitted.prediction_log.shipper import Shipper
from asfitted.prediction_log.tables import TABLES

if TYPE_CHECKING:
    from conftest import Serve, Site

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.xdist_group("canary"),
    # MLflow asks SQLAlchemy for what the newest deprecates.
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:mlflow\..*"),
]

TEXT = f"canary{secrets.token_hex(8)}"
KEY = f"canary{secrets.token_hex(8)}"
NUMBER = 0.5 + secrets.randbelow(10**15) / 10**16
WHOLE = 10**15 + secrets.randbelow(10**15)
MOMENT = f"1987-06-05T04:03:{secrets.randbelow(60):02}.{secrets.randbelow(10**6):06}"
# Of a column that is kept: it must be found, or the search finds nothing.
KEPT = f"kept{secrets.token_hex(8)}"

CONFIG = {
    "schema_version": 1,
    "log": {"fields": {"born": "drop", "id": "hash"}},
    "models": {
        "people": {"fields": {
            "person": "drop", "name": "drop", "note": "hash", "income": "drop", "phone": "hash",
        }},
    },
}  # fmt: skip

STEPS = '''
"""A step that breaks, and says with what."""

from sklearn.base import BaseEstimator, TransformerMixin


class Length(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X):
        for text in X.iloc[:, 0]:
            if "explode" in text:
                raise ValueError(f"cannot read {text!r} of {X!r}")
        return X.iloc[:, [0]].map(len).to_numpy(float)
'''

TRAIN = """
import json, sys
import asfitted, numpy as np, pandas as pd
from people_steps import Length
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

contract = asfitted.DataContract.from_yaml('''
schema_version: 1
keys: [id, person]
columns:
  id: {kind: text}
  person: {kind: text}
  name: {kind: text}
  note: {kind: text, max_length: 100, missing: {fill: ""}}
  income: {kind: number, min: 0.25}
  phone: {kind: integer, missing: pass}
  born: {kind: datetime, max: 1999-01-01T00:00:00Z}
  kind: {kind: category, categories: [p, q], unknown: other}
  size: {kind: number}
''')
row = json.load(open("row.json"))
n, rng = 80, np.random.default_rng(0)
X = pd.DataFrame([row] * n)
X["income"] = np.where(np.arange(n) % 2, row["income"], rng.uniform(0.3, 1.0, n))
X["kind"] = rng.choice(["p", "q"], n)
X["size"] = rng.normal(size=n)
prep = ColumnTransformer([
    ("words", HashingVectorizer(n_features=16), "note"),
    ("length", Length(), ["name"]),
    ("kind", asfitted.Dummies(), ["kind"]),
    ("rest", SimpleImputer(strategy="constant"), ["income", "size"]),
])
pipeline = make_pipeline(asfitted.Conform(contract), prep, LogisticRegression())
pipeline.fit(X, X["size"] > 0)
asfitted.log_model(
    pipeline, name="people", reference=X, code_paths=["people_steps.py"],
    registered_model_name="people",
)
"""

ROW = {
    "id": KEY, "person": KEY, "name": TEXT, "note": TEXT, "income": NUMBER, "phone": WHOLE,
    "born": f"{MOMENT}Z", "kind": "p", "size": 0.5,
}  # fmt: skip


def needles() -> list[bytes]:
    """The values as texts and as the numbers of binary files."""
    born = int(np.datetime64(MOMENT, "us").astype("int64"))
    texts = [TEXT, KEY, repr(NUMBER), str(WHOLE), MOMENT, MOMENT.replace("T", " "), str(born)]
    numbers = [
        struct.pack(order + kind, value)
        for order in "<>"
        for kind, value in (("d", NUMBER), ("q", WHOLE), ("d", WHOLE), ("q", born))
    ]
    return [*(text.encode() for text in texts), *numbers]


def contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file, and what is in packed ones."""
    for path in folder.rglob("*"):
        if not path.is_file() or "inputs" in path.relative_to(folder).parts:
            continue
        yield str(path), path.read_bytes()
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as packed:
                for name in packed.namelist():
                    yield f"{path}!{name}", packed.read(name)
        if path.suffix == ".parquet":
            yield f"{path}!", repr(pq.read_table(path, partitioning=None).to_pydict()).encode()


def assert_nowhere(named: Any, *, but: str = "") -> set[str]:
    """Return the names of what was searched; `but` is allowed."""
    searched = set()
    for name, data in named:
        searched.add(name)
        for needle in set(needles()) - {but.encode()}:
            assert needle not in data, f"{needle!r} in {name}"
    return searched


@pytest.fixture(scope="module")
def people(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A model whose training rows, golden examples and requests all hold the values."""
    folder = tmp_path_factory.mktemp("canary") / "people"
    (folder / "inputs").mkdir(parents=True)
    (folder / "people_steps.py").write_text(STEPS)
    (folder / "registry_config.yaml").write_text(json.dumps(CONFIG))
    people = dataclasses.replace(site, folder=folder, model_uri="models:/people/1")
    (folder / "row.json").write_text(json.dumps(ROW))
    trained = subprocess.run(
        [sys.executable, "-c", TRAIN],
        cwd=folder, env=environment(people), capture_output=True, text=True,
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr[-3000:]
    (folder / "row.json").unlink()
    (folder / "said").write_text(trained.stdout + trained.stderr)
    return people


def environment(people: Site) -> dict[str, str]:
    return people.environment(people.folder) | {"ASFITTED_HASH_KEY": "the key of the tests"}


def bodies() -> list[tuple[int, bytes, str]]:
    """Return requests that are refused or break, as (status, body, type of content)."""

    def of(**changes: Any) -> bytes:
        rows = [ROW, {**ROW, **changes}]
        return json.dumps({"dataframe_records": rows}).encode()

    lacks = {name: value for name, value in ROW.items() if name != "size"}
    head = ",".join(ROW).encode()
    return [
        (400, of(size=TEXT), "application/json"),
        (400, of(note=TEXT * 20), "application/json"),
        (400, of(income=-NUMBER), "application/json"),
        (400, of(income=TEXT), "application/json"),
        (400, of(income=str(NUMBER)), "application/json"),
        (400, of(phone=WHOLE + 0.5), "application/json"),
        (400, of(phone=float(WHOLE) * 1e9), "application/json"),
        (400, of(born=f"2{MOMENT[1:]}Z"), "application/json"),
        (400, of(born=f"{MOMENT} {TEXT}"), "application/json"),
        (400, of(person=None), "application/json"),
        (400, of(id=[TEXT]), "application/json"),
        (400, of(name={"first": TEXT}), "application/json"),
        (400, json.dumps({"dataframe_records": [lacks]}).encode(), "application/json"),
        (400, json.dumps([ROW]).encode(), "application/json"),
        (400, of()[:-2], "application/json"),
        (400, b'{"dataframe_records": [' + TEXT.encode(), "application/json"),
        (400, head + b"\n" + TEXT.encode() + b",,,\n", "text/csv"),
        (400, head + b"\n" + b'"' + TEXT.encode(), "text/csv"),
        (400, b"PAR1" + TEXT.encode(), "application/vnd.apache.parquet"),
        (415, of(), "application/x-unknown"),
        (500, of(name=f"explode {TEXT}"), "application/json"),
    ]


def test_a_server_and_its_sinks(people: Site, serve: Serve, tmp_path: Path) -> None:
    server = serve(
        tmp_path,
        model_uri=people.model_uri,
        variables={
            "ASFITTED_HASH_KEY": "the key of the tests",
            "MLFLOW_TRACKING_URI": people.tracking_uri,
        },
    )
    good = {"dataframe_records": [ROW, {**ROW, "kind": KEPT, "note": None}]}
    wrong = bodies()
    said: list[tuple[str, bytes]] = []

    def ask(n: int) -> tuple[int, int]:
        status, body, kind = wrong[n % len(wrong)] if n % 3 else (200, json.dumps(good), "")
        content = body.encode() if isinstance(body, str) else body
        got, answer = server.ask(content, content_type=kind or "application/json")
        said.append((f"answer {n}", json.dumps(answer).encode()))
        return status // 100, got // 100

    # Many at once, so that good and bad ones meet in a batch.
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(ask, range(3 * len(wrong))))
    assert [got for _, got in statuses] == [wanted for wanted, _ in statuses]
    assert_nowhere(said)
    # While it is open, with what is in the write-ahead log only.
    assert any(name.endswith("-wal") for name in assert_nowhere(contents(server.log)))
    server.stop()
    assert any(KEPT.encode() in data for _, data in contents(server.log))
    with Postgres() as postgres, postgres.database() as database:
        for url in (f"sqlite:///{tmp_path}/sink.sqlite", str(tmp_path / "sink"), database):
            with Shipper(server.log, url, on_problem=pytest.fail) as shipper:
                assert shipper.ship() >= 3 * len(wrong)
        with postgres.connect(database) as connection:
            for table in TABLES:
                rows = connection.execute(f"SELECT t::text FROM {table} t").fetchall()
                assert rows or table not in {"predictions", "refusals"}
                assert_nowhere([(table, repr(rows).encode())])
    searched = assert_nowhere(contents(tmp_path))
    for wanted in ("sink.sqlite", ".parquet", "shipping.sqlite", server.output.name):
        assert any(wanted in name for name in searched), wanted
    assert len(server.said()) > 100


def score(people: Site, source: Path, target: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = ["-m", "asfitted", "score", people.model_uri, "--input", str(source)]
    return subprocess.run(
        [sys.executable, *command, "--output", str(target), *more],
        cwd=target.parent, env=environment(people) | {"ASFITTED_LOG": str(target.parent / "log")},
        capture_output=True, text=True,
    )  # fmt: skip


def test_a_batch_job(people: Site, tmp_path: Path) -> None:
    source = people.folder / "inputs" / "people.csv"
    rows = [ROW, {**ROW, "kind": KEPT}, {**ROW, "income": -NUMBER}, {**ROW, "born": TEXT}]
    people.as_csv(source, rows)
    done = score(people, source, tmp_path / "out.parquet", "--max-refused", "2")
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "out.refused.jsonl").read_text().splitlines()) == 2
    assert any(KEPT.encode() in data for _, data in contents(tmp_path / "log"))
    refused = score(people, source, tmp_path / "refused.csv")
    assert refused.returncode == 3
    outputs = [each.stdout + each.stderr for each in (done, refused)]
    assert_nowhere((f"output {n}", text.encode()) for n, text in enumerate(outputs))
    # The answers have the keys, for those who sent them; nothing else has.
    files = list(contents(tmp_path))
    assert_nowhere([(n, data) for n, data in files if "out.parquet" in n], but=KEY)
    assert_nowhere([(n, data) for n, data in files if "out.parquet" not in n])


@pytest.fixture
def broken(people: Site, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """A job whose model breaks, and says with what."""
    source = people.folder / "inputs" / "broken.csv"
    people.as_csv(source, [ROW, {**ROW, "name": f"explode {TEXT}"}])
    broken = score(people, source, tmp_path / "broken.parquet")
    assert broken.returncode not in {0, 3}
    assert_nowhere(contents(tmp_path))
    return broken


def test_a_batch_job_that_breaks(broken: subprocess.CompletedProcess[str]) -> None:
    said = broken.stdout + broken.stderr
    assert TEXT not in said


def test_the_model_and_the_tracking_store(people: Site) -> None:
    searched = assert_nowhere(contents(people.folder))
    for wanted in ("mlflow.db", "MLmodel", "golden", "said"):
        assert any(wanted in name for name in searched), wanted
