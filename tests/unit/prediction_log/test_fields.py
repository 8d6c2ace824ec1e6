from __future__ import annotations

import hashlib
import hmac
import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from log_batches import batch

from asfitted.errors import ConfigError
from asfitted.prediction_log import FieldPolicy, Journal, strictest

ACTIONS = ("keep", "hash", "drop")
policies = st.dictionaries(st.sampled_from("abc"), st.sampled_from(ACTIONS))


@pytest.fixture(autouse=True)
def _key(monkeypatch) -> None:
    monkeypatch.setenv("ASFITTED_HASH_KEY", "a key for tests")


def test_drop_removes_hash_hides_and_the_rest_is_kept() -> None:
    policy = FieldPolicy({"name": "hash", "ssn": "drop", "age": "keep"})
    digest = hmac.new(b"a key for tests", b'"Ada"', hashlib.sha256).hexdigest()
    assert policy.apply({"name": "Ada", "ssn": "1", "age": 36, "temp": None}) == {
        "name": f"hmac-sha256:{digest}",
        "age": 36,
        "temp": None,
    }


def test_null_stays_null_and_one_number_has_one_hash() -> None:
    policy = FieldPolicy({"x": "hash"})
    assert policy.apply({"x": None}) == {"x": None}
    assert policy.apply({"x": 7}) == policy.apply({"x": 7.0}) == policy.apply({"x": 7})
    hashes = [policy.apply({"x": x})["x"] for x in (7, "7", 7.5, True, 1, "", "true")]
    assert len(set(hashes)) == len(hashes)


def test_columns_are_treated_as_their_rows_are() -> None:
    policy = FieldPolicy({"a": "hash", "b": "hash", "c": "hash", "d": "drop"})
    columns = {
        "a": pd.Categorical(["x", None, "y", "x"], categories=["y", "z", "x"]),
        "b": np.array([1.0, np.nan, 2.5, 7.0]),
        "c": ["u", None, 3, True],
        "d": [1, 2, 3, 4],
        "e": [1, None, 3, 4],
    }
    lists = {**columns, "a": ["x", None, "y", "x"], "b": [1.0, None, 2.5, 7.0]}
    rows = [policy.apply({name: lists[name][i] for name in columns}) for i in range(4)]
    treated = policy.apply_columns(columns)
    assert [{name: treated[name][i] for name in treated} for i in range(4)] == rows


def test_another_key_gives_another_hash(monkeypatch) -> None:
    before = FieldPolicy({"x": "hash"}).apply({"x": 1})
    monkeypatch.setenv("ASFITTED_HASH_KEY", "another key")
    assert FieldPolicy({"x": "hash"}).apply({"x": 1}) != before


@pytest.mark.parametrize("key", [None, ""])
def test_a_hash_without_a_key_is_refused_when_declared(monkeypatch, key) -> None:
    monkeypatch.delenv("ASFITTED_HASH_KEY")
    if key is not None:
        monkeypatch.setenv("ASFITTED_HASH_KEY", key)
    assert FieldPolicy({"x": "drop"}).apply({"x": 1}) == {}
    with pytest.raises(ConfigError, match="ASFITTED_HASH_KEY"):
        FieldPolicy({"x": "hash"})


def test_an_unknown_action_is_refused() -> None:
    with pytest.raises(ConfigError, match="keep, hash, drop"):
        FieldPolicy({"x": "mask"})  # type: ignore[dict-item]


def test_the_key_is_neither_shown_nor_pickled() -> None:
    policy = FieldPolicy({"x": "hash"})
    assert "a key for tests" not in repr(policy)
    data = pickle.dumps(policy)
    assert b"a key for tests" not in data
    assert pickle.loads(data).apply({"x": 1}) == policy.apply({"x": 1})


def test_a_finding_keeps_its_rule_and_treats_every_other_entry_as_a_value() -> None:
    finding = {"column": "x", "rule": "unknown_category", "value": "Ada", "became": None}
    assert FieldPolicy({}).apply_finding(finding) == finding
    assert FieldPolicy({"x": "drop"}).apply_finding(finding) == {
        "column": "x",
        "rule": "unknown_category",
    }
    hashed = FieldPolicy({"x": "hash"}).apply_finding(finding)
    assert hashed["value"].startswith("hmac-sha256:")
    assert (hashed["column"], hashed["rule"], hashed["became"]) == ("x", "unknown_category", None)


@given(a=policies, b=policies)
def test_the_strictest_of_two_is_as_strict_as_each(a, b) -> None:
    merged = strictest(FieldPolicy(a), FieldPolicy(b)).fields
    for name in "abc":
        wanted = max(ACTIONS.index(p.get(name, "keep")) for p in (a, b))
        assert ACTIONS.index(merged.get(name, "keep")) == wanted


def test_a_value_under_the_policy_is_nowhere_in_the_files(tmp_path) -> None:
    canary = "CANARY-8472"
    policy = FieldPolicy({"tailnum": "drop", "passenger": "hash"})
    finding = {"column": "tailnum", "rule": "unknown_category", "value": canary}
    journal = Journal(tmp_path)
    journal.append(
        batch(
            inputs=[policy.apply({"tailnum": canary, "passenger": canary, "dest": "KEPT-1"})],
            keys=[policy.apply({"passenger": canary})],
            findings=[[policy.apply_finding(finding)]],
        )
    )

    def everything() -> bytes:
        return b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.is_file())

    while_open = everything()
    journal.close()
    for content in (while_open, everything()):
        assert canary.encode() not in content
        assert b"KEPT-1" in content
