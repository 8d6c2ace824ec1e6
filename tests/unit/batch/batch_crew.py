"""Run a job of two processes: source, target, log, and how often it is killed meanwhile.

Killed -9 are this process, or one of its crew, at random moments; whoever is left must
end by itself. Prints the exits.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

OPTIONS = {"chunk_rows": 40, "max_refused": "50%", "jobs": 2}


def job(artifact: Path, source: Path, target: Path, log: Path) -> None:
    from asfitted.batch import crew_other, score_file
    from asfitted.batch.worker import Worker
    from asfitted.config import Config, Log
    from asfitted.scoring.loading import open_artifact

    alone = crew_other.Other.__init__

    def begun(self: crew_other.Other, worker: Worker) -> None:
        alone(self, worker)
        # Else it would be all done before there are two.
        while not self.is_free:
            time.sleep(0.005)

    crew_other.Other.__init__ = begun  # type: ignore[method-assign]
    config = Config(schema_version=1, log=Log(folder=str(log)))
    model = open_artifact(artifact, config, source="batch")
    score_file(model, source, target, overwrite=True, **OPTIONS)  # type: ignore[arg-type]


def members(leader: int) -> list[int]:
    """Return the processes of a group that live, the leader first."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except (OSError, ValueError):
            continue
        if entry.name.isdigit() and int(fields[2]) == leader and fields[0] != "Z":
            found.append(int(entry.name))
    return sorted(found, key=lambda pid: pid != leader)


def killed(command: list[str], victim: str, chance: random.Random, folder: Path) -> int:
    """Start the job, kill one of it once a part is there; return how the job ended."""
    before = set(folder.glob("part-*"))
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
    while process.poll() is None and set(folder.glob("part-*")) <= before:
        time.sleep(0.005)
    time.sleep(chance.uniform(0, 0.1))
    alive = members(process.pid)
    pid = alive[0] if victim == "parent" else alive[-1]
    os.kill(pid, signal.SIGKILL)
    status = process.wait(60)
    until = time.monotonic() + 30
    while members(process.pid):
        assert time.monotonic() < until, "one of the crew outlives the job"
        time.sleep(0.01)
    return status


def main(artifact: str, source: str, target: str, log: str, victims: list[str]) -> None:
    command = [sys.executable, __file__, artifact, source, target, log]
    chance = random.Random(5)
    folder = Path(target).with_name(f".{Path(target).name}.job")
    for victim in victims:
        print(victim, killed(command, victim, chance, folder))
    print("end", subprocess.run(command, check=False).returncode)


if __name__ == "__main__":
    where, source, target, log, *victims = sys.argv[1:]
    if victims:
        main(where, source, target, log, victims)
    else:
        job(Path(where), Path(source), Path(target), Path(log))
