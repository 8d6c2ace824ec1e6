"""The contract itself: what it refuses to say, what it says the same, and how it travels."""

from __future__ import annotations

import copy
import pickle
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import skops.io
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from sklearn.base import clone

from asfitted import _yaml
from asfitted.artifact import serialize
from asfitted.contract import Column, Conform, DataContract, Fill, Limits
from asfitted.errors import ContractInvalid

GOOD = """\
# Owned by the flights team.
schema_version: 1
keys: [tailnum]  # never fed
extra_columns: refuse
limits: {rows: 500, bytes: 1000000}
columns:
  distance:
    kind: number
    missing: {fill: 800}
    min: 0      # miles
    max: 10000
    observed: [17, 4983]
    unit: miles
    why: {max: further than the antipode}
  carrier:
    kind: category
    missing: pass
    unknown: other
    categories: [AA, UA, "NO"]
  left:
    kind: datetime
    zone: America/New_York
    min: 2013-01-01
  tailnum:
    kind: text
    missing: pass
    max_length: 6
"""


def test_a_whole_contract() -> None:
    contract = DataContract.from_yaml(GOOD)
    assert contract.keys == ("tailnum",)
    assert contract.features == ("distance", "carrier", "left")
    assert contract.limits == Limits(rows=500, bytes=1_000_000)
    distance = contract.columns["distance"]
    assert (distance.missing, distance.min, distance.max) == (Fill(fill=800), 0, 10000)
    assert distance.bounds("observed") == (17, 4983)
    assert distance.may_miss
    assert contract.columns["carrier"].labels == ("AA", "UA", "NO", "other")
    left = contract.columns["left"]
    assert left.bounds("min") == np.datetime64("2013-01-01T05:00", "us")
    assert not left.may_miss
    assert (left.bounds("max"), left.bounds("observed")) == (None, None)


def column(rules: str) -> str:
    return f"columns: {{distance: {{{rules}}}}}"


WRONG = [
    # Shape.
    ("", "@ contract"),
    ("[]", "@ contract"),
    ("just text", "@ contract"),
    ("columns: []", "@ columns"),
    ("columns: {}", "no column is left for the pipeline @ contract"),
    ("columns: {distance: }", "@ columns.distance"),
    ("colums: {}", "unknown key 'colums', did you mean columns\\? @ colums, line 1"),
    ("schema_version: 2\n" + column("kind: number"), "@ schema_version"),
    ("schema_version: '1'\n" + column("kind: number"), "@ schema_version"),
    ("keys: distance\n" + column("kind: number"), "@ keys"),
    ("keys: [b]\n" + column("kind: number"), "keys that are not columns: b @ keys, line 1"),
    ("keys: [prediction_id]\ncolumns: {prediction_id: {kind: text}}", "called prediction_id"),
    ("keys: [distance]\n" + column("kind: number"), "no column is left"),
    ("extra_columns: maybe\n" + column("kind: number"), "@ extra_columns"),
    ("limits: {rows: 0}\n" + column("kind: number"), "greater than 0 @ limits.rows"),
    ("limits: {rows: -1}\n" + column("kind: number"), "@ limits.rows"),
    ("limits: {rows: 1.5}\n" + column("kind: number"), "@ limits.rows"),
    ("limits: {bytes: 0}\n" + column("kind: number"), "@ limits.bytes"),
    ("limits: {row: 5}\n" + column("kind: number"), "'row', did you mean rows\\? @ limits.row"),
    # Kinds and keys.
    (column("kind: numbr"), "@ columns.distance.kind"),
    (column("missing: pass"), "Field required @ columns.distance.kind"),
    (column("kind: number, mx: 3"), "'mx', did you mean max\\? @ columns.distance.mx"),
    (column("kind: number, categories: [a]"), "a number has no categories @ columns.distance.cat"),
    (column("kind: integer, zone: UTC"), "a integer has no zone @ columns.distance.zone"),
    (column("kind: boolean, min: 0"), "a boolean has no min @ columns.distance.min"),
    (column("kind: text, observed: [1, 2]"), "a text has no observed @ columns.distance.observed"),
    (column("kind: datetime, max_length: 5"), "has no max_length @ columns.distance.max_length"),
    (column("kind: category, categories: [a], max: 2"), "has no max @ columns.distance.max"),
    (column("kind: number, why: {max: 3}"), "@ columns.distance.why.max"),
    (column("kind: number, unit: 3"), "@ columns.distance.unit"),
    # Bounds.
    (column("kind: number, max: far"), "'far' is not a finite number @ columns.distance.max"),
    (column("kind: number, max: '3'"), "'3' is not a finite number; YAML takes it for text"),
    (column("kind: number, max: 1e5"), "'1e5' is not a finite number; YAML takes it for text"),
    (column("kind: number, max: [3]"), "@ columns.distance.max"),
    (column("kind: number, max: yes"), "@ columns.distance.max"),
    (column("kind: number, min: .inf"), "is not a finite number @ columns.distance.min"),
    (column("kind: number, min: .nan"), "is not a finite number @ columns.distance.min"),
    (column("kind: number, min: 1" + "0" * 400), "not a finite number @ columns.distance.min"),
    (column("kind: number, min: 3, max: 2"), "min 3 is above max 2 @ columns.distance.min"),
    (column("kind: number, observed: [3, 2]"), "above its high end @ columns.distance.observed"),
    (column("kind: number, observed: [3]"), "@ columns.distance.observed"),
    (column("kind: number, observed: [3, a]"), "'a' is not a finite number @ columns.distance.obs"),
    (column("kind: datetime, min: 3"), "must be ISO 8601 text @ columns.distance.min"),
    (column("kind: datetime, min: 2013-02-30"), "'2013-02-30'.* @ columns.distance.min"),
    (column("kind: datetime, min: 03/04/2021"), "not ISO 8601.* @ columns.distance.min"),
    (column("kind: datetime, min: 2014-01-01, max: 2013-01-01"), "above max.*@ columns.distance"),
    (column("kind: datetime, observed: [2014-01-01, 2013-01-01]"), "@ columns.distance.observed"),
    (column("kind: datetime, zone: Mars/Base"), "'Mars/Base' is not an IANA.*distance.zone"),
    (column("kind: datetime, zone: ''"), "is not an IANA time zone @ columns.distance.zone"),
    (column("kind: datetime, zone: ../etc"), "is not an IANA time zone @ columns.distance.zone"),
    (column("kind: text, max_length: 0"), "greater than 0 @ columns.distance.max_length"),
    (column("kind: text, max_length: -3"), "@ columns.distance.max_length"),
    # Categories.
    (column("kind: category"), "needs its list of categories @ columns.distance.categories"),
    (column("kind: category, categories: []"), "needs its list.*@ columns.distance.categories"),
    (column("kind: category, categories: [a, b, a]"), "stand twice: a @ columns.distance.cat"),
    (column("kind: category, categories: [a, 1]"), "@ columns.distance.categories"),
    (column("kind: category, categories: [1.5]"), "@ columns.distance.categories"),
    (column("kind: category, categories: [NO, yes]"), "put it in quotes.*distance.categories"),
    (column("kind: category, categories: [9007199254740992]"), "2\\^53.*distance.categories"),
    (column("kind: category, categories: [a], unknown: drop"), "@ columns.distance.unknown"),
    (
        column("kind: category, categories: [a], unknown: missing"),
        "unknown: missing needs missing: pass.*@ columns.distance.unknown",
    ),
    (column("kind: category, categories: [1], unknown: other"), "same type.*distance.other"),
    (column("kind: category, categories: [a], unknown: other, other: 3"), "distance.other"),
    # Fills.
    (column("kind: number, missing: maybe"), "@ columns.distance.missing"),
    (
        column("kind: number, missing: {fil: 1}"),
        "'fil', did you mean fill\\? @ columns.distance.missing.fil",
    ),
    (column("kind: number, missing: {fill: a}"), "is not a number @ columns.distance.missing"),
    (column("kind: number, missing: {fill: true}"), "is not a number @ columns.distance.missing"),
    (column("kind: number, missing: {fill: .nan}"), "must be finite @ columns.distance.missing"),
    (column("kind: integer, missing: {fill: 1.5}"), "is not a integer @ columns.distance.missing"),
    (column("kind: integer, missing: {fill: 9007199254740993}"), "2\\^53.*columns.distance.miss"),
    (column("kind: boolean, missing: {fill: 1}"), "is not a boolean @ columns.distance.missing"),
    (column("kind: text, missing: {fill: 1}"), "is not a text @ columns.distance.missing"),
    (column("kind: text, missing: pass"), "columns.distance: text cannot pass as missing"),
    (
        column("kind: text, max_length: 2, missing: {fill: abc}"),
        "the column's own max_length @ columns.distance.missing",
    ),
    (column("kind: datetime, missing: {fill: 5}"), "is not a datetime @ columns.distance.missing"),
    (column("kind: datetime, missing: {fill: soon}"), "not ISO 8601.* @ columns.distance.missing"),
    (
        column("kind: category, categories: [a], missing: {fill: b}"),
        "not one of the categories @ columns.distance.missing",
    ),
    (column("kind: category, categories: [1], missing: {fill: true}"), "columns.distance.missing"),
    (column("kind: number, min: 3, missing: {fill: 2}"), "outside.*min @ columns.distance.missing"),
    (column("kind: number, max: 3, missing: {fill: 4}"), "outside.*max @ columns.distance.missing"),
    (
        column("kind: datetime, max: 2013-01-01, missing: {fill: 2014-01-01}"),
        "outside the column's own max @ columns.distance.missing",
    ),
    # Text.
    (column("kind: text, min_length: -1"), "@ columns.distance.min_length"),
    (column("kind: text, min_length: 3, max_length: 2"), "above max_length @ columns.distance.min"),
    (column("kind: text, pattern: '('"), "not a regular expression.*@ columns.distance.pattern"),
    (column("kind: text, pattern: 3"), "@ columns.distance.pattern"),
    (column("kind: number, pattern: a"), "a number has no pattern @ columns.distance.pattern"),
    (column("kind: category, categories: [a], min_length: 1"), "has no min_length"),
    (
        column("kind: text, min_length: 1, missing: {fill: ''}"),
        "the column's own min_length @ columns.distance.missing",
    ),
    (
        column("kind: text, pattern: a, missing: {fill: ''}"),
        "the column's own pattern @ columns.distance.missing",
    ),
    # U+0000.
    (column('kind: category, categories: ["a\\0"]'), "holds a NUL.*@ columns.distance.categories"),
    (column('kind: text, missing: {fill: "\\0"}'), "column's own nul @ columns.distance.missing"),
    (column("kind: number, allow_nul: true"), "a number has no allow_nul"),
    # Checks, output and target.
    ("row_checks: [f]\n" + column("kind: number"), "@ row_checks.0"),
    ("row_checks: [{function: f}]\n" + column("kind: number"), "not module:function.*checks.0.fun"),
    ("row_checks: [{function: '__main__:f'}]\n" + column("kind: number"), "script or notebook"),
    ("row_checks: [{function: 'm:f', wy: a}]\n" + column("kind: number"), "unknown key 'wy'"),
    ("row_checks: {function: 'm:f'}\n" + column("kind: number"), "@ row_checks"),
    ("output: {min: 3, max: 2}\n" + column("kind: number"), "min 3 is above max 2 @ output.min"),
    ("output: {min: low}\n" + column("kind: number"), "@ output.min"),
    ("output: {min: .nan}\n" + column("kind: number"), "@ output.min"),
    (
        "output: {check: []}\n" + column("kind: number"),
        "'check', did you mean checks\\? @ output.check",
    ),
    ("target: {y: {kind: text}}\n" + column("kind: number"), "target.y: a target is one of"),
    ("target: [y]\n" + column("kind: number"), "@ target"),
    # YAML.
    ("columns: {a: {kind: number}, a: {kind: text}}", "the key 'a' stands here twice"),
    ("columns: {no: {kind: number}}", "the key False is not text: put it in quotes"),
    ("columns: {1: {kind: number}}", "the key 1 is not text: put it in quotes"),
    ("columns: {null: {kind: number}}", "the key None is not text"),
    ("? [1]\n: 2", "is not text"),
    ("a: &x [*x]", "not readable as YAML"),
    ("columns: !!python/object/apply:os.getcwd []", "not readable as YAML"),
    ("{" * 5000, "nested too deeply"),
    ("columns: {a: [}", "not readable as YAML"),
    ('columns: {a: {kind: category, categories: ["\\ud800"]}}', "half of a surrogate pair"),
]


@pytest.mark.parametrize(("text", "said"), WRONG)
def test_what_a_contract_may_not_say(text: str, said: str) -> None:
    with pytest.raises(ContractInvalid, match=said) as caught:
        DataContract.from_yaml(text, "the file")
    assert caught.value.where == "the file"


def test_all_problems_are_said() -> None:
    text = "columns: {a: {kind: numbr}, b: {kind: number, max: far, mn: 1}, c: 3}"
    with pytest.raises(ContractInvalid) as caught:
        DataContract.from_yaml(text)
    assert [p.rpartition(" @ ")[2] for p in caught.value.what.splitlines()] == [
        "columns.a.kind, line 1",
        "columns.b.mn, line 1",
        "columns.c, line 1",
    ]


TYPING_ERRORS = """\
schema_version: 1
keys: [id]
extra_columns: ignor
columns:
  id: {kind: string}
  size:
    kind: numbr
    # Two lines that say nothing.

    missing: refus
    mn: 3
  shop:
    kind: category
    categories: [a,
      b]
    unkown: other
    unknown: misssing
  left: {kind: datetime,
         zone: Europe/Berln}
limits: {row: 5}
output: {checks: [{functon: "m:f"}]}
targt: {}
"""
MEANT = [
    ("extra_columns", 3, "ignore"),
    ("columns.id.kind", 5, "text"),
    ("columns.size.kind", 7, "number"),
    ("columns.size.missing", 10, "refuse"),
    ("columns.size.mn", 11, "min"),
    ("columns.shop.unkown", 16, "unknown"),
    ("columns.shop.unknown", 17, "missing"),
    ("columns.left.zone", 19, "Europe/Berlin"),
    ("limits.row", 20, "rows"),
    ("output.checks.0.functon", 21, "function"),
    ("targt", 22, "target"),
]


@pytest.mark.parametrize(("path", "line", "meant"), MEANT, ids=lambda v: str(v))
def test_a_typing_error_has_its_line_and_what_was_meant(path: str, line: int, meant: str) -> None:
    with pytest.raises(ContractInvalid) as caught:
        DataContract.from_yaml(TYPING_ERRORS)
    (said,) = [one for one in caught.value.what.splitlines() if f"@ {path}, " in one]
    assert said.endswith(f", did you mean {meant}? @ {path}, line {line}")


def test_what_is_like_nothing_names_what_there_is() -> None:
    with pytest.raises(ContractInvalid) as caught:
        DataContract.from_yaml("columns: {a: {kind: blob}, b: {kind: text, qqqq: 1}}")
    kind, key = caught.value.what.splitlines()
    assert "none of number, integer, boolean, category, text, datetime @ columns.a" in kind
    assert "unknown key 'qqqq'; there are kind, missing, categories" in key


def test_a_key_that_is_no_column_may_be_misspelt() -> None:
    with pytest.raises(ContractInvalid, match=r"id_ordr, did you mean id_order\? @ keys, line 2"):
        DataContract.from_yaml(
            "schema_version: 1\nkeys: [id_ordr]\ncolumns: {id_order: {kind: text}, a: {kind: text}}"
        )


def test_a_column_named_like_a_type_keeps_its_name_in_the_path() -> None:
    with pytest.raises(ContractInvalid, match=r"@ columns\.int\.max"):
        DataContract.from_yaml("columns: {int: {kind: number, max: [1]}}")


def test_rules_are_held_in_python_too() -> None:
    stray, unknown = {"kind": "number", "zone": "UTC"}, {"kind": "text", "x": 1}
    for wrong in (stray, unknown, {"kind": "category"}):
        with pytest.raises(ValidationError):
            Column(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ValidationError):
        DataContract.from_yaml(GOOD).keys = ()  # type: ignore[misc]


def test_files_that_are_no_contract(tmp_path: Path) -> None:
    file = tmp_path / "contract.yaml"
    with pytest.raises(ContractInvalid, match="cannot be read") as caught:
        DataContract.load(file)
    assert caught.value.where == str(file)
    for content, said in {
        b"": "object @ contract",
        b"\xff\xfe\x00": "cannot be read",
        b"\x00\x01": "not readable as YAML",
        b"- a\n": "object @ contract",
    }.items():
        file.write_bytes(content)
        with pytest.raises(ContractInvalid, match=said) as caught:
            DataContract.load(str(file))
        assert caught.value.where == str(file)
    with pytest.raises(ContractInvalid, match="cannot be read"):
        DataContract.load(tmp_path)


# The digest.


def test_comments_and_layout_do_not_count() -> None:
    contract = DataContract.from_yaml(GOOD)
    plain = yaml.safe_dump(_yaml.load(GOOD), sort_keys=False)
    assert "#" not in plain
    reordered = plain.replace("extra_columns: refuse\n", "") + "extra_columns: refuse\n"
    for text in (plain, reordered, "# more\n" + GOOD.replace("\n", "\n\n")):
        assert DataContract.from_yaml(text).digest == contract.digest
    assert len(contract.digest) == 64


@pytest.mark.parametrize(
    ("was", "now"),
    [
        ("keys: [tailnum]", "keys: []"),
        ("extra_columns: refuse", "extra_columns: ignore"),
        ("rows: 500", "rows: 501"),
        ("fill: 800", "fill: 801"),
        ("min: 0 ", "min: 1 "),
        ("max: 10000", "max: 10001"),
        ("observed: [17, 4983]", "observed: [17, 4984]"),
        ("unit: miles", "unit: km"),
        ("antipode", "antipodes"),
        ("kind: number", "kind: integer"),
        ("unknown: other", "unknown: missing"),
        ('[AA, UA, "NO"]', '[UA, AA, "NO"]'),
        ('[AA, UA, "NO"]', '[AA, UA, "no"]'),
        ("America/New_York", "America/Chicago"),
        ("min: 2013-01-01", "min: 2013-01-02"),
        ("max_length: 6", "max_length: 7"),
        ("  distance:", "  Distance:"),
    ],
)
def test_everything_else_counts(was: str, now: str) -> None:
    assert GOOD.count(was) == 1
    changed = GOOD.replace(was, now)
    if now == "keys: []":
        # A text that is fed to the pipeline cannot pass as missing.
        changed = changed.replace("pass\n    max_length", "refuse\n    max_length")
    assert DataContract.from_yaml(changed).digest != DataContract.from_yaml(GOOD).digest


def test_the_order_of_the_columns_counts() -> None:
    one, other = (
        DataContract.from_yaml(f"columns: {{{text}}}")
        for text in ("a: {kind: number}, b: {kind: number}", "b: {kind: number}, a: {kind: number}")
    )
    assert one.features != other.features
    assert one.digest != other.digest
    assert one != other


WITH_ALL = (
    GOOD.replace("max_length: 6", "max_length: 6\n    min_length: 2\n    pattern: '[A-Z]+'")
    + """\
row_checks:
  - {function: "checks:lands_after_start", why: "it's a clock, after all: # no comment"}
  - {function: "package.checks:other"}
output:
  min: 0
  max: 1.5
  checks: [{function: "checks:sane", why: 'no'}]
  why: {max: half of it is enough}
target:
  late: {kind: category, categories: ["no", "yes"], meaning: "15 minutes, or more"}
  minutes: {kind: number, min: -60}
"""
)


@pytest.mark.parametrize(
    ("was", "now"),
    [
        ("min_length: 2", "min_length: 3"),
        ("[A-Z]+", "[A-Z]*"),
        ("checks:lands_after_start", "checks:lands"),
        ("it's a clock", "it's the clock"),
        ("min: 0\n  max", "min: 1\n  max"),
        ("max: 1.5", "max: 1.25"),
        ("checks:sane", "checks:insane"),
        ("half of it", "all of it"),
        ('["no", "yes"]', '["yes", "no"]'),
        ("min: -60", "min: -61"),
        ("  minutes: {kind: number, min: -60}\n", ""),
    ],
)
def test_the_new_sections_count_too(was: str, now: str) -> None:
    assert WITH_ALL.count(was) == 1
    changed = DataContract.from_yaml(WITH_ALL.replace(was, now))
    assert changed.digest != DataContract.from_yaml(WITH_ALL).digest
    assert DataContract.from_yaml(WITH_ALL).diff(changed)


def test_sections_that_say_nothing_count_for_nothing() -> None:
    empty = GOOD + "row_checks: []\noutput: {}\ntarget: {}\n"
    assert DataContract.from_yaml(empty) == DataContract.from_yaml(GOOD)


def test_a_contract_built_in_python_is_rendered_whole() -> None:
    read = DataContract.from_yaml(WITH_ALL)
    built = DataContract(**{name: getattr(read, name) for name in DataContract.model_fields})
    text = built.to_yaml()
    assert text != WITH_ALL
    again = DataContract.from_yaml(text)
    assert again == read
    assert again.row_checks == read.row_checks
    assert again.output == read.output
    assert again.target == read.target
    assert [check.name for check in again.checks] == ["lands_after_start", "other", "sane"]
    assert max(map(len, text.splitlines())) <= 110


_WORDS = st.text(
    st.sampled_from("ab  \n\t:#-'\"\\{}[],&*!|>%é😀\x85\u2028"), max_size=200
) | st.text(st.characters(codec="utf-8"), max_size=200)


@given(words=st.lists(_WORDS, min_size=6, max_size=6))
def test_any_words_of_the_new_sections_come_back(words: list[str]) -> None:
    contract = DataContract.model_validate(
        {
            "columns": {"c": {"kind": "text", "pattern": re.escape(words[0])}},
            "row_checks": ({"function": "m:f", "why": words[1]}, {"function": "m:g"}),
            "output": {
                "min": 0.1,
                "checks": ({"function": "m:h", "why": words[2]},),
                "why": {words[3]: words[4]},
            },
            "target": {f"y{words[5]}": {"kind": "number", "meaning": words[1], "max": 5}},
        }
    )
    again = DataContract.from_yaml(contract.to_yaml())
    assert again == contract
    assert again.model_dump() == contract.model_dump()


def test_the_new_sections_travel() -> None:
    read = DataContract.from_yaml(WITH_ALL)
    for contract in (read, read.model_copy(update={"extra_columns": "ignore"})):
        for way, there in ways(contract).items():
            assert there == contract, way
            assert there.row_checks[0].why.startswith("it's a clock")
            assert there.output.max == 1.5
            assert list(there.target) == ["late", "minutes"]
            assert there.columns["tailnum"].pattern == "[A-Z]+"


# How it travels.


def ways(contract: DataContract) -> dict[str, DataContract]:
    dumped = skops.io.dumps(Conform(contract))
    trusted = sorted(serialize.SAFE)
    return {
        "pickle": pickle.loads(pickle.dumps(contract)),
        "copy": copy.copy(contract),
        "deepcopy": copy.deepcopy(contract),
        "clone": clone(Conform(contract)).contract,
        "pickled step": pickle.loads(pickle.dumps(Conform(contract))).contract,
        "skops": skops.io.loads(dumped, trusted=trusted).contract,
        "yaml": DataContract.from_yaml(contract.to_yaml()),
    }


@pytest.mark.parametrize("comments", [True, False])
def test_it_arrives_as_it_left(comments: bool) -> None:
    contract = DataContract.from_yaml(GOOD)
    if not comments:
        contract = contract.model_copy(update={"keys": ("tailnum",)})
    for way, there in ways(contract).items():
        assert there == contract, way
        assert hash(there) == hash(contract)
        assert there.digest == contract.digest
        assert there.to_yaml() == contract.to_yaml(), way
        assert ("the flights team" in there.to_yaml()) == comments
        assert there.columns["distance"].bounds("max") == 10000
        assert there.features == contract.features
    frame = pd.DataFrame({"distance": [1.0], "left": ["2013-01-02"]})
    assert ways(contract)["skops"].conform(frame).frame.shape == (1, 3)


def test_saved_with_its_comments(tmp_path: Path) -> None:
    DataContract.from_yaml(GOOD).save(tmp_path / "contract.yaml")
    assert (tmp_path / "contract.yaml").read_text(encoding="utf-8") == GOOD
    assert DataContract.load(tmp_path / "contract.yaml") == DataContract.from_yaml(GOOD)


def test_a_changed_copy_says_what_it_holds() -> None:
    contract = DataContract.from_yaml(GOOD)
    changed = contract.model_copy(update={"extra_columns": "ignore"})
    assert (contract.extra_columns, changed.extra_columns) == ("refuse", "ignore")
    assert contract.to_yaml() == GOOD
    for there in ways(changed).values():
        assert there.extra_columns == "ignore"
    assert contract.model_copy() is contract
    with pytest.raises(ValidationError):
        contract.model_copy(update={"keys": ("nobody",)})


def test_equal_is_what_says_the_same() -> None:
    contract = DataContract.from_yaml(GOOD)
    assert contract == DataContract.from_yaml("# other\n" + GOOD)
    assert contract != DataContract.from_yaml(GOOD.replace("max: 10000", "max: 9999"))
    assert contract != GOOD


def test_what_it_prints() -> None:
    contract = DataContract.from_yaml(GOOD)
    assert str(contract) == f"DataContract of 4 columns, {contract.digest[:12]}"
    assert repr(contract).startswith("DataContract(distance: number, carrier: category")


# The lists for encoders.


def test_categories_for_an_encoder() -> None:
    columns = {
        "text": Column(kind="category", categories=("b", "a")),
        "missing": Column(kind="category", categories=("b", "a"), missing="pass"),
        "filled": Column(kind="category", categories=("b", "a"), missing=Fill(fill="a")),
        "other": Column(kind="category", categories=("b",), unknown="other"),
        "mapped": Column(
            kind="category", categories=("b", "a"), unknown="missing", missing=Fill(fill="a")
        ),
        "codes": Column(kind="category", categories=(3, 1, 2)),
        "codes_missing": Column(kind="category", categories=(3, 1), missing="pass"),
        "number": Column(kind="number"),
    }
    contract = DataContract(columns=columns)
    lists = contract.categories([name for name in columns if name != "number"])
    assert [list(map(str, one)) for one in lists] == [
        ["b", "a"],
        ["b", "a", "nan"],
        ["b", "a"],
        ["b", "other"],
        ["b", "a"],
        ["1", "2", "3"],
        ["1.0", "3.0", "nan"],
    ]
    assert lists[0].dtype == object
    assert lists[5].dtype.kind == "i"
    for name in ("number", "nobody"):
        with pytest.raises(ContractInvalid, match=name) as caught:
            contract.categories([name])
        assert "text, missing, filled" in caught.value.mend


def test_a_rule_that_came_later_changes_no_digest() -> None:
    """The digest of a contract stands in logs and models that were there before the rule."""
    said = DataContract(columns={"a": Column(kind="text"), "b": Column(kind="number", min=0)})
    assert said.digest == "8be1aaebd9e953cdbbafacf3289e968e7df64cbfa95b600f112abaa081250958"
    explicit = DataContract.from_yaml(
        "columns: {a: {kind: text, allow_nul: false}, b: {kind: number, min: 0}}"
    )
    assert explicit == said
    allowing = DataContract.from_yaml(
        "columns: {a: {kind: text, allow_nul: true}, b: {kind: number, min: 0}}"
    )
    assert allowing != said
    assert "may hold NUL" in allowing._repr_html_()
