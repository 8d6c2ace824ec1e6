"""Fixtures for the tests of batch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from batch_rows import fitted, recording
from real_s3 import bucket, s3

from asfitted import FittedModel

__all__ = ["bucket", "s3"]


@pytest.fixture(scope="session")
def model() -> FittedModel:
    """A model that records nothing."""
    return fitted()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def recorded(model: FittedModel, log: Path) -> Iterator[FittedModel]:
    """The same model, recording in `log`."""
    recorded = recording(model, log)
    yield recorded
    assert recorded.recorder is not None
    recorded.recorder.journal.close()
