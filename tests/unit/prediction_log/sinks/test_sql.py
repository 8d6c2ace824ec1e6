"""What sinks in databases promise beyond the suite: who waits for whom, and whose set-up it is."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from asfitted.errors import ConfigError, StoreUnavailable
from asfitted.prediction_log.query import Query
from asfitted.prediction_log.sinks import open_sink, sql, sql_engine
from asfitted.prediction_log.sinks.conformance import prediction
from asfitted.prediction_log.sinks.protocol import RowsRefused


@pytest.fixture(params=["sqlite", "postgres"])
def sql_url(request, tmp_path) -> str:
    if request.param == "postgres":
        return request.getfixturevalue("database")
    return f"sqlite:///{tmp_path / 'sink.sqlite'}"


def test_a_reader_that_takes_its_time_keeps_nobody_waiting(sql_url, monkeypatch) -> None:
    monkeypatch.setattr(sql, "_FETCH_ROWS", 2)
    monkeypatch.setattr(sql_engine, "_SQLITE_BUSY_S", 0.2)
    monkeypatch.setattr(sql_engine, "_LOCK_TIMEOUT", "200ms")
    rows = [prediction("w", n) for n in range(1, 8)]
    with closing(open_sink(sql_url)) as sink:
        sink.write("predictions", rows)
    with closing(open_sink(sql_url)) as slow, closing(open_sink(sql_url)) as other:
        reading = slow.read(Query())
        assert next(reading) == rows[0]
        other.write("predictions", [prediction("x", 1)])
        assert len(list(other.read(Query()))) == 8
        assert [row for row in reading if row[-3] == "w"] == rows[1:]


def test_what_has_one_time_is_read_whole_and_in_order(sql_url, monkeypatch) -> None:
    monkeypatch.setattr(sql, "_FETCH_ROWS", 3)
    rows = [
        prediction(writer, n, scored_at=1_700_000_000_000_000 + n // 5)
        for n in range(1, 15)
        for writer in ("a", "b")
    ]
    with closing(open_sink(sql_url)) as sink:
        sink.write("predictions", rows)
        expected = sorted(rows, key=lambda row: (row[5], row[-3], row[-2]))
        assert list(sink.read(Query())) == expected
        assert list(sink.read(Query(newest_first=True))) == expected[::-1]


def test_a_table_of_somebody_elses_is_told_from_ours(sql_url) -> None:
    engine = sa.create_engine(sql_url)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE predictions (id INTEGER)"))
    with (
        closing(open_sink(sql_url)) as sink,
        pytest.raises(ConfigError, match="table predictions that is not Asfitted's") as refused,
    ):
        sink.write("predictions", [prediction("w", 1)])
    assert "another database" in refused.value.mend
    with engine.begin() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM predictions")).scalar() == 0
    engine.dispose()


def test_two_that_write_the_same_rows_do_not_wait_for_each_other(postgres, database) -> None:
    """As a shipper does whose answer was lost, and one that was started beside it."""
    rounds = [[prediction(f"w{turn}", n) for n in range(1, 2_000)] for turn in range(5)]
    with closing(open_sink(database)) as one, closing(open_sink(database)) as other:
        one.write("predictions", [prediction("w", 1)])
        for rows in rounds:
            with ThreadPoolExecutor(2) as both:
                written = [
                    both.submit(one.write, "predictions", rows),
                    both.submit(other.write, "predictions", rows[::-1]),
                ]
            assert [future.exception() for future in written] == [None, None]
        assert len(list(one.read(Query()))) == 1 + sum(map(len, rounds))


def test_an_id_that_is_no_text_is_refused(postgres, database) -> None:
    rows = [prediction("w", n) for n in (1, 2)]
    with closing(open_sink(database)) as sink, pytest.raises(RowsRefused):
        sink.write("predictions", [rows[0], (None, *rows[1][1:])])


def test_a_pooler_gives_another_session_each_time(postgres, database) -> None:
    rows = [prediction("w", n) for n in range(1, 21)]
    with closing(open_sink(database)) as sink, postgres.connect(database) as admin:
        for row in rows:
            sink.write("predictions", [row])
            statements = _session(sink, "SELECT count(*) FROM pg_prepared_statements")
            assert statements == 0
            # What was made in the session is not there in the next one.
            _session(sink, "DISCARD TEMP")
        (there,) = admin.execute("SELECT count(*) FROM predictions").fetchone()
        assert there == 20


def _session(sink, statement: str):
    """Run a statement in the session that the sink has just used."""
    with sink._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        result = connection.exec_driver_sql(statement)
        return result.scalar() if result.returns_rows else None


def test_a_connection_that_was_closed_while_nothing_came(postgres, database) -> None:
    with closing(open_sink(database)) as sink, postgres.connect(database) as admin:
        sink.write("predictions", [prediction("w", 1)])
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND datname = current_database()"
        )
        # No answer waits or fails for it where answers wait for the sink.
        sink.write("predictions", [prediction("w", 2)])
        assert len(list(sink.read(Query()))) == 2


@pytest.mark.parametrize("style", ["German, DMY", "SQL, MDY", "Postgres, DMY"])
def test_moments_of_a_database_with_its_own_way_to_write_them(postgres, database, style) -> None:
    name = database.rpartition("/")[2]
    with postgres.connect(database) as admin:
        admin.execute(f"ALTER DATABASE {name} SET datestyle = '{style}'")
        admin.execute(f"ALTER DATABASE {name} SET timezone = 'America/New_York'")
    rows = [
        prediction("w", 1, scored_at=-62_135_596_800_000_000),  # the year 1 in UTC only
        prediction("w", 2),
    ]
    with closing(open_sink(database)) as sink:
        sink.write("predictions", rows)
        assert list(sink.read(Query())) == rows


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_has_not_every_letter_is_refused(postgres, database, encoding) -> None:
    other = f"{database.rpartition('/')[2]}_{encoding.lower()}"
    with postgres.connect(database) as admin:
        admin.execute(
            f"CREATE DATABASE {other} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' "
            "TEMPLATE template0"
        )
        with (
            closing(open_sink(postgres.url(other))) as sink,
            pytest.raises(ConfigError, match=f"encoded in {encoding}"),
        ):
            sink.write("predictions", [prediction("w", 1)])
        admin.execute(f"DROP DATABASE {other} WITH (FORCE)")


def test_a_user_needs_what_the_docs_say_and_no_more(postgres, database) -> None:
    docs = Path(__file__).parents[4] / "docs" / "prediction_log.md"
    assert "`INSERT` and\n  `SELECT (prediction_id)` on `predictions`" in docs.read_text()
    role = database.rpartition("/")[2]
    url = database.replace("postgres@", f"{role}@")
    rows = [prediction("w", n) for n in range(1, 4)]
    with closing(open_sink(database)) as sink:
        sink.write("predictions", rows[:1])
    with postgres.connect(database) as admin:
        admin.execute(f"CREATE ROLE {role} LOGIN")
        with closing(open_sink(url)) as sink:
            with pytest.raises(StoreUnavailable, match="permission denied") as refused:
                sink.write("predictions", rows[1:2])
            assert "grant its user" in refused.value.mend
            admin.execute(f"GRANT SELECT ON asfitted_alembic_version TO {role}")
            admin.execute(f"GRANT INSERT, SELECT (prediction_id) ON predictions TO {role}")
            sink.write("predictions", rows)
            with pytest.raises(StoreUnavailable, match="cannot be read: permission denied"):
                list(sink.read(Query()))
        admin.execute(f"DROP OWNED BY {role}")
        admin.execute(f"DROP ROLE {role}")
    with closing(open_sink(database)) as sink:
        assert list(sink.read(Query())) == rows


def test_a_moment_of_no_calendar_is_an_error_of_the_sink(postgres, database) -> None:
    with closing(open_sink(database)) as sink, postgres.connect(database) as admin:
        sink.write("predictions", [prediction("w", 1)])
        admin.execute("UPDATE predictions SET scored_at = 'infinity'")
        with pytest.raises(StoreUnavailable, match="cannot be read"):
            list(sink.read(Query()))


def test_a_column_that_somebody_has_added_is_no_fault_of_the_rows(postgres, database) -> None:
    rows = [prediction("w", n) for n in range(1, 3)]
    with closing(open_sink(database)) as sink, postgres.connect(database) as admin:
        sink.write("predictions", rows[:1])
        admin.execute("ALTER TABLE predictions ADD COLUMN team text NOT NULL DEFAULT 'a'")
        admin.execute("ALTER TABLE predictions ALTER COLUMN team DROP DEFAULT")
        # In the journals, not in quarantine: it is mended for all of them at once.
        with pytest.raises(StoreUnavailable, match='column "team"') as failed:
            sink.write("predictions", rows)
        assert "a default" in failed.value.mend
        admin.execute("ALTER TABLE predictions ALTER COLUMN team SET DEFAULT 'a'")
        sink.write("predictions", rows)
        assert list(sink.read(Query())) == rows
