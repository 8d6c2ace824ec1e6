"""Real faults: kill -9, a full disk, an fsync that fails."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from log_batches import child, finished

from asfitted.prediction_log.place import journal_files
from asfitted.prediction_log.reader import Record, records

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals and limits")


def all_of(folder: Path) -> list[Record]:
    return list(records(folder, on_problem=pytest.fail))


WRITER = """
import os, sys, threading
from asfitted.prediction_log import Journal
from log_batches import batch
journal = Journal(sys.argv[1])
def work(n):
    for count in range(10_000):
        ids = journal.append(batch(1 + count % 3))
        os.write(1, (" ".join(ids) + "\\n").encode())  # one write, one line
        if n == 0 and count % 7 == 6:
            journal.close()
threads = [threading.Thread(target=work, args=(n,)) for n in range(2)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


@pytest.mark.parametrize("round_", range(12))
def test_kill_9_loses_no_acknowledged_prediction_and_repeats_none(tmp_path, round_) -> None:
    process = child(WRITER, tmp_path)
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(random.randrange(1, 80))]
    # A busy wait of a random length moves the moment within a commit.
    for _ in range(random.randrange(20_000)):
        pass
    process.send_signal(signal.SIGKILL)
    lines += process.stdout.read().splitlines()
    process.stdout.close()
    process.wait()
    acknowledged = [each for line in lines for each in line.split()]
    found = all_of(tmp_path)
    count = Counter(record["prediction_id"] for record in found)
    assert [each for each in acknowledged if count[each] != 1] == []
    assert set(count.values()) == {1}
    for writer in {record["writer"] for record in found}:
        numbers = sorted(r["sequence"] for r in found if r["writer"] == writer)
        assert numbers == list(range(1, len(numbers) + 1))


FILE_SIZE_LIMIT = """
import json, resource, signal, sys
from asfitted.errors import RecordError
from asfitted.prediction_log import Journal
from log_batches import batch
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
journal, kept, refused = Journal(sys.argv[1]), [], []
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), hard))
for n in range(200):
    request = f"request {n}"
    try:
        kept += journal.append(batch(3, request_id=request))
    except RecordError as error:
        refused.append([request, str(error)])
        if len(refused) == 3:
            break
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
kept += journal.append(batch(request_id="afterwards"))
journal.close()
print(json.dumps([kept, refused]))
"""


@pytest.mark.parametrize("limit", [1_000, 20_000, 50_000, 100_000, 100_500, 150_001])
def test_no_room_for_a_file_is_an_error_and_leaves_nothing_torn(tmp_path, limit) -> None:
    kept, refused = json.loads(finished(child(FILE_SIZE_LIMIT, tmp_path, limit)))
    assert len(refused) == 3
    assert all("could not be recorded" in said and str(tmp_path) in said for _, said in refused)
    found = all_of(tmp_path)
    assert sorted(r["prediction_id"] for r in found) == sorted(kept)
    assert not {r["request_id"] for r in found} & {request for request, _ in refused}
    # A file in which nothing was recorded is not left behind.
    assert len(journal_files(tmp_path)) == len({r["writer"] for r in found})


FULL_DISK = """
import json, os, sys
from pathlib import Path
from asfitted.errors import RecordError
from asfitted.prediction_log import Journal
from log_batches import batch
folder = Path(sys.argv[1])
ballast = folder / "ballast"
ballast.write_bytes(bytes(200_000))
journal, kept, refused = Journal(folder / "log"), [], []
journal.check()
for n in range(10_000):
    try:
        kept += journal.append(batch(3))
    except RecordError as error:
        refused.append(str(error))
        if len(refused) == 20:
            break
try:
    journal.check()
except RecordError as error:
    refused.append(str(error))
ballast.unlink()
journal.check()
kept += journal.append(batch())
journal.close()
print(json.dumps([kept, refused]))
"""


def test_a_full_disk_is_an_error_and_no_harm_once_there_is_space_again(tmp_path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(disk)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a small disk is not permitted here")
    try:
        kept, refused = json.loads(finished(child(FULL_DISK, disk)))
        assert len(refused) == 21
        assert "cannot be written" in refused[-1]
        assert any("free space there" in said for said in refused)
        found = all_of(disk / "log")
        assert sorted(r["prediction_id"] for r in found) == sorted(kept)
        assert len(journal_files(disk / "log")) == len({r["writer"] for r in found})
    finally:
        subprocess.run(["umount", str(disk)], check=True)


# Frames of the commit reach the file, its fsync fails: what a dying disk does.
SHIM = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
static int fails(void) { return getenv("FSYNC_FAILS") != NULL; }
#define WRAP(name) int name(int fd) { \\
    if (fails()) { errno = EIO; return -1; } \\
    int (*real)(int) = (int (*)(int)) dlsym(RTLD_NEXT, #name); return real(fd); }
WRAP(fsync)
WRAP(fdatasync)
"""
FSYNC_FAILS = """
import os, signal, sqlite3, sys
from asfitted.errors import RecordError
from asfitted.prediction_log import Journal
from asfitted.prediction_log.place import journal_files
from log_batches import batch
journal = Journal(sys.argv[1])
for rows in (int(sys.argv[3]), 1, 1):
    print(*journal.append(batch(rows)))
if sys.argv[2] == "reader":
    # Keeps the WAL from being moved into the file when the writer gives it up.
    reader = sqlite3.connect(journal_files(journal.folder)[0], isolation_level=None)
    reader.execute("BEGIN"), reader.execute("SELECT count(*) FROM predictions").fetchone()
os.environ["FSYNC_FAILS"] = "1"
try:
    journal.append(batch(request_id="never acknowledged"))
except RecordError as error:
    assert "disk I/O error" in str(error), error
else:
    raise SystemExit("the fsync did not fail")
sys.stdout.flush()
if sys.argv[2] == "recovers":
    del os.environ["FSYNC_FAILS"]
    print(*journal.append(batch()), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("first_rows", [1, 1500])
@pytest.mark.parametrize("what", ["dies", "recovers", "reader"])
def test_a_commit_whose_fsync_failed_is_never_read_as_recorded(tmp_path, what, first_rows) -> None:
    compiler = shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("no C compiler for the fault")
    library = tmp_path / "shim.so"
    (tmp_path / "shim.c").write_text(SHIM)
    command = [compiler, "-shared", "-fPIC", "-o", library, tmp_path / "shim.c", "-ldl"]
    subprocess.run(command, check=True)
    shim = {"LD_PRELOAD": str(library)}
    process = child(FSYNC_FAILS, tmp_path / "log", what, first_rows, env=shim)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    acknowledged = out.split()
    assert len(acknowledged) == first_rows + (3 if what == "recovers" else 2)
    # As after a crash: without the index, whoever comes next finds what the WAL holds.
    for index in (tmp_path / "log").glob("*-shm"):
        os.unlink(index)
    assert sorted(r["prediction_id"] for r in all_of(tmp_path / "log")) == acknowledged
