"""Score files: checked whole first, then in chunks, every row on record once."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from asfitted._s3 import is_s3
from asfitted.batch.refusals import Limit
from asfitted.batch.run import Progress, Run, refuse_existing
from asfitted.batch.source import Source, demand_format, find
from asfitted.contract import DataContract
from asfitted.errors import ConfigError, StoreUnavailable
from asfitted.scoring import FittedModel

# Cells of a chunk; of wide tables fewer rows are in memory, and of narrow ones a chunk is
# worth what it takes to begin it.
_CHUNK_CELLS, _LEAST_ROWS, _MOST_ROWS = 200_000, 1_000, 20_000
# Of the 255 bytes of most file systems the work folder needs some for its own name.
_LONGEST_NAME = 230


@dataclass(frozen=True)
class Summary:
    """What a job did; ``rows == answered + refused``.

    Attributes
    ----------
    job_id : str
        ``request_id`` of every one of its records; "" for a dry run.
    files, rows, answered, refused : int
    output : str
    refused_file : str or None
        None where no row is refused.
    resumed_rows : int
        Of `rows`, those that an earlier, killed process had answered or refused.
    seconds : float
        Of this process.
    dry_run : bool
        Whether only the first rows were looked at, and nothing was written.
    """

    job_id: str
    files: int
    rows: int
    answered: int
    refused: int
    output: str
    refused_file: str | None
    resumed_rows: int
    seconds: float
    dry_run: bool = False


def score_file(
    model: FittedModel,
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    refused: str | os.PathLike[str] | None = None,
    max_refused: str | int = 0,
    overwrite: bool = False,
    dry_run: bool = False,
    chunk_rows: int | None = None,
    jobs: int | None = None,
    progress: Progress = lambda phase, rows, total: None,
) -> Summary:
    """Score the rows of `source` and write the answers to `target`.

    Everything is checked before a row is scored. A job that was killed goes on
    where it was when it is called again; each row is once in `target` and once
    in the log. `target` appears when it is complete.

    Parameters
    ----------
    model : FittedModel
    source : path or str
        CSV or Parquet, by its ending, or a folder of them; also ``s3://bucket/key``.
    target : path or str
        CSV or Parquet: ``prediction_id``, the keys, and all outputs of the model. Also
        ``s3://bucket/key``.
    refused : path or str, optional
        A ``.jsonl`` file for the rows that are refused; by default beside `target`.
    max_refused : int or str, default 0
        A number of rows, or a percentage such as ``"0.5%"`` of all rows. One row
        more and the job fails.
    overwrite : bool, default False
        Whether a `target` and `refused` that are there may be replaced.
    dry_run : bool, default False
        Check and score the first 1,000 rows of each file, and write nothing.
    chunk_rows : int, optional
        Rows in memory, and in one append to the log. By default 1,000 to 20,000, the
        fewer the more columns the contract has.
    jobs : int, optional
        Processes that answer; each loads the model and has a journal of its own. By
        default one per processor where the rows are worth it.
    progress : callable

    Returns
    -------
    Summary

    Raises
    ------
    ConfigError
        An input is not there, or changes meanwhile; an output is there already, or
        can be none.
    ContractViolation, OutputViolation
        Too many rows are refused, or a whole table is. Rows count from 0 behind
        the header of their file.
    RecordError, StoreUnavailable
        The same call goes on where this one was.
    """
    if chunk_rows is None:
        chunk_rows = default_chunk_rows(model.contract)
    if chunk_rows < 1:
        raise ConfigError(f"chunks of {chunk_rows} rows", mend="say 1 or more")
    if jobs is not None and jobs < 1:
        raise ConfigError(f"{jobs} processes", mend="say 1 or more")
    limit = Limit.parse(max_refused)
    _refuse_foreign(source, target, refused)

    def score(
        source: Path, target: Path, refused: Path | None, overwrite: bool, keep: bool = False
    ) -> Summary:
        found, output = find(source), Path(os.path.abspath(target))
        demand_format(output)
        refusals = output.with_name(f"{output.stem}.refused.jsonl")
        if refused is not None:
            refusals = Path(os.path.abspath(refused))
            demand_format(refusals, (".jsonl",))
        _refuse_own_input(found, output, refusals)
        _refuse_no_place(output, refusals)
        run = Run(model, found, output, refusals, limit, chunk_rows, progress, keep, jobs)
        started = perf_counter()
        if dry_run:
            if not overwrite:
                refuse_existing(output, refusals)
            run.look()
        else:
            run.all(overwrite)
        return Summary(
            job_id=run.job_id,
            files=len(found.files),
            rows=run.answered + run.refused,
            answered=run.answered,
            refused=run.refused,
            output=str(output),
            refused_file=str(refusals) if run.refused and not dry_run else None,
            resumed_rows=run.resumed,
            seconds=perf_counter() - started,
            dry_run=dry_run,
        )

    if any(map(is_s3, (source, target, refused))):
        from asfitted.batch.remote_job import score_remote

        home = Path.cwd() if model.recorder is None else model.recorder.journal.folder
        named = None if refused is None else str(refused)
        return score_remote(score, home, str(source), str(target), named, overwrite, dry_run)
    return score(Path(source), Path(target), None if refused is None else Path(refused), overwrite)


def default_chunk_rows(contract: DataContract) -> int:
    """Return how many rows of so many columns are read, scored and recorded at a time.

    Examples
    --------
    >>> default_chunk_rows(DataContract.model_validate({"columns": {"a": {"kind": "number"}}}))
    20000
    """
    return min(max(_CHUNK_CELLS // len(contract.columns), _LEAST_ROWS), _MOST_ROWS)


def _refuse_foreign(*places: object) -> None:
    """Refuse URLs of other schemes: as paths they would make a folder ``gs:`` here.

    And an empty path, which would be the working directory: a variable may be unset.
    """
    for place in places:
        if place == "":
            raise ConfigError("a path is empty", mend="name a path, or s3://bucket/key")
        if re.match(r"[a-z][a-z0-9+.-]+://", str(place), re.IGNORECASE) and not is_s3(place):
            raise ConfigError(
                "neither a path nor a place in S3", str(place), "name a path, or s3://bucket/key"
            )


def _refuse_no_place(*targets: Path) -> None:
    """Refuse outputs that cannot come to be, before anything is on record."""
    for target in targets:
        if os.path.exists(target) and not os.path.isfile(target):
            raise ConfigError("the output would replace what is no file", str(target))
        if len(os.fsencode(target.name)) > _LONGEST_NAME:
            raise ConfigError(
                f"the output's name has more than {_LONGEST_NAME} bytes", str(target), "shorten it"
            )
        there = next(folder for folder in target.parents if os.path.exists(folder))
        if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
            raise StoreUnavailable("the output cannot be written there", str(there))


def _refuse_own_input(source: Source, *targets: Path) -> None:
    root = Path(os.path.realpath(source.root))
    for target in targets:
        place = Path(os.path.realpath(target))
        if place == root or root in place.parents:
            raise ConfigError(
                "the output would be part of the input", str(target), "write it somewhere else"
            )
