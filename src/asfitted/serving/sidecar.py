"""Ship the log for as long as the server lives that started this process."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time

from asfitted.config import Config, load_config
from asfitted.serving.upkeep import Upkeep

_POLL_S = 0.5


def start(config: Config) -> None:
    """Start the process, where a sink is configured; it ends after this one does."""
    if config.log_sink():
        command = [sys.executable, "-m", __name__, str(os.getpid())]
        # Not in this process's group: Ctrl-C is for the server, whose end it waits for.
        subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)


def main(server: int) -> None:
    """Ship until the process `server`, the parent, is gone; then what it left."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    upkeep = Upkeep(load_config())
    upkeep.start()
    while os.getppid() == server:
        time.sleep(_POLL_S)
    upkeep.end()


if __name__ == "__main__":
    logging.basicConfig(format="%(asctime)s %(name)s: %(message)s")
    main(int(sys.argv[1]))
