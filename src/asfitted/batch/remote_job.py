"""The way of a job through S3: copy, score, put, and only then forget it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Protocol

from asfitted._s3 import is_s3
from asfitted.batch.remote import Bucket, Workspace, refuse_own_input, workspace
from asfitted.batch.run import LOOK_ROWS
from asfitted.batch.source import demand_format
from asfitted.errors import AsfittedError, ConfigError

if TYPE_CHECKING:
    from asfitted.batch.files import Summary


class Score(Protocol):
    """`score_file` for files that are here."""

    def __call__(
        self, source: Path, target: Path, refused: Path | None, overwrite: bool, keep: bool = False
    ) -> Summary: ...


def score_remote(
    score: Score,
    home: Path,
    source: str,
    target: str,
    refused: str | None,
    overwrite: bool,
    dry_run: bool,
) -> Summary:
    """Score where input or output, or both, are in S3; see `score_file`.

    Parameters
    ----------
    score : callable
    home : Path
        Where the work folder lies.
    source, target : str
    refused : str or None
    overwrite, dry_run : bool
    """
    demand_format(Path(target), named=target)
    if refused is None and is_s3(target):
        refused = f"{target.removesuffix(PurePosixPath(target).suffix)}.refused.jsonl"
    if refused is not None:
        demand_format(Path(refused), (".jsonl",), refused)
        if is_s3(refused) != is_s3(target):
            raise ConfigError(
                "the answers and the refused rows belong together", refused,
                "write both to S3 or both to the disk",
            )  # fmt: skip
    if is_s3(source) and is_s3(target):
        assert refused is not None
        refuse_own_input(source, target, refused)
    with workspace(home, source, target, refused, temporary=dry_run) as work:
        if is_s3(target):
            assert refused is not None
            _refuse_taken(work, target, refused, overwrite)
            if not dry_run:
                return _to_s3(score, work, source, target, refused, overwrite)
        local_refused = None if refused is None or is_s3(refused) else Path(refused)
        rows = LOOK_ROWS if dry_run else None
        said = _scored(score, work, source, local_refused, overwrite, rows=rows)
        return replace(said, output=target) if is_s3(target) else said


def _refuse_taken(work: Workspace, target: str, refused: str, overwrite: bool) -> None:
    """Refuse outputs that are there, or cannot be, before anything is on record."""
    for bucket in (Bucket(target), Bucket(refused)):
        is_there = bucket.job() is not None
        # Of a job that was killed after its first put, what is there may be its own.
        if is_there and not overwrite and not work.has_begun:
            raise bucket.taken()


def _to_s3(
    score: Score, work: Workspace, source: str, target: str, refused: str, overwrite: bool
) -> Summary:
    answers, others = Bucket(target), Bucket(refused)
    local_refused = work.output(refused)
    said = _scored(score, work, source, local_refused, True, keep=True)
    if said.refused:
        others.put(local_refused, said.job_id, overwrite)
    elif overwrite:
        others.delete()
    # Last, as on the disk: where the answers are, everything is.
    answers.put(work.target, said.job_id, overwrite)
    return replace(said, output=target, refused_file=refused if said.refused else None)


def _scored(
    score: Score,
    work: Workspace,
    source: str,
    refused: Path | None,
    overwrite: bool,
    keep: bool = False,
    rows: int | None = None,
) -> Summary:
    if not is_s3(source):
        return score(Path(source), work.target, refused, overwrite, keep)
    here = work.source(source, rows)
    try:
        return score(here, work.target, refused, overwrite, keep)
    except AsfittedError as error:
        # Nobody knows the copy.
        error.where = error.where.replace(str(here), source.rstrip("/"))
        raise
