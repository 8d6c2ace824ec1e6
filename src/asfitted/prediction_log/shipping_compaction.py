"""The shipper that follows a log merges the small files of past days, now and then."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

from asfitted.errors import AsfittedError
from asfitted.prediction_log.sinks.protocol import Sink
from asfitted.prediction_log.sinks.store import Busy

_EVERY_S = 3_600.0
# Rows wait in their journals meanwhile; what is left is for the next time round.
_LONGEST_S = 10.0
_DAYS = 7
_MIN_FILES = 16

_log = logging.getLogger("asfitted.prediction_log")


class Compactor:
    """Calls a sink's ``compact``, where it has one that needs nobody, at most once an hour."""

    def __init__(self) -> None:
        self._next = 0.0

    def run(self, sink: Sink, ended: Callable[[], bool]) -> None:
        """Merge for some seconds, or until `ended`; where another process does, it does.

        What goes wrong is logged and left for the next time: it does not keep new rows
        from being shipped.
        """
        compact = getattr(sink, "compact", None) if getattr(sink, "merges_unasked", True) else None
        started = time.monotonic()
        if compact is None or started < self._next:
            return
        today = datetime.now(timezone.utc).date()
        since = f"date={today - timedelta(days=_DAYS)}"
        try:
            for _ in compact(since=since, before=f"date={today}", min_files=_MIN_FILES):
                if ended() or time.monotonic() - started > _LONGEST_S:
                    return
        except Busy as error:
            _log.debug("small files were not merged: %s", error)
        except AsfittedError as error:
            _log.warning("small files were not merged: %s", error)
        self._next = time.monotonic() + _EVERY_S
