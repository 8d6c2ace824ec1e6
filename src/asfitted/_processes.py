"""Processes of a job: begun before there is work, they import while this one does.

Nothing is imported here but what comes with Python.
"""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import asfitted

_HOME = str(Path(asfitted.__file__).parents[1])

_ahead: ProcessPoolExecutor | None = None


def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


def begin_ahead(others: int, module: str) -> None:
    """Start a process, of `others` at most, that imports a module and waits for a job."""
    global _ahead
    _ahead = _made(others)
    with _at_home():
        start(_ahead, 1, importlib.import_module, module)


def is_ahead() -> bool:
    """Whether a process waits for a job."""
    return _ahead is not None


@contextlib.contextmanager
def pool(others: int) -> Iterator[ProcessPoolExecutor]:
    """Give `others` processes, which are started by `start`, and end them."""
    global _ahead
    made, _ahead = _ahead or _made(others), None
    try:
        with _at_home():
            yield made
    finally:
        made.shutdown(cancel_futures=True)


def start(made: ProcessPoolExecutor, others: int, first: Callable[..., Any], *given: Any) -> None:
    """Start processes, with something to do first."""
    with _no_interrupt():
        for _ in range(others):
            made.submit(_ignored, first, *given)


def _made(others: int) -> ProcessPoolExecutor:
    # A fork would copy OpenMP's threads as they are at that moment, and hang.
    spawned = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(others, spawned, _prepare)


def _ignored(call: Callable[..., Any], *given: Any) -> None:
    # What it returns may not be able to travel.
    call(*given)


@contextlib.contextmanager
def _at_home() -> Iterator[None]:
    """Let processes that start inside find this Asfitted first.

    They take over this one's path, on which a model's own code comes first, with the
    Asfitted that saved it.
    """
    sys.path.insert(0, _HOME)
    try:
        yield
    finally:
        sys.path.remove(_HOME)


@contextlib.contextmanager
def _no_interrupt() -> Iterator[None]:
    """Keep Ctrl-C, which a terminal sends to all of them, from processes that start inside.

    They end with this one, which it reaches when it leaves here.
    """
    # Its start would let the signal through again.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _prepare() -> None:
    """Make this process one that ends with its parent: nobody would know of its answers."""
    sys.path.remove(_HOME)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(parent: int) -> None:
    wait([parent])
    os._exit(1)
