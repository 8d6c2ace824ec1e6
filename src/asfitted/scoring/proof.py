"""A model proves itself: in this process, or in a fresh one that knows nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from asfitted.artifact import layout, permissions
from asfitted.config import Config
from asfitted.errors import (
    ArtifactDamaged,
    AsfittedError,
    CodeCollision,
    CodeNotAllowed,
    EnvironmentMismatch,
    FormatTooNew,
    GoldenMismatch,
)
from asfitted.scoring.loading import open_artifact, prove_trained

_BROKEN: dict[type[AsfittedError], str] = {
    ArtifactDamaged: "files",
    FormatTooNew: "files",
    EnvironmentMismatch: "environment",
    CodeCollision: "code",
    CodeNotAllowed: "code",
    GoldenMismatch: "golden",
}

# Isolated, so that neither the working directory nor PYTHONPATH lends the model
# a module that production will not have; the shipped runtime comes first.
_FRESH = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from asfitted.scoring.proof import main; main(sys.argv[2])"
)


def prove(root: Path, config: Config, allow_versions: Collection[str] = ()) -> dict[str, Any]:
    """Load the artifact at `root` and say how it went; nothing is recorded.

    Returns
    -------
    dict
        ``schema_version`` 1, ``proved``, ``digest``, ``broken`` (files,
        environment, code, golden, other or None), ``code``, ``what``,
        ``where``, ``mend``.
    """
    said = {"code": "", "what": "", "where": "", "mend": ""}
    try:
        model = open_artifact(root, config, source=None, allow_versions=allow_versions)
        prove_trained(model, root)
    except AsfittedError as error:
        broken = _BROKEN.get(type(error), "other")
        said = {"code": error.code, "what": error.what, "where": error.where, "mend": error.mend}
        return {"schema_version": 1, "proved": False, "digest": None, "broken": broken, **said}
    digest = model.identity.digest
    return {"schema_version": 1, "proved": True, "digest": digest, "broken": None, **said}


def prove_afresh(root: Path) -> dict[str, Any]:
    """Let the artifact at `root` prove itself in a new process that has only what it ships.

    Returns
    -------
    dict
        As `prove`.
    """
    command = [sys.executable, "-I", "-B", "-c", _FRESH, str(root / layout.CODE), str(root)]
    # What comes with this model is what this very process has put there.
    allowed = {**os.environ, permissions.CODE: "true"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=allowed)
    try:
        return dict(json.loads(done.stdout.strip().splitlines()[-1]))
    except (IndexError, ValueError):
        tail = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        return {"proved": False, "broken": "other", "what": tail[0], "where": "", "mend": ""}


def main(root: str) -> None:
    """Print the proof of one artifact as JSON; the entry of the fresh process."""
    sys.stdout.write(json.dumps(prove(Path(root), Config(schema_version=1))) + "\n")
