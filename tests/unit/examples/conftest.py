"""The example's modules, loaded under names of their own.

``features`` and ``data`` are names that other tests, and models that they load,
may use too.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[3]
FLIGHTS = ROOT / "examples" / "flights"


def _module(name: str) -> ModuleType:
    unique = f"_flights_example_{name}"
    if unique not in sys.modules:
        spec = importlib.util.spec_from_file_location(unique, FLIGHTS / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[unique] = module
        spec.loader.exec_module(module)
    return sys.modules[unique]


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def features() -> ModuleType:
    return _module("features")


@pytest.fixture(scope="session")
def data() -> ModuleType:
    return _module("data")


@pytest.fixture(scope="session")
def flights(data) -> pd.DataFrame:
    """Every flight that arrived; not to be changed."""
    return data.load()
