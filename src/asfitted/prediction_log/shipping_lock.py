"""One shipper per folder at a time, whatever the process."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from asfitted.errors import StoreUnavailable

LOCK_NAME = "shipping.lock"


class FolderLock:
    """Held from its making to `close`, or to the end of the process, however it ends.

    Raises
    ------
    StoreUnavailable
        Where another shipper holds it.
    OSError
    """

    def __init__(self, folder: Path) -> None:
        descriptor = os.open(folder / LOCK_NAME, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            if sys.platform == "win32":
                import msvcrt

                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            else:
                import fcntl

                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise StoreUnavailable("another shipper is at work on this log", str(folder)) from error
        self._descriptor: int | None = descriptor

    def close(self) -> None:
        """Release it; a second time does nothing."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)
