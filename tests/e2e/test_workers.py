"""Several processes, one log: none lost, mixed or repeated, and a kill -9 changes nothing."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

import asfitted

if TYPE_CHECKING:
    from conftest import Row, Serve, Server, Site

pytestmark = [
    pytest.mark.e2e,
    # One server, one worker of xdist.
    pytest.mark.xdist_group("workers"),
    # MLflow asks SQLAlchemy for what the newest deprecates.
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:mlflow\..*"),
]

WORKERS = 2
REQUESTS = 300
KILLS = 3
PATIENCE_S = 180


@pytest.fixture(scope="module")
def server(site: Site, serve_for_module: Serve, tmp_path_factory: pytest.TempPathFactory) -> Server:
    folder = tmp_path_factory.mktemp("workers")
    return serve_for_module(folder, arguments=["--env-manager", "local", "-w", str(WORKERS)])


@pytest.fixture(autouse=True)
def no_complaints(caplog: pytest.LogCaptureFixture) -> Any:
    """Every file of the log can be read at any time."""
    yield
    said = [r.getMessage() for r in caplog.records if r.name.startswith("asfitted")]
    assert not said


@dataclass
class Given:
    """One request and what came back; the status is None where nothing did."""

    order: str
    position: int
    status: int | None
    answers: Any


@dataclass
class Load:
    """Requests from many threads, each under a key of its own, until it is stopped."""

    site: Site
    server: Server
    prefix: str
    given: list[Given] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._numbers = itertools.count()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Load:
        self.add(8)
        return self

    def add(self, threads: int) -> None:
        for _ in range(threads):
            thread = threading.Thread(target=self._ask_on_and_on)
            thread.start()
            self._threads.append(thread)

    def __exit__(self, *exc: object) -> None:
        self.stop.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)

    def acknowledged(self) -> list[Given]:
        return [each for each in list(self.given) if each.status == 200]

    def wait_for_more(self, answers: int) -> None:
        enough = len(self.acknowledged()) + answers
        wait_for(f"{answers} more answers", lambda: len(self.acknowledged()) >= enough)

    def _ask_on_and_on(self) -> None:
        while not self.stop.is_set():
            # A few requests a connection, so that every worker gets its share.
            connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
            try:
                for _ in range(5):
                    self._ask(connection)
            except (OSError, http.client.HTTPException):
                self.stop.wait(0.01)
            finally:
                connection.close()

    def _ask(self, connection: http.client.HTTPConnection) -> None:
        number = next(self._numbers)
        given = Given(f"{self.prefix}-{number}", number % len(self.site.rows), None, None)
        self.given.append(given)
        row = self.site.rows[given.position] | {"order": given.order}
        payload = self.site.payload("dataframe_split", [row])
        # The status comes last: whoever sees it sees the answers.
        status, given.answers = self.server.ask_on(connection, payload)
        given.status = status


def wait_for(what: str, is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline, f"waited {PATIENCE_S} s for {what}"
        time.sleep(0.05)


def workers(server: Server) -> set[int]:
    """The living processes that uvicorn has said to serve."""
    started = re.findall(r"Started server process \[(\d+)\]", server.said())
    return set(map(int, started)) & server.processes()


def recorded(server: Server) -> set[int]:
    """The processes that have answered: they have, or had, a journal."""
    return {int(path.name.split("-")[-2]) for path in server.log.glob("journal-*.sqlite")}


def recording(server: Server) -> set[int]:
    return recorded(server) & workers(server)


def assert_recorded(site: Site, server: Server, given: list[Given], prefix: str) -> pd.DataFrame:
    """What was answered is on record once, as sent and as answered; nothing else twice."""
    found = asfitted.read_log(server.log)
    assert found["prediction_id"].is_unique
    for _, sequence in found.groupby("writer")["sequence"]:
        assert sequence.tolist() == list(range(1, len(sequence) + 1))
    mine = found[found["keys"].map(lambda keys: keys["order"].startswith(f"{prefix}-"))]
    times = Counter(keys["order"] for keys in mine["keys"])
    sent = {each.order: each for each in given}
    lost = [e.order for e in given if e.status == 200 and not times[e.order]]
    assert not lost, f"{len(lost)} answers are not on record, such as {lost[:5]}"
    assert not [order for order, n in times.items() if n > 1], "on record twice"
    assert times.keys() <= sent.keys()
    for record in mine.to_dict("records"):
        each = sent[record["keys"]["order"]]
        row: Row = site.rows[each.position] | {"order": each.order}
        (expected,) = site.put_on_record([row])
        assert json.dumps([record["inputs"], record["keys"]]) == json.dumps(list(expected))
        right = site.bits([site.expected[each.position]])
        assert site.bits([record["outputs"]]) == right
        if each.status == 200:
            assert site.bits(each.answers) == right
    return mine


def test_many_at_once(site: Site, server: Server) -> None:
    with Load(site, server, "many") as load:
        load.add(16)
        wait_for("both workers", lambda: len(recording(server)) >= WORKERS)
        load.wait_for_more(REQUESTS)
    assert {each.status for each in load.given} == {200}
    mine = assert_recorded(site, server, load.given, "many")
    assert len(mine) == len(load.given)
    assert mine["writer"].nunique() >= WORKERS


def test_kill_9(site: Site, server: Server) -> None:
    killed: set[int] = set()
    with Load(site, server, "kill") as load:
        for _ in range(KILLS):
            wait_for("both workers", lambda: len(recording(server)) >= WORKERS)
            load.wait_for_more(50)
            victim = min(recording(server))
            os.kill(victim, signal.SIGKILL)
            killed.add(victim)
            # What the killed one has acknowledged is readable at once.
            so_far = load.acknowledged()
            found = {keys["order"] for keys in asfitted.read_log(server.log)["keys"]}
            assert not {each.order for each in so_far} - found
        load.wait_for_more(50)
    mine = assert_recorded(site, server, load.given, "kill")
    writers = {int(writer.split("-")[-2]) for writer in mine["writer"]}
    assert killed <= writers, "a worker was killed that had nothing on record"
    assert len(killed) == KILLS


def test_all_writers_are_one_log(site: Site, server: Server) -> None:
    with Load(site, server, "one") as load:
        wait_for("two journals", lambda: len(recorded(server)) >= WORKERS)
        load.wait_for_more(50)
    found = asfitted.read_log(server.log)
    assert found["writer"].nunique() >= WORKERS
    assert found["scored_at"].is_monotonic_increasing
    folder = server.log.parent

    def printed(*arguments: str) -> list[dict[str, Any]]:
        done = site.run(folder, "-m", "asfitted", "log", *arguments, "--json")
        assert not done.stderr
        return json.loads(done.stdout)["records"]

    everything = printed("query")
    assert [r["prediction_id"] for r in everything] == found["prediction_id"].tolist()
    assert [r["inputs"] for r in everything] == found["inputs"].tolist()
    newest = printed("tail", "-n", "7")
    assert [r["prediction_id"] for r in newest] == found["prediction_id"].tolist()[-7:]
    for each in load.acknowledged()[:: len(load.given) // 3]:
        (record,) = printed("query", "--key", f"order={each.order}")
        assert site.bits([record["outputs"]]) == site.bits(each.answers)
