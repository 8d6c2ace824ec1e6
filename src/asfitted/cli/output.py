"""Standard output that is whole, or says that it is not."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Any

from asfitted.errors import StoreUnavailable


def whole_stdout() -> None:
    """Let no write to standard output be cut short in silence.

    Under ``PYTHONUNBUFFERED``, as in most containers, Python drops what a write leaves
    over: on a full disk ``> march.csv`` ended somewhere, without an error.
    """
    text = sys.stdout
    if text is not sys.__stdout__ or not isinstance(text, io.TextIOWrapper):
        return  # of a test or a notebook
    out = io.BufferedWriter(_Stdout(text.fileno(), "wb", closefd=False))
    sys.stdout = io.TextIOWrapper(
        out, encoding=text.encoding, errors=text.errors, line_buffering=text.isatty()
    )


def nobody_reads() -> bool:
    """Whether the reader of standard output went away, as after ``| head``."""
    return _Stdout.reader_is_gone


class _Stdout(io.FileIO):
    reader_is_gone = False

    def write(self, data: Any) -> int | None:  # type: ignore[override]
        try:
            return super().write(data)
        except OSError as error:
            # What is still in the buffer goes nowhere, or Python would fail again at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
            if error.errno == errno.EPIPE:
                _Stdout.reader_is_gone = True
                raise
            raise StoreUnavailable(
                f"the output cannot be written: {error.strerror or error}",
                "standard output",
                "what is there is cut off; make room, and run it again",
            ) from error
