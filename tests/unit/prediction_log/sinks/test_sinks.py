"""What single sinks promise beyond the suite: layout, schema, third parties."""

from __future__ import annotations

import os
import tracemalloc
from contextlib import closing
from pathlib import Path

import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from log_batches import batch

from asfitted.errors import ConfigError, StoreUnavailable
from asfitted.prediction_log import Journal
from asfitted.prediction_log.query import Query
from asfitted.prediction_log.shipper import Shipper
from asfitted.prediction_log.sinks import RowsRefused, open_sink, sql_schema
from asfitted.prediction_log.sinks.conformance import prediction
from asfitted.prediction_log.sinks.disk import DiskStore
from asfitted.prediction_log.tables import TABLES


def files(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in folder.rglob("*.parquet")
    }


def test_parquet_lies_in_hives_layout_and_any_reader_reads_it(tmp_path) -> None:
    rows = [prediction("w", n, model_version="3" if n < 4 else "") for n in range(1, 6)]
    open_sink(str(tmp_path)).write("predictions", rows)
    name = "predictions/model=flights/version=3/date=2026-11-24/w.000000000001-000000000003.parquet"
    assert name in files(tmp_path)
    everything = ds.dataset(tmp_path / "predictions", partitioning="hive").to_table()
    assert everything.num_rows == 5
    assert {"model", "version", "date", "model_name"} <= set(everything.column_names)
    assert str(pq.read_schema(tmp_path / name).field("scored_at").type) == "timestamp[us, tz=UTC]"


def test_parquet_sent_again_keeps_the_very_same_file(tmp_path) -> None:
    rows = [prediction("w", n) for n in range(1, 6)]
    sink = open_sink(str(tmp_path))
    sink.write("predictions", rows)
    before = files(tmp_path)
    sink.write("predictions", rows)
    sink.write("predictions", rows[1:3])
    assert files(tmp_path) == before
    assert len(before) == 1


def test_parquet_lists_a_folder_once_and_not_for_each_file(tmp_path, monkeypatch) -> None:
    with closing(open_sink(str(tmp_path))) as sink:
        listed: list[str] = []
        list_files = DiskStore.files
        monkeypatch.setattr(
            DiskStore, "files", lambda self, at: [listed.append(at), *list_files(self, at)][1:]
        )
        for n in range(1, 20):
            sink.write("predictions", [prediction("a", n)])
            sink.write("predictions", [prediction(f"b{n}", 1)])
        assert len(listed) == 1
        # What may be there is looked for all the same, also where another one wrote it.
        open_sink(str(tmp_path)).write("predictions", [prediction("a", 20), prediction("a", 21)])
        both = [row for row in sink.read(Query()) if row[-3] == "a" and row[-2] >= 20]
        sink.write("predictions", both)
        sink.write("predictions", [row for row in sink.read(Query()) if row[-3] == "a"])
    assert len(files(tmp_path)) == 39


def test_parquet_looks_anew_after_an_answer_that_was_lost(tmp_path, monkeypatch) -> None:
    rows = [prediction("a", n) for n in range(1, 5)]
    with closing(open_sink(str(tmp_path))) as sink:
        sink.write("predictions", rows[:1])
        put = DiskStore.put

        def lost(self, name: str, content: bytes) -> bool:
            put(self, name, content)
            raise StoreUnavailable("the answer was lost")

        with monkeypatch.context() as patched:
            patched.setattr(DiskStore, "put", lost)
            with pytest.raises(StoreUnavailable):
                sink.write("predictions", rows[1:3])
        sink.write("predictions", rows[1:])
    found = ds.dataset(tmp_path / "predictions", format="parquet").to_table()
    assert sorted(found["sequence"].to_pylist()) == [1, 2, 3, 4]


def test_parquet_removes_what_a_killed_writer_left(tmp_path) -> None:
    sink = open_sink(str(tmp_path))
    sink.write("predictions", [prediction("w", 1)])
    (part,) = tmp_path.rglob("*.parquet")
    left = part.with_name(".writing-0123")
    left.write_bytes(b"half a file")
    assert len(list(sink.read(Query()))) == 1
    sink.write("predictions", [prediction("w", 2)])
    assert not left.exists()


@pytest.mark.parametrize("number", [0, 1])
def test_parquet_syncs_the_file_before_its_name(tmp_path, monkeypatch, number) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, os.replace
    kinds = {True: "folder", False: "file"}

    def synced(descriptor: int) -> None:
        done.append(f"fsync {kinds[os.path.isdir(f'/proc/self/fd/{descriptor}')]}")
        fsync(descriptor)

    def replaced(source: object, target: object) -> None:
        done.append("rename")
        replace(source, target)

    sink = open_sink(str(tmp_path))
    sink.write("predictions", [prediction("w", 1)])
    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    sink.write("predictions", [prediction("w", 2 + number)])
    assert done == ["fsync file", "rename", "fsync folder"]


def test_parquet_refuses_a_time_of_no_calendar(tmp_path) -> None:
    with pytest.raises(RowsRefused):
        open_sink(str(tmp_path)).write("predictions", [prediction("w", 1, scored_at=2**62)])
    assert files(tmp_path) == {}


def test_parquet_where_no_folder_can_be(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable):
        open_sink(str(tmp_path / "file" / "log")).write("predictions", [prediction("w", 1)])


@pytest.fixture(params=["sqlite", "postgres"])
def sql_url(request, tmp_path) -> str:
    if request.param == "postgres":
        return request.getfixturevalue("database")
    return f"sqlite:///{tmp_path / 'sink.sqlite'}"


def test_migrations_make_what_the_code_expects(sql_url) -> None:
    scripts = ScriptDirectory(str(Path(sql_schema.__file__).parent / "migrations"))
    assert scripts.get_current_head() == sql_schema.HEAD
    with closing(open_sink(sql_url)) as sink:
        sink.write("predictions", [prediction("w", 1)])
    engine = sa.create_engine(sql_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={"version_table": sql_schema.VERSION_TABLE, "compare_type": True},
        )
        assert compare_metadata(context, sql_schema._metadata) == []
        assert set(sa.inspect(connection).get_table_names()) == {
            "asfitted_alembic_version", *TABLES,
        }  # fmt: skip
    engine.dispose()


def test_a_refused_row_takes_none_with_it_and_the_next_call_works(sql_url) -> None:
    good, bad = prediction("w", 1), prediction("w", 2, model_name=None)
    with closing(open_sink(sql_url)) as sink:
        with pytest.raises(RowsRefused) as caught:
            sink.write("predictions", [good, bad])
        assert "flights" not in str(caught.value)
        assert list(sink.read(Query())) == []
        sink.write("predictions", [good])
        assert list(sink.read(Query())) == [good]


def test_postgres_takes_times_as_times_and_json_as_json(postgres, database) -> None:
    with closing(open_sink(database)) as sink:
        sink.write("predictions", [prediction("w", 1)])
    with postgres.connect(database) as connection:
        row = connection.execute(
            "SELECT scored_at AT TIME ZONE 'UTC', (inputs::jsonb)->>'carrier' FROM predictions"
        ).fetchone()
    assert [str(value) for value in row] == ["2026-11-24 10:30:00.123457", "UA"]


THEIRS = """
from asfitted.errors import StoreUnavailable
class Sound:
    batch_rows, linger_s = 10, 0.0
    def __init__(self, url): self.url = url
    def write(self, table, rows): raise KeyError("no answer from " + self.url)
    def read(self, query): return iter([])
    def rewrite(self, table, query, change): return 0
    def close(self): pass
class Empty(Sound): batch_rows = 0
class Lacking:
    batch_rows = 10
    def __init__(self, url): pass
class Broken:
    def __init__(self, url): raise ValueError("cannot reach " + url)
"""


@pytest.fixture
def theirs(tmp_path, monkeypatch) -> None:
    """A package that is installed and brings sinks."""
    home = tmp_path / "site-packages"
    about = home / "theirs-1.0.dist-info"
    about.mkdir(parents=True)
    (home / "their_sinks.py").write_text(THEIRS)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    names = ["sound = their_sinks:Sound", "empty = their_sinks:Empty",
             "lacking = their_sinks:Lacking", "broken = their_sinks:Broken",
             "absent = no_such_module:Sink"]  # fmt: skip
    (about / "entry_points.txt").write_text("\n".join(["[asfitted.sinks]", *names]))
    monkeypatch.syspath_prepend(str(home))


def test_a_third_party_adds_a_scheme(theirs) -> None:
    assert open_sink("sound://host/place").url == "sound://host/place"
    with pytest.raises(ConfigError, match="no sink for nobodys:") as unknown:
        open_sink("nobodys://host")
    assert "installed besides: absent, broken, empty, lacking, sound" in unknown.value.mend


@pytest.mark.parametrize("scheme", ["empty", "lacking"])
def test_what_is_no_sink_is_refused(theirs, scheme) -> None:
    with pytest.raises(ConfigError, match="makes is no sink"):
        open_sink(f"{scheme}://host")


def test_a_third_partys_errors_are_told_without_the_password(theirs, tmp_path, caplog) -> None:
    with pytest.raises(StoreUnavailable, match="cannot reach broken://host") as failed:
        open_sink("broken://me:s3cret@host")
    with pytest.raises(StoreUnavailable, match="no_such_module"):
        open_sink("absent://me:s3cret@host")
    with Journal(tmp_path) as journal:
        journal.append(batch())
    with (
        Shipper(tmp_path, "sound://me:s3cret@host") as shipper,
        pytest.raises(StoreUnavailable, match="no answer from sound://host"),
    ):
        shipper.ship()
    # With the place in their code, for whoever mends it.
    assert "their_sinks.py" in caplog.text
    assert "s3cret" not in f"{failed.value} {caplog.text}"


@pytest.mark.parametrize("newest_first", [False, True])
def test_a_day_of_parquet_is_no_day_of_pythons_objects(tmp_path, newest_first) -> None:
    sink = open_sink(str(tmp_path))
    time = TABLES["predictions"].index("scored_at")
    expected = []
    for start in range(1, 3_001, 1_000):
        rows = [prediction(w, n) for w in "ab" for n in range(start, start + 1_000)]
        sink.write("predictions", rows)
        expected += rows
    # A row that a late answer of the store has left in a second file.
    (part, *_) = sorted(tmp_path.rglob("*.parquet"))
    part.with_name("a.000000000001-000000001000.2.parquet").write_bytes(part.read_bytes())
    expected.sort(key=lambda row: (row[time], row[-3], row[-2]), reverse=newest_first)
    tracemalloc.start()
    try:
        found = sink.read(Query(newest_first=newest_first))
        first = next(found)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [first, *found] == expected
    # A row as Python has it takes some 2,000 bytes.
    assert peak < len(expected) * 1_000
