"""A server and its log's life: shipped while it serves, and what it does without a log."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from asfitted.prediction_log.opening import opened
from asfitted.prediction_log.place import journal_files, request_rotation
from asfitted.prediction_log.query import Query
from asfitted.prediction_log.reader import records
from asfitted.prediction_log.shipping_journals import is_final
from asfitted.prediction_log.sinks import open_sink, sink_records

if TYPE_CHECKING:
    from conftest import Row, Serve, Server, Site

pytestmark = [
    pytest.mark.e2e,
    # MLflow asks SQLAlchemy for what the newest deprecates.
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:mlflow\..*"),
]


def configured(folder: Path, **log: Any) -> Path:
    (folder / "registry_config.yaml").write_text(json.dumps({"schema_version": 1, "log": log}))
    return folder


def get(server: Server, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=30) as got:
            return got.status, got.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def metric(server: Server, name: str) -> float:
    for line in get(server, "/metrics")[1].splitlines():
        if line.startswith(name) and line[len(name)] in " {":
            return float(line.rsplit(" ", 1)[1])
    raise AssertionError(f"no metric {name}")


def comes_true(is_so: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 30
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def payload(rows: list[Row], **params: Any) -> dict[str, Any]:
    return {"dataframe_records": rows, **({"params": params} if params else {})}


def test_a_server_ships_its_log_and_closes_it(site: Site, serve: Serve, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/sink.sqlite"
    arguments = ["--env-manager", "local", "-w", "2"]
    # As a process has it that was started by another server.
    counted = {"PROMETHEUS_MULTIPROC_DIR": f"{tmp_path}/asfitted-metrics-of-another"}
    folder = configured(tmp_path, sink=url)
    server = serve(folder, arguments=arguments, variables=counted)
    for row in site.rows[:20]:
        assert server.ask(payload([row]))[0] == 200
    # More than the server scores at once: a journal of its own.
    many = (site.rows * 1100)[:1100]
    assert server.ask(payload(many))[0] == 200
    assert comes_true(lambda: len(list(sink_records(url))) == 1120)
    assert comes_true(lambda: metric(server, "asfitted_log_backlog_rows") == 0)
    assert metric(server, "asfitted_log_shipped_rows") == 1120
    assert metric(server, "asfitted_rows_total") == 1120
    assert metric(server, "asfitted_unrecorded_rows_total") == 0
    server.ask(payload(site.rows[:3]))
    server.stop()
    # What was asked last is shipped by the server that ends.
    assert len({one["prediction_id"] for one in sink_records(url)}) == 1123
    assert all(is_final(path) for path in journal_files(server.log))


def test_a_server_begins_a_new_journal_when_asked(site: Site, serve: Serve, tmp_path: Path) -> None:
    server = serve(tmp_path)
    assert server.ask(payload(site.rows[:1]))[0] == 200
    (path,) = journal_files(server.log)
    with opened(path) as connection:
        assert connection is not None
    assert not is_final(path)
    request_rotation(server.log)
    assert comes_true(lambda: is_final(path))
    assert server.ask(payload(site.rows[:1]))[0] == 200
    assert len(journal_files(server.log)) == 2


@pytest.mark.parametrize("on_failure", ["refuse", "answer"])
def test_a_server_without_a_place_for_its_log(
    site: Site, serve: Serve, tmp_path: Path, on_failure: str
) -> None:
    server = serve(configured(tmp_path, on_failure=on_failure))
    assert server.ask(payload(site.rows[:2]))[0] == 200
    assert get(server, "/ready") == (200, '{"ready": true, "recording": true}')
    moved = server.log.with_name("moved")
    server.log.rename(moved)
    server.log.write_text("a file where the folder was")

    status, answer = server.ask(payload(site.rows[:3], return_ids=True))
    ready = get(server, "/ready")
    if on_failure == "refuse":
        assert (status, json.loads(answer)["code"]) == (503, "record_failed")
        assert ready[0] == 503
    else:
        assert (status, len(answer)) == (200, 3)
        assert ready == (200, '{"ready": true, "recording": false}')
    unrecorded = 0 if on_failure == "refuse" else 3
    assert metric(server, "asfitted_unrecorded_rows_total") == unrecorded

    server.log.unlink()
    moved.rename(server.log)
    assert server.ask(payload(site.rows[:1]))[0] == 200
    assert get(server, "/ready") == (200, '{"ready": true, "recording": true}')
    assert len(list(records(server.log, Query()))) == 3
    declared = [r["counts"] for r in records(server.log, Query(table="removals"))]
    assert declared == ([{"predictions": 3}] if unrecorded else [])
    # Answered is recorded and what was declared, whichever the operator chose.
    assert metric(server, "asfitted_rows_total") == 3 + unrecorded


def test_a_server_that_waits_for_its_sink(site: Site, serve: Serve, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/sink.sqlite"
    server = serve(configured(tmp_path, sink=url, durability="sink"))
    status, _ = server.ask(payload(site.rows[:5]))
    assert (status, len(list(sink_records(url)))) == (200, 5)
    assert not journal_files(server.log)
    # Its table is gone for a while: nothing is answered that the sink has not.
    with closing(open_sink(url)) as sink:
        engine = sink._engine  # type: ignore[attr-defined]
        with engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE predictions RENAME TO elsewhere")
        assert server.ask(payload(site.rows[:1]))[0] == 503
        assert get(server, "/ready")[0] == 503
        with engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO predictions")
    assert server.ask(payload(site.rows[:1]))[0] == 200
    assert len(list(sink_records(url))) == 6
