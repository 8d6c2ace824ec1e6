"""What another process of a job runs: chunks come by a pipe, and it ends with its parent."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import pickle
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from queue import Empty, SimpleQueue

from asfitted.batch.crew import Here
from asfitted.batch.crew_other import Orders
from asfitted.batch.job import hold_crew_lock
from asfitted.batch.source import Chunk
from asfitted.batch.worker import Result
from asfitted.errors import RecordError

_Work = tuple[Chunk, int] | None

_log = logging.getLogger(__name__)


def main(incoming: int, outgoing: int) -> None:
    """Answer, record and write the chunks that come, until there are no more.

    Parameters
    ----------
    incoming, outgoing : int
        This process's ends of two pipes.
    """
    given = Connection(incoming, writable=False)
    try:
        orders: Orders = given.recv()
    except EOFError:
        os._exit(1)
    hold_crew_lock(orders.worker.job.folder)
    if os.getppid() != orders.parent:
        # Killed before the lock was held: another job may have begun without waiting.
        os._exit(1)
    work: SimpleQueue[_Work] = SimpleQueue()
    threading.Thread(target=_take, args=(given, work), daemon=True).start()
    logging.basicConfig(format="%(levelname)s %(message)s", level=orders.level)
    model = orders.again()
    recorder = None
    if orders.records and model.recorder:
        recorder = replace(model.recorder, source="batch")
    worker = replace(orders.worker, model=model, recorder=recorder)
    # Else the collector walks through all modules and the model, chunk after chunk.
    gc.freeze()
    gc.enable()
    tell = _Teller(Connection(outgoing, readable=False))
    with ThreadPoolExecutor(1) as recording:
        here = Here(worker, recording)
        tell.ready()
        while (one := work.get()) is not None:
            chunk, refused = one
            try:
                future = here.begin(chunk, refused)
            except BaseException as error:
                future = Future()
                future.set_exception(error)
            future.add_done_callback(partial(tell.done, chunk.number))
    if recorder is not None:
        recorder.journal.close()
    sys.stdout.flush()
    sys.stderr.flush()
    # Nothing is left to do, and to take hundreds of modules apart takes its time.
    os._exit(0)


def _take(given: Connection, work: SimpleQueue[_Work]) -> None:
    """Take what comes, and end this process when its parent did."""
    try:
        while (one := given.recv()) is not None:
            work.put(one)
    except (EOFError, OSError):
        os._exit(1)
    except Exception:
        # Nobody would answer what did not arrive, and the parent would wait for it.
        _log.exception("a chunk cannot be taken")
        os._exit(1)
    with contextlib.suppress(Empty):
        while True:
            work.get_nowait()
    work.put(None)


class _Teller:
    """Tells the parent, from whichever thread."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._lock = connection, threading.Lock()

    def ready(self) -> None:
        self._send(None, None)

    def done(self, number: int, future: Future[Result]) -> None:
        error = future.exception()
        if error is None:
            self._send(number, future.result())
            return
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            # It cannot travel.
            error = RecordError(f"a process of the job fails ({type(error).__name__})")
        self._send(number, error)

    def _send(self, number: int | None, said: Result | BaseException | None) -> None:
        with self._lock:
            try:
                self._connection.send((number, said))
            except OSError:
                # The parent is gone: nobody would know of the answers.
                os._exit(1)
