"""The journal: what is appended is on the disk when the call returns."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Literal

from asfitted.errors import AsfittedError, ConfigError, RecordError
from asfitted.prediction_log.encode import (
    encode,
    encode_outcome,
    encode_refusal,
    encode_removal,
)
from asfitted.prediction_log.gap import Gap
from asfitted.prediction_log.group_commit import GroupCommit
from asfitted.prediction_log.journal_file import JournalFile, Rows
from asfitted.prediction_log.place import prove_writable
from asfitted.prediction_log.record import Batch, Outcome
from asfitted.prediction_log.sink_writer import SinkWriter
from asfitted.prediction_log.tables import Table

Durability = Literal["fsync", "os", "sink"]

_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


class Journal:
    """Append predictions durably, from any number of threads.

    One process writes one file, opened by the first append. Callers that come
    while a commit is under way are written together by the next one: no timer,
    and no wait for one who comes alone. After a fork the child opens a file of
    its own.

    Parameters
    ----------
    folder : str or path
        Where the files lie; created when first needed.
    durability : "fsync", "os" or "sink", default "fsync"
        What an append waits for: the disk; the operating system, so that a power cut
        may take the newest records; or the sink, with nothing written here.
    sink : str, default ""
        URL that the folder is shipped to; files are then bounded in size and age.

    Raises
    ------
    ConfigError
        Where the sink is to be waited for and none is named.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with Journal(folder) as journal:
    ...         journal.check()
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        durability: Durability = "fsync",
        sink: str = "",
    ) -> None:
        # Absolute, because a process may change its directory.
        self.folder = Path(os.path.abspath(folder))
        self.durability, self.sink = durability, sink
        if durability == "sink" and not sink:
            raise ConfigError(
                "records shall wait for the sink and none is named",
                "log.durability",
                "name one in log.sink or ASFITTED_SINK",
            )
        self._commits = GroupCommit(partial(_begun, self.folder, durability, sink))

    @property
    def commits(self) -> int:
        """Durable transactions so far."""
        return self._commits.commits

    def append(self, batch: Batch) -> list[str]:
        """Put every row of `batch` on record.

        Returns
        -------
        list of str, of length n_rows
            The prediction ids, in the order of the rows. The rows are durable.

        Raises
        ------
        RecordError
            None of the rows is on record, and none will be: but for a sink that is
            waited for, and that took them and whose answer was lost.
        """
        return self.append_all([batch])[0]

    def append_all(self, batches: Sequence[Batch]) -> list[list[str]]:
        """Put several calls on record in one transaction; see `append`.

        Returns
        -------
        list of list of str
            The prediction ids of each call.

        Raises
        ------
        RecordError
            As `append`, for the rows of all calls.
        """
        calls = [encode(batch) for batch in batches]
        if any(map(len, calls)):
            self._write("predictions", calls)
        return [list(call.columns["prediction_id"]) for call in calls]

    def append_refusal(self, **refusal: Any) -> str:
        """Put a refused request on record and return the refusal's id.

        Parameters
        ----------
        request_id, model_name, model_version, model_digest, code, source : str
        received_at : aware datetime
        n_rows : int or None
            None where the body could not be read so far.
        violations : sequence of Violation
            Of each its column, rule and number of rows go on record, no value.
        refusal_id : str, optional
            A UUID, for whoever looks later whether this one is on record already.

        Raises
        ------
        RecordError
        """
        row = encode_refusal(**refusal)
        self._write("refusals", [[row]])
        refusal_id: str = row[0]
        return refusal_id

    def append_outcomes(self, outcomes: Sequence[Outcome]) -> list[str]:
        """Put what came true on record, all or none, and return the outcomes' ids.

        Raises
        ------
        RecordError
            None of them is on record, and none will be.
        """
        rows = [encode_outcome(outcome) for outcome in outcomes]
        if rows:
            self._write("outcomes", [rows])
        return [row[0] for row in rows]

    def append_removal(self, **removal: Any) -> str:
        """Put on record that rows are taken out of the log; see `encode_removal`.

        Raises
        ------
        RecordError
        """
        row = encode_removal(**removal)
        self._write("removals", [[row]])
        removal_id: str = row[0]
        return removal_id

    def check(self) -> None:
        """Prove that the folder can take a record, before anything is answered.

        Raises
        ------
        RecordError
        """
        try:
            if self.durability == "sink":
                with closing(SinkWriter(self.sink)) as writer:
                    writer.prove()
            else:
                prove_writable(self.folder)
        except (OSError, AsfittedError) as error:
            raise self._failure("the prediction log cannot be written", error) from error

    def another(self) -> Journal:
        """Return a second writer of the same log."""
        return Journal(self.folder, durability=self.durability, sink=self.sink)

    def declare_gap(self, rows: int, reason: str, model_name: str, model_version: str) -> None:
        """Put on record, as soon as that can be done, that rows were answered without it."""
        self._commits.declare(Gap(rows, reason, model_name, model_version))

    def tend(self) -> None:
        """Do what cannot wait for the next append; for a server to call now and then.

        A gap goes on record, and a file that is due is closed, so that it can be
        deleted once it is shipped; the next append opens another. Never raises.
        """
        self._commits.tend()

    def close(self) -> None:
        """Close the file, with everything in it; a later append opens a new one."""
        self._commits.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _write(self, table: Table, calls: Sequence[Rows]) -> None:
        error = self._commits.write(table, calls)
        if error is not None:
            raise self._failure("the prediction could not be recorded", error) from error

    def _failure(self, what: str, error: BaseException) -> RecordError:
        if isinstance(error, AsfittedError):
            return RecordError(f"{what}: {error.what}", error.where, error.mend)
        mend, number = "", getattr(error, "errno", None)
        if number in _FULL or "disk is full" in str(error):
            mend = "free space there; the next call opens a new journal by itself"
        elif number in _FORBIDDEN:
            mend = "let this user write there, or name another folder in ASFITTED_LOG"
        reason = getattr(error, "strerror", None) or str(error)
        return RecordError(f"{what}: {reason}", str(self.folder), mend)


def _begun(
    folder: Path, durability: Durability, sink: str, first_rows: int
) -> JournalFile | SinkWriter:
    if durability == "sink":
        return SinkWriter(sink)
    synced = durability == "fsync"
    return JournalFile(folder, synced=synced, bounded=bool(sink), first_rows=first_rows)
