"""What a reader gives as a frame, to be looked at."""

from __future__ import annotations

import numpy as np
import pandas as pd

from asfitted.wire.rows import Rows


def frame_of(rows: Rows) -> pd.DataFrame:
    """Return the rows as they came: typed where their format has types, else objects."""
    if rows.typed is not None:
        return rows.typed
    arrays = {}
    for name, values in rows.columns.items():
        # Filled, not converted: numpy would make a nested list a second dimension.
        arrays[name] = np.empty(rows.n_rows, dtype=object)
        arrays[name][:] = values
    return pd.DataFrame(arrays, index=range(rows.n_rows), dtype=object)
