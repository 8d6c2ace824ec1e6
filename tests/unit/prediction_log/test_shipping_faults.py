"""Real faults on the way to a real sink: kill -9 on either side, a full disk, a hanging server."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest
from log_batches import batch, child, finished
from real_postgres import Postgres

from asfitted.errors import StoreUnavailable
from asfitted.prediction_log import Journal
from asfitted.prediction_log.place import journal_files
from asfitted.prediction_log.query import Query
from asfitted.prediction_log.shipper import Shipper
from asfitted.prediction_log.shipping_stats import log_stats
from asfitted.prediction_log.sinks import sink_records, sql_engine

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals and limits")

WRITER = """
import os, sys
from asfitted.prediction_log import Journal
from log_batches import batch
journal = Journal(sys.argv[1])
count = 0
while not os.path.exists(sys.argv[1] + ".stop"):
    ids = journal.append(batch(1 + count % 3))
    count += 1
    with open(sys.argv[1] + ".ids", "a") as file:
        file.write("".join(f"{each}\\n" for each in ids))
    if count % 40 == 39:
        journal.close()  # the next append opens another file: there are journals to delete
    if count % 10 == 9:
        sys.stdin.read(1)  # not faster than the shippers, which take long to start
"""

# Small calls, so that there are many moments between two of them; each is told.
SHIPPER = """
import os, sys
from asfitted.prediction_log.shipper import Shipper
from asfitted.prediction_log.sinks import open_sink
def told(url):
    sink = open_sink(url)
    write, sink.batch_rows = sink.write, 5
    def tell(table, rows):
        os.write(1, b"writes\\n")
        write(table, rows)
    sink.write = tell
    return sink
with Shipper(sys.argv[1], sys.argv[2], keep_shipped_s=0, open_sink=told) as shipper:
    while True:
        shipper.ship()
"""


def ids_of(url: str) -> Counter[str]:
    found = sink_records(url, Query(), on_problem=pytest.fail)
    return Counter(record["prediction_id"] for record in found)


@contextlib.contextmanager
def writing(folder: Path):
    """A process that appends, ten calls for each line it is sent; killed at the end if need be."""
    process = child(WRITER, folder, stdin=subprocess.PIPE)
    assert process.stdin is not None
    try:
        yield process.stdin
    finally:
        Path(f"{folder}.stop").touch()
        with contextlib.suppress(OSError):
            process.stdin.close()
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(60) == 0


def let_it_write(shipper: subprocess.Popen[str]) -> None:
    """Wait for some calls of the sink, and then for a random part of the next ones."""
    assert shipper.stdout is not None
    for _ in range(random.randrange(1, 10)):
        assert shipper.stdout.readline() == "writes\n"
    for _ in range(random.randrange(400_000)):
        pass


@pytest.fixture(params=["sqlite", "parquet", "postgres", "s3"])
def url(request, tmp_path) -> str:
    if request.param == "s3":
        return f"s3://{request.getfixturevalue('bucket')}"
    if request.param == "postgres":
        return request.getfixturevalue("database")
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'sink.sqlite'}"
    return str(tmp_path / "sink")


def test_a_shipper_killed_again_and_again_ships_each_record_once(tmp_path, url) -> None:
    folder = tmp_path / "log"
    with writing(folder) as more:
        for _ in range(16):
            more.write("x" * 8)
            more.flush()
            shipper = child(SHIPPER, folder, url)
            let_it_write(shipper)
            shipper.send_signal(signal.SIGKILL)
            shipper.stdout.close()
            shipper.wait()
    with Shipper(folder, url, keep_shipped_s=0) as shipper:
        shipper.ship()
    acknowledged = Path(f"{folder}.ids").read_text().split()
    assert len(acknowledged) > 500
    assert ids_of(url) == Counter(acknowledged)
    assert journal_files(folder) == []
    found = log_stats(folder, url).as_dict()
    assert [found[name] for name in ("quarantined", "backlog", "lost")] == [0, 0, 0]


def test_writers_killed_while_the_shipper_ships(tmp_path, url) -> None:
    folder = tmp_path / "log"
    killed = """
import os, sys
from asfitted.prediction_log import Journal
from log_batches import batch
journal = Journal(sys.argv[1])
while True:
    os.write(1, (" ".join(journal.append(batch(2))) + "\\n").encode())
"""
    acknowledged: list[str] = []
    with Shipper(folder, url, keep_shipped_s=0) as shipper:
        for _ in range(6):
            writer = child(killed, folder)
            assert writer.stdout is not None
            acknowledged += writer.stdout.readline().split()
            shipper.ship()
            writer.send_signal(signal.SIGKILL)
            acknowledged += writer.stdout.read().split()
            writer.stdout.close()
            writer.wait()
        shipper.ship()
    found = ids_of(url)
    assert max(found.values()) == 1
    # An append that was not acknowledged may be on record as well.
    assert set(acknowledged) <= set(found)
    assert len(found) - len(acknowledged) <= 6 * 2
    assert journal_files(folder) == []


def test_postgres_killed_again_and_again(tmp_path) -> None:
    folder = tmp_path / "log"
    with Postgres() as server, server.database() as url:
        with writing(folder) as more:
            for _ in range(4):
                more.write("x" * 8)
                more.flush()
                shipper = child(SHIPPER, folder, url, stderr=subprocess.DEVNULL)
                let_it_write(shipper)
                server.kill()
                # The shipper's own end is that of its sink: no record is lost with it.
                assert shipper.wait(60) == 1
                shipper.stdout.close()
                with pytest.raises(StoreUnavailable), Shipper(folder, url) as mine:
                    mine.ship()
                server.start()
        with Shipper(folder, url) as mine:
            mine.ship()
        assert ids_of(url) == Counter(Path(f"{folder}.ids").read_text().split())
        assert log_stats(folder, url).as_dict()["quarantined"] == 0


@contextlib.contextmanager
def following(folder: Path, url: str):
    """`asfitted log ship --follow`, and what it says."""
    process = subprocess.Popen(
        [sys.executable, "-m", "asfitted", "log", "ship", "--follow",
         "--sink", url, "--folder", str(folder)],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    shown = Shown(process)
    try:
        yield process, shown
    finally:
        process.kill()
        process.wait()
        shown.thread.join()


def test_a_follower_outlives_its_postgres(tmp_path) -> None:
    folder = tmp_path / "log"
    with Postgres() as server, server.database() as url, Journal(folder) as journal:
        ids = journal.append(batch(3))
        with following(folder, url) as (follower, shown):
            wait_until(lambda: sum(ids_of(url).values()) == 3)
            server.kill()
            ids += journal.append(batch(2))
            shown.wait_for("the sink does not take records")
            server.start()
            wait_until(lambda: sum(ids_of(url).values()) == 5)
            follower.send_signal(signal.SIGTERM)
            assert follower.wait(60) == 0
        assert ids_of(url) == Counter(ids)


def test_sigterm_while_the_sink_is_down_leaves_the_rest_in_order(tmp_path) -> None:
    folder, url = tmp_path / "log", f"sqlite:///{tmp_path / 'no' / 'sink.sqlite'}"
    with Journal(folder) as journal:
        ids = journal.append(batch(3))
    with following(folder, url) as (follower, shown):
        shown.wait_for("unable to open")
        follower.send_signal(signal.SIGTERM)
        assert follower.wait(60) == 4
    (tmp_path / "no").mkdir()
    with Shipper(folder, url) as shipper:
        assert shipper.ship() == 3
    assert list(ids_of(url)) == ids


def test_a_postgres_that_stands_still_for_a_while(tmp_path, postgres, database) -> None:
    with Journal(tmp_path) as journal, Shipper(tmp_path, database) as shipper:
        ids = journal.append(batch(3))
        shipper.ship()
        postgres.signal(signal.SIGSTOP)
        done = threading.Event()

        def ship() -> None:
            ids.extend(journal.append(batch(3)))
            shipper.ship()
            done.set()

        thread = threading.Thread(target=ship)
        thread.start()
        assert not done.wait(1.5), "nobody can have taken it"
        # Meanwhile the journal takes records as ever.
        more = journal.append(batch(2))
        postgres.signal(signal.SIGCONT)
        thread.join(60)
        assert done.is_set()
        shipper.ship()
    assert ids_of(database) == Counter([*ids, *more])


def test_a_backend_killed_inside_the_transaction(tmp_path, postgres, database) -> None:
    with Journal(tmp_path) as journal, Shipper(tmp_path, database) as shipper:
        ids = journal.append(batch(3))
        shipper.ship()
        ids += journal.append(batch(30))
        with postgres.connect(database) as other:
            # The shipper's INSERT waits for this lock, its COPY done.
            other.execute("BEGIN; LOCK TABLE predictions IN EXCLUSIVE MODE")
            failures: list[StoreUnavailable] = []

            def ship() -> None:
                try:
                    shipper.ship()
                except StoreUnavailable as error:
                    failures.append(error)

            thread = threading.Thread(target=ship)
            thread.start()
            with postgres.connect(database) as admin:
                waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                wait_until(lambda: admin.execute(waiting).fetchone() is not None)
                (pid,) = admin.execute(waiting).fetchone()
                admin.execute("SELECT pg_terminate_backend(%s)", [pid])
            thread.join(60)
            assert len(failures) == 1
            other.execute("COMMIT")
        assert sum(ids_of(database).values()) == 3
        shipper.ship()
        assert ids_of(database) == Counter(ids)


@contextlib.contextmanager
def locked(postgres, database):
    """Hold a lock on a table that the sink writes, as VACUUM FULL does."""
    with postgres.connect(database) as other:
        other.execute("BEGIN; LOCK TABLE predictions IN ACCESS EXCLUSIVE MODE")
        yield
        other.execute("COMMIT")


def three_shipped_and_two_waiting(folder: Path, url: str) -> list[str]:
    """Put rows on record, of which some are in the sink, and return the ids of all."""
    with Journal(folder) as journal, Shipper(folder, url) as shipper:
        ids = journal.append(batch(3))
        shipper.ship()
        return ids + journal.append(batch(2))


@pytest.mark.parametrize("limit", ["lock", "statement"])
def test_a_locked_table_is_a_sink_that_is_down(
    tmp_path, postgres, database, monkeypatch, limit
) -> None:
    ids = three_shipped_and_two_waiting(tmp_path, database)
    monkeypatch.setattr(sql_engine, f"_{limit.upper()}_TIMEOUT", "200ms")
    with Shipper(tmp_path, database) as shipper:
        with locked(postgres, database):
            with pytest.raises(StoreUnavailable, match=f"{limit} timeout"):
                shipper.ship()
            with pytest.raises(StoreUnavailable, match=f"cannot be read: .*{limit} timeout"):
                ids_of(database)
        assert shipper.ship() == 2
    assert ids_of(database) == Counter(ids)


IMPATIENT = """
import sys
from asfitted.cli import log_ship, main
log_ship._PATIENCE_S = 0.5
main(["log", "ship", "--folder", sys.argv[1], "--sink", sys.argv[2], *sys.argv[3:]])
"""


@pytest.mark.parametrize("how", [[], ["--follow"]])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_where_the_sink_takes_and_says_nothing(
    tmp_path, postgres, database, number, how
) -> None:
    ids = three_shipped_and_two_waiting(tmp_path, database)
    with locked(postgres, database), postgres.connect(database) as admin:
        shipping = subprocess.Popen(
            [sys.executable, "-c", IMPATIENT, str(tmp_path), database, *how],
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        wait_until(lambda: admin.execute(waiting).fetchone() is not None)
        shipping.send_signal(number)
        # Sooner than the database gives up.
        _, said = shipping.communicate(timeout=20)
    assert shipping.returncode == 4, said
    assert "is not waited for any longer" in said
    with Shipper(tmp_path, database) as shipper:
        shipper.ship()
    assert ids_of(database) == Counter(ids)


def test_a_nul_in_a_text_is_what_postgres_will_never_take(tmp_path, database) -> None:
    with Journal(tmp_path) as journal:
        fine = journal.append(batch(3, inputs=[{"text": "a\0b"}] * 3))
        journal.append(batch(1, request_id="a\0b"))
        fine += journal.append(batch(3))
    problems: list[str] = []
    with Shipper(tmp_path, database, on_problem=problems.append) as shipper:
        assert shipper.ship() == 7
    assert len(problems) == 1
    assert "NUL" in problems[0]
    assert ids_of(database) == Counter(fine)


FULL = """
import resource, sys
from asfitted.errors import StoreUnavailable
from asfitted.prediction_log.shipper import Shipper
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
with Shipper(sys.argv[1], sys.argv[2], keep_shipped_s=0) as shipper:
    try:
        print("shipped", shipper.ship())
    except StoreUnavailable as error:
        print(error.what)
"""


def test_a_full_disk_leaves_no_file_that_cannot_be_read(tmp_path) -> None:
    folder, sink = tmp_path / "log", tmp_path / "sink"
    with Journal(folder) as journal:
        texts = [{"text": os.urandom(9_000).hex()} for _ in range(20)]
        ids = journal.append(batch(20, inputs=texts))
    assert "File too large" in finished(child(FULL, folder, sink, 100_000))
    assert [p for p in sink.rglob("*") if p.is_file() and p.name != ".asfitted-lock"] == []
    assert len(journal_files(folder)) == 1
    assert finished(child(FULL, folder, sink, 100_000_000)) == "shipped 20\n"
    assert ids_of(str(sink)) == Counter(ids)


class Shown:
    """What a process writes on stderr, read as it comes."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.text, self._more = "", threading.Condition()
        assert process.stderr is not None
        self._file = process.stderr
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        for line in self._file:
            with self._more:
                self.text += line
                self._more.notify_all()
        self._file.close()

    def wait_for(self, text: str) -> None:
        with self._more:
            assert self._more.wait_for(lambda: text in self.text, 60), self.text


def wait_until(condition) -> None:
    for _ in range(600):
        if condition():
            return
        threading.Event().wait(0.1)
    pytest.fail("it did not happen within a minute")
