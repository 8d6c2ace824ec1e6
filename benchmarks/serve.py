"""Requests per second, latency, memory and start of the same pipeline behind four servers.

    python benchmarks/serve.py --output benchmarks/results

Prints ratios to plain MLflow: the machines are noisy, so every cell is measured in
interleaved rounds, and its rounds' medians are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import serving_model
from load import drive
from servers import Server, start

SERVERS = ("mlflow", "asfitted", "bare", *(["bentoml"] if "BENTOML_PYTHON" in os.environ else []))
CELLS = [(1, 1), (1, 8), (1, 32), (100, 1), (100, 8), (100, 32)]
WANTED = {
    ("1 row", 8, "per_s"): (">=", 8.0),
    ("1 row", 32, "per_s"): (">=", 15.0),
    ("1 row", 1, "p50_ms"): ("<=", 0.8),
    ("100 rows", 1, "p50_ms"): ("<=", 0.9),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--estimators", nargs="+", default=list(serving_model.ESTIMATORS))
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--servers", nargs="+", default=list(SERVERS))
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="asfitted-bench-") as name:
        folder = Path(name)
        serving_model.save(folder, given.estimators)
        measured = [
            row
            for estimator in given.estimators
            for workers in given.workers
            for row in measure(folder, estimator, workers, given)
        ]
    report(measured, given.output)


def measure(folder: Path, estimator: str, workers: int, given: Any) -> list[dict[str, Any]]:
    """Return one dict per server and cell."""
    bodies = {
        1: [serving_model.body(1, start=i) for i in range(50)],
        100: [serving_model.body(100, start=100 * i) for i in range(5)],
    }
    running: dict[str, Server] = {}
    first: dict[str, list[float]] = defaultdict(list)
    rounds: dict[tuple[str, int, int], list[Any]] = defaultdict(list)
    try:
        for i in range(3):
            for name in given.servers:
                model = folder / f"{estimator}-{'asfitted' if name == 'asfitted' else 'mlflow'}"
                server = start(name, model, workers, folder, bodies[1][0])
                first[name].append(server.first_answer_s)
                if i < 2:
                    server.stop()
                else:
                    running[name] = server
        for i in range(given.rounds + 1):
            for n_rows, connections in CELLS:
                for server in running.values():
                    seconds = given.seconds if i else 0.5
                    seen = drive(server.port, bodies[n_rows], connections, seconds)
                    if i:
                        rounds[server.name, n_rows, connections].append(seen)
        memory = {name: server.pss_mb() for name, server in running.items()}
    finally:
        for server in running.values():
            server.stop()
    rows = [
        {
            "estimator": estimator,
            "workers": workers,
            "server": name,
            "rows": n_rows,
            "connections": connections,
            "per_s": statistics.median(m.per_s for m in seen),
            "p50_ms": statistics.median(m.percentile(50) for m in seen),
            "p99_ms": statistics.median(m.percentile(99) for m in seen),
            "failed": sum(m.failed for m in seen),
        }
        for (name, n_rows, connections), seen in rounds.items()
    ]
    rows += [
        {
            "estimator": estimator,
            "workers": workers,
            "server": name,
            "first_answer_s": statistics.median(first[name]),
            "pss_mb": memory[name],
        }
        for name in given.servers
    ]
    return rows


def report(measured: list[dict[str, Any]], output: Path | None) -> None:
    """Print the tables, and write JSON and a plot where a folder is given."""
    groups = dict.fromkeys((m["estimator"], m["workers"]) for m in measured)
    for estimator, workers in groups:
        own = [m for m in measured if (m["estimator"], m["workers"]) == (estimator, workers)]
        print(f"\n{estimator}, -w {workers}; ratios to plain MLflow in brackets")
        print(f"{'':<26}{'requests/s':>20}{'p50 ms':>18}{'p99 ms':>18}")
        for n_rows, connections in CELLS:
            cell = [
                m for m in own if (m.get("rows"), m.get("connections")) == (n_rows, connections)
            ]
            base = next((m for m in cell if m["server"] == "mlflow"), cell[0])
            for m in cell:
                label = f"{n_rows:>3} rows x{connections:<3} {m['server']}"
                said = "".join(
                    f"{m[key]:>{width}.1f} ({m[key] / base[key]:>5.2f})"
                    for key, width in (("per_s", 12), ("p50_ms", 10), ("p99_ms", 10))
                )
                print(f"{label:<26}{said}" + (f"  {m['failed']} failed" if m["failed"] else ""))
        once = [m for m in own if "first_answer_s" in m]
        base = next((m for m in once if m["server"] == "mlflow"), once[0])
        for m in once:
            ratio = m["first_answer_s"] / base["first_answer_s"]
            print(
                f"{m['server']:<12} first answer {m['first_answer_s']:.1f} s ({ratio:.2f}), "
                f"memory {m['pss_mb']:.0f} MB ({m['pss_mb'] / base['pss_mb']:.2f})"
            )
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        machine = {
            "machine": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            **{p: version(p) for p in ("mlflow", "scikit-learn", "pandas", "numpy", "uvicorn")},
        }
        text = json.dumps({"machine": machine, "measured": measured}, indent=1)
        (output / "serve.json").write_text(text + "\n")
        plot(measured, output / "serve.png")


def plot(measured: list[dict[str, Any]], file: Path) -> None:
    """Draw requests per second of 1-row requests over connections."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    groups = list(dict.fromkeys((m["estimator"], m["workers"]) for m in measured))
    figure, axes = pyplot.subplots(1, len(groups), figsize=(4 * len(groups), 3.5), squeeze=False)
    for axis, (estimator, workers) in zip(axes[0], groups, strict=True):
        for server in dict.fromkeys(m["server"] for m in measured):
            points = [
                (m["connections"], m["per_s"])
                for m in measured
                if m.get("rows") == 1
                and (m["server"], m["estimator"], m["workers"]) == (server, estimator, workers)
            ]
            axis.plot(*zip(*points, strict=True), marker="o", label=server)
        axis.set(title=f"{estimator}, -w {workers}", xlabel="connections", xscale="log")
        axis.set_xticks([1, 8, 32], ["1", "8", "32"])
        axis.set_ylim(bottom=0)
    axes[0][0].set_ylabel("1-row requests per second")
    axes[0][0].legend()
    figure.tight_layout()
    figure.savefig(file, dpi=120)


if __name__ == "__main__":
    main()
