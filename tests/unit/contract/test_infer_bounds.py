"""The hard bounds of a proposal: honest rows pass, the absurd is refused, without an edit."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from asfitted.contract import DataContract
from asfitted.errors import ContractViolation

Draw = Callable[[np.random.Generator, int], Any]


def infer(values: Any, name: str = "c") -> DataContract:
    return DataContract.infer(pd.DataFrame({name: values}))


def refused(contract: DataContract, value: Any) -> set[str]:
    """Return the rules that a row of this value breaks."""
    (name,) = contract.columns
    try:
        contract.conform(pd.DataFrame({name: pd.Series([value])}))
    except ContractViolation as error:
        return {violation.rule for violation in error.violations}
    return set()


# What has no negative, whatever its tail.
AMOUNTS: dict[str, Draw] = {
    "ages": lambda rng, n: rng.integers(18, 91, n),
    "counts": lambda rng, n: rng.poisson(2, n),
    "flags": lambda rng, n: rng.integers(0, 2, n),
    "incomes": lambda rng, n: rng.lognormal(10, 1.5, n),
    "durations": lambda rng, n: rng.exponential(300, n),
    "prices": lambda rng, n: rng.lognormal(3, 1, n).round(2),
    "percentages": lambda rng, n: rng.uniform(0, 100, n),
    "shares": lambda rng, n: rng.beta(0.5, 0.5, n),
    "rates": lambda rng, n: rng.uniform(1e-7, 1e-6, n),
    "fees, mostly none": lambda rng, n: np.where(rng.random(n) < 0.9, 0, rng.lognormal(4, 1, n)),
    "a constant": lambda rng, n: np.full(n, 37.5),
    "years": lambda rng, n: rng.integers(2010, 2014, n),
    "seconds since 1970, of an hour": lambda rng, n: 1_357_000_000 + rng.integers(0, 3600, n),
    "ids": lambda rng, n: 1_000_000 + rng.integers(0, 500, n),
    "pressures": lambda rng, n: rng.normal(1015, 8, n),
}
# What has.
BALANCES: dict[str, Draw] = {
    "normal": lambda rng, n: rng.normal(0, 1, n),
    "temperatures": lambda rng, n: rng.normal(10, 10, n).round(1),
    "balances": lambda rng, n: rng.normal(0, 1, n) * rng.lognormal(6, 1, n),
    "delays": lambda rng, n: (rng.exponential(20, n) - 10).round().astype(int),
    "longitudes": lambda rng, n: rng.uniform(-180, 180, n),
    "heavy tails": lambda rng, n: rng.standard_t(3, n),
}
ABSURD = [1e300, -1e300]


@pytest.mark.parametrize("kind", [*AMOUNTS, *BALANCES])
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(5, 400))
@example(seed=0, n=5)
def test_honest_rows_pass_and_the_absurd_does_not(kind: str, seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    draw = {**AMOUNTS, **BALANCES}[kind]
    training, served = draw(rng, n), draw(rng, 2000)
    contract = infer(training)
    assert len(contract.conform(pd.DataFrame({"c": training})).findings) == 0
    signed = bool((training < 0).any())
    # Of a sample that happens to lack a negative, nobody can tell.
    honest = served if signed else served[served >= 0]
    contract.conform(pd.DataFrame({"c": honest}))
    for value in ABSURD if contract.columns["c"].kind == "number" else [2**53 - 1, -(2**53) + 1]:
        assert refused(contract, value) & {"min", "max"}, (value, contract.to_yaml())
    if not signed:
        assert "min" in refused(contract, type(training[0].item())(-5))


@pytest.mark.parametrize("seen", [1, 2, 7, 50])
def test_a_handful_of_rows_says_next_to_nothing_of_the_tail(seen: int) -> None:
    rng = np.random.default_rng(seen)
    contract = infer(rng.lognormal(8, 2, seen))
    contract.conform(pd.DataFrame({"c": rng.lognormal(8, 2, 100_000)}))
    assert refused(contract, 1e300) == {"max"}
    assert refused(contract, -5.0) == {"min"}


def test_nothing_but_zeros_says_nothing_of_the_size() -> None:
    contract = infer([0, 0, 0])
    assert (contract.columns["c"].min, contract.columns["c"].max) == (0, 1_000_000_000)
    assert "nothing but 0 was seen" in contract.to_yaml()


@pytest.mark.parametrize("name", ["temp", "dep_delay", "AccountBalance", "lon", "price_change"])
def test_what_is_called_so_may_be_negative_though_none_was(name: str) -> None:
    contract = infer([3.5, 12.0, 8.0], name)
    assert refused(contract, -7.0) == set()
    assert refused(contract, -1e300) == {"min"}
    assert "by its name it may be" in contract.to_yaml()


@pytest.mark.parametrize("name", ["age", "income", "n_children", "duration_s", "template"])
def test_what_is_not_called_so_is_not_negative_where_none_was(name: str) -> None:
    assert refused(infer([3, 12, 8], name), -1) == {"min"}


def test_years_as_numbers_are_years() -> None:
    for name, values in (("year_built", [1950, 2009]), ("YearSold", [2010.0, np.nan, 2013.0])):
        contract = infer(values, name)
        kind = type(values[0])
        for year in (9999, 1, 0, -5):
            assert refused(contract, kind(year)) & {"min", "max"}, (name, year)
        for year in (1880, 1945, 2014, 2035):
            assert refused(contract, kind(year)) == set()
    # An age in years is none, nor is the number 1900 of anything else.
    assert refused(infer([18, 90], "age_years"), 5) == set()
    assert refused(infer([1900, 2100], "square_feet"), 6000) == set()


@pytest.mark.parametrize(
    "values",
    [
        [5e-324, 1e-310],
        [1e306, 1.0],
        [-1.7e308, 1.7e308],
        [-0.0, 0.0],
        [2**53 - 1, 0],
        [-(2**53) + 1],
        [np.float32(0.1), np.float32(3)],
        [1e-300],
        pd.Series([1, None], dtype="Int64"),
        pd.Series([200, 3], dtype="uint8"),
    ],
    ids=str,
)
def test_the_ends_of_what_numbers_there_are(values: Any) -> None:
    contract = infer(values)
    contract.conform(pd.DataFrame({"c": values}))
    column = contract.columns["c"]
    for bound in (column.min, column.max):
        assert bound is None or np.isfinite(bound)
    assert DataContract.from_yaml(contract.to_yaml()) == contract


@given(
    low=st.floats(allow_nan=False, allow_infinity=False),
    high=st.floats(allow_nan=False, allow_infinity=False),
)
def test_the_reference_conforms_whatever_it_is(low: float, high: float) -> None:
    frame = pd.DataFrame({"c": [low, high, low], "year": [low, high, low]})
    contract = DataContract.infer(frame)
    assert contract.conform(frame).findings == ()


# Moments.

SENTINELS = ["0001-01-01", "1900-01-01", "9999-12-31"]


@pytest.mark.parametrize("dtype", ["datetime64[us]", "datetime64[us, Asia/Tokyo]", object])
def test_moments_of_an_hour_serve_for_years(dtype: Any) -> None:
    hour = pd.Series(pd.date_range("2013-05-01 10:00", periods=60, freq="min"))
    values = hour.dt.tz_localize("Asia/Tokyo") if "Tokyo" in str(dtype) else hour.astype(dtype)
    contract = infer(values)
    now = dt.datetime.now(dt.timezone.utc)
    honest = ["2014-05-01", "2023-05-01", "1995-01-01", now.date().isoformat()]
    honest.append(f"{now.year + 10}-01-01")
    for moment in honest:
        assert refused(contract, moment) == set(), moment
    for moment in SENTINELS:
        assert refused(contract, f"{moment}T12:00Z") & {"min", "max"}, moment


@given(
    first=st.datetimes(dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31)),
    last=st.datetimes(dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31)),
)
@example(first=dt.datetime(1900, 1, 1), last=dt.datetime(9999, 12, 31))
def test_any_moments_conform_to_what_was_made_of_them(
    first: dt.datetime, last: dt.datetime
) -> None:
    frame = pd.DataFrame({"c": pd.Series([first, last], dtype="datetime64[us]")})
    assert DataContract.infer(frame).conform(frame).findings == ()


def test_birth_dates_of_few_people_are_those_of_others() -> None:
    contract = infer(pd.to_datetime(["1962-03-01", "1985-07-09", "1998-01-30"]))
    for moment in ("1925-01-01", "2024-02-29"):
        assert refused(contract, moment) == set()
    for moment in ("0001-01-01", "9999-12-31"):
        assert refused(contract, moment)


# Keys.


def test_a_key_has_no_range_and_no_bounds() -> None:
    n = 50
    frame = pd.DataFrame(
        {
            "order": range(n),
            "part": np.linspace(0, 1, n),
            "placed": pd.date_range("2013-01-01", periods=n),
            "size": 1.5,
        }
    )
    contract = DataContract.infer(frame, keys=["order", "part", "placed"])
    for name in contract.keys:
        column = contract.columns[name]
        assert (column.observed, column.min, column.max) == (None, None, None)
    later = frame.assign(
        order=range(10**9, 10**9 + n), part=-7.5, placed=pd.Timestamp("9999-01-01")
    )
    assert contract.conform(later).findings == ()
    assert contract.columns["size"].observed == (1.5, 1.5)


# Guesses say so, and go everywhere.


def test_each_bound_is_a_guess_with_its_reason() -> None:
    text = DataContract.infer(
        pd.DataFrame({"age": np.arange(200), "gain": np.arange(-100, 100) / 2})
    ).to_yaml()
    for line in (
        "min: 0  # guess: none is negative",
        "max: 200000  # guess: 1,000 times the largest seen, rounded up",
        "min: -50000  # guess: as max",
    ):
        assert line in text


def test_a_bound_is_no_cell_of_the_data_and_steady() -> None:
    rng = np.random.default_rng(4)
    contracts = [infer(rng.lognormal(3, 0.2, 5000)) for _ in range(5)]
    assert len({(c.columns["c"].min, c.columns["c"].max) for c in contracts}) == 1


def test_inferred_bounds_go_into_every_export() -> None:
    pytest.importorskip("pandera")
    frame = pd.DataFrame(
        {
            "age": [18, 90, 35],
            "rate": [1e-7, 2e-7, 3e-7],
            "when": pd.to_datetime(["2013-01-01", "2013-02-01", "2013-03-01"]),
            "mark": [-1.5, 0.0, 2.0],
        }
    )
    contract = DataContract.infer(frame)
    assert contract.diff(contract) == ()
    said = contract.json_schema()["properties"]
    assert said["age"]["minimum"] == 0
    assert said["mark"]["maximum"] == -said["mark"]["minimum"] > 0
    contract.to_pandera().validate(contract.conform(frame).frame)
    with pytest.raises(Exception, match="less_than_or_equal_to"):
        contract.to_pandera().validate(contract.conform(frame).frame.assign(rate=1.0))
    page = contract._repr_html_()
    assert "0 to " in page
    edited = contract.to_yaml().replace("min: 0  #", "min: 18  #", 1)
    (change,) = contract.diff(DataContract.from_yaml(edited))
    assert (change.where, change.rule, change.compatible) == ("columns.age", "min", False)
