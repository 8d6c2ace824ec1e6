"""registry_config.yaml, the one configuration, as frozen data.

This module travels inside model artifacts (the log's folder and its field policy
are needed wherever a model answers), so it imports nothing but pydantic, the YAML
reader and the errors.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    StringConstraints,
    ValidationError,
    model_validator,
)

from asfitted import _yaml
from asfitted._metrics import HOLDOUT_METRICS, greater_is_better
from asfitted.errors import ConfigError

FILE_NAME = "registry_config.yaml"
CONFIG_VARIABLE = "ASFITTED_CONFIG"
LOG_VARIABLE = "ASFITTED_LOG"
SINK_VARIABLE = "ASFITTED_SINK"

Policy = Literal["keep", "hash", "drop"]
_STRICTNESS: tuple[Policy, ...] = ("keep", "hash", "drop")
Name = Annotated[str, StringConstraints(min_length=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Holdout(_Section):
    """Rows that both models are scored on: Parquet or CSV, relative to the config's folder."""

    data: Name
    target: Name


class ProofGate(_Section):
    """The version proves itself: its files, its environment, its golden examples."""

    gate: Literal["proof"]


class MetricGate(_Section):
    """A metric stays within bounds, and near what the current holder of the alias has.

    Attributes
    ----------
    metric : str
        With a holdout one of `HOLDOUT_METRICS`, else the name it is logged under.
    min, max : float, optional
        Inclusive bounds, whichever direction is better.
    max_drop : float, optional
        At most this much worse than the current holder, in the metric's own unit.
    greater_is_better : bool, optional
        To be said where `max_drop` is given and the name does not say it.
    holdout : Holdout, optional
        Without it the metric is the one logged for the version in MLflow.
    """

    gate: Literal["metric"]
    metric: Name
    min: float | None = None
    max: float | None = None
    max_drop: Annotated[float, Field(ge=0)] | None = None
    greater_is_better: bool | None = None
    holdout: Holdout | None = None

    @model_validator(mode="after")
    def _is_a_gate(self) -> MetricGate:
        if self.min is None and self.max is None and self.max_drop is None:
            raise ValueError("a metric gate needs at least one of min, max and max_drop")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}: nothing can pass")
        if self.holdout is not None and self.metric not in HOLDOUT_METRICS:
            known = ", ".join(HOLDOUT_METRICS)
            raise ValueError(f"a holdout cannot measure {self.metric!r}; it measures {known}")
        known_direction = greater_is_better(self.metric)
        if known_direction is None and self.max_drop is not None:
            if self.greater_is_better is None:
                raise ValueError(f"max_drop needs greater_is_better said for {self.metric!r}")
        elif None not in (known_direction, self.greater_is_better) and (
            known_direction is not self.greater_is_better
        ):
            # Taken at its word, this would let exactly the worse models through.
            raise ValueError(
                f"greater_is_better is {str(known_direction).lower()} for {self.metric!r}"
            )
        return self

    @property
    def more_is_better(self) -> bool:
        """The direction, said or derived; only meaningful where it is known."""
        said = self.greater_is_better
        return bool(greater_is_better(self.metric) if said is None else said)

    @property
    def measured_by(self) -> str:
        """Which measurement the gate wants: two gates on the same one share it."""
        if self.holdout is None:
            return f"{self.metric} as logged"
        return f"{self.metric} of {self.holdout.target} on {self.holdout.data}"


Gate = Annotated[ProofGate | MetricGate, Field(discriminator="gate")]
_GATES: Mapping[str, type[_Section]] = {"proof": ProofGate, "metric": MetricGate}


class Model(_Section):
    """What is said about one registered model."""

    fields: dict[Name, Policy] = {}
    alias: Annotated[str, StringConstraints(pattern=r"^[\w-]+$")] | None = None
    gates: tuple[Gate, ...] = ()

    @model_validator(mode="after")
    def _proves(self) -> Model:
        if self.gates and not any(isinstance(gate, ProofGate) for gate in self.gates):
            raise ValueError("gates without `- gate: proof`: every version has to prove itself")
        return self


class Log(_Section):
    """Where predictions are recorded, where they are shipped, and which columns never in clear.

    Attributes
    ----------
    folder : str
    fields : dict of str to {"keep", "hash", "drop"}
    sink : str, optional
        URL of the store that the journals are shipped to, without a password.
    keep_shipped_days : float, default 7
        How long a journal stays that is shipped and that nobody writes; 0 is not at all.
    durability : "fsync", "os" or "sink", default "fsync"
        What an answer waits for: its record on the disk; with the operating system,
        from which a power cut may take it; in the sink.
    on_failure : "refuse" or "answer", default "refuse"
        Whether a server answers what it cannot record. With "answer" the log declares
        the gap.
    """

    folder: Name = "prediction_log"
    fields: dict[Name, Policy] = {}
    sink: Name | None = None
    keep_shipped_days: Annotated[float, Field(ge=0)] = 7
    durability: Literal["fsync", "os", "sink"] = "fsync"
    on_failure: Literal["refuse", "answer"] = "refuse"

    @model_validator(mode="after")
    def _holds_no_secret_and_no_home(self) -> Log:
        if "~" in Path(self.folder).parts:
            raise ValueError("a ~ in log.folder, which only a shell understands: write it out")
        if re.search(r"://[^@]*:[^@]+@|[?&]password=", self.sink or ""):
            raise ValueError(
                f"a password in log.sink; leave it to PGPASSWORD or ~/.pgpass, "
                f"or give the whole URL in {SINK_VARIABLE}"
            )
        return self


class Environment(_Section):
    """Packages whose version may differ from the model's pins, each with the reason."""

    allow: dict[Name, Name] = {}


class Config(_Section):
    """The whole file; `load_config` reads it.

    Examples
    --------
    >>> Config(schema_version=1).model("flights").gates
    ()
    """

    schema_version: Literal[1]
    log: Log = Log()
    environment: Environment = Environment()
    models: dict[Name, Model] = {}
    _path: Path | None = PrivateAttr(default=None)

    @property
    def path(self) -> Path | None:
        """The file that was read, absolute; None where these are the defaults."""
        return self._path

    def resolve(self, path: str | Path) -> Path:
        """Return `path` as an absolute one: the file's paths are relative to its folder."""
        return (self._path.parent if self._path else Path.cwd()) / path

    def log_folder(self) -> Path:
        """Return the folder of the prediction log; the variable ASFITTED_LOG wins."""
        override = os.environ.get(LOG_VARIABLE)
        return Path(override).absolute() if override else self.resolve(self.log.folder)

    def log_sink(self) -> str | None:
        """Return the URL of the log's sink, or None; the variable ASFITTED_SINK wins."""
        override = os.environ.get(SINK_VARIABLE)
        sink = override or self.log.sink
        if override or sink is None:
            return sink
        if re.match(r"(mlflow\+)?sqlite(\+\w+)?:///", sink):
            scheme, _, path = sink.partition(":///")
            return f"{scheme}:///{self.resolve(path)}"
        # What looks like a URL and is none shall not become a folder of that name.
        return sink if re.match(r"[A-Za-z][\w+.-]+:|mlflow\+", sink) else str(self.resolve(sink))

    def model(self, name: str) -> Model:
        """Return what is said about the model `name`: nothing, where it is not named."""
        return self.models.get(name, Model())

    def field_policy(self, name: str) -> dict[str, Policy]:
        """Return each column's policy for the model `name`; of two, the stricter.

        Examples
        --------
        >>> config = Config(schema_version=1, log=Log(fields={"tail": "hash", "dest": "drop"}),
        ...                 models={"flights": Model(fields={"tail": "drop", "dest": "keep"})})
        >>> config.field_policy("flights")
        {'tail': 'drop', 'dest': 'drop'}
        """
        policy = dict(self.log.fields)
        for column, own in self.model(name).fields.items():
            policy[column] = max(own, policy.get(column, own), key=_STRICTNESS.index)
        return policy


def load_config(path: str | Path | None = None) -> Config:
    """Read the configuration.

    Parameters
    ----------
    path : str or Path, optional
        Else the file that ASFITTED_CONFIG names, else ``registry_config.yaml`` in
        the working directory, else the defaults.

    Raises
    ------
    ConfigError
        With every problem, each as ``problem @ models.flights.gates[2].max_drop``.
    """
    said = path or os.environ.get(CONFIG_VARIABLE)
    file = Path(said or FILE_NAME).absolute()
    if not said and not file.exists():
        return Config(schema_version=1)
    try:
        data = _yaml.load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("the configuration cannot be read", str(file)) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"the configuration is not valid YAML: {error}", str(file)) from error
    try:
        config = Config.model_validate_json(json.dumps({} if data is None else data))
    except ValidationError as error:
        raise _config_error(error, file) from error
    except TypeError as error:
        # YAML's own tags: !!binary, !!set.
        raise ConfigError(f"the configuration has what is not plain: {error}", str(file)) from error
    config._path = file
    return config


def _config_error(error: ValidationError, file: Path) -> ConfigError:
    problems, mends = [], []
    for detail in error.errors(include_url=False):
        problem, mend = _said(detail["type"], detail["msg"], detail["loc"], detail["input"])
        problems.append(f"{problem} @ {_dotted(_without_tag(detail['loc']))}")
        mends += [mend] if mend else []
    return ConfigError("\n  ".join(problems), str(file), "; ".join(mends))


def _said(kind: str, text: str, place: Sequence[str | int], value: Any) -> tuple[str, str]:
    """Return the problem in this file's words, and the mend where it is established."""
    if kind == "extra_forbidden":
        known = list(_section_at(tuple(place[:-1])).model_fields)
        close = get_close_matches(str(place[-1]), known, n=1)
        if close:
            return "unknown key", f"did you mean `{close[0]}` for `{place[-1]}`?"
        return "unknown key", f"instead of `{place[-1]}`, say one of {', '.join(known)}"
    if kind == "missing":
        return "this key is required", ""
    if kind in {"union_tag_invalid", "union_tag_not_found"}:
        gates = ", ".join(_GATES)
        said = value.get("gate") if isinstance(value, dict) else None
        close = get_close_matches(str(said), list(_GATES), n=1)
        mend = f"did you mean `{close[0]}` for `{said}`?" if close else ""
        return f"no such gate; gates are {gates}", mend
    if kind == "value_error":
        return text.removeprefix("Value error, "), ""
    if kind == "float_type" and isinstance(value, str) and re.match(r"^[\d.]+e-?\d+$", value):
        # YAML 1.1 wants the dot: 1e-3 is text to it.
        return "not a number", f"write {float(value)!r} for {value}"
    return text[0].lower() + text[1:], ""


def _section_at(place: tuple[str | int, ...]) -> type[_Section]:
    match place:
        case ("log",):
            return Log
        case ("environment",):
            return Environment
        case ("models", _):
            return Model
        case ("models", _, "gates", _, str() as tag):
            return _GATES[tag]
        case ("models", _, "gates", _, _, "holdout"):
            return Holdout
    return Config


def _without_tag(place: Sequence[str | int]) -> tuple[str | int, ...]:
    """Drop the name of the union's member, which pydantic puts behind a gate's position."""
    if len(place) > 4 and place[2] == "gates":
        return (*place[:4], *place[5:])
    return tuple(place)


def _dotted(place: Sequence[str | int]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return text.removeprefix(".") or "the file"
