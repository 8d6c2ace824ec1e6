"""Who holds something: known to have ended, or not known."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from asfitted.prediction_log.sinks.holder import has_ended, me

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/ns/pid").exists(), reason="needs Linux's /proc"
)


def other() -> tuple[subprocess.Popen[str], dict[str, object]]:
    """Return another process, which waits, and its mark."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, text=True)
    return process, {**me(), "pid": process.pid, "started": started(process.pid)}


def started(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


def test_one_that_lives_has_not_ended() -> None:
    assert me()["started"] == started(me()["pid"])
    assert not has_ended(me())
    process, mark = other()
    with process:
        assert not has_ended(mark)
        # Its id is that of one that ended before it.
        assert has_ended({**mark, "started": "1"})
        process.kill()


def test_one_that_was_killed_has_ended_also_before_it_is_reaped() -> None:
    process, mark = other()
    process.kill()
    while Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        pass
    assert has_ended(mark)
    process.communicate()
    assert has_ended(mark)


@pytest.mark.parametrize("name", ["host", "boot", "pids"])
def test_of_another_machine_or_container_it_is_not_known(name: str) -> None:
    process, mark = other()
    process.kill()
    process.communicate()
    assert has_ended(mark)
    assert not has_ended({**mark, name: "another"})
    assert not has_ended({n: value for n, value in mark.items() if n != name})
    assert not has_ended({})
