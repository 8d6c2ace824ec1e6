"""What a server does for its log beside writing it: ship it, and say how far that is."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path

from asfitted.config import Config
from asfitted.errors import AsfittedError
from asfitted.prediction_log import Journal
from asfitted.prediction_log.shipper import DAY_S
from asfitted.prediction_log.shipping_follow import Shipping, start_shipping
from asfitted.prediction_log.shipping_stats import as_prometheus, log_stats

logger = logging.getLogger(__name__)


_TEND_S = 1.0


class Upkeep:
    """Tends the journals from a thread, and ships them where the configuration names a sink.

    Parameters
    ----------
    config : Config
    journals : sequence of Journal
        Those of this process.
    """

    def __init__(self, config: Config, journals: Sequence[Journal] = ()) -> None:
        self._journals, self._ended = journals, threading.Event()
        self.folder: Path = config.log_folder()
        self.sink = config.log_sink()
        self._keep_s = config.log.keep_shipped_days * DAY_S
        self._shipping: Shipping | None = None

    def start(self) -> None:
        """Begin; never raises, whatever the sink is like."""
        threading.Thread(target=self._tend, name="asfitted-upkeep", daemon=True).start()
        if self.sink and self._shipping is None:
            self._shipping = start_shipping(self.folder, self.sink, keep_shipped_s=self._keep_s)

    def end(self) -> None:
        """Close the journals, which nobody appends to any more, and ship what can be shipped."""
        self._ended.set()
        for journal in self._journals:
            journal.close()
        shipping, self._shipping = self._shipping, None
        if shipping is not None and not shipping.stop():
            logger.warning("the sink is slow: what is not shipped stays in %s", self.folder)

    def _tend(self) -> None:
        while not self._ended.wait(_TEND_S):
            for journal in self._journals:
                journal.tend()

    def exposition(self) -> bytes:
        """Return the figures of the log for Prometheus: of the folder, whoever ships it."""
        try:
            return as_prometheus(log_stats(self.folder, self.sink)).encode()
        except (AsfittedError, OSError, sqlite3.Error) as error:
            logger.warning("the log's figures cannot be read: %s", error)
            return b""
