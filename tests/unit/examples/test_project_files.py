"""MLproject and conda.yaml: what MLflow reads them as, and that they say what the lock says."""

from __future__ import annotations

import re
import shlex
from importlib import metadata

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PYTHON = {"python_version": "3.11", "python_full_version": "3.11.7", "sys_platform": "linux"}


@pytest.fixture(scope="module")
def conda(root):
    return yaml.safe_load((root / "conda.yaml").read_text())


@pytest.fixture(scope="module")
def pins(conda):
    return [Requirement(text) for text in conda["dependencies"][-1]["pip"]]


@pytest.fixture(scope="module")
def project(root):
    return yaml.safe_load((root / "MLproject").read_text())


def test_mlflow_takes_all_of_conda_yaml(root, caplog):
    from mlflow.utils.environment import _PythonEnv

    read = _PythonEnv.get_dependencies_from_conda_yaml(root / "conda.yaml")
    # It drops what it does not understand, and only warns.
    assert not caplog.records
    assert re.fullmatch(r"3\.11\.\d+", read["python"])
    assert read["build_dependencies"] == ["pip"]
    assert "mlflow" in {Requirement(text).name for text in read["dependencies"]}


def test_conda_sees_one_channel_and_no_defaults(conda):
    assert conda["channels"] == ["conda-forge", "nodefaults"]
    assert [entry for entry in conda["dependencies"] if isinstance(entry, dict)] == [
        {"pip": conda["dependencies"][-1]["pip"]}
    ]


def test_each_pin_is_exact_and_that_of_the_lock(root, pins):
    locked = {}
    for line in (root / "requirements.lock").read_text().splitlines():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate(PYTHON):
            locked[canonicalize_name(requirement.name)] = str(requirement.specifier)
    assert {str(pin): locked.get(pin.name) for pin in pins} == {
        str(pin): str(pin.specifier) for pin in pins
    }
    assert all(re.fullmatch(r"==[^*,]+", str(pin.specifier)) for pin in pins)
    assert all(pin.marker is None and pin.url is None and not pin.extras for pin in pins)


def test_the_project_is_not_in_its_own_environment(root):
    text = (root / "conda.yaml").read_text()
    entries = [line.strip() for line in text.splitlines() if line.strip().startswith("- ")]
    assert not [entry for entry in entries if re.search(r"asfitted|-e |\./|file:|- \.$", entry)]


def test_nothing_is_left_to_the_resolver(root, pins):
    """All that the pins need is pinned, and all that the project and the example need."""
    pinned = {canonicalize_name(pin.name): pin for pin in pins}
    installed = {canonicalize_name(each.name): each.version for each in metadata.distributions()}
    # What packages need is read from them, so it must be those that are pinned.
    if any(f"=={installed.get(name)}" != str(pin.specifier) for name, pin in pinned.items()):
        pytest.skip("another environment than that of conda.yaml")
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11 has it")
    ours = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    wanted = {
        "asfitted": [*ours["dependencies"], *ours["optional-dependencies"]["examples"]],
        **{name: metadata.requires(name) or [] for name in pinned},
    }
    unpinned = [
        f"{text} (for {name})"
        for name, needs in wanted.items()
        for text in needs
        if _applies(Requirement(text)) and canonicalize_name(Requirement(text).name) not in pinned
    ]
    assert not unpinned


def _applies(requirement: Requirement) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({**PYTHON, "extra": ""})


def test_the_entry_points_are_commands_of_this_checkout(project):
    assert set(project["entry_points"]) == {"main", "train", "demo", "score"}
    assert project["entry_points"]["main"] == project["entry_points"]["train"]
    assert project["conda_env"] == "conda.yaml"
    for entry in project["entry_points"].values():
        path, program, *_ = shlex.split(entry["command"])
        assert path.startswith("PYTHONPATH=src")
        assert program == "python"
        assert "\n" not in entry["command"].strip()
        assert set(re.findall(r"{(\w+)}", entry["command"])) == set(entry.get("parameters", {}))


def test_mlflow_makes_the_command_of_the_defaults(root):
    from mlflow.projects._project_spec import load_project

    train = load_project(str(root)).get_entry_point("train")
    command = shlex.split(train.compute_command({"rows": "500"}, storage_dir=None))
    assert command == [
        "PYTHONPATH=src:examples/flights",
        *("python", "examples/flights/train.py"),
        *("--model", "logistic"),
        *("--train-months", "9"),
        *("--rows", "500"),
        *("--registered-model-name", "flights"),
        *("--seed", "0"),
    ]
