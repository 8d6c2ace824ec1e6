"""``mlflow.pyfunc.spark_udf`` in a real Spark: the same bits as in process, or a refusal."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from spark_rows import as_frame

import asfitted
from asfitted.config import LOG_VARIABLE

pytestmark = [
    # MLflow's and pyspark's own.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

Zone = Callable[[str], None]
ZONES = ("UTC", "America/New_York", "Asia/Kolkata")


def answers(
    spark: Any, model: str, table: pa.Table, as_struct: bool = True, **options: Any
) -> np.ndarray[Any, Any]:
    """Return what a UDF on the model answers, in the order of the rows."""
    from pyspark.sql.functions import struct

    udf = mlflow.pyfunc.spark_udf(spark, model, result_type="double", **options)
    frame = spark.createDataFrame(table).repartition(3)
    # Spark makes other pandas types of the fields of a struct than of columns.
    given = [struct(*frame.columns)] if as_struct else frame.columns
    answered = frame.select("id", udf(*given).alias("answer")).toArrow()
    return answered.sort_by("id")["answer"].to_numpy()


def expected(model: str, table: pa.Table) -> np.ndarray[Any, Any]:
    return asfitted.load_model(model, record=False).predict(as_frame(table))


def same_bits(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> bool:
    return one.dtype == other.dtype == "float64" and one.tobytes() == other.tobytes()


LATER = {
    "at": pd.Timedelta("1us"),
    "due": pd.Timedelta("1us"),
    "stops": 1,
    "short": 1,
    "price": 1,
    "ratio": 1e-9,
}


@pytest.mark.parametrize("name", LATER)
def test_the_model_answers_otherwise_where_a_value_is_another(
    model: str, rows: pa.Table, name: str
) -> None:
    """Else equal bits would show nothing."""
    frame = as_frame(rows)
    other = frame.assign(**{name: frame[name] + LATER[name]})
    loaded = asfitted.load_model(model, record=False)
    present = frame[name].notna().to_numpy()
    differs = loaded.predict(frame) != loaded.predict(other)
    assert differs[present].mean() > (0.9 if name != "stops" else 0)
    assert not differs[~present].any()


@pytest.mark.parametrize("as_struct", [True, False])
@pytest.mark.parametrize("session", ZONES)
def test_with_the_zone_stated_each_answer_is_that_of_the_process(
    spark: Any, zone: Zone, model: str, rows: pa.Table, session: str, as_struct: bool
) -> None:
    zone(session)
    got = answers(spark, model, rows, as_struct, model_config={"spark_zone": session})
    assert same_bits(got, expected(model, rows))


def test_the_zone_reaches_the_worker_through_the_environment_too(
    spark: Any, zone: Zone, model: str, rows: pa.Table
) -> None:
    """On a cluster MLflow drops a UDF's model_config; this it does not."""
    zone("Asia/Kolkata")
    stated = {"MLFLOW_PYFUNC_INFERENCE_CONFIG": '{"spark_zone": "Asia/Kolkata"}'}
    assert same_bits(answers(spark, model, rows, extra_env=stated), expected(model, rows))


def test_without_the_zone_the_rows_are_refused_where_a_person_sees_it(
    spark: Any, zone: Zone, model: str, rows: pa.Table
) -> None:
    from pyspark.errors import PythonException

    zone("UTC")
    with pytest.raises(PythonException) as refused:
        answers(spark, model, rows)
    said = str(refused.value)
    said = said[said.index("ContractViolation: ") :]
    assert "at: " in said
    assert "due: " in said
    assert 'model_config={"spark_zone":' in said
    # Text and dates are the contract's affair; and no cell is shown.
    assert "day: " not in said
    assert "written: " not in said
    assert "2013" not in said


def attempts(
    spark: Any, model: str, table: pa.Table, cast: dict[str, str] | None = None, **config: str
) -> list[str]:
    """Return what each row's answer is in a UDF, or for all rows why they are refused.

    As `spark_udf` does it; but an error there costs a worker, and seconds for a new one.
    The columns in `cast` are cast by Spark first, to the type that is named there.
    """
    from pyspark.sql.functions import pandas_udf

    names = table.column_names

    def attempt(*columns):  # type: ignore[no-untyped-def]
        frame = pd.DataFrame(dict(zip(names, columns, strict=True)))
        loaded = mlflow.pyfunc.load_model(model, model_config=config)
        try:
            return pd.Series([float(answer).hex() for answer in loaded.predict(frame)])
        except asfitted.AsfittedError as error:
            return pd.Series([f"{type(error).__name__}: {error}"] * len(frame))

    attempt.__annotations__ = {"columns": pd.Series, "return": pd.Series}
    udf = pandas_udf(attempt, "string")
    frame = spark.createDataFrame(table).coalesce(1)
    for name, type_name in (cast or {}).items():
        frame = frame.withColumn(name, frame[name].cast(type_name))
    answered = frame.select("id", udf(*names).alias("answer")).toArrow()
    return answered.sort_by("id")["answer"].to_pylist()


def the_refusal(spark: Any, model: str, table: pa.Table, **options: Any) -> str:
    (said,) = set(attempts(spark, model, table, **options))
    assert said.startswith("ContractViolation: "), said
    return said


def with_column(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), name, values)


@pytest.mark.parametrize("session", ZONES[1:])
def test_in_any_zone_of_the_session_the_rows_are_refused_without_it(
    spark: Any, zone: Zone, model: str, rows: pa.Table, session: str
) -> None:
    zone(session)
    assert "at: 20 of 20 times have no zone" in the_refusal(spark, model, rows[:20])


def test_another_zone_than_the_sessions_is_refused(
    spark: Any, zone: Zone, model: str, rows: pa.Table
) -> None:
    zone("America/New_York")
    said = the_refusal(spark, model, rows[:20], spark_zone="UTC")
    assert "at: 20 of 20 times are of another zone than UTC" in said
    zone("US/Eastern")
    got = attempts(spark, model, rows[:20], spark_zone="America/New_York")
    assert got == [value.hex() for value in expected(model, rows[:20]).tolist()]


def test_the_hour_that_clocks_repeat_is_refused_unless_the_session_is_in_utc(
    spark: Any, zone: Zone, model: str, rows: pa.Table
) -> None:
    # 01:30 in New York, twice.
    moments = [f"2013-11-03T0{hour}:30:00+00:00" for hour in (5, 6)]
    values = pa.array([pd.Timestamp(moment) for moment in moments], pa.timestamp("us", "UTC"))
    table = with_column(rows[:2], "at", values)
    zone("America/New_York")
    said = the_refusal(spark, model, table, spark_zone="America/New_York")
    assert "at: 2 of 2 times are skipped or repeated by clocks of America/New_York" in said
    assert '"UTC"' in said
    zone("UTC")
    got = attempts(spark, model, table, spark_zone="UTC")
    assert got == [value.hex() for value in expected(model, table).tolist()]


@pytest.mark.parametrize("name", ["ref", "weight", "stops", "size"])
def test_a_long_beside_a_null_that_has_lost_a_digit_is_refused(
    spark: Any, zone: Zone, model: str, rows: pa.Table, name: str
) -> None:
    zone("UTC")
    table = with_column(rows[:3], name, pa.array([2**53 + 1, None, 1], pa.int64()))
    said = the_refusal(spark, model, table, spark_zone="UTC")
    assert f"{name}: 1 of 3 whole numbers are beyond ±(2^53 − 1), and Spark may have" in said
    assert "decimal(38, 0)" in said


def test_a_decimal_keeps_the_digits(spark: Any, zone: Zone, model: str, rows: pa.Table) -> None:
    zone("UTC")
    values = [Decimal(2**53 + 2), None, Decimal(-(2**60))]
    table = with_column(rows[:3], "weight", pa.array(values, pa.decimal128(38, 0)))
    got = attempts(spark, model, table, spark_zone="UTC")
    assert got == [value.hex() for value in expected(model, table).tolist()]


NTZ = ["2013-05-01 12:00:00.000001", "2013-06-01 12:00:00"]


def in_zone(texts: list[str], zone: str) -> pa.Array:
    meant = [pd.Timestamp(text).tz_localize(zone) for text in texts]
    return pa.array(meant, pa.timestamp("us", "UTC"))


def test_a_timestamp_without_a_zone_cannot_be_told_from_one_that_lost_it(
    spark: Any, zone: Zone, model: str, rows: pa.Table
) -> None:
    zone("Asia/Kolkata")
    table = with_column(rows[:2], "at", pa.array(NTZ))
    options = {"cast": {"at": "timestamp_ntz"}}
    assert "at: 2 of 2 times have no zone" in the_refusal(spark, model, table, **options)
    meant = with_column(table, "at", in_zone(NTZ, "Asia/Kolkata"))
    got = attempts(spark, model, table, **options, spark_zone="Asia/Kolkata")
    assert got == [value.hex() for value in expected(model, meant).tolist()]


def test_as_text_a_timestamp_without_a_zone_is_the_contracts_affair(
    spark: Any, zone: Zone, model: str, rows: pa.Table
) -> None:
    """Also at a time that the session's clocks skip."""
    zone("America/New_York")
    walls = [NTZ[0], "2013-03-10 02:30:00"]
    frame = spark.createDataFrame(pa.table({"due": walls}))
    cast = frame.selectExpr("cast(cast(due as timestamp_ntz) as string) as due").toArrow()
    table = with_column(rows[:2], "due", cast["due"])
    meant = with_column(table, "due", in_zone(walls, "Asia/Kolkata"))
    got = attempts(spark, model, table, spark_zone="America/New_York")
    assert got == [value.hex() for value in expected(model, meant).tolist()]


def test_as_text_with_its_offset_a_timestamp_needs_no_zone(
    spark: Any, zone: Zone, model: str, rows: pa.Table
) -> None:
    zone("America/New_York")
    pattern = "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX"
    held = spark.createDataFrame(rows)
    table = rows
    for name in ("at", "due"):
        texts = held.orderBy("id").selectExpr(f'date_format({name}, "{pattern}") as text')
        table = with_column(table, name, texts.toArrow()["text"])
    got = attempts(spark, model, table)
    assert got == [value.hex() for value in expected(model, rows).tolist()]


def in_a_worker(spark: Any, table: pa.Table, function: Any) -> list[str]:
    """Return the texts that `function` makes of one frame, in ``mapInPandas``."""

    def run(frames):  # type: ignore[no-untyped-def]
        for frame in frames:
            yield pd.DataFrame({"text": function(frame)})

    frame = spark.createDataFrame(table).coalesce(1)
    return [row.text for row in frame.mapInPandas(run, "text string").collect()]


def test_a_model_that_a_worker_loads_itself_keeps_the_same_rule(
    spark: Any, zone: Zone, home: Path, model: str, rows: pa.Table
) -> None:
    zone("America/New_York")

    def naive(frame):  # type: ignore[no-untyped-def]
        try:
            asfitted.load_model(model).predict(frame)
        except asfitted.AsfittedError as error:
            return [str(error)]
        return ["answered"]

    def aware(frame):  # type: ignore[no-untyped-def]
        for name in ("at", "due"):
            frame[name] = frame[name].dt.tz_localize("America/New_York")
        return [float(answer).hex() for answer in asfitted.load_model(model).predict(frame)]

    (said,) = in_a_worker(spark, rows[:20], naive)
    assert "at: 20 of 20 times have no zone" in said
    assert ".dt.tz_localize(zone)" in said
    got = in_a_worker(spark, rows[:20], aware)
    assert got == [value.hex() for value in expected(model, rows[:20]).tolist()]


def test_a_model_that_the_driver_sends_to_a_worker_keeps_the_same_rule(
    spark: Any, zone: Zone, model: str, rows: pa.Table
) -> None:
    zone("UTC")
    loaded = asfitted.load_model(model, record=False)

    def naive(frame):  # type: ignore[no-untyped-def]
        try:
            loaded.predict(frame)
        except asfitted.AsfittedError as error:
            return [str(error)]
        return ["answered"]

    (said,) = in_a_worker(spark, rows[:20], naive)
    assert "at: 20 of 20 times have no zone" in said


def test_arrow_batches_keep_their_zone(spark: Any, zone: Zone, model: str, rows: pa.Table) -> None:
    zone("America/New_York")

    def run(batches):  # type: ignore[no-untyped-def]
        loaded = asfitted.load_model(model)
        for batch in batches:
            answered = loaded.predict(batch.to_pandas(types_mapper=pd.ArrowDtype))
            yield pa.RecordBatch.from_pydict({"answer": answered})

    frame = spark.createDataFrame(rows).coalesce(1)
    got = frame.mapInArrow(run, "answer double").toArrow()["answer"].to_numpy()
    assert same_bits(got, expected(model, rows))


def test_nothing_is_recorded_and_the_worker_says_so_once(
    spark: Any, zone: Zone, home: Path, model: str, rows: pa.Table
) -> None:
    zone("UTC")

    def loaded_twice(frame):  # type: ignore[no-untyped-def]
        import logging

        from asfitted.serving import door

        door._say_unrecorded.cache_clear()
        said = []
        handler = logging.Handler()
        handler.emit = lambda record: said.append(record.getMessage())
        logger = logging.getLogger("asfitted")
        logger.addHandler(handler)
        frame = frame.assign(**{n: frame[n].dt.tz_localize("UTC") for n in ("at", "due")})
        for load in (asfitted.load_model, mlflow.pyfunc.load_model):
            load(model).predict(frame)
        logger.removeHandler(handler)
        return said

    (said,) = in_a_worker(spark, rows[:20], loaded_twice)
    assert said.startswith("nothing is recorded from this Spark worker")
    answers(spark, model, rows, model_config={"spark_zone": "UTC"})
    assert not (home / "log").exists()


def test_the_driver_is_no_worker(
    spark: Any, model: str, rows: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A naive time is in the contract's zone there, and an answer is on record."""
    # Not the workers' log, in which another test finds nothing.
    monkeypatch.setenv(LOG_VARIABLE, str(tmp_path / "log"))
    frame = as_frame(rows[:2])
    naive = frame.assign(at=[pd.Timestamp("2013-05-01T12:00"), pd.Timestamp("2013-06-01T12:00")])
    aware = naive.assign(at=naive["at"].dt.tz_localize("America/New_York"))
    answered = asfitted.load_model(model).predict(naive)
    assert same_bits(answered, asfitted.load_model(model, record=False).predict(aware))
    assert (tmp_path / "log").exists()
    with pytest.raises(asfitted.errors.ConfigError, match="only a Spark worker"):
        mlflow.pyfunc.load_model(model, model_config={"spark_zone": "UTC"})
