"""A real server that is killed with -9, in part or whole, again and again, under load."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from callers import Callers

from asfitted.prediction_log.query import Query
from asfitted.prediction_log.reader import records
from asfitted.prediction_log.shipper import Shipper
from asfitted.prediction_log.sinks import sink_records

if TYPE_CHECKING:
    from conftest import Serve, Server, Site

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.xdist_group("log_faults"),
    # MLflow asks SQLAlchemy for what the newest deprecates.
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:mlflow\..*"),
]


def kill(server: Server, victims: set[int]) -> None:
    for pid in victims:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    if server.process.pid in victims:
        server.process.wait(30)
        end = time.monotonic() + 30
        while server.processes():
            assert time.monotonic() < end
            time.sleep(0.01)


def workers(server: Server) -> set[int]:
    started = re.findall(r"Started server process \[(\d+)\]", server.said())
    return set(map(int, started)) & server.processes()


@pytest.mark.parametrize("kills", [2, pytest.param(40, marks=pytest.mark.soak)])
def test_killed_whole_or_in_part(site: Site, serve: Serve, tmp_path: Path, kills: int) -> None:
    arguments = ["--env-manager", "local", "-w", "2"]
    server = serve(tmp_path, arguments=arguments)
    with Callers(site, server) as callers:
        for n in range(kills):
            callers.wait_for_more(random.randint(20, 60))
            time.sleep(random.random() * 0.02)
            whole = n % 2 == 1
            # Both workers at once, and every process of the server in turn.
            kill(server, server.processes() if whole else workers(server))
            if whole:
                server.stopped = True
                server = callers.server = serve(tmp_path, arguments=arguments)
        callers.wait_for_more(50)
    found = list(records(server.log, on_problem=pytest.fail))
    callers.assert_on_record(found)
    assert len(callers.told) >= 20 * kills + 50
    server.stop()
    sink = f"sqlite:///{tmp_path}/sink.sqlite"
    with Shipper(server.log, sink, on_problem=pytest.fail) as shipper:
        shipper.ship()
    shipped = list(sink_records(sink, Query(), on_problem=pytest.fail))
    callers.assert_on_record(shipped)
    assert shipped == found
