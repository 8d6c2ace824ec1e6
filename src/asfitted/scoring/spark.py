"""What a frame has lost on its way into a Spark worker: zones, and digits of whole numbers.

Spark hands rows to Python as pandas frames. A TIMESTAMP becomes the wall time of the
session's zone, without the zone, and looks like a TIMESTAMP_NTZ; a long becomes a float
where a null stands beside it. Neither can be seen from here, so what may be wrong is
refused. A DATE and text arrive as they are, and stay the contract's affair.
"""

from __future__ import annotations

import contextlib
import os
import sys
from datetime import timezone
from typing import Any

import numpy as np
import pandas as pd

from asfitted.contract import DataContract
from asfitted.contract.column import EXACT, Column
from asfitted.contract.conform import CONFORMED
from asfitted.contract.moments import ClockChange, from_wall, is_zone
from asfitted.contract.plain import Array, Plain, is_moment, plain
from asfitted.errors import ConfigError, ContractViolation, Violation

# What MLflow's model_config calls the zone of naive moments.
ZONE = "spark_zone"

_NAIVE = "times have no zone: Spark hands them over as wall time of the session's"
_STATE_THE_ZONE = (
    "state the session's zone: spark_udf(…, "
    'model_config={"spark_zone": spark.conf.get("spark.sql.session.timeZone")}); where MLflow '
    "does not pass that on, as on a cluster, "
    'extra_env={"MLFLOW_PYFUNC_INFERENCE_CONFIG": \'{"spark_zone": "UTC"}\'}; or give the '
    "column its zone before the model is called: .dt.tz_localize(zone)"
)
_SKIPPED = "times are skipped or repeated by clocks of {}, or too far off to be sure"
_USE_UTC = 'set spark.sql.session.timeZone to "UTC", and state that: no clock changes there'
_OTHER = "times are of another zone than {0}: that of the session is {1}"
_STATE_OTHER = "state the zone that spark.sql.session.timeZone names"
_ROUNDED = "whole numbers are beyond ±(2^53 − 1), and Spark may have rounded them"
_CAST = (
    "Spark makes a float of a long beside a null: cast the column to decimal(38, 0); "
    "numbers that are names, such as ids, to string, and make the column text"
)
# The largest long; what is larger was a float before Spark.
_LONG = 2.0**63


def is_worker() -> bool:
    """Whether this process runs a Spark task, or was started by one that does."""
    return (
        _task() is not None
        or os.environ.get("SPARK_PYTHON_RUNTIME") == "PYTHON_WORKER"
        or "PYTHON_WORKER_FACTORY_SECRET" in os.environ
    )


def _task() -> Any:
    # Nothing of pyspark's is imported: in a worker it is there already.
    module = sys.modules.get("pyspark.taskcontext")
    return None if module is None else module.TaskContext.get()


def _session_zone() -> str:
    """Return the zone of the session, "" where it was not set, or has no IANA name."""
    task = _task()
    zone = None if task is None else task.getLocalProperty("spark.sql.session.timeZone")
    return zone if zone and is_zone(zone) else ""


def check_zone(zone: Any) -> str:
    """Return the zone that a caller stated, "" for none.

    Raises
    ------
    ConfigError
        Where it is no zone, or this is no Spark worker: elsewhere it would do nothing.
    """
    if not zone:
        return ""
    if not isinstance(zone, str) or not is_zone(zone):
        raise ConfigError(f"{zone!r} is not an IANA time zone", ZONE, "for example UTC")
    if not is_worker():
        raise ConfigError(
            "only a Spark worker takes it; elsewhere the contract says what a naive time means",
            ZONE,
            "leave it out, or give the times their zone: .dt.tz_localize(zone)",
        )
    return zone


def restore(contract: DataContract, frame: Any, zone: str) -> Any:
    """Return `frame` with the moments that it stood for before Spark took their zone.

    Parameters
    ----------
    contract : DataContract
    frame : DataFrame of shape (n_rows, n_columns)
        As Spark handed it over. Text, dates and moments with a zone stay as they are.
    zone : str
        Of naive moments; "" where the caller has not stated it.

    Returns
    -------
    DataFrame of shape (n_rows, n_columns)
        Anything that is no frame for the contract comes back as it is, to be refused there.

    Raises
    ------
    ContractViolation
        For naive moments without a zone or of no single moment, and for whole numbers
        that may have lost digits.
    """
    if (
        not isinstance(frame, pd.DataFrame)
        or frame.columns.has_duplicates
        or frame.attrs.get(CONFORMED)
    ):
        return frame
    problems: list[Violation] = []
    mends: dict[str, None] = {}

    def refuse(name: str, rule: str, what: str, mend: str, mask: Array) -> None:
        rows = tuple(np.flatnonzero(mask).tolist())
        if rows:
            problems.append(Violation(name, rule, what, rows, len(frame)))
            mends[mend] = None

    session = _session_zone() if zone else ""
    restored: dict[str, Any] = {}
    for name, column in contract.columns.items():
        if name not in frame.columns:
            continue
        if column.kind != "datetime":
            refuse(name, "exact", _ROUNDED, _CAST, _rounded(frame[name], column))
            continue
        source = plain(frame[name])
        walls = _walls(source)
        naive = ~np.isnat(walls)
        if not naive.any():
            continue
        if not zone:
            refuse(name, "zone", _NAIVE, _STATE_THE_ZONE, naive)
            continue
        moments = _moments(walls, zone)
        known = ~np.isnat(moments)
        refuse(name, "zone", _SKIPPED.format(zone), _USE_UTC, naive & ~known)
        if session not in {"", zone}:
            # Two names may mean the same clocks.
            wrong = known & (moments != _moments(walls, session))
            refuse(name, "zone", _OTHER.format(zone, session), _STATE_OTHER, wrong)
        restored[name] = _with_zone(source, moments, frame.index)
    if problems:
        raise ContractViolation(problems, mend="; ".join(mends))
    return frame.assign(**restored)


def _rounded(series: Any, column: Column) -> Array:
    """Return a mask of what may have been a long that no float holds."""
    whole = column.kind in {"number", "integer"} or (
        column.kind == "category" and isinstance(column.labels[0], int)
    )
    # A row is refused in any company or in none. So it is not asked whether a null stands
    # in this batch, but whether one may: where it is refused, no long becomes a float.
    if not whole or not column.may_miss or series.dtype != np.dtype("float64"):
        return np.zeros(len(series), dtype=bool)
    sizes = np.abs(series.to_numpy())
    mask: Array = (sizes > EXACT) & (sizes <= _LONG)
    return mask


def _walls(source: Plain) -> Array:
    """Return the naive moments of a column in microseconds, NaT for all else.

    What is finer, or outside the calendar, is left to the contract, which refuses it.
    """
    if source.family == "moment":
        walls = _exact(source.values)
        walls[source.missing] = np.datetime64("NaT")
        return walls
    walls = np.full(len(source.missing), np.datetime64("NaT"), dtype="datetime64[us]")
    for i in np.flatnonzero(~source.missing) if source.family == "object" else ():
        value = source.values[i]
        if is_moment(value) and getattr(value, "tzinfo", None) is None:
            held = value.to_datetime64() if isinstance(value, pd.Timestamp) else value
            walls[i] = _exact(np.array([held], dtype=np.datetime64(held).dtype))[0]
    return walls


def _exact(moments: Array) -> Array:
    years = moments.astype("datetime64[Y]").astype("int64") + 1970
    walls = np.full(len(moments), np.datetime64("NaT"), dtype="datetime64[us]")
    # Elsewhere microseconds overflow.
    inside = (years >= 1) & (years <= 9999)
    walls[inside] = moments[inside].astype("datetime64[us]")
    walls[walls != moments] = np.datetime64("NaT")
    return walls


def _moments(walls: Array, zone: str) -> Array:
    """Return the moments at which clocks of `zone` show `walls`, NaT where that is not sure."""
    distinct, where = np.unique(walls, return_inverse=True)
    moments = np.full(len(distinct), np.datetime64("NaT"), dtype="datetime64[us]")
    for i, wall in enumerate(distinct.tolist()):
        if wall is not None:
            with contextlib.suppress(ClockChange, OverflowError):
                moments[i] = from_wall(wall, zone)
    # pandas, with which Spark has made the wall times, may know another past and future.
    shown = pd.DatetimeIndex(moments).tz_localize("UTC").tz_convert(zone).tz_localize(None)
    moments[shown.to_numpy() != distinct] = np.datetime64("NaT")
    found: Array = moments[where]
    return found


def _with_zone(source: Plain, moments: Array, index: pd.Index[Any]) -> Any:
    """Return the column with a zone wherever it lacked one."""
    if source.family == "moment":
        # Where the contract refuses a value anyhow, it may see the column as it came.
        lost = ~source.missing & np.isnat(moments)
        held = pd.Series(source.values if lost.any() else moments, index=index)
        return held if lost.any() else held.dt.tz_localize("UTC")
    values = source.values.copy()
    for i in np.flatnonzero(~np.isnat(moments)):
        values[i] = moments[i].item().replace(tzinfo=timezone.utc)
    return pd.Series(values, index=index, dtype=object)
