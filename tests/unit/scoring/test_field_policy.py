"""What is never to be written in clear is in no byte of the artifact, nor of the log."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline

import asfitted
from asfitted.config import Config, Log, Model
from asfitted.prediction_log import read_log
from asfitted.prediction_log.fields import KEY_VARIABLE
from asfitted.scoring.loading import journal

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
    pytest.mark.filterwarnings("ignore:Series.values returning an ndarray that drops timezone"),
]

TEXT, NUMBER, WHOLE, MOMENT = "canary-7f3ae1", 0.728361954021, 7283619540217, "1987-06-05T04:03:02"
SECRET = {
    "name": "drop", "note": "hash", "income": "drop", "phone": "hash", "born": "drop", "id": "hash",
    "kind": "drop",
}  # fmt: skip
CONTRACT = asfitted.DataContract.from_yaml("""
schema_version: 1
keys: [id]
columns:
  id: {kind: text}
  name: {kind: text}
  note: {kind: text, missing: {fill: ""}}
  income: {kind: number, min: 0.25}
  phone: {kind: integer, missing: pass}
  born: {kind: datetime, max: 1999-01-01T00:00:00Z}
  kind: {kind: category, categories: [p, q], unknown: other}
  size: {kind: number}
""")


def make_rows(n_rows: int = 80) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "id": TEXT,
            "name": TEXT,
            "note": TEXT,
            # Neither the smallest nor the largest, which a scaler would keep.
            "income": np.where(np.arange(n_rows) % 2, NUMBER, rng.uniform(0.3, 1.0, n_rows)),
            "phone": WHOLE,
            "born": f"{MOMENT}.000123Z",
            "kind": rng.choice(["p", "q"], n_rows),
            "size": rng.normal(size=n_rows),
        }
    )


def needles() -> list[bytes]:
    born = np.datetime64(f"{MOMENT}.000123", "us").astype("int64")
    return [
        TEXT.encode(),
        repr(NUMBER).encode(),
        struct.pack("<d", NUMBER),
        str(WHOLE).encode(),
        struct.pack("<q", WHOLE),
        struct.pack("<d", WHOLE),
        MOMENT.encode(),
        MOMENT.replace("T", " ").encode(),
        struct.pack("<q", born),
        str(born).encode(),
    ]


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file below `folder`, and what is inside of packed ones."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file():
            found[str(path)] = path.read_bytes()
            if zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as packed:
                    found |= {f"{path}!{n}": packed.read(n) for n in packed.namelist()}
            if path.suffix == ".parquet":
                columns = pq.read_table(path).to_pydict()
                found[f"{path}!"] = repr(columns).encode() + b"".join(
                    struct.pack("<d", v)
                    for c in columns.values()
                    for v in c
                    if isinstance(v, float)
                )
    return found


def nowhere(folder: Path) -> None:
    files = contents(folder)
    assert files
    for name, data in files.items():
        for needle in needles():
            assert needle not in data, f"{needle!r} in {name}"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.setenv(KEY_VARIABLE, "a secret that stays the same")
    return Config(
        schema_version=1,
        log=Log(folder=str(tmp_path / "log"), fields={"born": "drop", "id": "hash"}),
        models={"people": Model(fields={k: v for k, v in SECRET.items() if k not in {"born"}})},
    )


def fitted(rows: pd.DataFrame, contract: asfitted.DataContract = CONTRACT) -> Pipeline:
    prep = ColumnTransformer(
        [
            ("words", HashingVectorizer(n_features=16), "note"),
            ("kind", asfitted.Dummies(), ["kind"]),
            ("rest", SimpleImputer(strategy="constant"), ["income", "size"]),
        ]
    )
    pipe = make_pipeline(asfitted.Conform(contract), prep, LogisticRegression())
    return pipe.fit(rows, rows["size"] > 0)


def saved(root: Path, config: Config | None) -> Path:
    rows = make_rows()
    asfitted.save_model(fitted(rows), root, reference=rows, name="people", config=config)
    return root


def answer_all(root: Path, config: Config) -> pd.DataFrame:
    model = asfitted.load_model(root, config=config)
    rows = make_rows()
    model.predict(rows)
    model.predict(rows.iloc[:1].assign(kind=TEXT, note=None))
    refused: Any
    for refused in ({"size": TEXT}, {"income": 0.0}, {"born": MOMENT + "garbage"}, {"phone": 1.5}):
        with pytest.raises(asfitted.ContractViolation):
            model.predict(rows.assign(**refused))
    folder = config.log_folder()
    log = read_log(folder)
    assert len(log) == 81
    assert len(read_log(folder, refused=True)) == 4
    nowhere(folder)
    journal(config).close()
    nowhere(folder)
    return log


def test_the_needles_would_be_found(tmp_path, config) -> None:
    plain = Config(schema_version=1, log=Log(folder=config.log.folder))
    root = saved(tmp_path / "open", plain)
    asfitted.load_model(root, config=plain).predict(make_rows())
    for folder in (root, plain.log_folder()):
        found = {n for n in needles() for data in contents(folder).values() if n in data}
        assert {TEXT.encode(), repr(NUMBER).encode(), str(WHOLE).encode()} <= found
    journal(plain).close()


def test_a_policy_of_the_model_travels_and_holds_everywhere(tmp_path, config) -> None:
    root = saved(tmp_path / "model", config)
    nowhere(root)
    # Whoever loads it need not know of the policy.
    unaware = Config(schema_version=1, log=Log(folder=config.log.folder))
    log = answer_all(root, unaware)
    first = log["inputs"][0]
    assert set(first) == {"note", "phone", "size"}
    assert first["note"].startswith("hmac-sha256:")
    assert first["phone"].startswith("hmac-sha256:")
    assert log["keys"][0]["id"] == first["note"]  # equal values stay equal
    assert log["inputs"][80]["note"] is None


@pytest.mark.parametrize("nested", [False, True])
def test_the_range_of_training_stays_behind(tmp_path, config, nested) -> None:
    seen = {"income": [0.25, NUMBER], "phone": [WHOLE, WHOLE], "born": [f"{MOMENT}.000123Z"] * 2}
    said = yaml.safe_load(CONTRACT.to_yaml())
    for name, ends in {**seen, "size": [-0.5, 0.5]}.items():
        said["columns"][name]["observed"] = ends
    # As `infer` writes it: a comment may quote a cell too.
    contract = asfitted.DataContract.from_yaml(f"# seen: {TEXT}\n{yaml.safe_dump(said)}")
    rows = make_rows()
    pipe = fitted(rows, contract)
    if nested:
        pipe = Pipeline([("all", Pipeline(pipe.steps[:2])), ("last", pipe.steps[2][1])])
    root = tmp_path / "model"
    asfitted.save_model(pipe, root, reference=rows, name="people", config=config)
    nowhere(root)
    model = asfitted.load_model(root, config=config)
    assert {name for name, rules in model.contract.columns.items() if rules.observed} == {"size"}
    np.testing.assert_array_equal(model.predict(rows), pipe.predict(rows))
    findings = read_log(config.log_folder())["findings"]
    assert {each["column"] for row in findings for each in row} == {"size"}
    # The caller's own is as it was.
    first = pipe.steps[0][1].steps[0][1] if nested else pipe.steps[0][1]
    assert first.contract is contract
    journal(config).close()


def test_a_policy_of_the_operator_holds_for_a_model_that_has_none(tmp_path, config) -> None:
    root = saved(tmp_path / "model", Config(schema_version=1))
    log = answer_all(root, config)
    assert set(log["inputs"][0]) == {"note", "phone", "size"}
    assert log["inputs"][0]["note"].startswith("hmac-sha256:")
    assert log["keys"][0]["id"].startswith("hmac-sha256:")


def test_the_key_must_be_there_before_anything_is_answered(tmp_path, config, monkeypatch) -> None:
    root = saved(tmp_path / "model", config)
    monkeypatch.delenv(KEY_VARIABLE)
    with pytest.raises(asfitted.AsfittedError, match=r"note.*shall be hashed and there is no key"):
        asfitted.load_model(root, config=Config(schema_version=1))
