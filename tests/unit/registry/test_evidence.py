"""Evidence: what processes of their own are asked, and what is made of their answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from asfitted.config import Config, Gate, Holdout, MetricGate, ProofGate, load_config
from asfitted.errors import ConfigError, RegistryError
from asfitted.registry.decision import Evidence, Measurement
from asfitted.registry.evidence import Answer, ask_process, gather, measure, prove

HOLDOUT = Holdout(data="rows.parquet", target="late")
AUC = MetricGate(gate="metric", metric="roc_auc", max_drop=0.1, holdout=HOLDOUT)
LOSS = MetricGate(gate="metric", metric="log_loss", max=1.0, holdout=HOLDOUT)
LOGGED = MetricGate(gate="metric", metric="val_rmse", max_drop=0.1)
PROVED = Answer(0, {"proved": True, "digest": "d", "broken": None}, "")


class Processes:
    """Answers by the module that is run, and keeps what was asked."""

    def __init__(self, proof: Answer = PROVED, holdout: Answer | None = None) -> None:
        self.proof, self.asked = proof, list[str]()
        scores = {"roc_auc": 0.7, "log_loss": 0.5}
        said = {
            "metrics": scores,
            "problems": {},
            "n_rows": 5,
            "data_digest": "rows",
            "model_digest": "d",
        }
        self.holdout = holdout or Answer(0, said, "")

    def __call__(self, arguments: Sequence[str], config: Config) -> Answer:
        what = arguments[1].removeprefix("asfitted.registry.")
        self.asked.append(f"{what} {Path(arguments[3 if what == 'asfitted' else 2]).name}")
        return self.proof if what == "asfitted" else self.holdout


class Models:
    """A store of versions whose downloads are empty folders."""

    gone: str | None = None

    def download(self, name: str, version: str, folder: Path) -> Path:
        if version == self.gone:
            raise RegistryError("the files are no longer in the artifact store")
        return folder / version

    def logged_metric(self, name: str, version: str, metric: str) -> Measurement:
        return Measurement(float(version), f"{metric} of {name}")


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "rows.parquet").touch()
    file = tmp_path / "registry_config.yaml"
    file.write_text("schema_version: 1")
    return load_config(file)


def gathered(
    gates: Sequence[Gate], config: Config, ask: Processes, holder: str | None = "1",
    store: Any = None,
) -> Evidence:  # fmt: skip
    return gather(store or Models(), "m", "2", holder, gates, config, ask=ask)


def test_one_process_for_each_question(config: Config) -> None:
    ask = Processes()
    found = gathered([ProofGate(gate="proof"), AUC, LOSS, LOGGED], config, ask)
    # Only max_drop looks at the champion, and two metrics of one holdout share a process.
    assert sorted(ask.asked) == ["asfitted 2", "holdout 1", "holdout 2"]
    assert found.challenger.proof
    assert found.challenger.proof.digest == "d"
    values = {key: m.value for key, m in found.challenger.measurements.items()}
    assert values == {
        "roc_auc of late on rows.parquet": 0.7,
        "log_loss of late on rows.parquet": 0.5,
        "val_rmse as logged": 2.0,
    }
    assert found.champion
    assert set(found.champion.measurements) == {AUC.measured_by, LOGGED.measured_by}
    assert found.champion.measurements[AUC.measured_by].data_digest == "rows"


def test_without_a_comparison_the_champion_is_left_alone(config: Config) -> None:
    ask = Processes()
    assert gathered([ProofGate(gate="proof"), LOSS], config, ask).champion is None
    assert gathered([ProofGate(gate="proof"), AUC], config, ask, holder=None).champion is None
    assert not any(asked.endswith(" 1") for asked in ask.asked)


def test_what_did_not_prove_itself_is_not_scored(config: Config) -> None:
    broken = Answer(3, {"proved": False, "broken": "files", "what": "changed"}, "")
    ask = Processes(broken)
    found = gathered([ProofGate(gate="proof"), AUC], config, ask, holder=None).challenger
    assert ask.asked == ["asfitted 2"]
    assert found.proof
    assert (found.proof.proved, found.proof.broken, found.proof.what) == (False, "files", "changed")
    assert found.measurements[AUC.measured_by].value is None


@pytest.mark.parametrize("gone", ["1", "2"])
def test_files_that_are_gone_are_evidence_too(config: Config, gone: str) -> None:
    store = Models()
    store.gone = gone
    found = gathered([ProofGate(gate="proof"), AUC], config, Processes(), store=store)
    assert found.champion
    model = found.champion if gone == "1" else found.challenger
    assert model.proof
    assert model.proof.broken == "files"
    assert "no longer in the artifact store" in model.measurements[AUC.measured_by].why


def test_a_holdout_that_is_not_there_is_found_before_anything_runs(config: Config) -> None:
    config.resolve("rows.parquet").unlink()
    ask = Processes()
    with pytest.raises(ConfigError, match=r"rows\.parquet is not there"):
        gathered([ProofGate(gate="proof"), AUC], config, ask)
    assert ask.asked == []


@pytest.mark.parametrize(
    "answer",
    [
        Answer(0, None, "Traceback"),
        Answer(1, None, "Traceback"),
        Answer(None, None, "still running"),
        Answer(-9, {"proved": True, "digest": "d"}, "killed after it had answered"),
        Answer(0, {"proved": False, "what": "said no and went well"}, ""),
        Answer(1, {"proved": False, "what": "a bug"}, ""),
        Answer(0, {"proved": "true", "digest": "d"}, ""),
        Answer(0, {}, ""),
    ],
)
def test_whatever_is_not_a_clear_yes_is_a_no(config: Config, answer: Answer) -> None:
    proof = prove(Path("2"), config, Processes(answer))
    assert not proof.proved
    assert proof.broken == "process"


def test_scoring_that_fails_says_why(config: Config) -> None:
    error = {"what": "3 rows break the contract", "where": "", "mend": "fix the feed"}
    for answer, why, mend in [
        (Answer(3, {"error": error}, ""), "3 rows break the contract", "fix the feed"),
        (Answer(1, None, "MemoryError"), "scoring ended with 1: MemoryError", ""),
    ]:
        found = measure(Path("2"), HOLDOUT, ["roc_auc"], config, Processes(holdout=answer))
        assert found == {"roc_auc": Measurement(None, why=why, mend=mend)}


def test_a_process_sees_the_configuration_but_not_the_working_directory(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "src")
    (tmp_path / "features.py").write_text("")
    code = (
        "import importlib.util, json, os, sys; print('noise'); print(json.dumps({"
        "'found': importlib.util.find_spec('features') is not None,"
        "'path': os.environ['PYTHONPATH'], 'config': os.environ['ASFITTED_CONFIG']}))"
    )
    answer = ask_process(["-c", code], config)
    assert answer.exit_code == 0, answer.tail
    assert answer.printed == {
        "found": False,
        "path": str(tmp_path / "src"),
        "config": str(tmp_path / "registry_config.yaml"),
    }


def test_a_process_that_breaks_is_told_by_its_last_lines(config: Config) -> None:
    answer = ask_process(["-c", "raise SystemExit('no such luck')"], config)
    assert answer == Answer(1, None, "no such luck")
