"""Fixtures of the conformance suite."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
from conformance_cases import CASES
from conformance_journey import Seen, group_of, made


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        name = getattr(item, "callspec", None) and item.callspec.params.get("name")
        if name in CASES:
            item.add_marker(pytest.mark.xdist_group(f"conformance-{group_of(name)}"))


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that the workers of one run have in common."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "conformance"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture
def seen(name: str, shared: Path) -> Seen:
    """Return the case `name` before saving and after loading."""
    folder = shared / f"group-{group_of(name)}"
    before = made(folder)[name]
    if "failed" in before:
        pytest.fail(before["failed"], pytrace=False)
    after = pickle.loads((folder / f"{name}.said.pkl").read_bytes())
    if "failed" in after:
        pytest.fail(after["failed"], pytrace=False)
    return Seen(name, before, after, folder / name, folder / "log")
