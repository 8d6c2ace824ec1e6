"""Rows per second of a batch job, beside the bare pipeline and ``mlflow models predict``.

    PYTHONPATH=src:examples/flights python benchmarks/batch.py --rows 1000000

Real flights, resampled. The bare pipeline reads the same Parquet chunks and calls
``predict_proba``: no contract check of its own beside the pipeline's, no labels, no
output, no log. Rounds alternate, so that a busy machine slows all of them.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import platform
import pstats
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

CHUNK_ROWS = 10_000
MLFLOW_ROWS = 100_000
TRAINED_ON = 20_000
WANTED = {"of the bare pipeline's rows/s": (">=", 0.8), "of mlflow's time": ("<=", 0.5)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--estimator", choices=["logistic", "hgb"], default="logistic")
    parser.add_argument("--skip-mlflow", action="store_true")
    parser.add_argument("--profile", action="store_true", help="Show where the job's time goes.")
    parser.add_argument("--output", type=Path, help="A JSON file.")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(CHILDREN[given.child[0]](Path(given.child[1]), given.profile)))
        return
    with tempfile.TemporaryDirectory(prefix="asfitted-bench-") as name:
        folder = Path(name)
        prepare(folder, given.rows, given.estimator)
        report(measure(folder, given), given)


def prepare(folder: Path, n_rows: int, estimator: str) -> None:
    """Save the model in both flavors, and the rows."""
    import data
    import features
    import mlflow.sklearn
    import train

    import asfitted

    rows = data.load()
    frame = rows.sample(n_rows, replace=True, random_state=0)[data.COLUMNS]
    frame.reset_index(drop=True).to_parquet(folder / "rows.parquet", index=False)
    few = frame.head(MLFLOW_ROWS)
    moments = few["scheduled_departure"].map(lambda moment: moment.isoformat())
    few.assign(scheduled_departure=moments).to_csv(folder / "few.csv", index=False)
    chosen = rows.sample(TRAINED_ON, random_state=1)
    contract = asfitted.DataContract.load(train.CONTRACT)
    asfitted.resources(planes=data.planes())
    pipeline = train.build(contract, estimator, 0)
    pipeline.fit(chosen[data.COLUMNS], chosen[data.TARGET])
    asfitted.save_model(
        pipeline,
        folder / "asfitted",
        reference=chosen[data.COLUMNS],
        code_paths=[features.__file__],
        predict_fn="predict_proba",
        name="flights",
    )
    mlflow.sklearn.save_model(
        pipeline,
        folder / "mlflow",
        code_paths=[features.__file__],
        serialization_format="cloudpickle",
        pyfunc_predict_fn="predict_proba",
        pip_requirements=[],
    )


def bare(folder: Path, profile: bool) -> dict[str, float]:
    """The pipeline on the same chunks."""
    import mlflow.sklearn
    import pyarrow.parquet as pq

    pipeline = mlflow.sklearn.load_model(folder / "mlflow")
    before, started = peak_mb(), time.perf_counter()
    with pq.ParquetFile(folder / "rows.parquet") as file:
        for batch in file.iter_batches(CHUNK_ROWS):
            pipeline.predict_proba(batch.to_pandas())
    return {"seconds": time.perf_counter() - started, "peak_mb": peak_mb(), "loaded_mb": before}


def job(folder: Path, profile: bool) -> dict[str, float]:
    """The same through ``score_file``, with the log on."""
    import asfitted
    from asfitted.batch import score_file

    model = asfitted.load_model(folder / "asfitted")
    before, started = peak_mb(), time.perf_counter()
    profiler = cProfile.Profile()
    if profile:
        profiler.enable()
    score_file(
        model,
        folder / "rows.parquet",
        folder / "out.parquet",
        chunk_rows=CHUNK_ROWS,
        overwrite=True,
        jobs=None,
    )
    seconds = time.perf_counter() - started
    profiler.disable()
    if profile:
        shown = pstats.Stats(profiler, stream=sys.stderr).sort_stats("cumulative")
        shown.print_stats("asfitted|sklearn.*(transform|predict)|executemany|write_table", 60)
        shown.sort_stats("tottime").print_stats(25)
    return {"seconds": seconds, "peak_mb": peak_mb(), "loaded_mb": before}


CHILDREN = {"bare": bare, "asfitted": job}


def peak_mb() -> float:
    """Peak resident memory of this process so far."""
    status = Path("/proc/self/status")
    if status.exists():
        # ru_maxrss of a child begins with that of its parent.
        return int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1]) / 1024
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes / (1024 if sys.platform != "darwin" else 1024**2)


def measure(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Return the medians of all rounds."""
    seen: dict[str, list[dict[str, float]]] = {name: [] for name in CHILDREN}
    for _ in range(given.rounds):
        for name in CHILDREN:
            options = ["--profile"] if given.profile else []
            command = [sys.executable, __file__, "--child", name, str(folder), *options]
            done = subprocess.run(
                command, stdout=subprocess.PIPE, env=variables(folder), text=True, check=True
            )
            seen[name].append(json.loads(done.stdout.splitlines()[-1]))
    found: dict[str, Any] = {"rows": given.rows}
    for name, rounds in seen.items():
        seconds = statistics.median(one["seconds"] for one in rounds)
        found[f"{name}_rows_per_s"] = given.rows / seconds
        for key in ("peak_mb", "loaded_mb"):
            found[f"{name}_{key}"] = statistics.median(one[key] for one in rounds)
    found["of the bare pipeline's rows/s"] = found["asfitted_rows_per_s"] / found["bare_rows_per_s"]
    if not given.skip_mlflow:
        commands = {
            "mlflow": "-m mlflow models predict --env-manager local -t csv "
            "-m mlflow -i few.csv -o few_mlflow.json",
            "asfitted": "-m asfitted score asfitted --input few.csv --output few.csv.parquet "
            "--overwrite",
        }
        whole: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(given.rounds):
            for name, command in commands.items():
                started = time.perf_counter()
                subprocess.run(
                    [sys.executable, *command.split()],
                    cwd=folder,
                    env=variables(folder),
                    check=True,
                    capture_output=True,
                )
                whole[name].append(time.perf_counter() - started)
        for name, times in whole.items():
            found[f"{name}_whole_command_s"] = statistics.median(times)
        found["of mlflow's time"] = (
            found["asfitted_whole_command_s"] / found["mlflow_whole_command_s"]
        )
    return found


def variables(folder: Path) -> dict[str, str]:
    """Return the environment of a child."""
    import data

    return {
        **os.environ,
        "ASFITTED_LOG": str(folder / "log"),
        "ASFITTED_RESOURCES": json.dumps({"planes": str(data.planes())}),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }


def report(found: dict[str, Any], given: argparse.Namespace) -> None:
    """Print what was measured, and write it as JSON."""
    for name, value in found.items():
        wanted = ""
        if name in WANTED:
            sign, bound = WANTED[name]
            met = value >= bound if sign == ">=" else value <= bound
            wanted = f"   wanted {sign} {bound}: {'met' if met else 'MISSED'}"
        print(f"{name:<32}{value:>14,.2f}{wanted}")
    if given.output:
        versions = {name: version(name) for name in ("scikit-learn", "pandas", "mlflow", "pyarrow")}
        about = {"machine": platform.platform(), "cores": os.cpu_count(), **versions}
        given.output.write_text(json.dumps({**about, **found}, indent=1))


if __name__ == "__main__":
    main()
