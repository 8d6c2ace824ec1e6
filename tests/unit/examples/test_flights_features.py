from __future__ import annotations

import ast
import doctest

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

import asfitted

PLANES = """tailnum,year,type,manufacturer,model,engines,seats,speed,engine
N1,2004,x,EMBRAER,m,2,55,NA,Turbo-fan
N2,NA,x,AIRBUS INDUSTRIE,m,2,182,NA,Turbo-fan
N3,1999,x,KILDALL GARY,m,1,2,90,Reciprocating
N4,1990,x,NA,m,2,150,NA,Turbo-fan
"""


@pytest.fixture
def planes(tmp_path):
    path = tmp_path / "planes.csv"
    path.write_text(PLANES)
    with asfitted.resources(planes=path):
        yield path


@pytest.fixture
def frame():
    moments = pd.date_range("2013-03-10T04:00", "2013-11-04T04:00", periods=40).as_unit("us")
    tails = ["N1", "", "N2", "N999", "N3", "N4", "n1", "N1"] * 5
    return pd.DataFrame(
        {
            "tailnum": pd.array(tails, dtype="str"),
            "scheduled_departure": moments,
            "distance": np.arange(40),
        }
    )


@pytest.fixture(params=["Plane", "Calendar", "both"])
def step(request, features):
    if request.param == "both":
        return make_pipeline(features.Plane(), features.Calendar())
    return getattr(features, request.param)()


@pytest.mark.usefixtures("planes")
class TestBothSteps:
    def test_a_row_alone_is_the_row_in_the_batch(self, step, frame):
        whole = step.fit(frame).transform(frame)
        for i in range(len(frame)):
            alone = step.transform(frame.iloc[[i]])
            assert_frame_equal(alone, whole.iloc[[i]], check_freq=False)

    def test_shuffled_rows_are_the_same_rows(self, step, frame):
        order = np.random.default_rng(0).permutation(len(frame))
        whole = step.fit(frame).transform(frame)
        assert_frame_equal(step.transform(frame.iloc[order]), whole.iloc[order])

    def test_the_rows_of_fit_do_not_matter(self, step, frame):
        whole = clone(step).fit(frame).transform(frame)
        assert_frame_equal(clone(step).fit(frame.iloc[:1]).transform(frame), whole)

    def test_names_are_those_of_the_columns(self, step, frame):
        out = step.fit_transform(frame)
        assert step.get_feature_names_out().tolist() == list(out.columns)

    def test_no_rows_give_no_rows(self, step, frame):
        whole = step.fit_transform(frame)
        empty = step.transform(frame.iloc[:0])
        assert list(empty.columns) == list(whole.columns)
        assert len(empty) == 0

    def test_what_came_in_is_not_changed(self, step, frame):
        before = frame.copy(deep=True)
        step.fit_transform(frame)
        assert_frame_equal(frame, before)

    def test_a_clone_has_the_parameters(self, step):
        assert clone(step).get_params(deep=False).keys() == step.get_params(deep=False).keys()


@pytest.mark.usefixtures("planes")
class TestPlane:
    def look_up(self, features, tail, moment="2013-06-01T12:00"):
        row = pd.DataFrame({"tailnum": [tail], "scheduled_departure": pd.to_datetime([moment])})
        return features.Plane().fit_transform(row).iloc[0]

    def test_a_known_plane(self, features):
        found = self.look_up(features, "N1")
        assert (found.plane_maker, found.plane_age, found.plane_seats) == ("embraer", 9, 55)

    @pytest.mark.parametrize("tail", ["", "N999", "n1", "N1 "])
    def test_a_missing_or_unknown_tail_number(self, features, tail):
        found = self.look_up(features, tail)
        assert found[["plane_maker", "plane_age", "plane_seats"]].isna().all()

    def test_a_plane_of_unknown_age(self, features):
        found = self.look_up(features, "N2")
        assert np.isnan(found.plane_age)
        assert (found.plane_maker, found.plane_seats) == ("airbus", 182)

    def test_a_maker_of_few_planes_is_another(self, features):
        assert self.look_up(features, "N3").plane_maker == "other"

    def test_a_plane_of_no_known_maker(self, features):
        assert pd.isna(self.look_up(features, "N4").plane_maker)

    def test_the_list_of_makers_is_fixed(self, features, frame):
        makers = features.Plane().fit_transform(frame).plane_maker.cat.categories
        assert set(features.MAKERS.values()) | {"other"} == set(makers)

    def test_each_register_is_read_for_itself(self, features, tmp_path):
        other = tmp_path / "other.csv"
        other.write_text(PLANES.replace("N1,2004", "N1,2013"))
        assert self.look_up(features, "N1").plane_age == 9
        with asfitted.resources(planes=other):
            assert self.look_up(features, "N1").plane_age == 0
        assert self.look_up(features, "N1").plane_age == 9


class TestCalendar:
    def at(self, features, moment):
        row = pd.DataFrame({"scheduled_departure": pd.to_datetime([moment])})
        found = features.Calendar().fit_transform(row).iloc[0]
        return int(found.hour), int(found.weekday), float(found.minute_of_day)

    @pytest.mark.parametrize(
        ("utc", "local"),
        [
            ("2013-01-01T10:15", (5, 1, 315.0)),  # Tuesday, five hours behind
            ("2013-07-01T10:15", (6, 0, 375.0)),  # four hours in summer
            ("2013-10-01T03:59", (23, 0, 1439.0)),  # Monday still
            ("2013-03-10T06:59", (1, 6, 119.0)),  # the clocks go from 1:59 …
            ("2013-03-10T07:00", (3, 6, 180.0)),  # … to 3:00
            ("2013-11-03T05:30", (1, 6, 90.0)),  # 1:30 for the first time …
            ("2013-11-03T06:30", (1, 6, 90.0)),  # … and for the second
            ("2014-01-01T04:59", (23, 1, 1439.0)),
        ],
    )
    def test_the_clock_hangs_in_new_york(self, features, utc, local):
        assert self.at(features, utc) == local

    def test_a_missing_moment_is_missing(self, features):
        row = pd.DataFrame({"scheduled_departure": pd.to_datetime([None, "2013-01-01T10:15"])})
        assert features.Calendar().fit_transform(row).isna().all(axis=1).tolist() == [True, False]

    def test_the_lists_are_fixed(self, features, frame):
        out = features.Calendar().fit_transform(frame.iloc[:1])
        assert out.hour.cat.categories.tolist() == list(range(24))
        assert out.weekday.cat.categories.tolist() == list(range(7))


def test_the_shipped_file_imports_only_what_a_model_needs(root):
    tree = ast.parse((root / "examples/flights/features.py").read_text())
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(node.module)
    allowed = {"__future__", "functools", "typing", "numpy", "pandas", "sklearn", "asfitted"}
    assert {module.partition(".")[0] for module in modules} <= allowed


def test_the_examples_in_the_docstrings(features):
    assert doctest.testmod(features) == (0, 2)
