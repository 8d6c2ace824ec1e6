"""A trained, registered model of every kind of column, and real servers of it.

The model is trained once for all xdist workers. A server's log is part of the
report of a test that fails.
"""

from __future__ import annotations

import contextlib
import csv
import fcntl
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

Row = dict[str, Any]

# A cold start next to other tests on two cores, a virtual environment included.
START_TIMEOUT_S = 300
TAIL_CHARACTERS = 6_000
TINY = 5e-324

CALENDAR = '''
"""What an order's moment says: days since the last holiday, and the hour."""

import asfitted
import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin


class Calendar(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X):
        holidays = np.array(asfitted.resource("holidays").read_text().split(), "datetime64[us]")
        moments = X.iloc[:, 0].to_numpy().astype("datetime64[us]")
        known = ~np.isnat(moments)
        out = np.full((len(moments), 2), -1.0)
        last = holidays[np.searchsorted(holidays, moments[known], side="right") - 1]
        out[known, 0] = (moments[known] - last) / np.timedelta64(1, "D")
        out[known, 1] = pd.Series(moments[known]).dt.hour
        return out
'''

# Row 3 misses everything that may miss; the first prices are awkward floats.
TRAIN = """
import json
import asfitted, mlflow, numpy as np, pandas as pd
from shop_calendar import Calendar
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

rng, n = np.random.default_rng(11), 600
words = "late early rain snow refund broken good fine again never".split()
X = pd.DataFrame({
    "order": [f"order-{i}" for i in range(n)],
    "shop": rng.integers(1, 9, n),
    "price": rng.normal(50, 20, n),
    "weight": rng.gamma(2.0, 2.0, n),
    "colour": pd.Series(rng.choice(["red", "green", "blue"], n), dtype=object),
    "visits": pd.Series(rng.integers(0, 30, n)).astype("Int64"),
    "member": pd.Series(rng.random(n) < 0.5).astype("boolean"),
    "note": pd.Series([" ".join(rng.choice(words, 4)) for _ in range(n)], dtype=object),
    "placed": pd.date_range("2025-01-01", periods=n, freq="7h1us", unit="us"),
})
may_miss = ["weight", "colour", "visits", "member", "note", "placed"]
for name in may_miss:
    X.loc[rng.random(n) < 0.15, name] = None
X.loc[3, may_miss] = None
X.loc[[0, 1, 2], "price"] = [0.1 + 0.2, 5e-324, 123.45678901234567]
score = X["price"] + 20 * (X["colour"] == "red") + 9 * rng.normal(size=n)
y = np.where(score > 55, "yes", "no")

contract = asfitted.DataContract.infer(X, keys=["order", "shop"])
columns = ColumnTransformer([
    ("colour", asfitted.Dummies(), ["colour"]),
    ("number", make_pipeline(SimpleImputer(), StandardScaler()), ["price", "weight", "visits"]),
    ("member", SimpleImputer(strategy="most_frequent"), ["member"]),
    ("note", TfidfVectorizer(), "note"),
    ("placed", make_pipeline(Calendar(), StandardScaler()), ["placed"]),
])
pipeline = make_pipeline(asfitted.Conform(contract), columns, LogisticRegression())
with asfitted.resources(holidays="holidays.txt"):
    pipeline.fit(X, y)
    answers = asfitted.FittedModel(pipeline, predict_fn="both").predict(X)
    asfitted.log_model(
        pipeline, name="shop", reference=X, code_paths=["shop_calendar.py"],
        predict_fn="both", registered_model_name="shop",
    )
mlflow.MlflowClient().set_registered_model_alias("shop", "champion", "1")

sent = X.assign(placed=X["placed"].dt.strftime("%Y-%m-%dT%H:%M:%S.%fZ")).astype(object)
sent = sent.where(sent.notna(), None)
json.dump(sent.to_dict("records"), open("rows.json", "w"))
json.dump(answers.to_dict("records"), open("expected.json", "w"))
X.to_parquet("rows.parquet")
"""


@dataclass(frozen=True)
class Site:
    """A folder where a model named ``shop`` was trained, logged and registered.

    Attributes
    ----------
    folder : Path
        With ``rows.parquet``: the training frame, whose answers are `expected`.
    """

    folder: Path
    model_uri: str = "models:/shop@champion"

    @property
    def tracking_uri(self) -> str:
        return f"sqlite:///{self.folder}/mlflow.db"

    @cached_property
    def rows(self) -> list[Row]:
        """The rows as JSON has them, missing values as None, moments as texts in UTC."""
        return json.loads((self.folder / "rows.json").read_text())

    @cached_property
    def expected(self) -> list[Row]:
        """What `FittedModel` answered for `rows` before the model was saved."""
        return json.loads((self.folder / "expected.json").read_text())

    @cached_property
    def client(self) -> Any:
        from mlflow import MlflowClient

        return MlflowClient(self.tracking_uri, self.tracking_uri)

    @cached_property
    def artifact(self) -> Path:
        """The model's files in MLflow's own artifact store."""
        return Path(self.client.get_model_version_download_uri("shop", "1"))

    def copy(self, name: str, folder: Path) -> Path:
        """Register a copy of the model's files as version 1 of `name`; return its folder."""
        shutil.copytree(self.artifact, folder)
        self.client.create_registered_model(name)
        self.client.create_model_version(name, source=str(folder))
        return folder

    def environment(self, folder: Path, python: Path | None = None) -> dict[str, str]:
        """Return the variables of a process that works and logs in `folder`.

        Of the machine's own, those that are not about us.
        """
        ours = ("ASFITTED_", "MLFLOW_", "UVICORN_", "PYTHON", "SERVING_", "COVERAGE_", "VIRTUAL_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        scratch = folder / "scratch"
        scratch.mkdir(exist_ok=True)
        return {
            **kept,
            # `mlflow models serve` looks for uvicorn there.
            "PATH": f"{(python or Path(sys.executable)).parent}{os.pathsep}{kept['PATH']}",
            "MLFLOW_TRACKING_URI": self.tracking_uri,
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "ASFITTED_LOG": str(folder / "log"),
            # A line per request would push what went wrong out of the log's end.
            "UVICORN_ACCESS_LOG": "false",
            "TMPDIR": str(scratch),
            "COLUMNS": "200",
        }

    def run(
        self, folder: Path, *arguments: str, exits: int = 0
    ) -> subprocess.CompletedProcess[str]:
        """Run Python with `arguments` in `folder`, to its end; its log is ``log`` there."""
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=folder,
            env=self.environment(folder),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == exits, f"{done.stdout}\n{done.stderr[-TAIL_CHARACTERS:]}"
        return done

    def as_csv(self, file: Path, rows: Sequence[Row]) -> Path:
        """Write `rows` as the CSV that a careful sender would write."""

        def text(value: Any) -> str:
            if value is None:
                return ""
            return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)

        with file.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(rows[0])
            writer.writerows([map(text, row.values()) for row in rows])
        return file

    def as_parquet(self, file: Path, rows: Sequence[Row]) -> Path:
        """Write `rows`, of those of the site, with the types that they have in the frame."""
        import pandas as pd

        positions = [int(row["order"].rpartition("-")[2]) for row in rows]
        frame = pd.read_parquet(self.folder / "rows.parquet").iloc[positions]
        frame.assign(order=[row["order"] for row in rows]).to_parquet(file, index=False)
        return file

    @staticmethod
    def payload(shape: str, rows: Sequence[Row]) -> dict[str, Any]:
        """Return the body of a request in one of MLflow's four shapes."""
        names = list(rows[0])
        if shape == "dataframe_split":
            return {shape: {"columns": names, "data": [[row[n] for n in names] for row in rows]}}
        if shape == "inputs":
            return {shape: {name: [row[name] for row in rows] for name in names}}
        return {shape: list(rows)}

    @staticmethod
    def bits(answers: Sequence[Row]) -> list[Row]:
        """Return answers so that they are equal only where their last bits are."""
        return [
            {name: v.hex() if isinstance(v, float) else v for name, v in answer.items()}
            for answer in answers
        ]

    @staticmethod
    def put_on_record(rows: Sequence[Row]) -> list[tuple[Row, Row]]:
        """Return what has to be on record of `rows`: (inputs, keys) of each."""
        keys = ("order", "shop")
        return [
            ({n: row[n] for n in row if n not in keys}, {n: row[n] for n in keys}) for row in rows
        ]


@dataclass
class Server:
    """One ``mlflow models serve``, in a process group of its own."""

    process: subprocess.Popen[bytes]
    port: int
    output: Path
    log: Path
    stopped: bool = field(default=False)

    def ask(self, payload: Any, **headers: str) -> tuple[int, Any]:
        """Send one request; return the status, and the answers where it is a success."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        with contextlib.closing(connection):
            return self.ask_on(connection, payload, **headers)

    @staticmethod
    def ask_on(
        connection: http.client.HTTPConnection, payload: Any, **headers: str
    ) -> tuple[int, Any]:
        """Send one request on a connection that may stay open; `content_type` is a header."""
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        sent = {"content-type": "application/json"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("POST", "/invocations", body, sent)
        response = connection.getresponse()
        content = response.read()
        if response.status != 200:
            return response.status, content.decode()
        return response.status, json.loads(content)["predictions"]

    def get(self, path: str) -> int | None:
        """Return the status of a GET, None where nobody answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        with contextlib.closing(connection):
            try:
                connection.request("GET", path)
                return connection.getresponse().status
            except (OSError, http.client.HTTPException):
                return None

    def is_up(self) -> bool:
        return self.get("/ping") == 200

    def said(self) -> str:
        return self.output.read_text(errors="replace")

    def processes(self) -> set[int]:
        """All processes of this server that live."""
        return _group(self.process.pid)

    def assert_exits(self) -> None:
        """It ends with an error and has never answered."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while self.process.poll() is None:
            assert not self.is_up(), "the server has started"
            assert time.monotonic() < deadline, "the server neither started nor ended"
            time.sleep(0.1)
        assert self.process.returncode != 0

    def stop(self) -> None:
        if self.stopped:
            return
        self.stopped = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        # The group is what this server started, and nothing else.
        deadline = time.monotonic() + 30
        while _group(self.process.pid):
            self.process.poll()
            if time.monotonic() > deadline:
                os.killpg(self.process.pid, signal.SIGKILL)
            time.sleep(0.05)
        self.process.wait(30)


_servers: list[Server] = []

Serve = Callable[..., Server]


def _group(leader: int) -> set[int]:
    """The living processes of a process group."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                state, _, group = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
                if int(group) == leader and state != "Z":
                    found.add(int(entry.name))
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _start(
    site: Site,
    folder: Path,
    *,
    log: Path | None = None,
    model_uri: str | None = None,
    arguments: Sequence[str] = ("--env-manager", "local"),
    python: Path | None = None,
    variables: Mapping[str, str] = MappingProxyType({}),
    ready: bool = True,
) -> Server:
    """Start a server in `folder`, and wait until it answers unless told otherwise.

    Its log is `log`, by default ``log`` in `folder`.
    """
    log = log or folder / "log"
    environment = {**site.environment(folder, python), "ASFITTED_LOG": str(log), **variables}
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        port = _free_port()
        output = folder / f"server-{port}.txt"
        command = [str(python or sys.executable), "-m", "mlflow", "models", "serve"]
        command += ["-m", model_uri or site.model_uri, "-h", "127.0.0.1", "-p", str(port)]
        with output.open("wb") as stream:
            process = subprocess.Popen(
                [*command, *arguments],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )
        server = Server(process, port, output, log)
        _servers.append(server)
        if not ready:
            return server
        while not server.is_up() and process.poll() is None:
            if time.monotonic() > deadline:
                server.stop()
                raise AssertionError(f"no server after {START_TIMEOUT_S} s")
            time.sleep(0.1)
        if process.poll() is None:
            return server
        server.stop()
        # Another process may have taken the port between the look and the start.
        assert "address already in use" in server.said(), "the server did not start"


@contextlib.contextmanager
def _serving(site: Site) -> Iterator[Serve]:
    started: list[Server] = []

    def serve(folder: Path, **options: Any) -> Server:
        started.append(_start(site, folder, **options))
        return started[-1]

    try:
        yield serve
    finally:
        for server in started:
            server.stop()


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The trained model, shared by the workers of xdist, who never change it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "site"
    folder.mkdir(exist_ok=True)
    site = Site(folder)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "trained").exists():
            (folder / "shop_calendar.py").write_text(CALENDAR)
            (folder / "holidays.txt").write_text("2024-12-25 2025-01-01 2025-04-18 2025-05-01")
            (folder / "train.py").write_text(TRAIN)
            site.run(folder, "train.py")
            assert not (folder / "log").exists(), "saving and proving are no predictions"
            (folder / "trained").touch()
    assert site.rows[1]["price"] == TINY
    assert len(site.rows) == len(site.expected) == 600
    return site


@pytest.fixture
def serve(site: Site) -> Iterator[Serve]:
    """Starts servers that stop when the test ends."""
    with _serving(site) as starter:
        yield starter


@pytest.fixture(scope="module")
def serve_for_module(site: Site) -> Iterator[Serve]:
    """Starts servers that stop when the module's tests have ended."""
    with _serving(site) as starter:
        yield starter


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Show what the servers wrote beside the failure of whoever used them."""
    outcome: Any = yield
    report = outcome.get_result()
    if report.failed:
        for server in _servers:
            state = "stopped" if server.process.poll() is not None else "running"
            title = f"end of the log of the server on port {server.port}, {state}"
            report.sections.append((title, server.said()[-TAIL_CHARACTERS:]))
    if call.when == "teardown":
        _servers[:] = [server for server in _servers if not server.stopped]
