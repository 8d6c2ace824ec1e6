"""Where a dataset's files lie: a folder or a bucket, told apart nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from asfitted.errors import StoreUnavailable


class Entry(NamedTuple):
    """A file as it was listed."""

    name: str  # from the root, "/" between folders
    tag: str  # another content has another tag
    size_bytes: int


class Busy(StoreUnavailable):
    """Another process is changing the files of the dataset."""


class Store(Protocol):
    """Files that are there whole or not at all.

    All names are from the root. Every method raises `StoreUnavailable` where a retry
    may help and `ConfigError` where somebody has to mend something first.

    Attributes
    ----------
    where : str
        The root, for messages: without a secret.
    """

    where: str

    def folders(self, folder: str) -> list[str]:
        """Return the names of the folders in `folder`; of one that is not there, none."""
        ...

    def files(self, folder: str) -> list[Entry]:
        """Return the finished files in `folder`; of one that is not there, none.

        A merged file is among them, or those that it replaces, or both; some may be
        gone already.
        """
        ...

    def read(self, name: str) -> bytes | None:
        """Return what a file holds, None where it is not there any more."""
        ...

    def put(self, name: str, content: bytes) -> bool:
        """Write a new file durably; False, and no change, where the name is taken."""
        ...

    def replace(self, entry: Entry, content: bytes) -> None:
        """Put other content in the place of a file: a reader finds the old or the new."""
        ...

    def delete(self, entry: Entry) -> None:
        """Delete a file; one that is gone already is no error."""
        ...

    def writing(self) -> AbstractContextManager[None]:
        """Be entered while a new file is looked for and added."""
        ...

    def alone(self) -> AbstractContextManager[Callable[[], None]]:
        """Be entered while files are merged or changed: by one process at a time.

        Gives a function to be called before each change; it raises where somebody
        else may have taken over.

        Raises
        ------
        Busy
        """
        ...

    def close(self) -> None:
        """Let go of connections; a second time does nothing."""
        ...


def settled(list_once: Callable[[], list[Entry]]) -> list[Entry]:
    """List until nothing new shows up.

    What is listed in several steps may lack a merged file, which came after the step
    that it belongs to, and those that it replaces, which went before theirs.
    """
    seen = {entry.name: entry for entry in list_once()}
    while True:
        found = {entry.name: entry for entry in list_once()}
        new = found.keys() - seen.keys()
        seen |= found
        if not new:
            return list(seen.values())
