"""The demo's commands: this checkout's, their output in files, none left running."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

ROOT = Path(__file__).resolve().parents[2]
OUTPUT = ROOT / "demo_output"
TAIL_LINES, TAIL_WIDTH = 15, 200

console = Console(highlight=False)


class StepFailed(RuntimeError):
    """A step of the demo did not do what it should."""


def run(name: str, program: str, *arguments: str) -> str:
    """Run a command to its end, its output into a file; return the output."""
    log = OUTPUT / f"{name}.txt"
    with log.open("w") as file:
        process = start([program, *arguments], file)
        try:
            wait(lambda: process.poll() is not None, None, log)
        except BaseException:
            stop(process)
            raise
    if process.returncode:
        command = " ".join([program, *arguments])
        raise StepFailed(f"{command} ended with {process.returncode}\n{tail(log)}")
    return log.read_text(errors="replace")


def start(command: list[str], output: Any) -> subprocess.Popen[bytes]:
    """Start a module of this interpreter in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process and its children, and wait until they have."""
    for number, patience_s in ((signal.SIGTERM, 20), (signal.SIGKILL, 20)):
        if process.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience_s)


def environment() -> dict[str, str]:
    """Return the environment of the commands: this checkout, this interpreter, one store."""
    # Under `mlflow run -e demo` these name the run of the demo, not one of training.
    theirs = ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID")
    kept = {name: value for name, value in os.environ.items() if name not in theirs}
    return kept | {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", "")]),
        "PYTHONPATH": str(ROOT / "src"),
        "PYTHONUNBUFFERED": "1",
        "MLFLOW_TRACKING_URI": tracking_uri(),
        "ASFITTED_LOG": str(log_folder()),
    }


def tracking_uri() -> str:
    """Return the store: the user's, or a file at the root of this checkout."""
    return os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"


def log_folder() -> Path:
    """Return the folder of the prediction log."""
    return Path(os.environ.get("ASFITTED_LOG") or ROOT / "prediction_log").absolute()


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait(ready: Callable[[], bool], within_s: float | None, log: Path) -> None:
    """Wait until `ready`, showing the last line that the child has written."""
    begun = time.monotonic()
    with console.status("") as status:
        while not ready():
            waited = time.monotonic() - begun
            if within_s is not None and waited > within_s:
                raise StepFailed(f"not ready after {within_s:.0f} s\n{tail(log)}")
            line = last_lines(log, 1)
            status.update(f"[dim]{waited:.0f} s  {escape(''.join(line)[-90:])}[/]")
            time.sleep(0.2)


def tail(log: Path) -> str:
    """Return the last lines of a child's output, under its path."""
    lines = last_lines(log, TAIL_LINES)
    return "\n".join([f"the end of {shown(log)}:", *(f"  | {line[:TAIL_WIDTH]}" for line in lines)])


def last_lines(log: Path, count: int) -> list[str]:
    """Return the last lines that are not empty."""
    lines = log.read_text(errors="replace").splitlines()
    return [line for line in lines if line.strip()][-count:]


def shown(path: Path) -> str:
    """Return a path as seen from the root of this checkout."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)
