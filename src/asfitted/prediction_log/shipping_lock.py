"""One shipper per folder at a time, whatever the process, and none while rows are removed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from asfitted.errors import StoreUnavailable

LOCK_NAME = "shipping.lock"
# Held by whoever takes rows out, and by a shipper for each pass over the journals.
REMOVAL_LOCK = "removal.lock"
_HELD = {
    LOCK_NAME: "another shipper is at work on this log",
    REMOVAL_LOCK: "rows are being shipped or removed from this log just now",
}


class FolderLock:
    """Held from its making to `close`, or to the end of the process, however it ends.

    Raises
    ------
    StoreUnavailable
        Where another holds it.
    OSError
    """

    def __init__(self, folder: Path, name: str = LOCK_NAME) -> None:
        self._path = folder / name
        descriptor = os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            if sys.platform == "win32":
                import msvcrt

                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            else:
                import fcntl

                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise StoreUnavailable(_HELD[name], str(folder)) from error
        self._descriptor: int | None = descriptor

    def is_gone(self) -> bool:
        """Whether the file that is locked has another place now, and others could lock theirs."""
        assert self._descriptor is not None
        try:
            named = os.stat(self._path)
        except OSError:
            return True
        held = os.fstat(self._descriptor)
        return (named.st_dev, named.st_ino) != (held.st_dev, held.st_ino)

    def close(self) -> None:
        """Release it; a second time does nothing."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)
