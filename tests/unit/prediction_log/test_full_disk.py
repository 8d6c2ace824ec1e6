"""A disk that is full of what could not be shipped empties by itself when the sink is back."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# A file system of its own for the log, as small as it needs to be.
MOUNTED = 'mount -t tmpfs -o size=8m tmpfs "$1" && exec "$2" -c "$3" "$1/log" "$4"'

SCRIPT = """
import contextlib, json, os, sys
from pathlib import Path
from asfitted.errors import RecordError
from asfitted.prediction_log import Journal
from asfitted.prediction_log.place import journal_files
from asfitted.prediction_log.shipper import Shipper
from log_batches import batch

folder, sink = sys.argv[1:]

def ship():
    with Shipper(folder, sink, keep_shipped_s=0) as shipper:
        return shipper.ship()

journal = Journal(folder, sink=sink)
answered = journal.append(batch(1))
shipped = ship()
with contextlib.suppress(RecordError):
    while True:
        answered += journal.append(batch(20, inputs=[{"text": "x" * 3000}] * 20))
with open(folder + "/rest", "wb", 0) as rest, contextlib.suppress(OSError):
    while True:
        rest.write(bytes(4096))
room = [os.statvfs(folder).f_bavail]
shipped += ship()
room.append(os.statvfs(folder).f_bavail)
answered += journal.append(batch(1))
shipped += ship()
print(json.dumps({"answered": len(answered), "shipped": shipped, "room": room}))
"""


@pytest.mark.skipif(shutil.which("unshare") is None, reason="no mounts of its own here")
def test_a_disk_that_an_outage_has_filled_empties_when_the_sink_is_back(tmp_path) -> None:
    (tmp_path / "disk").mkdir()
    paths = [str(Path(__file__).parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", MOUNTED, "sh", tmp_path / "disk", sys.executable, SCRIPT,
         f"sqlite:///{tmp_path}/sink.sqlite"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True, text=True,
    )  # fmt: skip
    if "unshare failed" in done.stderr or "mount" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["room"][0] == 0
    assert said["room"][1] > 500
    assert said["shipped"] == said["answered"] > 1000
