"""One Spark session on this machine, and a model."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from spark_rows import CONTRACT, as_frame, make_rows
from spark_steps import Numbers

import asfitted
from asfitted.config import LOG_VARIABLE

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder in which driver and workers run; the log would be in its ``log``."""
    folder = tmp_path_factory.mktemp("spark")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv(LOG_VARIABLE, str(folder / "log"))
        yield folder


@pytest.fixture(scope="session")
def rows() -> pa.Table:
    return make_rows()


@pytest.fixture(scope="session")
def model(home: Path, rows: pa.Table) -> str:
    """A saved model that answers otherwise where a moment is off by a microsecond."""
    frame = as_frame(rows)
    target = np.random.default_rng(1).normal(size=len(frame))
    pipeline = make_pipeline(asfitted.Conform(CONTRACT), Numbers(), LinearRegression())
    path = home / "model"
    asfitted.save_model(
        pipeline.fit(frame, target),
        path,
        reference=frame,
        name="m",
        code_paths=[HERE / "spark_steps.py"],
    )
    return str(path)


@pytest.fixture(scope="session")
def spark(home: Path) -> Iterator[Any]:
    sql = pytest.importorskip("pyspark.sql", reason="make test-spark installs pyspark")
    if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        pytest.skip("Spark needs Java")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        session = (
            sql.SparkSession.builder.master("local[2]")
            .config("spark.ui.enabled", "false")
            .config("spark.driver.host", "127.0.0.1")
            .config("spark.driver.bindAddress", "127.0.0.1")
            .config("spark.sql.shuffle.partitions", "2")
            .config("spark.sql.warehouse.dir", str(home / "warehouse"))
            .config("spark.log.level", "OFF")
            .getOrCreate()
        )
        yield session
        session.stop()


@pytest.fixture
def zone(spark: Any) -> Iterator[Any]:
    """Set the zone of the session; it is put back."""
    name = "spark.sql.session.timeZone"
    before = spark.conf.get(name)
    yield lambda zone: spark.conf.set(name, zone)
    spark.conf.set(name, before)
