"""Servers as a user starts them, on 127.0.0.1, stopped by their own process group."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent


@dataclass
class Server:
    """A running server, and how long it took to its first answer."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    first_answer_s: float

    def pss_mb(self) -> float:
        """Return the memory of the server's processes, shared pages by their share."""
        total = 0
        for pid in _family(self.process.pid):
            try:
                lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            except OSError:
                continue
            total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        return total / 1024

    def stop(self) -> None:
        os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def start(name: str, model: Path, workers: int, folder: Path, body: bytes) -> Server:
    """Start `name` (mlflow, asfitted, bare or bentoml) and wait for its first answer."""
    port = _free_port()
    bin_ = Path(sys.executable).parent
    environment = {
        **os.environ,
        "PATH": f"{bin_}{os.pathsep}{os.environ['PATH']}",
        "ASFITTED_LOG": str(folder / f"log-{port}"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "UVICORN_ACCESS_LOG": "false",
        "BARE_MODEL": str(model),
        "BENTO_WORKERS": str(workers),
        "BENTOML_DO_NOT_TRACK": "true",
    }
    mlflow = [str(bin_ / "mlflow"), "models", "serve", "-m", str(model), "--env-manager", "local"]
    where = ["--host", "127.0.0.1", "--port", str(port), "--workers", str(workers)]
    uvicorn = [sys.executable, "-m", "uvicorn", "--app-dir", str(HERE), "bare:app"]
    command = (uvicorn if name == "bare" else mlflow) + where
    if name == "bentoml":
        serve = ["serve", "bento_service:Pipeline", "--working-dir", str(HERE)]
        command = [os.environ["BENTOML_PYTHON"], "-m", "bentoml", *serve, *where[:4]]
    started = time.perf_counter()
    log = folder / f"{name}-{port}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, env=environment, stdout=out, stderr=out, start_new_session=True, cwd=folder
        )
    while not _answers(port, body):
        if process.poll() is not None or time.perf_counter() - started > 180:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise SystemExit(f"{name} did not start:\n{log.read_text()[-3000:]}")
        time.sleep(0.02)
    return Server(name, port, process, time.perf_counter() - started)


def _answers(port: int, body: bytes) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _family(pid: int) -> list[int]:
    """Return `pid` and its descendants."""
    found = [pid]
    for parent in found:
        try:
            children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        except OSError:
            continue
        found += map(int, children)
    return found
