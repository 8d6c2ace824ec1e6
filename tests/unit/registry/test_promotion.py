"""Promotion, rollback and history against an MLflow in memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST

from asfitted.config import Config, Environment, Log, Model, ProofGate
from asfitted.errors import ConfigError, GateRefused, RegistryError, StoreUnavailable
from asfitted.registry.decision import Decision, Evidence, ModelEvidence, Proof
from asfitted.registry.history import History, Row, holders
from asfitted.registry.promotion import consider
from asfitted.registry.rollback import consider_rollback
from asfitted.registry.store import Store

CONFIG = Config(schema_version=1, models={"m": Model(gates=(ProofGate(gate="proof"),))})


class Page(list[Any]):
    token = None


class FakeClient:
    """As much of MlflowClient as the registry uses, in memory."""

    def __init__(self, versions: int) -> None:
        self.versions = {str(n + 1) for n in range(versions)}
        self.aliases: dict[str, str] = {}
        self.runs: dict[str, Any] = {}
        self.files: dict[str, Any] = {}
        self.experiment: Any = None
        self.down_at: str | None = None

    def __getattribute__(self, name: str) -> Any:
        if name == object.__getattribute__(self, "down_at"):
            raise MlflowException("API request to http://… failed with exception refused")
        return object.__getattribute__(self, name)

    def get_registered_model(self, name: str) -> Any:
        if name != "m":
            raise MlflowException("none", RESOURCE_DOES_NOT_EXIST)
        return SimpleNamespace(aliases=dict(self.aliases))

    def search_registered_models(self) -> Any:
        return Page([SimpleNamespace(name="m")])

    def search_model_versions(self, _filter: str, page_token: str | None = None) -> Any:
        return Page(SimpleNamespace(version=version) for version in self.versions)

    def get_model_version(self, name: str, version: str) -> Any:
        return SimpleNamespace(status="READY", version=version, run_id=None)

    def set_registered_model_alias(self, name: str, alias: str, version: str) -> None:
        self.aliases[alias] = version

    def get_experiment_by_name(self, name: str) -> Any:
        return self.experiment

    def create_experiment(self, name: str) -> str:
        self.experiment = SimpleNamespace(experiment_id="1", lifecycle_stage="active", name=name)
        return "1"

    def create_run(self, _experiment: str, tags: dict[str, str], run_name: str) -> Any:
        info = SimpleNamespace(run_id=f"run{len(self.runs)}", status="RUNNING")
        self.runs[info.run_id] = run = SimpleNamespace(
            info=info, data=SimpleNamespace(tags=dict(tags), metrics={})
        )
        return run

    def log_dict(self, run_id: str, content: Any, file: str) -> None:
        self.files[f"{run_id}/{file}"] = content

    def log_metric(self, run_id: str, key: str, value: float) -> None:
        self.runs[run_id].data.metrics[key] = value

    def set_terminated(self, run_id: str, status: str) -> None:
        self.runs[run_id].info.status = status

    def search_runs(self, _ids: list[str], run_view_type: int, page_token: str | None) -> Any:
        return Page(reversed(self.runs.values()))


class FakeStore(Store):
    """A store over `FakeClient`; version n has the digest ``d<n>``."""

    client: Any

    def __init__(self, versions: int = 4) -> None:
        self.where = "memory"
        self.client = FakeClient(versions)
        self.damaged: set[str] = set()
        self.digests: dict[str, str] = {}

    def download(self, name: str, version: str, folder: Path) -> Path:
        (folder / version).mkdir()
        return folder / version

    def proof(self, version: str) -> Proof:
        if version in self.damaged:
            return Proof(False, broken="files", what="model.skops has changed", mend="log it anew")
        return Proof(True, self.digests.get(version, f"d{version}"))

    def gathered(self, _store: Any, _name: Any, version: str, *_: Any) -> Evidence:
        return Evidence(ModelEvidence(version, self.proof(version)))

    def proved(self, path: Path, config: Config) -> Proof:
        return self.proof(path.name)

    def promote(self, version: str, config: Config = CONFIG, **options: Any) -> Decision:
        gathered: Callable[..., Evidence] = options.pop("gathered", self.gathered)
        return consider("m", version, "champion", config, store=self, gathered=gathered, **options)

    def rollback(self, alias: str | None = None, config: Config = CONFIG) -> Decision:
        return consider_rollback("m", alias, config, store=self, proved=self.proved)

    def rows(self) -> list[Row]:
        return History(self, "m").rows()

    def states(self) -> list[tuple[str, str, str]]:
        return [(row.action, row.version, row.state) for row in self.rows()]

    @property
    def champion(self) -> str | None:
        return self.client.aliases.get("champion")


def test_a_pass_moves_the_alias_and_is_kept() -> None:
    store = FakeStore()
    decision = store.promote("1")
    decision.raise_for_refusal()
    assert store.champion == "1"
    (row,) = store.rows()
    assert (row.state, row.version, row.previous, row.digest) == ("moved", "1", None, "d1")
    assert (row.alias, row.at, row.run_id) == ("champion", decision.at, decision.run_id)
    assert store.client.files["run0/evidence.json"]["challenger"]["proof"]["digest"] == "d1"
    assert store.client.files["run0/decision.json"]["passed"] is True


def test_a_refusal_is_kept_and_moves_nothing() -> None:
    store = FakeStore()
    store.promote("1")
    store.damaged.add("2")
    decision = store.promote("2")
    with pytest.raises(GateRefused) as caught:
        decision.raise_for_refusal()
    assert "proof: files: model.skops has changed" in caught.value.what
    assert "stays at 1" in caught.value.where
    assert caught.value.mend == "log it anew"
    assert store.champion == "1"
    assert store.states() == [("promote", "1", "moved"), ("promote", "2", "refused")]


def test_a_dry_run_leaves_no_trace() -> None:
    store = FakeStore()
    assert store.promote("1", dry_run=True).passed
    assert store.champion is None
    assert store.rows() == []


def test_latest_is_the_highest_number() -> None:
    store = FakeStore(versions=11)
    assert store.promote("latest").version == "11"


def test_no_gates_no_promotion() -> None:
    store = FakeStore()
    with pytest.raises(ConfigError) as caught:
        store.promote("1", Config(schema_version=1))
    assert "models:\n  m:\n    gates:\n      - gate: proof\n" in caught.value.mend
    with pytest.raises(ConfigError, match=r"under models\.m"):
        store.promote("1", Config(schema_version=1, models={"m": Model()}))
    assert store.champion is None


@pytest.mark.parametrize(
    ("name", "version", "alias", "text"),
    [
        ("n", "1", "champion", "no registered model 'n'; there is m"),
        ("m", "9", "champion", "no version '9'; there are 1, 2, 3, 4"),
        ("m", "1", "latest", "cannot be an alias"),
        ("m", "1", "v3", "cannot be an alias"),
        ("m", "1", "a b", "cannot be an alias"),
    ],
)
def test_what_does_not_exist(name: str, version: str, alias: str, text: str) -> None:
    store = FakeStore()
    gates = {"m": CONFIG.models["m"], "n": CONFIG.models["m"]}
    config = Config(schema_version=1, models=gates)
    with pytest.raises(RegistryError, match=text):
        consider(name, version, alias, config, store=store, gathered=store.gathered)


def test_a_crash_before_the_move_shows() -> None:
    store = FakeStore()
    store.promote("1")
    store.client.down_at = "set_registered_model_alias"
    with pytest.raises(StoreUnavailable):
        store.promote("2")
    store.client.down_at = None
    assert store.champion == "1"
    assert store.states()[-1] == ("promote", "2", "unfinished")
    store.promote("3")
    assert store.rollback().version == "1"


def test_a_crash_after_the_move_counts_as_moved() -> None:
    store = FakeStore()
    store.promote("1")
    store.client.down_at = "set_terminated"
    with pytest.raises(StoreUnavailable):
        store.promote("2")
    store.client.down_at = None
    assert store.champion == "2"
    assert store.states()[-1] == ("promote", "2", "unfinished")
    assert store.promote("3").notes == ()
    assert [store.rollback().version, store.rollback().version] == ["2", "1"]


def test_an_alias_that_moves_meanwhile() -> None:
    store = FakeStore()
    store.promote("1")

    def slow(*arguments: Any) -> Evidence:
        store.client.aliases["champion"] = "4"
        return store.gathered(*arguments)

    with pytest.raises(RegistryError, match="went from 1 to 4 while the gates were asked"):
        store.promote("2", gathered=slow)
    assert store.champion == "4"
    assert store.states()[-1] == ("promote", "2", "failed")


def test_rollbacks_go_further_and_further_back() -> None:
    store = FakeStore()
    for version in "123":
        store.promote(version)
    assert [store.rollback().version, store.rollback().version] == ["2", "1"]
    with pytest.raises(RegistryError, match="no way back") as caught:
        store.rollback()
    assert "asfitted promote m VERSION --to champion" in caught.value.mend
    assert store.champion == "1"
    store.promote("4")
    assert store.rollback().version == "1"


def test_a_damaged_version_does_not_come_back() -> None:
    store = FakeStore()
    store.promote("1")
    store.promote("2")
    store.damaged.add("1")
    decision = store.rollback()
    assert not decision.passed
    assert store.champion == "2"
    assert store.states()[-1] == ("rollback", "1", "refused")


def test_an_overwritten_version_does_not_come_back() -> None:
    store = FakeStore()
    store.promote("1")
    store.promote("2")
    store.digests["1"] = "other"
    decision = store.rollback()
    assert not decision.passed
    assert "the digest other, what was promoted had d1" in decision.reason
    assert store.champion == "2"


def test_a_deleted_version_cannot_come_back() -> None:
    store = FakeStore()
    store.promote("1")
    store.promote("2")
    store.client.versions.remove("1")
    with pytest.raises(RegistryError, match="version 1 held champion before, but it was deleted"):
        store.rollback()


def test_what_held_the_alias_before_the_history_began() -> None:
    store = FakeStore()
    store.client.aliases["champion"] = "1"
    store.promote("2")
    decision = store.rollback()
    assert decision.version == "1"
    assert decision.notes == ("version 1 held champion before this history began",)


def test_an_alias_moved_by_hand_goes_back_to_where_the_history_left_it() -> None:
    store = FakeStore()
    store.promote("1")
    store.promote("2")
    store.client.aliases["champion"] = "4"
    assert "behind the history's back" in store.promote("4", dry_run=True).notes[0]
    assert store.rollback().version == "2"


def test_the_rollback_takes_the_alias_of_the_config() -> None:
    store = FakeStore()
    gates = CONFIG.models["m"].gates
    config = Config(schema_version=1, log=Log(), models={"m": Model(gates=gates, alias="live")})
    for version in "12":
        consider("m", version, None, config, store=store, gathered=store.gathered)
    assert store.rollback(None, config).alias == "live"
    assert store.client.aliases == {"live": "1"}


def test_an_allowed_difference_is_on_the_record() -> None:
    store = FakeStore()
    allowed = Environment(allow={"numpy": "checked by hand"})
    config = Config(schema_version=1, environment=allowed, models=CONFIG.models)
    store.promote("1", config)
    notes = store.client.files["run0/decision.json"]["notes"]
    assert notes == ("environment.allow lets numpy differ: checked by hand",)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from(["1", "2", "3", "4", "back"]), max_size=12))
def test_promotes_push_and_rollbacks_pop(moves: list[str]) -> None:
    store, stack = FakeStore(), list[str]()
    for move in moves:
        if move != "back":
            store.promote(move)
            if stack[-1:] != [move]:
                stack.append(move)
        elif len(stack) > 1:
            stack.pop()
            store.rollback()
        assert store.champion == (stack[-1] if stack else None)
        found = holders(store.rows(), "champion", store.champion)
        assert [holder.version for holder in found] == stack
