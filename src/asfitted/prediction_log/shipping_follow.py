"""The shipper that goes on: pauses when its sink fails, in a thread where a server wants one."""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Callable

from asfitted.errors import AsfittedError, StoreUnavailable
from asfitted.prediction_log.shipper import DAY_S, Shipper

_POLL_S = 1.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 60.0
_LAST_PASS_S = 5.0
# Then it is looked for new journals, which shall not wait for the end of a long backlog.
_LONGEST_PASS_S = 60.0

_log = logging.getLogger("asfitted.prediction_log")


def follow(shipper: Shipper, stop: threading.Event) -> AsfittedError | None:
    """Ship what is on record and what comes, until `stop`; then once more, briefly.

    A sink that fails is tried again after a pause that doubles from half a second
    to a minute, less a random part of it: many shippers do not come back at once.

    Returns
    -------
    AsfittedError or None
        What kept the rest from being shipped at the end; it stays in the journals.

    Raises
    ------
    StoreUnavailable
        Where the folder was moved away: what is there now needs a shipper of its own.
    """
    failures, full_at = 0, -1e300
    while not stop.is_set():
        pause_s = _POLL_S
        linger = time.monotonic() - full_at < shipper.linger_s
        try:
            until = time.monotonic() + _LONGEST_PASS_S
            shipper.ship(stop=stop, full_only=linger, until=until)
            failures = 0
            if not linger:
                full_at = time.monotonic()
            shipper.compact(stop)
        except AsfittedError as error:
            if shipper.is_lost():
                raise
            _log.warning("%s", error)
            pause_s = pause(failures)
            failures += 1
        stop.wait(pause_s)
    try:
        shipper.ship(until=time.monotonic() + _LAST_PASS_S)
    except AsfittedError as error:
        return error
    return None


def pause(failures: int) -> float:
    """Return how many seconds to wait after so many failures in a row before this one.

    Examples
    --------
    >>> 0.25 <= pause(0) <= 0.5, 30 <= pause(1000) <= 60
    (True, True)
    """
    longest = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** min(failures, 20))
    return longest * random.uniform(0.5, 1)


class Shipping:
    """A shipper in a thread of this process; made by `start_shipping`."""

    def __init__(self, make: Callable[[], Shipper]) -> None:
        self._make, self._stop = make, threading.Event()
        # A daemon: a sink that hangs does not keep a server from ending.
        self._thread = threading.Thread(target=self._run, name="asfitted-shipper", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 10.0) -> bool:
        """Ship what can be shipped in a few seconds; return whether the thread has ended."""
        self._stop.set()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        failures, said = 0, ""
        while not self._stop.is_set():
            try:
                with self._make() as shipper:
                    failures = 0
                    follow(shipper, self._stop)
            except Exception as error:
                # Whatever it is, the server goes on: the journals have every record.
                # Another worker's shipper is no failure: this one stands by.
                new = not isinstance(error, StoreUnavailable) and said != str(error)
                said = str(error)
                _log.log(logging.ERROR if new else logging.DEBUG, "the shipper waits: %s", error)
                self._stop.wait(pause(failures))
                failures += 1


def start_shipping(
    folder: str | os.PathLike[str], sink: str, *, keep_shipped_s: float = 7 * DAY_S
) -> Shipping:
    """Ship the log in `folder` to `sink` from a thread, and return at once.

    Neither a sink that is down nor one that is named wrongly raises here or stops
    anything: it is logged, `asfitted log stats` shows it, and the journals keep the
    records. Of several processes that ship one folder, one does and the others wait.

    Parameters
    ----------
    folder : str or path
    sink : str
        Its URL.
    keep_shipped_s : float, default 7 days

    Returns
    -------
    Shipping
        To be stopped after the last append.
    """
    return Shipping(lambda: Shipper(folder, sink, keep_shipped_s=keep_shipped_s))
