"""Run a batch job again and again, each time killed -9 at a random moment.

Called with the source, the target, the log, the kills and the seed. The job runs in
children that are forked from here, where everything is imported and the model fitted:
so a kill falls into the job, not into imports. Prints how many kills fell on a child
that was alive, and the children that it took.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

from batch_rows import fitted, recording

from asfitted import FittedModel
from asfitted.batch import score_file
from asfitted.errors import ConfigError

CHUNK_ROWS = 40
MAX_REFUSED = "50%"


Place = Path | str


def place(text: str) -> Place:
    return text if text.startswith("s3://") else Path(text)


def beside(target: Place) -> Place:
    """Return where the job that nobody disturbs writes."""
    if isinstance(target, Path):
        return target.with_name(f"calm{target.suffix}")
    folder, _, name = target.rpartition("/")
    return f"{folder}/calm{Path(name).suffix}"


def child(model: FittedModel, source: Place, target: Place, log: Path) -> int:
    """Start the job in a child and return its process id."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        recorded = recording(model, log)
        score_file(recorded, source, target, chunk_rows=CHUNK_ROWS, max_refused=MAX_REFUSED)
        code = 0
    except ConfigError as error:
        # Killed between the output's placing and the child's end: it is there.
        code = 0 if "there already" in error.what else 1
    finally:
        os._exit(code)


def main(source: Place, target: Place, log: Path, kills: int, seed: int) -> None:
    """Kill `kills` children, then let the last one finish."""
    model, chance = fitted(), random.Random(seed)
    started = time.perf_counter()
    pid = child(model, source, beside(target), log.with_name("calm_log"))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    whole_s = time.perf_counter() - started
    killed = children = 0
    while True:
        pid = child(model, source, target, log)
        children += 1
        if killed < kills:
            time.sleep(chance.uniform(0, whole_s * 2.5 / kills))
            os.kill(pid, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status == 0:
            break
        assert status == -signal.SIGKILL, status
        killed += 1
    print(killed, children)


if __name__ == "__main__":
    where, to, log, kills, seed = sys.argv[1:]
    main(place(where), place(to), Path(log), int(kills), int(seed))
