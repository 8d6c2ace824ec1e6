"""stdout is for the result of a command, whatever else prints."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout


@contextmanager
def kept_for_the_result() -> Iterator[None]:
    """Send to stderr what a model's own code prints inside.

    From C, and in processes that start inside, too: so the descriptor is another one.
    """
    with redirect_stdout(sys.stderr):
        kept = os.dup(1)
        os.dup2(2, 1)
        try:
            yield
        finally:
            os.dup2(kept, 1)
            os.close(kept)
