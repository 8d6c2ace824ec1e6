"""Every supported estimator: saved here, loaded there, the same bits, and on record."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from conformance_cases import CASES, CONTRACT, N_ROWS, served
from conformance_journey import Seen

from asfitted.prediction_log import read_log

pytestmark = [
    *(
        pytest.mark.filterwarnings(f"ignore:{text}")
        for text in (
            # LightGBM and XGBoost see named columns in training and not in blocks of arrays.
            "X does not have valid feature names:UserWarning",
            # MLflow's own import; pyarrow on pandas 3.1.
            ".*Any type hint is inferred as AnyType:UserWarning",
            "Series.values returning an ndarray that drops timezone",
        )
    ),
    pytest.mark.parametrize("name", list(CASES)),
]


def bits(outputs: pd.DataFrame) -> dict[str, tuple[str, list[Any]]]:
    """Return each column, in order, as its dtype and values that are equal where their bits are."""
    found = {}
    for name in outputs.columns:
        values = outputs[name].to_numpy()
        if values.dtype.kind == "f":
            found[name] = str(values.dtype), values.view(f"u{values.itemsize}").tolist()
        else:
            found[name] = str(values.dtype), values.tolist()
    return found


def test_a_fresh_process_gives_the_bits_of_training(seen: Seen) -> None:
    assert list(seen.before["outputs"]) == list(seen.after["outputs"])
    assert bits(seen.before["outputs"]) == bits(seen.after["outputs"])


def test_a_row_does_not_see_its_company(seen: Seen) -> None:
    for rows, outputs in seen.after["companies"]:
        assert list(seen.before["outputs"]) == list(outputs)
        assert bits(seen.before["outputs"].iloc[rows]) == bits(outputs)


def test_a_row_does_not_see_strangers(seen: Seen) -> None:
    assert list(seen.before["outputs"]) == list(seen.after["strangers"])
    assert bits(seen.before["outputs"].iloc[:10]) == bits(seen.after["strangers"])


def test_the_company_was_a_real_one(seen: Seen) -> None:
    sizes = {len(rows) for rows, _ in seen.after["companies"]}
    assert {1, 63, 64, 65, N_ROWS} <= sizes
    first = seen.before["outputs"].iloc[:, 0]
    assert first.nunique() > 1


def test_the_artifact_proves_itself(seen: Seen) -> None:
    assert seen.after["proof"]["proved"], seen.after["proof"]
    assert seen.after["golden"] == "golden_mismatch"


def test_what_the_contract_forbids_is_refused_and_on_record(seen: Seen) -> None:
    error = seen.after["refusal"]
    assert [(v.column, v.rule) for v in error.violations] == [("weight", "type")]
    refusals = read_log(seen.log, refused=True, model=seen.name)
    assert refusals[["code", "n_rows", "source"]].values.tolist() == [
        ["contract_violation", N_ROWS, "inprocess"]
    ]


def test_each_answer_is_logged_with_its_inputs_and_outputs(seen: Seen) -> None:
    log = read_log(seen.log, model=seen.name).set_index("prediction_id").loc[seen.after["ids"]]
    assert log["row"].tolist() == list(range(N_ROWS))
    logged = pd.DataFrame(log["outputs"].tolist())
    outputs = seen.before["outputs"]
    assert list(logged.columns) == list(outputs.columns)
    for column in outputs.columns:
        # A float32 is written as the double that it is.
        assert logged[column].tolist() == outputs[column].tolist()
    sent = served()
    assert [keys["id"] for keys in log["keys"]] == sent["id"].tolist()
    for column, rule in CONTRACT.columns.items():
        if column == "id" or column not in log["inputs"].iloc[0]:
            continue
        recorded = [row[column] for row in log["inputs"]]
        assert recorded == [_as_json(value, rule.kind) for value in sent[column]]


def _as_json(value: Any, kind: str) -> Any:
    if pd.isna(value):
        return None
    if kind == "datetime":
        return value.tz_convert("UTC").strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return value


def test_findings_say_what_was_mended(seen: Seen) -> None:
    log = read_log(seen.log, model=seen.name).set_index("prediction_id").loc[seen.after["ids"]]
    found = {
        (f["column"], f["rule"], row)
        for row, fs in zip(log["row"], log["findings"], strict=True)
        for f in fs
    }
    sent = served()
    assert ("size", "outside_observed", 3) in found
    assert {r for c, rule, r in found if (c, rule) == ("shop", "unknown_category")} == set(
        np.flatnonzero(sent["shop"] == "west")
    )
    assert {r for c, rule, r in found if (c, rule) == ("grade", "filled")} == set(
        np.flatnonzero(sent["grade"].isna())
    )


def test_mlflow_pyfunc_answers_the_same(seen: Seen) -> None:
    here, pyfunc = seen.after["predict"], seen.after["pyfunc"]
    assert type(here) is type(pyfunc)
    assert list(pd.DataFrame(here)) == list(pd.DataFrame(pyfunc))
    assert bits(pd.DataFrame(here)) == bits(pd.DataFrame(pyfunc))


def test_mlflow_sklearn_answers_as_the_plain_pipeline(seen: Seen) -> None:
    plain, loaded = seen.before["sklearn"], seen.after["sklearn"]
    assert set(plain) == set(loaded)
    for method in plain:
        if np.asarray(plain[method]).dtype.kind == "f":
            np.testing.assert_allclose(loaded[method], plain[method], rtol=1e-6)
        else:
            np.testing.assert_array_equal(loaded[method], plain[method])


def test_the_blocks_answer_as_the_plain_pipeline(seen: Seen) -> None:
    """What `asfitted` adds moves no answer by more than rounding."""
    plain, outputs = seen.before["sklearn"]["predict"], seen.before["outputs"]
    ours = outputs.loc[:, outputs.columns.str.startswith("prediction")].to_numpy()
    if np.asarray(plain).dtype.kind == "f":
        np.testing.assert_allclose(np.squeeze(ours), plain, rtol=1e-5)
    else:
        np.testing.assert_array_equal(np.squeeze(ours), plain)
