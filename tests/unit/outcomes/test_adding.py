"""Outcomes find their predictions, whatever they are named by, and none is counted twice."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from asfitted import DataContract, add_outcomes, read_log
from asfitted.cli import main
from asfitted.errors import ConfigError, ContractViolation, StoreUnavailable
from asfitted.prediction_log import Batch, FieldPolicy, Journal, uuid7
from asfitted.prediction_log.joining import with_outcomes
from asfitted.prediction_log.query import Query
from asfitted.prediction_log.reader import records
from asfitted.prediction_log.removing import erase
from asfitted.prediction_log.shipper import Shipper
from asfitted.prediction_log.whole import Place

NOW = datetime.now(timezone.utc)
CONTRACT = DataContract.from_yaml(
    "schema_version: 1\n"
    "keys: [customer]\n"
    "columns:\n"
    "  customer: {kind: integer}\n"
    "  size: {kind: number}\n"
    "target: {late: {kind: integer, min: 0, max: 1}}\n"
)


def predict(
    folder: Path,
    customers: list[Any],
    *,
    model: str = "flights",
    scored_at: datetime = NOW,
    policy: FieldPolicy = FieldPolicy(),  # noqa: B008
) -> list[str]:
    n_rows = len(customers)
    with Journal(folder) as journal:
        return journal.append(
            Batch(
                request_id=uuid7(),
                batch_id=uuid7(),
                received_at=scored_at,
                scored_at=scored_at,
                model_name=model,
                model_version="3",
                model_digest="sha256:ab",
                contract_digest="sha256:cd",
                inputs=[{"size": 1.5, "outcome": "a feature"}] * n_rows,
                outputs=[{"prediction": 1}] * n_rows,
                findings=[[] for _ in range(n_rows)],
                keys=[policy.apply({"customer": name}) for name in customers],
                params={},
                latency_us=7,
                source="serve",
            )
        )


@pytest.fixture
def log(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "prediction_log"


def on_record(log: Path) -> list[dict[str, Any]]:
    return list(records(log, Query(table="outcomes"), on_problem=pytest.fail))


def test_by_prediction_id(log) -> None:
    ids = predict(log, [1, 2, 3])
    frame = pd.DataFrame({"prediction_id": ids[:2], "outcome": [1, 0], "else": "x"})
    report = add_outcomes(frame, source="crm")
    assert (report.matched, report.unknown, report.written) == ([0, 1], [], 2)
    first, second = on_record(log)
    assert (first["prediction_id"], first["outcome"], first["keys"]) == (ids[0], 1, {})
    assert (second["model_name"], second["model_version"], second["source"]) == (
        "flights", "3", "crm",
    )  # fmt: skip
    found = read_log(outcomes=True, features=True).set_index("prediction_id")
    assert found.loc[ids[0], "outcome"] == 1
    assert found.loc[ids[0], "size"] == 1.5
    assert found.loc[ids[0], "input.outcome"] == "a feature"
    assert found["outcome"].isna().tolist() == [False, False, True]
    assert str(found["outcome_recorded_at"].dtype) == "datetime64[us, UTC]"


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_by_key_from_a_file(log, ending) -> None:
    predict(log, [17, 18, 19])
    frame = pd.DataFrame(
        {"customer": [17, 19], "late": [1, 0], "observed_at": ["2026-11-24", "2026-11-24T10:00Z"]}
    )
    path = log.parent / f"arrived.{ending}"
    frame.to_csv(path, index=False) if ending == "csv" else frame.to_parquet(path)
    report = add_outcomes(path, keys="customer", outcome="late")
    assert (report.matched, report.written) == ([0, 1], 2)
    outcomes = on_record(log)
    # As the predictions have them, and not as the file spells them.
    assert [one["keys"] for one in outcomes] == [{"customer": 17}, {"customer": 19}]
    assert [one["outcome"] for one in outcomes] == [1, 0]
    assert [one["observed_at"].isoformat() for one in outcomes] == [
        "2026-11-24T00:00:00+00:00", "2026-11-24T10:00:00+00:00",
    ]  # fmt: skip
    assert outcomes[0]["source"] == path.name
    assert read_log(outcomes=True)["outcome"].tolist()[::2] == [1, 0]


def test_the_same_again_is_not_written_and_another_value_corrects(log) -> None:
    ids = predict(log, [1, 2])
    frame = pd.DataFrame({"prediction_id": ids, "outcome": [1, 0]})
    add_outcomes(frame)
    again = add_outcomes(frame)
    assert (again.duplicates, again.corrections, again.written) == ([0, 1], [], 0)
    # By key it is the same prediction.
    by_key = pd.DataFrame({"customer": [1, 2], "outcome": [1, 1]})
    changed = add_outcomes(by_key, keys="customer")
    assert (changed.duplicates, changed.corrections, changed.written) == ([0], [1], 1)
    assert read_log(outcomes=True)["outcome"].tolist() == [1, 1]
    back = add_outcomes(frame)
    assert (back.duplicates, back.corrections) == ([0], [1])
    assert read_log(outcomes=True)["outcome"].tolist() == [1, 0]
    # True is not 1.
    other = add_outcomes(pd.DataFrame({"prediction_id": ids[:1], "outcome": [True]}))
    assert other.corrections == [0]


def test_twice_in_one_file(log) -> None:
    ids = predict(log, [1])
    frame = pd.DataFrame({"prediction_id": ids * 2, "outcome": [1, 1]})
    report = add_outcomes(frame)
    assert (report.duplicates, report.corrections, report.written) == ([1], [], 1)
    assert read_log(outcomes=True)["outcome"].tolist() == [1]


def test_two_values_for_one_prediction_in_one_file_are_no_correction(log) -> None:
    ids = predict(log, [1, 2])
    add_outcomes(pd.DataFrame({"prediction_id": ids, "outcome": [1, 1]}))
    # One of them is on record already, and says so as little which one is meant.
    for frame, options in (
        ({"prediction_id": [ids[0], ids[1], ids[0]]}, {}),
        ({"customer": [1, 2, "1"]}, {"keys": "customer"}),
        ({"customer": [7, 2, 7]}, {"keys": "customer"}),
    ):
        with pytest.raises(ContractViolation, match="of the same prediction") as caught:
            add_outcomes(pd.DataFrame({**frame, "outcome": [1, 0, True]}), **options)
        (violation,) = caught.value.violations
        assert (violation.rule, violation.column, violation.rows) == (
            "conflict", "outcome", (0, 2),
        )  # fmt: skip
    assert len(on_record(log)) == 2


def test_a_wrong_time_is_mended_alone(log) -> None:
    ids = predict(log, [1])
    for observed_at, kind in (
        (None, "unseen"),
        ("2026-11-24", "corrections"),
        ("2026-11-23", "corrections"),
        ("2026-11-23T00:00:00Z", "duplicates"),
        (None, "duplicates"),  # it says nothing of the time, and takes none away
    ):
        frame = pd.DataFrame({"prediction_id": ids, "outcome": [1], "observed_at": [observed_at]})
        report = add_outcomes(frame)
        assert report.duplicates == [0] * (kind == "duplicates")
        assert report.corrections == [0] * (kind == "corrections")
    (found,) = read_log(outcomes=True)["outcome_observed_at"]
    assert found.isoformat() == "2026-11-23T00:00:00+00:00"


def test_two_times_for_one_prediction_in_one_file_are_refused(log) -> None:
    ids = predict(log, [1, 2])
    times = ["2026-11-24", None, "2026-11-23"]
    frame = pd.DataFrame({"prediction_id": [ids[0], ids[1], ids[0]], "outcome": 1})
    with pytest.raises(ContractViolation, match="values or times differ") as caught:
        add_outcomes(frame.assign(observed_at=times))
    (violation,) = caught.value.violations
    assert violation.rows == (0, 2)
    report = add_outcomes(frame.assign(observed_at=[None, None, "2026-11-23"]))
    # The time is what a second row may add to the first.
    assert report.written == 3
    again = add_outcomes(frame.assign(observed_at=[None, None, "2026-11-23"]))
    assert again.duplicates == [0, 1, 2]


def test_unknown_ones_are_written_and_join_when_the_prediction_comes(log) -> None:
    frame = pd.DataFrame({"customer": [5], "outcome": ["churned"]})
    with pytest.raises(ContractViolation, match="no prediction on record"):
        add_outcomes(frame, keys="customer", refuse_unknown=True)
    assert not log.exists()
    report = add_outcomes(frame, keys="customer")
    assert (report.matched, report.unknown, report.written) == ([], [0], 1)
    assert add_outcomes(frame, keys="customer").duplicates == [0]
    predict(log, [5])
    assert read_log(outcomes=True)["outcome"].tolist() == ["churned"]


def test_a_key_of_several_predictions_joins_to_all(log) -> None:
    predict(log, [5, 5, 6])
    predict(log, [5], model="other")
    frame = pd.DataFrame({"customer": [5], "outcome": [1]})
    report = add_outcomes(frame, keys="customer", model="flights")
    assert report.ambiguous == [0]
    found = read_log(outcomes=True)
    joined = found[found["outcome"].notna()]
    assert joined["model_name"].tolist() == ["flights", "flights"]
    assert [keys["customer"] for keys in joined["keys"]] == [5, 5]


def test_an_id_of_another_model_is_refused(log) -> None:
    (flights,), (trains,) = predict(log, [1]), predict(log, [2], model="trains")
    frame = pd.DataFrame({"prediction_id": [flights, trains, uuid7()], "outcome": [1, 0, 1]})
    with pytest.raises(ContractViolation, match="of another model than flights") as caught:
        add_outcomes(frame, model="flights", folder=log)
    assert [each.rows for each in caught.value.violations] == [(1,)]
    assert list(records(log, Query(table="outcomes"))) == []
    report = add_outcomes(frame, folder=log)
    assert (report.matched, report.unknown, report.written) == ([0, 1], [2], 3)


def test_late_is_counted_from_scoring(log) -> None:
    ids = predict(log, [1], scored_at=NOW - timedelta(days=40))
    ids += predict(log, [2], scored_at=NOW - timedelta(days=20))
    frame = pd.DataFrame({"prediction_id": ids, "outcome": [1, 1]})
    assert add_outcomes(frame, dry_run=True, late_after=timedelta(days=30)).late == [0]
    assert add_outcomes(frame, dry_run=True).late == []
    assert on_record(log) == []


def test_half_a_letter_on_record_fails_no_question(log, run) -> None:
    ids = predict(log, [1, 2])
    add_outcomes(pd.DataFrame({"prediction_id": ids, "outcome": ["b", "c"]}))
    for journal in log.glob("journal-*.sqlite"):
        with closing(sqlite3.connect(journal)) as connection:
            where = f"prediction_id = '{ids[0]}'"
            connection.execute(f"UPDATE outcomes SET outcome = '\"b\\ud800\"' WHERE {where}")
            connection.commit()
    assert read_log(outcomes=True)["outcome"].tolist() == ["b\ud800", "c"]
    code, out, _ = run("log", "show", ids[0])
    assert code == 0
    assert "b\ufffd" in out


def test_an_outcome_that_damage_has_put_out_of_the_calendar_is_a_warning(log) -> None:
    ids = predict(log, [1, 2])
    add_outcomes(pd.DataFrame({"prediction_id": ids, "outcome": [1, 0]}))
    for column in ("observed_at", "recorded_at"):
        for journal in log.glob("journal-*.sqlite"):
            with closing(sqlite3.connect(journal)) as connection:
                where = f"prediction_id = '{ids[0]}'"
                connection.execute(f"UPDATE outcomes SET {column} = {2**62} WHERE {where}")
                connection.commit()
        told: list[str] = []
        found = with_outcomes(records(log, Query()), Place(log, None), on_problem=told.append)
        assert [record["outcome"] for record in found] == [None, 0]
        assert [text.partition(" is ")[2] for text in told] == ["damaged and missing here"]


def test_what_was_observed_before_it_was_predicted_is_reported(log) -> None:
    scored_at = datetime(2026, 3, 7, 12, tzinfo=timezone.utc)
    ids = predict(log, [*range(7)], scored_at=scored_at)
    frame = pd.DataFrame(
        {
            "prediction_id": ids,
            "outcome": 1,
            "observed_at": [
                "2026-03-07T11:59:59Z", "2026-03-07T13:00+01:00", "2026-03-06", "2026-03-07", "",
                (datetime.now(timezone.utc) + timedelta(minutes=50)).isoformat(),
                (datetime.now(timezone.utc) + timedelta(minutes=70)).isoformat(),
            ],
        }
    )  # fmt: skip
    report = add_outcomes(frame)
    # A date is some moment of its day.
    assert (report.early, report.written) == ([0, 2, 6], 7)
    unknown = pd.DataFrame({"customer": [99], "outcome": [1], "observed_at": ["9999-12-31"]})
    assert add_outcomes(unknown, keys="customer").early == [0]


def test_hashed_keys_join_without_being_told(log, monkeypatch) -> None:
    monkeypatch.setenv("ASFITTED_HASH_KEY", "a secret of the tests")
    policy = FieldPolicy({"customer": "hash"})
    predict(log, [17, 18], policy=policy)
    path = log.parent / "arrived.csv"
    path.write_text("customer,outcome\n17,1\n99,0\n")
    report = add_outcomes(path, keys="customer", contract=None)
    assert (report.matched, report.unknown) == ([0], [1])
    assert read_log(outcomes=True)["outcome"].isna().tolist() == [False, True]
    # Nothing of a key that is hashed on record is written in clear.
    assert all(one["keys"]["customer"].startswith("hmac-") for one in on_record(log))
    assert len(read_log(key={"customer": "17"})) == 1
    # The contract types what is not matched: it joins when its prediction comes.
    arrived = pd.DataFrame({"customer": ["20"], "late": [1]}).astype({"customer": int})
    add_outcomes(arrived, contract=CONTRACT)
    predict(log, [20], policy=policy, scored_at=NOW + timedelta(seconds=1))
    assert read_log(outcomes=True)["outcome"].tolist()[-1] == 1
    monkeypatch.delenv("ASFITTED_HASH_KEY")
    with pytest.raises(ConfigError, match="there is no key for it"):
        add_outcomes(path, keys="customer")


def test_what_was_hashed_with_the_key_of_before_is_found(log, monkeypatch) -> None:
    for key, customer in (("first", 17), ("second", 18)):
        monkeypatch.setenv("ASFITTED_HASH_KEY", key)
        at = NOW + timedelta(seconds=customer)
        predict(log, [customer], policy=FieldPolicy({"customer": "hash"}), scored_at=at)
    assert len(read_log(key={"customer": "17"})) == 0
    monkeypatch.setenv("ASFITTED_OLD_HASH_KEYS", "zeroth first")
    found = [len(read_log(key={"customer": str(n)})) for n in (17, 18, 19)]
    assert found == [1, 1, 0]
    report = add_outcomes(pd.DataFrame({"customer": [17, 18], "outcome": [1, 0]}), keys="customer")
    assert report.matched == [0, 1]
    assert read_log(outcomes=True)["outcome"].tolist() == [1, 0]
    erase(Place(log, None), {"customer": "17"}, reason="asked", who="me")
    assert [one["keys"] == {} for one in records(log, Query())] == [True, False]


def test_an_outcome_is_of_each_prediction_however_its_key_was_hashed(log, monkeypatch) -> None:
    policy = {"customer": "hash"}
    monkeypatch.setenv("ASFITTED_HASH_KEY", "first")
    predict(log, [17, 17], policy=FieldPolicy(policy))
    monkeypatch.setenv("ASFITTED_HASH_KEY", "second")
    monkeypatch.setenv("ASFITTED_OLD_HASH_KEYS", "first")
    predict(log, [17, "17"], policy=FieldPolicy(policy), scored_at=NOW + timedelta(seconds=1))
    frame = pd.DataFrame({"customer": [17], "outcome": [1]})
    report = add_outcomes(frame, keys="customer")
    assert (report.ambiguous, report.written) == ([0], 1)
    assert read_log(outcomes=True)["outcome"].tolist() == [1, 1, 1, 1]
    assert len({one["keys"]["customer"] for one in on_record(log)}) == len(on_record(log)) == 3
    again = add_outcomes(frame, keys="customer")
    assert (again.duplicates, again.written, len(on_record(log))) == ([0], 0, 3)
    # A prediction that comes later has only what is not there yet.
    predict(log, ["17", 17.0, 18], policy=FieldPolicy(policy), scored_at=NOW + timedelta(seconds=2))
    assert add_outcomes(frame, keys="customer").duplicates == [0]


def test_a_key_of_before_the_policy_is_not_written_in_clear_again(log, monkeypatch) -> None:
    monkeypatch.setenv("ASFITTED_HASH_KEY", "secret")
    ids = predict(log, ["CANARY"])
    hashed = FieldPolicy({"customer": "hash"})
    frame = pd.DataFrame({"customer": ["CANARY"], "outcome": [1]})
    add_outcomes(frame, keys="customer", policy=hashed)
    ids += predict(log, ["CANARY"], policy=hashed, scored_at=NOW + timedelta(seconds=1))
    # Without a policy too: the log holds this key hashed.
    add_outcomes(frame, keys="customer")
    first, second = on_record(log)
    assert (first["prediction_id"], first["keys"]) == (ids[0], {})
    assert second["prediction_id"] is None
    assert second["keys"]["customer"].startswith("hmac-")
    assert read_log(outcomes=True)["outcome"].tolist() == [1, 1]
    assert add_outcomes(frame, keys="customer").duplicates == [0]


def test_the_policy_of_the_model_on_record_holds_for_its_outcomes(log, monkeypatch) -> None:
    monkeypatch.setenv("ASFITTED_HASH_KEY", "secret")
    predict(log, ["CANARY"])
    (log.parent / "registry_config.yaml").write_text(
        "schema_version: 1\nmodels: {flights: {fields: {customer: hash}}}\n"
    )
    add_outcomes(pd.DataFrame({"customer": ["CANARY"], "outcome": [1]}), keys="customer")
    assert [one["keys"] for one in on_record(log)] == [{}]
    assert read_log(outcomes=True)["outcome"].tolist() == [1]


def test_a_hashed_key_is_not_looked_for_in_vain(log, monkeypatch) -> None:
    """Without the secret nobody can tell, and "none" would be taken for an answer."""
    monkeypatch.setenv("ASFITTED_HASH_KEY", "secret")
    policy = FieldPolicy({"customer": "hash"})
    predict(log, [17], policy=policy)
    assert len(read_log(key={"customer": "17"})) == 1
    monkeypatch.delenv("ASFITTED_HASH_KEY")
    with pytest.raises(ConfigError, match="ASFITTED_HASH_KEY"):
        read_log(key={"customer": "17"})


def test_a_dropped_key_cannot_be_joined_by(log) -> None:
    predict(log, [1])
    frame = pd.DataFrame({"customer": [1], "outcome": [1]})
    with pytest.raises(ConfigError, match="the field policy drops it"):
        add_outcomes(frame, keys="customer", policy=FieldPolicy({"customer": "drop"}))
    assert on_record(log) == []


@pytest.mark.parametrize(
    ("frame", "options", "rows"),
    [
        ({"late": [1, 2, 0]}, {"contract": CONTRACT}, (1,)),
        ({"late": [1, None, 0]}, {"contract": CONTRACT}, (1,)),
        ({"outcome": [1.0, float("nan"), 0.0]}, {}, (1,)),
        ({"outcome": [1.0, 0.0, float("inf")]}, {}, (2,)),
        ({"outcome": [1, [2], {}]}, {}, (1, 2)),
        ({"outcome": pd.Series(["a", "b\ud800", "c"], dtype=object)}, {}, (1,)),
        ({"outcome": [1, 1, 1], "observed_at": ["2026-11-24", "", "soon"]}, {}, (2,)),
        ({"outcome": [1, 1, 1],
          "observed_at": ["0001-01-01T00:00+14:00", "9999-12-31T23:59:59-14:00", "9999-12-31"]},
         {}, (0, 1)),
        ({"outcome": [1, 1, 1], "prediction_id": ["x", None, uuid7()]}, {}, (0, 1)),
        ({"outcome": [1, 1, 1], "customer": [1, None, 3]}, {"keys": "customer"}, (1,)),
        ({"late": [1, 1, 1], "customer": [1, 1.5, 3]},
         {"keys": "customer", "contract": CONTRACT}, (1,)),
    ],
)  # fmt: skip
def test_one_bad_row_and_nothing_is_written(log, frame, options, rows) -> None:
    ids = predict(log, [1, 2, 3])
    given = {"prediction_id": ids, **frame}
    with pytest.raises(ContractViolation) as caught:
        add_outcomes(pd.DataFrame(given), **options)
    assert [violation.rows for violation in caught.value.violations] == [rows]
    assert on_record(log) == []


def test_a_contract_without_a_target_says_so(log) -> None:
    predict(log, [1])
    told: list[str] = []
    frame = pd.DataFrame({"customer": [1], "outcome": ["maybe"]})
    bare = CONTRACT.model_copy(update={"target": {}})
    add_outcomes(frame, contract=bare, on_problem=told.append)
    assert told == ["the contract has no target: the outcomes are held to no rule"]


def test_a_key_that_the_contract_has_not_is_refused(log) -> None:
    predict(log, [1])
    frame = pd.DataFrame({"custmer": [1], "late": [1]})
    with pytest.raises(ConfigError, match=r"(?s)custmer is no key.*its keys are .*customer"):
        add_outcomes(frame, keys="custmer", contract=CONTRACT)
    assert on_record(log) == []


def test_columns_that_are_not_there_are_named(log) -> None:
    with pytest.raises(ContractViolation, match="outcome: the column is not there"):
        add_outcomes(pd.DataFrame({"prediction_id": [uuid7()], "late": [1]}))
    with pytest.raises(ConfigError, match="nothing says which predictions"):
        add_outcomes(pd.DataFrame({"outcome": [1]}))


def test_of_an_erased_prediction_nothing_is_written_again(log) -> None:
    ids = predict(log, [1, 2])
    frame = pd.DataFrame({"prediction_id": ids, "outcome": [1, 0]})
    add_outcomes(frame)
    erase(Place(log, None), {"customer": "1"}, reason="r")
    assert read_log(outcomes=True)["outcome"].isna().tolist() == [True, False]
    again = add_outcomes(frame)
    assert (again.erased, again.duplicates, again.matched, again.written) == ([0], [1], [1], 0)


@pytest.mark.parametrize("kind", ["sqlite", "postgres", "parquet"])
def test_journals_and_sink_are_one_log(log, monkeypatch, request, kind) -> None:
    url = {
        "sqlite": f"sqlite:///{log.parent / 'sink.sqlite'}",
        "parquet": str(log.parent / "sink"),
    }.get(kind) or request.getfixturevalue("database")
    predict(log, [1, 2])
    with Shipper(log, url, keep_shipped_s=0, on_problem=pytest.fail) as shipper:
        shipper.ship()
    assert list(log.glob("journal-*")) == []
    monkeypatch.setenv("ASFITTED_SINK", url)
    predict(log, [3], scored_at=NOW + timedelta(seconds=1))
    frame = pd.DataFrame({"customer": [1, 3], "outcome": [1, 0]})
    assert add_outcomes(frame, keys="customer").matched == [0, 1]
    assert add_outcomes(frame, keys="customer").duplicates == [0, 1]
    assert add_outcomes(frame, keys="customer", journals_only=True, dry_run=True).unknown == [0]
    with Shipper(log, url, keep_shipped_s=0, on_problem=pytest.fail) as shipper:
        shipper.ship()
    assert add_outcomes(frame, keys="customer").duplicates == [0, 1]
    found = read_log(outcomes=True)
    assert [keys["customer"] for keys in found["keys"]] == [1, 2, 3]
    assert found["outcome"].fillna(-1).tolist() == [1, -1, 0]


def test_with_a_sink_that_is_down_nothing_is_judged(log, monkeypatch) -> None:
    predict(log, [1])
    monkeypatch.setenv("ASFITTED_SINK", "postgresql+psycopg://127.0.0.1:1/nothing")
    frame = pd.DataFrame({"customer": [1], "outcome": [1]})
    with pytest.raises(StoreUnavailable):
        add_outcomes(frame, keys="customer")
    assert on_record(log) == []
    assert add_outcomes(frame, keys="customer", journals_only=True).written == 1


@pytest.fixture
def run(capsys) -> Callable[..., tuple[int, str, str]]:
    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main([*map(str, arguments)])
        return int(caught.value.code or 0), *capsys.readouterr()

    return run


def test_the_command(log, run) -> None:
    ids = predict(log, [1, 2])
    path = log.parent / "arrived.csv"
    path.write_text("customer,late\n1,1\n7,0\n")
    CONTRACT.save(log.parent / "contract.yaml")
    arguments = ["outcome", "add", path, "--contract", log.parent / "contract.yaml"]
    code, out, err = run(*arguments, "--late-after", "30d")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "2 outcomes, 2 written, 1 matched",
        "  1 unknown, of no prediction on record yet: rows 1",
    ]
    code, out, _ = run(*arguments, "--json")
    said = json.loads(out)
    assert (said["schema_version"], said["duplicates"], said["written"]) == (1, [0, 1], 0)
    assert run(*arguments, "--refuse-unknown")[0] == 3
    path.write_text("customer,late,observed_at\n1,0,2020-01-01\n")
    assert run(*arguments, "--dry-run")[1].splitlines()[1:] == [
        "  1 early, observed before the prediction or in the future: rows 0",
        "  1 corrections of what is on record: rows 0",
    ]
    path.write_text("customer,late\n1,2\n")
    code, out, err = run(*arguments)
    assert (code, out) == (3, "")
    assert "values above 1 (rows 0)" in err
    code, out, _ = run("log", "show", ids[0])
    assert "outcome     1, recorded 20" in out
    code, out, _ = run("log", "query", "--outcomes", "--json")
    assert [record["outcome"] for record in json.loads(out)["records"]] == [1, None]
    assert run("outcome", "add", path, "--late-after", "soon")[0] == 2
