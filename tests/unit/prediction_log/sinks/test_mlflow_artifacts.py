"""Records among the artifacts of MLflow's runs: which run, and what a tracking server does."""

from __future__ import annotations

import os
import signal
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from log_batches import batch

from asfitted.errors import StoreUnavailable
from asfitted.prediction_log import Journal
from asfitted.prediction_log.query import Query
from asfitted.prediction_log.shipper import Shipper
from asfitted.prediction_log.shipping_compaction import Compactor
from asfitted.prediction_log.sinks import open_sink, public_name, sink_records
from asfitted.prediction_log.sinks.conformance import prediction, some_row
from asfitted.prediction_log.sinks.mlflow_artifacts import EXPERIMENT

pytestmark = [
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated"),
    pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals"),
]


def client(url: str):
    from mlflow import MlflowClient

    uri = url.partition("+")[2]
    return MlflowClient(uri, uri)


def registered(url: str, name: str) -> str:
    """Register a version of a model; return the id of the run that made it."""
    mlflow = client(url)
    run = mlflow.create_run("0").info.run_id
    mlflow.create_registered_model(name)
    mlflow.create_model_version(name, f"runs:/{run}/model", run)
    return run


def artifacts(url: str, run: str, folder: str = "prediction_log") -> list[str]:
    found: list[str] = []
    for info in client(url).list_artifacts(run, folder):
        found += artifacts(url, run, info.path) if info.is_dir else [info.path]
    return found


def test_a_versions_records_lie_in_the_run_that_made_it(mlflow_url) -> None:
    run = registered(mlflow_url, "flights")
    rows = [prediction("a", n, model_version="1") for n in range(1, 4)]
    with closing(open_sink(mlflow_url)) as sink:
        sink.write("predictions", rows)
        sink.write("predictions", rows)
        (name,) = artifacts(mlflow_url, run)
        assert name.startswith(
            "prediction_log/predictions/model=flights/version=1/date=2026-11-24/"
            "a.000000000001-000000000003."
        )
        assert client(mlflow_url).get_experiment_by_name(EXPERIMENT) is None
        # A version that leaves the registry, as a name does that is given anew, keeps them.
        client(mlflow_url).delete_registered_model("flights")
        assert list(sink.read(Query(model="flights", version="1"))) == rows
        sink.write("predictions", [*rows, late := prediction("a", 4, model_version="1")])
        assert list(sink.read(Query())) == [*rows, late]
    assert len(artifacts(mlflow_url, run)) == 2


def test_what_no_version_made_lies_in_a_run_of_its_own(mlflow_url) -> None:
    mlflow = client(mlflow_url)
    mlflow.create_registered_model("deleted")
    run = registered(mlflow_url, "flights")
    mlflow.delete_run(run)
    rows = [
        prediction("a", 1, model_name="unknown", model_version="7"),
        prediction("a", 2, model_version=""),
        prediction("a", 3, model_version="1"),
        prediction("a", 4, model_name="deleted", model_version="1"),
    ]
    outcome = some_row("outcomes", "a", 1)
    with closing(open_sink(mlflow_url)) as sink:
        sink.write("predictions", rows)
        sink.write("outcomes", [outcome])
        assert list(sink.read(Query())) == rows
        assert list(sink.read(Query(table="outcomes"))) == [outcome]
    experiment = mlflow.get_experiment_by_name(EXPERIMENT)
    names = {each.info.run_name for each in mlflow.search_runs([experiment.experiment_id])}
    assert names == {
        "model=unknown/version=7", "model=flights/version=__HIVE_DEFAULT_PARTITION__",
        "model=flights/version=1", "model=deleted/version=1", "model=flights/version=3",
    }  # fmt: skip


def test_a_changed_row_leaves_no_old_file(mlflow_url) -> None:
    rows = [prediction("a", n, inputs='{"name":"sesame"}') for n in range(1, 4)]
    with closing(open_sink(mlflow_url)) as sink:
        sink.write("predictions", rows)
        for _ in range(3):
            sink.rewrite("predictions", Query(), lambda row: (*row[:10], "{}", *row[11:]))
        assert len(list(Path().rglob("*.parquet"))) == 1
        assert sink.rewrite("predictions", Query(), lambda row: None) == 3
        assert list(Path().rglob("*.parquet")) == []
        assert list(sink.read(Query())) == []


def test_small_files_become_one_when_somebody_says_so(mlflow_url, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    rows = [prediction(writer, n) for n in range(1, 5) for writer in ("a", "b")]
    with closing(open_sink(mlflow_url)) as sink:
        for row in rows:
            sink.write("predictions", [row])
        # No follower does: another machine may be at it.
        Compactor().run(sink, lambda: False)
        assert len(list(Path().rglob("*.parquet"))) == 8
        assert sum(sink.compact(before="date=2026-12-31")) == 7
        assert len(list(Path().rglob("*.parquet"))) == 1
        assert list(sink.read(Query())) == rows
        sink.write("predictions", rows)
        assert len(list(Path().rglob("*.parquet"))) == 1
    assert not list(tmp_path.glob("*.lock"))


LOCKING = """
import sys, tempfile
from contextlib import closing
from asfitted.prediction_log.sinks import open_sink
tempfile.tempdir = sys.argv[2]
with closing(open_sink(sys.argv[1])) as sink:
    for _ in range(200):
        with sink.store.alone():
            with open(sys.argv[2] + "/one", "x"):
                pass
            __import__("os").unlink(sys.argv[2] + "/one")
"""


def test_one_process_at_a_time_has_the_lock_that_each_of_them_removes(mlflow_url, tmp_path) -> None:
    command = [sys.executable, "-c", LOCKING, mlflow_url, str(tmp_path)]
    processes = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait(120) for process in processes] == [0, 0, 0]
    assert not list(tmp_path.glob("*.lock"))


def test_the_name_of_the_sink_names_its_server_and_no_password() -> None:
    assert public_name("mlflow+http://ann:s3cret@host:5000") == "mlflow+http://host:5000"


@contextmanager
def served(folder: Path, port: int) -> Iterator[None]:
    """A tracking server that proxies its artifacts."""
    command = [
        sys.executable, "-m", "mlflow", "server", "--serve-artifacts", "--workers", "1",
        "--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--host", "127.0.0.1",
        "--artifacts-destination", str(folder / "artifacts"), "--port", str(port),
    ]  # fmt: skip
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(
            command, cwd=folder, stdout=log, stderr=log, start_new_session=True
        )
    try:
        end = time.monotonic() + 120
        while not answers(port):
            assert process.poll() is None, (folder / "server.log").read_text()
            assert time.monotonic() < end, (folder / "server.log").read_text()
            time.sleep(0.2)
        yield
    finally:
        # Its own session: the group is the server and its worker, nothing else.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


@contextmanager
def hanging_up() -> Iterator[tuple[str, list[bytes]]]:
    """The URL of a server that breaks off each request, and what it was sent."""
    sent: list[bytes] = []

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            sent.append(self.request.recv(4096))

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"mlflow+http://127.0.0.1:{server.server_address[1]}", sent
        server.shutdown()
        thread.join()


def test_a_server_that_is_down_is_asked_once_and_not_for_minutes(tmp_path) -> None:
    with Journal(tmp_path) as journal:
        journal.append(batch(3))
    with hanging_up() as (url, sent):
        with pytest.raises(StoreUnavailable, match="does not answer"):
            list(sink_records(url, Query()))
        assert len(sent) == 1
        with Shipper(tmp_path, url) as shipper:
            for count in (2, 3):
                with pytest.raises(StoreUnavailable, match="does not answer"):
                    shipper.ship()
                assert len(sent) == count


@pytest.mark.soak
def test_a_real_server_that_is_killed_and_comes_back(tmp_path, mlflow_url) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"mlflow+http://127.0.0.1:{port}"
    with Journal(tmp_path / "log") as journal, Shipper(tmp_path / "log", url) as shipper:
        ids = journal.append(batch(3))
        with served(tmp_path, port):
            run = registered(url, "others")
            assert shipper.ship() == 3
        ids += journal.append(batch(2, model_name="others", model_version="1"))
        with pytest.raises(StoreUnavailable, match="does not answer"):
            shipper.ship()
        with served(tmp_path, port):
            assert shipper.ship() == 2
            assert len(artifacts(url, run)) == 1
            found = sink_records(url, Query(), on_problem=pytest.fail)
            assert sorted(record["prediction_id"] for record in found) == sorted(ids)
            with closing(open_sink(url)) as sink:
                assert sink.rewrite("predictions", Query(model="others"), lambda row: None) == 2
                assert len(list(sink.read(Query()))) == 3
            assert artifacts(url, run) == []
