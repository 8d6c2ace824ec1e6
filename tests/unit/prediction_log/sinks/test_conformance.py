"""Every sink of ours passes the suite that others run on theirs."""

from __future__ import annotations

import pytest

from asfitted.prediction_log.sinks.conformance import SinkConformance


class TestSqlite(SinkConformance):
    @pytest.fixture
    def sink_url(self, tmp_path) -> str:
        return f"sqlite:///{tmp_path / 'log.sqlite'}"


class TestPostgres(SinkConformance):
    @pytest.fixture
    def sink_url(self, database) -> str:
        return database


class TestParquetByPath(SinkConformance):
    @pytest.fixture
    def sink_url(self, tmp_path) -> str:
        return str(tmp_path / "a log%20")


class TestParquetByUrl(SinkConformance):
    @pytest.fixture
    def sink_url(self, tmp_path) -> str:
        return (tmp_path / "a log%20").as_uri()


class TestS3(SinkConformance):
    @pytest.fixture
    def sink_url(self, bucket) -> str:
        return f"s3://{bucket}/a log%20/"


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")
class TestMlflow(SinkConformance):
    @pytest.fixture
    def sink_url(self, mlflow_url) -> str:
        return mlflow_url
