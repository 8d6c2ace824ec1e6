"""registry_config.yaml: what it says, and what it refuses with the exact place."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from asfitted.config import Config, MetricGate, ProofGate, greater_is_better, load_config
from asfitted.errors import ConfigError

GOOD = """
schema_version: 1
log: {folder: logs, fields: {tailnum: hash, dest: keep}}
environment: {allow: {numpy: "the same BLAS, checked by hand"}}
models:
  flights:
    alias: champion
    fields: {tailnum: keep, dest: drop}
    gates:
      - gate: proof
      - {gate: metric, metric: roc_auc, min: 0.65, max_drop: 0.01,
         holdout: {data: holdout.parquet, target: late}}
"""


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASFITTED_CONFIG", raising=False)
    monkeypatch.delenv("ASFITTED_LOG", raising=False)


def written(folder: Path, text: str) -> Path:
    file = folder / "registry_config.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def refused(folder: Path, text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load_config(written(folder, text))
    return caught.value


def in_gate(text: str) -> str:
    return f"schema_version: 1\nmodels: {{m: {{gates: [{{gate: proof}}, {text}]}}}}"


def test_a_whole_file(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, GOOD))
    assert config.path == tmp_path / "registry_config.yaml"
    assert config.log_folder() == tmp_path / "logs"
    assert config.resolve("holdout.parquet") == tmp_path / "holdout.parquet"
    proof, metric = config.model("flights").gates
    assert isinstance(proof, ProofGate)
    assert isinstance(metric, MetricGate)
    assert (metric.min, metric.max, metric.max_drop, metric.more_is_better) == (0.65, None, 0.01, 1)
    assert config.environment.allow == {"numpy": "the same BLAS, checked by hand"}


def test_of_two_field_policies_the_stricter_holds(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, GOOD))
    assert config.field_policy("flights") == {"tailnum": "hash", "dest": "drop"}
    assert config.field_policy("another") == {"tailnum": "hash", "dest": "keep"}


def test_a_model_that_is_not_named_has_no_gates(tmp_path: Path) -> None:
    assert load_config(written(tmp_path, GOOD)).model("another").gates == ()


def test_the_file_is_looked_for_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    defaults = load_config()
    assert defaults.path is None
    assert defaults.log_folder() == tmp_path / "prediction_log"
    here = written(tmp_path, "schema_version: 1")
    assert load_config().path == here
    elsewhere = tmp_path / "sub"
    elsewhere.mkdir()
    monkeypatch.setenv("ASFITTED_CONFIG", str(written(elsewhere, "schema_version: 1")))
    assert load_config().log_folder() == elsewhere / "prediction_log"
    assert load_config(here).path == here
    monkeypatch.setenv("ASFITTED_LOG", "other")
    assert load_config().log_folder() == tmp_path / "other"


def test_a_file_that_is_named_has_to_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "none.yaml")
    monkeypatch.setenv("ASFITTED_CONFIG", str(tmp_path / "none.yaml"))
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config()


@pytest.mark.parametrize(
    ("text", "problem", "mend"),
    [
        ("", "this key is required @ schema_version", ""),
        ("schema_version: 2", "input should be 1 @ schema_version", ""),
        ("- 1", "@ the file", ""),
        ("7", "@ the file", ""),
        ("schema_version: 1\nlog: {foldr: x}", "unknown key @ log.foldr", "did you mean `folder`"),
        ("schema_version: 1\nlog: {fields: {a: hide}}", "@ log.fields.a", ""),
        ("schema_version: 1\nlog: {fields: {no: hash}}", "key False is not text: put it in quotes",
         ""),
        ("schema_version: 1\nlog: {folder: !!binary aGk=}", "what is not plain", ""),
        ("schema_version: 1\nenvironment: {allow: {numpy: ''}}", "@ environment.allow.numpy", ""),
        ("schema_version: 1\nmodels: {m: {alias: 'a b'}}", "@ models.m.alias", ""),
        ("schema_version: 1\nmodels: {m: {gates: [{gate: metric, metric: roc_auc, min: 0}]}}",
         "gates without `- gate: proof`: every version has to prove itself @ models.m", ""),
        (in_gate("{gate: metrc}"), "no such gate; gates are proof, metric @ models.m.gates[1]",
         "did you mean `metric`"),
        (in_gate("{gate: proof, max_drp: 1}"), "unknown key @ models.m.gates[1].max_drp", "gate"),
        (in_gate("{gate: metric, metric: roc_auc, max_drp: 1}"),
         "unknown key @ models.m.gates[1].max_drp", "did you mean `max_drop`"),
        (in_gate("{gate: metric, metric: roc_auc, max_drop: -1}"),
         "greater than or equal to 0 @ models.m.gates[1].max_drop", ""),
        (in_gate("{gate: metric, metric: roc_auc, min: '0.1'}"),
         "input should be a valid number @ models.m.gates[1].min", ""),
        (in_gate("{gate: metric, metric: roc_auc, max_drop: 1e-3}"),
         "not a number @ models.m.gates[1].max_drop", "write 0.001 for 1e-3"),
        (in_gate("{gate: metric, metric: roc_auc, min: .nan}"), "@ models.m.gates[1].min", ""),
        (in_gate("{gate: metric, metric: roc_auc}"),
         "at least one of min, max and max_drop @ models.m.gates[1]", ""),
        (in_gate("{gate: metric, metric: roc_auc, min: 0.9, max: 0.8}"), "nothing can pass", ""),
        (in_gate("{gate: metric, metric: revenue, max_drop: 1}"), "needs greater_is_better", ""),
        (in_gate("{gate: metric, metric: rmse, max_drop: 1, greater_is_better: true}"),
         "greater_is_better is false for 'rmse' @ models.m.gates[1]", ""),
        (in_gate("{gate: metric, metric: val_auc, min: 0, holdout: {data: a, target: b}}"),
         "a holdout cannot measure 'val_auc'", ""),
        (in_gate("{gate: metric, metric: r2, min: 0, holdout: {data: a, tagret: b}}"),
         "unknown key @ models.m.gates[1].holdout.tagret", "did you mean `target`"),
    ],
)  # fmt: skip
def test_each_problem_has_its_place(tmp_path: Path, text: str, problem: str, mend: str) -> None:
    error = refused(tmp_path, text)
    assert problem in error.what
    assert mend in error.mend
    assert error.where == str(tmp_path / "registry_config.yaml")


def test_all_problems_are_listed(tmp_path: Path) -> None:
    error = refused(tmp_path, "schema_version: 1\nlog: {foldr: x}\nmodels: {m: {gate: []}}")
    assert error.what.splitlines() == ["unknown key @ log.foldr", "  unknown key @ models.m.gate"]


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    error = refused(tmp_path, "schema_version: 1\nlog: {}\nlog: {folder: x}")
    assert "twice" in error.what
    assert "line 3" in error.what


def test_a_direction_that_is_said_is_taken(tmp_path: Path) -> None:
    text = in_gate("{gate: metric, metric: waste, max_drop: 1, greater_is_better: false}")
    gate = load_config(written(tmp_path, text)).model("m").gates[1]
    assert isinstance(gate, MetricGate)
    assert gate.more_is_better is False


@pytest.mark.parametrize(
    ("metric", "better"),
    [
        ("roc_auc", True),
        ("log_loss", False),
        ("training_log_loss", False),
        ("val/rmse", False),
        ("neg_mean_squared_error", True),
        ("test_f1_score", True),
        ("revenue", None),
        ("neg_revenue", None),
    ],
)
def test_known_names_say_their_direction(metric: str, better: bool | None) -> None:
    assert greater_is_better(metric) is better


def test_it_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Config(schema_version=1).schema_version = 1  # type: ignore[misc]


def test_it_imports_nothing_heavy() -> None:
    # It travels inside model artifacts and is read wherever a model answers.
    code = "import sys, asfitted.config; print({'mlflow', 'pandas', 'sklearn'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
