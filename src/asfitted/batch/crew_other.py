"""Another process of a job, as the one that starts it sees it."""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from multiprocessing import Pipe
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import asfitted
from asfitted.batch.source import Chunk
from asfitted.batch.worker import Result, Worker
from asfitted.errors import ConfigError, RecordError
from asfitted.scoring import FittedModel

try:
    import fcntl
except ImportError:  # Windows, where there is one process
    fcntl = None  # type: ignore[assignment]

# One that is recorded, one that is answered, and one that waits.
CHUNKS_EACH = 3
# What Linux allows everybody.
_PIPE_BYTES = 1 << 20

_log = logging.getLogger(__name__)

_HOME = str(Path(asfitted.__file__).parents[1])
# It takes over this process's path, on which the model's own code comes first, with the
# Asfitted that saved it. The collector would walk through all that is imported, again and
# again; nothing but what is built in is imported before the path is right.
_START = """
import gc, sys
gc.disable()
sys.path[:] = {path!r}
from asfitted.batch.crew_process import main
del sys.path[0]
main(*{ends})
"""


@dataclass(frozen=True)
class Orders:
    """What another process is told before it loads the model.

    Neither model nor recorder travels: it loads its own, and writes a journal of its own.
    """

    worker: Worker
    again: Callable[[], FittedModel]
    records: bool
    level: int
    parent: int


class Other:
    """Another process, and the chunks that it is given.

    Not multiprocessing's: that runs the caller's script once more in each, and a fork would
    copy OpenMP's threads as they are at that moment, and hang.

    Attributes
    ----------
    waiting : dict of int to Future
        By their chunk's number, those that are not done.
    """

    def __init__(self, worker: Worker) -> None:
        assert worker.model.again is not None
        self.waiting: dict[int, Future[Result]] = {}
        self._folder = worker.job.folder
        self._is_ready = self._is_dismissed = self._is_ended = self._is_gone = False
        bare = replace(worker, model=None, recorder=None, job=replace(worker.job, lock=-1))  # type: ignore[arg-type]
        level, records = logging.getLogger().level, worker.recorder is not None
        self._outbox: SimpleQueue[bytes | None] = SimpleQueue()
        self._put(Orders(bare, worker.model.again, records, level, os.getpid()))
        work, self._work = Pipe(duplex=False)
        self._results, results = Pipe(duplex=False)
        _widen(self._work.fileno())
        ends = [work.fileno(), results.fileno()]
        path = [_HOME, *(place for place in sys.path if isinstance(place, str))]
        # -W, -X, -I, …: as multiprocessing does.
        flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
        command = [sys.executable, *flags, "-c", _START.format(path=path, ends=ends)]
        with work, results, _no_interrupt():
            try:
                self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=ends)
            except OSError as error:
                what = f"a further process cannot be started: {error.strerror}"
                raise ConfigError(what, sys.executable, "--jobs 1, or jobs=1") from error
        self._threads = [
            threading.Thread(target=do, daemon=True) for do in (self._send, self._listen)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def is_free(self) -> bool:
        """Whether it has loaded the model, and does not have enough to do."""
        return self._is_ready and len(self.waiting) < CHUNKS_EACH

    def begin(self, chunk: Chunk, refused: int) -> Future[Result]:
        """Give it a chunk.

        Raises
        ------
        RecordError
            Where the process is gone.
        """
        future: Future[Result] = Future()
        self.waiting[chunk.number] = future
        if self._is_gone:
            raise self._error()
        self._put((replace(chunk, conformed=None), refused))
        return future

    def _put(self, what: Any) -> None:
        # What a Connection pickles by itself is in an older protocol, and copied twice more.
        self._outbox.put(pickle.dumps(what, pickle.HIGHEST_PROTOCOL))

    def _send(self) -> None:
        # What is gone is heard of where its results are waited for.
        with contextlib.suppress(OSError):
            while (message := self._outbox.get()) is not None:
                self._work.send_bytes(message)

    def _listen(self) -> None:
        try:
            while True:
                number, result = self._results.recv()
                if number is None:
                    self._is_ready = True
                elif isinstance(result, BaseException):
                    self.waiting.pop(number).set_exception(result)
                else:
                    self.waiting.pop(number).set_result(result)
        except Exception:
            # It has ended, or what it says cannot be read: either way nothing more comes.
            self._is_gone = True
            if not (self._is_ready or self._is_ended):
                _log.warning("a further process ended before it had loaded the model")
            for future in list(self.waiting.values()):
                future.set_exception(self._error())

    def _error(self) -> RecordError:
        return RecordError(
            "a process of the job ended before its work was done",
            str(self._folder),
            "the same command goes on where it was, with --jobs 1 where memory is short",
        )

    def dismiss(self) -> None:
        """Have it finish what it has begun, and close its journal."""
        self._is_dismissed = self._is_ready
        if self._is_dismissed:
            self._put(None)

    def end(self) -> None:
        """Wait for it where it is dismissed, else end it.

        A chunk that is recorded just then is looked for on record next time.
        """
        self._is_ended = True
        try:
            if self._is_dismissed:
                self._process.wait()
        finally:
            # It has ended, or nobody waits any longer.
            self._process.kill()
            self._process.wait()
        self._outbox.put(None)
        for thread in self._threads:
            thread.join()
        self._work.close()
        self._results.close()


def _widen(pipe: int) -> None:
    """Have a pipe hold most of a chunk: who reads it waits for the interpreter each time."""
    resize = getattr(fcntl, "F_SETPIPE_SZ", None)
    if resize is not None:
        # Where so much is not allowed, it is as it was.
        with contextlib.suppress(OSError):
            fcntl.fcntl(pipe, resize, _PIPE_BYTES)


@contextlib.contextmanager
def _no_interrupt() -> Iterator[None]:
    """Keep Ctrl-C, which a terminal sends to all of them, from processes that start inside.

    They end with this one, which it reaches when it leaves here.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
