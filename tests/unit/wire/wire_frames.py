"""What a reader gives as a frame, to be looked at."""

from __future__ import annotations

from asfitted.wire.rows import Rows

frame_of = Rows.frame
