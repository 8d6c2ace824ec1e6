"""Batch: files in chunks, through the same scorer, into the same log."""

from asfitted.batch.files import Summary, score_file

__all__ = ["Summary", "score_file"]
