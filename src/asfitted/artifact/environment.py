"""The environment that training ran on, pinned whole, and the check that this one is it."""

from __future__ import annotations

import json
import logging
import platform
import re
from collections.abc import Collection, Iterable, Mapping
from importlib import metadata
from pathlib import Path

import yaml
from packaging.markers import UndefinedEnvironmentName
from packaging.requirements import InvalidRequirement, Requirement

from asfitted.artifact import layout
from asfitted.errors import CodeNotShipped, EnvironmentMismatch

logger = logging.getLogger(__name__)

# What the shipped runtime and MLflow's server need, whatever the pipeline.
RUNTIME = (
    "mlflow",
    "scikit-learn",
    "pandas",
    "numpy",
    "pyarrow",
    "pydantic",
    "PyYAML",
    "cloudpickle",
    "skops",
    "prometheus-client",
    "uvloop",
    "httptools",
    "orjson",
)

_VERSION = re.compile(r"^Version: *(\S+) *$", re.MULTILINE)


def normal(name: str) -> str:
    """Return a distribution's name in the normal form of the package index."""
    return re.sub(r"[-_.]+", "-", name).lower()


def closure(roots: Iterable[str]) -> dict[str, str]:
    """Return every installed distribution that `roots` need, with its version.

    Parameters
    ----------
    roots : iterable of str
        Names of distributions.

    Returns
    -------
    dict of normal name to version, sorted

    Raises
    ------
    CodeNotShipped
        Where one was installed from a folder or a repository: no index has it.
    """
    found: dict[str, str] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    queue = [(normal(root), frozenset[str]()) for root in roots]
    while queue:
        name, extras = queue.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            dist = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            # Optional to whoever asks for it: training ran without.
            continue
        _refuse_local(dist)
        found[name] = dist.version
        for text in dist.requires or ():
            needed = _needed(text, extras)
            if needed is not None:
                queue.append((normal(needed.name), frozenset(needed.extras)))
    return dict(sorted(found.items()))


def _needed(text: str, extras: frozenset[str]) -> Requirement | None:
    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        return None
    if requirement.marker is None:
        return requirement
    for extra in extras or {""}:
        try:
            if requirement.marker.evaluate({"extra": extra}):
                return requirement
        except UndefinedEnvironmentName:
            continue
    return None


def _refuse_local(dist: metadata.Distribution) -> None:
    text = dist.read_text("direct_url.json")
    if text is None:
        return
    url = str(json.loads(text).get("url", ""))
    if url.startswith("file:") and url.endswith(".whl"):
        return
    name = dist.metadata["Name"]
    raise CodeNotShipped(
        f"the package {name} was installed from {url.split(':')[0]}, not from an index",
        f"{name} {dist.version}",
        f"ship its source: code_paths=[…/{name.replace('-', '_')}], or install a release",
    )


def write(root: Path, pins: Mapping[str, str]) -> None:
    """Write requirements.txt, conda.yaml and python_env.yaml, which say the same.

    Versions with a local label are pinned as they are, and warned of.

    Parameters
    ----------
    root : Path
    pins : mapping of distribution to version
    """
    python = platform.python_version()
    lines = [f"{name}=={version}" for name, version in pins.items()]
    builders = [f"{name}=={v}" for name in ("pip", "setuptools", "wheel") if (v := _version(name))]
    _warn_of_local_labels([*lines, *builders])
    (root / layout.REQUIREMENTS).write_text("\n".join(lines) + "\n", encoding="utf-8")
    conda = {
        "name": "mlflow-env",
        "channels": ["conda-forge"],
        "dependencies": [f"python={python}", "pip", {"pip": lines}],
    }
    (root / layout.CONDA).write_text(yaml.safe_dump(conda, sort_keys=False), encoding="utf-8")
    python_env = {
        "python": python,
        "build_dependencies": builders,
        "dependencies": [f"-r {layout.REQUIREMENTS}"],
    }
    (root / layout.PYTHON_ENV).write_text(
        yaml.safe_dump(python_env, sort_keys=False), encoding="utf-8"
    )


def _warn_of_local_labels(lines: Iterable[str]) -> None:
    """Name the pins that the public index cannot have, such as ``torch==2.7.1+cu128``.

    A warning and no refusal: another index may have them (PyTorch's has its own), which one
    is known only where the environment is built, and there an install that fails says so.
    """
    labelled = [line for line in lines if "+" in line]
    if labelled:
        logger.warning(
            "%s: a version with a local label is not on PyPI, so --env-manager uv, virtualenv or "
            "conda cannot build this environment from it. Install the plain release before "
            "training, or name the index that has it where the environment is built: "
            "PIP_EXTRA_INDEX_URL for pip, UV_INDEX for uv",
            ", ".join(labelled),
        )


def _version(name: str) -> str | None:
    try:
        dist = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None
    # Reading the whole of it as an e-mail takes a tenth of a second for a hundred packages.
    found = _VERSION.search(dist.read_text("METADATA") or "")
    return found[1] if found else dist.version


def pins(root: Path) -> dict[str, str]:
    """Return what the artifact at `root` pins: ``python`` and each distribution."""
    python = yaml.safe_load((root / layout.PYTHON_ENV).read_text(encoding="utf-8"))["python"]
    lines = (root / layout.REQUIREMENTS).read_text(encoding="utf-8").split()
    return {"python": str(python), **dict(line.split("==", 1) for line in lines)}


def verify(root: Path, allow: Collection[str] = ()) -> dict[str, str]:
    """Refuse an environment that differs from the pins.

    Parameters
    ----------
    root : Path
    allow : collection of str
        Distributions, or ``python``, that may differ. Each use is logged, and
        stands on the record of each answer.

    Returns
    -------
    dict of str to str
        What differs and was allowed, as ``{"numpy": "2.4.5 instead of 2.4.6"}``.

    Raises
    ------
    EnvironmentMismatch
        Names every package that differs.
    """
    allowed = {normal(name) for name in allow}
    differing = {}
    for name, pinned in pins(root).items():
        there = platform.python_version() if name == "python" else _version(name)
        if there != pinned:
            differing[name] = f"{there or 'nothing'} instead of {pinned}"
    refused = {name: said for name, said in differing.items() if name not in allowed}
    if refused:
        shown = "; ".join(f"{name} {said}" for name, said in list(refused.items())[:8])
        more = f", and {len(refused) - 8} more" if len(refused) > 8 else ""
        raise EnvironmentMismatch(
            f"this environment is not the one of the training: {shown}{more}",
            str(root),
            f"pip install -r {root / layout.REQUIREMENTS}, or serve with --env-manager uv; "
            "to answer all the same, name the packages under environment.allow in "
            "registry_config.yaml, or pass allow_versions",
        )
    for name, said in differing.items():
        logger.warning("answering with %s %s, as was allowed by name", name, said)
    return differing
