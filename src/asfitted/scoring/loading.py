"""An artifact becomes a model: files, environment, code, then the golden examples."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from asfitted.artifact import (
    code,
    environment,
    golden,
    layout,
    manifest,
    permissions,
    serialize,
)
from asfitted.artifact.resources import of_model
from asfitted.config import Config
from asfitted.contract import DataContract
from asfitted.errors import ArtifactDamaged, AsfittedError, GoldenMismatch
from asfitted.prediction_log import FieldPolicy, Journal, strictest
from asfitted.scoring import outputs
from asfitted.scoring.model import FittedModel
from asfitted.scoring.recording import Identity, Recorder
from asfitted.scoring.rounding import answers_apart
from asfitted.scoring.scorer import quiet_and_single

FLAVOR = "asfitted"

# One writer per process and log, however many models it has loaded.
_journals: dict[tuple[Path, str, str], Journal] = {}


def open_artifact(
    root: Path,
    config: Config,
    *,
    source: str | None,
    allow_versions: Collection[str] = (),
) -> FittedModel:
    """Return the model at `root`, after it has proved itself.

    Parameters
    ----------
    root : Path
    config : Config
        Where the log goes, which columns are never written in clear, which
        versions may differ.
    source : "serve", "batch", "spark", "inprocess" or None
        Stands on the record of each answer; with None nothing is recorded.
    allow_versions : collection of str
        Packages that may differ from the pins, beside those of `config`.

    Raises
    ------
    ArtifactDamaged, FormatTooNew
        The files are not what was saved.
    CodeNotAllowed
        The operator forbids what loading it would run.
    EnvironmentMismatch
        The installed versions are not the pinned ones.
    CodeCollision
        Another model's code has the names that this one needs.
    GoldenMismatch
        The golden examples no longer give the recorded outputs.
    """
    content = manifest.verify(root)
    permissions.check_load(root)
    conf = _flavor(root)
    differing = environment.verify(root, {*allow_versions, *config.environment.allow})
    identity = _identity(root, conf, content["digest"])
    code.admit(root, f"{identity.name or root.name} ({identity.digest[:12]})")
    recorder = None
    if source is not None:
        operators = FieldPolicy(config.field_policy(identity.name))
        recorder = Recorder(
            journal(config),
            strictest(FieldPolicy(conf["fields"]), operators),
            identity,
            source,
            tuple(
                {"rule": "environment", "package": name, "what": said}
                for name, said in differing.items()
            ),
            # A server's caller waits; whoever calls in process can call again.
            needs_record=source != "serve" or config.log.on_failure == "refuse",
        )
    model = FittedModel(
        serialize.load(root),
        predict_fn=conf["predict_fn"],
        whole_steps=conf["whole_steps"],
        shortcuts=conf.get("shortcuts", ()),
        transform_output=conf.get("transform_output", "default"),
        identity=identity,
        resources={name: root / file for name, file in content["resources"].items()},
        recorder=recorder,
    )
    if model.contract.digest != DataContract.load(root / layout.CONTRACT).digest:
        raise ArtifactDamaged("contract.yaml is not the contract of the pipeline", str(root))
    prove_golden(model, root)
    model.again = partial(
        open_artifact, root, config, source=source, allow_versions=tuple(allow_versions)
    )
    return model


def prove_golden(model: FittedModel, root: Path) -> None:
    """Score the golden examples and compare.

    Raises
    ------
    GoldenMismatch
    """
    inputs, expected, meta = golden.read(root)
    try:
        given = model.score(model.contract.conform(inputs, keys=False).frame)
    except AsfittedError:
        raise
    except Exception as error:
        raise GoldenMismatch(
            f"the golden examples cannot be scored: {type(error).__name__}: {error}", str(root)
        ) from error
    wrong, largest = golden.differences(expected, given, meta)
    if wrong:
        raise GoldenMismatch(
            f"{wrong} of {len(expected)} golden examples give another answer than in training "
            f"(largest relative difference {largest:.3g})",
            str(root),
            "the code, the resources or the libraries do not do what they did; "
            "serve with --env-manager uv, or train anew in this environment",
        )


def prove_trained(model: FittedModel, root: Path) -> None:
    """Ask the pipeline itself about the golden examples, and hold it and the model to training.

    Raises
    ------
    GoldenMismatch
    """
    inputs, _, meta = golden.read(root)
    relative = max(meta["tolerance"].values(), default=0.0)
    trained = golden.read_trained(root)
    estimator = model.scorer.estimator
    with of_model(model.resources or {}), quiet_and_single(model.scorer.transform_output):
        said = outputs.of_pipeline(model.pipeline, inputs, estimator)
        served = model.scorer.answers(model.contract.conform(inputs, keys=False).frame)
    for answers, who in ((said, "the pipeline itself gives"), (served, "the model gives")):
        off, _ = answers_apart(estimator, trained, answers, relative)
        wrong = int((off > 1).sum())
        if wrong:
            row = int((off > 1).argmax())
            raise GoldenMismatch(
                f"{who} another answer than the pipeline gave in training for {wrong} of "
                f"{len(trained)} golden examples, the first of them row {row}",
                str(root),
                "train anew in this environment, or serve with --env-manager uv",
            )


def journal(config: Config) -> Journal:
    """Return this process's journal of the log that `config` names.

    Raises
    ------
    ConfigError
    """
    folder, durability, sink = config.log_folder(), config.log.durability, config.log_sink() or ""
    if (folder, durability, sink) not in _journals:
        _journals[folder, durability, sink] = Journal(folder, durability=durability, sink=sink)
    return _journals[folder, durability, sink]


def _flavor(root: Path) -> dict[str, Any]:
    content = yaml.safe_load((root / layout.MLMODEL).read_text(encoding="utf-8"))
    try:
        return dict(content["flavors"][FLAVOR])
    except (KeyError, TypeError) as error:
        raise ArtifactDamaged("MLmodel has no asfitted flavor", str(root)) from error


def _identity(root: Path, conf: dict[str, Any], digest: str) -> Identity:
    """Name the model as the registry does where MLflow's download says so.

    Of a model that was asked for by its run or its id it says null.
    """
    meta = root / "registered_model_meta"
    said = yaml.safe_load(meta.read_text(encoding="utf-8")) if meta.is_file() else {}
    if said.get("model_name") is None:
        return Identity(conf["model_name"], "", digest)
    return Identity(str(said["model_name"]), str(said["model_version"]), digest)
