"""In a Spark worker a time without a zone is refused or read in the stated one."""

from __future__ import annotations

import contextlib
import datetime as dt
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline

import asfitted
from asfitted import DataContract
from asfitted.errors import ConfigError, ContractViolation
from asfitted.scoring import spark

CONTRACT = DataContract.from_yaml(
    """
schema_version: 1
columns:
  at: {kind: datetime, zone: America/New_York, missing: pass}
  amount: {kind: number, missing: pass}
  ratio: {kind: number}
  n: {kind: integer, missing: pass}
  code: {kind: category, categories: [1, 2], missing: pass, unknown: missing}
"""
)
WALL = dt.datetime(2013, 5, 1, 12, 0, 0, 1)
# Each holds the one naive moment, as a worker may come by it.
NAIVE: dict[str, Any] = {
    "numpy, ns": pd.Series([WALL]).astype("datetime64[ns]"),
    "numpy, us": pd.Series([WALL]).astype("datetime64[us]"),
    "arrow": pd.Series([WALL], dtype=pd.ArrowDtype(pa.timestamp("us"))),
    "category": pd.Series([WALL]).astype("datetime64[us]").astype("category"),
    "datetime": pd.Series([WALL], dtype=object),
    "Timestamp": pd.Series([pd.Timestamp(WALL)], dtype=object),
    "datetime64": pd.Series([np.datetime64(WALL, "us")], dtype=object),
}
NOT_SPARKS: dict[str, Any] = {
    "aware": pd.Series([WALL]).dt.tz_localize("Asia/Kolkata"),
    "aware objects": pd.Series([WALL.replace(tzinfo=dt.timezone.utc)], dtype=object),
    "text": pd.Series(["2013-05-01T12:00"]),
    "text with an offset": pd.Series(["2013-05-01T12:00:00+02:00"]),
    "date": pd.Series([WALL.date()], dtype=object),
    "arrow's date": pd.Series([WALL.date()], dtype=pd.ArrowDtype(pa.date32())),
    "missing": pd.Series([pd.NaT]).astype("datetime64[us]"),
}

Worker = Callable[..., None]


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Worker:
    """Let this process seem to run a task of a session, whose zone may be set."""

    def enter(session: str | None = None) -> None:
        task = SimpleNamespace(getLocalProperty=lambda name: session)
        context = SimpleNamespace(TaskContext=SimpleNamespace(get=lambda: task))
        monkeypatch.setitem(sys.modules, "pyspark.taskcontext", context)

    return enter


def frame_of(at: Any, **columns: Any) -> pd.DataFrame:
    rest = {"amount": 1.0, "ratio": 1.0, "n": 1, "code": 1}
    return pd.DataFrame({"at": at, **rest, **columns})


def moments(frame: pd.DataFrame) -> list[Any]:
    return CONTRACT.conform(frame).frame["at"].tolist()


@pytest.mark.parametrize("held", NAIVE)
def test_a_naive_moment_is_refused_with_what_to_do(held: str, worker: Worker) -> None:
    worker()
    with pytest.raises(ContractViolation, match="spark_zone") as refused:
        spark.restore(CONTRACT, frame_of(NAIVE[held]), "")
    (violation,) = refused.value.violations
    assert (violation.column, violation.rule, violation.rows) == ("at", "zone", (0,))


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "America/New_York"])
@pytest.mark.parametrize("held", NAIVE)
def test_it_is_read_in_the_zone_that_was_stated(held: str, zone: str, worker: Worker) -> None:
    worker(zone)
    meant = WALL.replace(tzinfo=ZoneInfo(zone)).astimezone(dt.timezone.utc).replace(tzinfo=None)
    assert moments(spark.restore(CONTRACT, frame_of(NAIVE[held]), zone)) == [pd.Timestamp(meant)]


@pytest.mark.parametrize("zone", ["", "Asia/Kolkata"])
@pytest.mark.parametrize("held", NOT_SPARKS)
def test_what_spark_has_not_changed_stays_the_contracts_affair(
    held: str, zone: str, worker: Worker
) -> None:
    worker()
    frame = frame_of(NOT_SPARKS[held])
    restored = spark.restore(CONTRACT, frame, zone)
    assert CONTRACT.conform(restored).frame.equals(CONTRACT.conform(frame).frame)


def test_a_column_of_several_types_is_read_value_by_value(worker: Worker) -> None:
    worker()
    values = [WALL, WALL.replace(tzinfo=dt.timezone.utc), "2013-05-01T12:00", None, WALL.date()]
    frame = frame_of(pd.Series(values, dtype=object))
    with pytest.raises(ContractViolation) as refused:
        spark.restore(CONTRACT, frame, "")
    assert refused.value.violations[0].rows == (0,)
    stated = spark.restore(CONTRACT, frame, "UTC")
    assert moments(stated)[1:] == moments(frame)[1:] or pd.isna(moments(stated)[3])
    assert moments(stated)[0] == pd.Timestamp(WALL)


ZONES = ["UTC", "America/New_York", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe"]


def shown(moment: dt.datetime, zone: str) -> pd.Series[Any]:
    """Return what Spark makes of a moment, with pandas."""
    aware = pd.Series([moment]).astype("datetime64[us]").dt.tz_localize("UTC")
    return aware.dt.tz_convert(zone).dt.tz_localize(None)


@given(
    st.datetimes(dt.datetime(1920, 1, 1), dt.datetime(2037, 1, 1)),
    st.sampled_from(ZONES),
)
def test_a_moment_comes_back_to_the_microsecond_or_clocks_repeat_it(
    moment: dt.datetime, zone: str
) -> None:
    walls = shown(moment, zone)
    wall = walls[0].to_pydatetime()
    folds = {wall.replace(tzinfo=ZoneInfo(zone), fold=fold).utcoffset() for fold in (0, 1)}
    if len(folds) == 1:
        restored = spark.restore(CONTRACT, frame_of(walls), zone)
        assert moments(restored) == [pd.Timestamp(moment)]
    else:
        with pytest.raises(ContractViolation, match='"UTC"'):
            spark.restore(CONTRACT, frame_of(walls), zone)


@given(
    st.datetimes(dt.datetime(2, 1, 1), dt.datetime(9998, 1, 1)),
    st.sampled_from(ZONES),
)
def test_far_off_a_moment_comes_back_or_is_refused(moment: dt.datetime, zone: str) -> None:
    """Releases of pandas know another past and future than Python."""
    restored = None
    with contextlib.suppress(ContractViolation):
        restored = spark.restore(CONTRACT, frame_of(shown(moment, zone)), zone)
    assert restored is None or moments(restored) == [pd.Timestamp(moment)]
    assert restored is not None or zone != "UTC"


@pytest.mark.parametrize("hour", [1, 2])
def test_a_time_that_clocks_show_twice_or_never_is_refused(hour: int, worker: Worker) -> None:
    worker()
    day = {1: "2013-11-03", 2: "2013-03-10"}[hour]
    with pytest.raises(
        ContractViolation, match="skipped or repeated by clocks of America/New_York"
    ):
        spark.restore(CONTRACT, frame_of([pd.Timestamp(f"{day} 0{hour}:30")]), "America/New_York")


def test_another_zone_than_the_sessions_is_refused_another_name_for_it_is_not(
    worker: Worker,
) -> None:
    worker("Asia/Kolkata")
    with pytest.raises(ContractViolation, match=r"that of the session is Asia/Kolkata"):
        spark.restore(CONTRACT, frame_of(NAIVE["numpy, us"]), "UTC")
    worker("Etc/UTC")
    assert moments(spark.restore(CONTRACT, frame_of(NAIVE["numpy, us"]), "UTC"))
    # No IANA name: there is nothing to compare with.
    worker("+05:30")
    assert moments(spark.restore(CONTRACT, frame_of(NAIVE["numpy, us"]), "Asia/Kolkata"))


@pytest.mark.parametrize("unit", ["s", "us", "ns"])
def test_what_the_contract_refuses_it_refuses_all_the_same(unit: str, worker: Worker) -> None:
    worker()
    odd = {
        "ns": np.array(["2013-05-01T12:00:00.000000001"], "datetime64[ns]"),
        "us": np.array([np.iinfo("int64").max], "datetime64[us]"),
        "s": np.array([2**58], "datetime64[s]"),
    }[unit]
    for at in (odd, pd.Series([np.datetime64(odd[0])], dtype=object)):
        for zone in ("UTC", "America/New_York"):
            with pytest.raises(ContractViolation, match=r"finer|no such moment"):
                CONTRACT.conform(spark.restore(CONTRACT, frame_of(at), zone))


@pytest.mark.parametrize("name", ["amount", "n", "code"])
def test_a_whole_number_that_may_have_lost_a_digit_is_refused(name: str, worker: Worker) -> None:
    worker()
    frame = frame_of([pd.NaT] * 2, **{name: [float(2**53 + 1), np.nan]})
    with pytest.raises(ContractViolation, match=r"decimal\(38, 0\)") as refused:
        spark.restore(CONTRACT, frame, "")
    (violation,) = refused.value.violations
    assert (violation.column, violation.rule, violation.rows) == (name, "exact", (0,))
    # In any company.
    with pytest.raises(ContractViolation):
        spark.restore(CONTRACT, frame[:1], "")


@pytest.mark.parametrize(
    ("name", "value"),
    [("amount", float(2**53 - 1)), ("amount", 6e23), ("ratio", float(2**60)), ("amount", 0.5)],
)
def test_a_float_that_no_long_can_have_been_is_taken(
    name: str, value: float, worker: Worker
) -> None:
    worker()
    frame = frame_of([pd.NaT], **{name: [value]})
    assert spark.restore(CONTRACT, frame, "")[name].tolist() == [value]


def test_every_problem_is_said_at_once(worker: Worker) -> None:
    worker()
    with pytest.raises(ContractViolation) as refused:
        spark.restore(CONTRACT, frame_of(NAIVE["numpy, us"], amount=float(2**54)), "")
    assert [violation.column for violation in refused.value.violations] == ["at", "amount"]


def test_a_conformed_frame_is_conformed_already(worker: Worker) -> None:
    worker()
    conformed = CONTRACT.conform(frame_of(["2013-05-01T12:00:00Z"])).frame
    assert spark.restore(CONTRACT, conformed, "") is conformed


@pytest.mark.parametrize("odd", [[1], pd.DataFrame([[1, 2]], columns=["at", "at"]), None])
def test_no_frame_is_the_contracts_to_refuse(odd: Any, worker: Worker) -> None:
    worker()
    with pytest.raises(ContractViolation):
        CONTRACT.conform(spark.restore(CONTRACT, odd, ""))


def test_a_model_asks_where_it_runs_when_it_is_asked(worker: Worker) -> None:
    """It may have been loaded by the driver."""
    naive = frame_of(NAIVE["numpy, us"])
    ratio = ColumnTransformer([("ratio", "passthrough", ["ratio"])])
    pipeline = make_pipeline(asfitted.Conform(CONTRACT), ratio, LinearRegression())
    model = asfitted.FittedModel(pipeline.fit(naive, [1.0]))
    assert len(model.predict(naive)) == 1
    worker()
    with pytest.raises(ContractViolation, match="spark_zone"):
        model.predict(naive)
    model.spark_zone = "UTC"
    assert len(model.predict(naive)) == 1


def test_a_zone_is_checked_where_it_is_stated(worker: Worker) -> None:
    with pytest.raises(ConfigError, match="only a Spark worker"):
        spark.check_zone("UTC")
    assert spark.check_zone("") == spark.check_zone(None) == ""
    worker()
    assert spark.check_zone("UTC") == "UTC"
    for wrong in ("Atlantis", "+05:30", 5, {"at": "UTC"}):
        with pytest.raises(ConfigError, match="IANA"):
            spark.check_zone(wrong)


@pytest.mark.parametrize("name", ["SPARK_PYTHON_RUNTIME", "PYTHON_WORKER_FACTORY_SECRET"])
def test_what_a_worker_starts_is_known_by_its_environment(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not spark.is_worker()
    monkeypatch.setenv(name, "PYTHON_WORKER")
    assert spark.is_worker()
