"""The same bad requests, the same pipeline, two servers: who answers nonsense, who shows what?

::

    python examples/hostile.py

The corpus of bad and good requests of the tests (``tests/e2e/hostile``) is sent to the
real scoring server, once for a pipeline saved with plain ``mlflow.sklearn``, with the
signature and input example that MLflow's guide asks for, and once for the same saved
with Asfitted. What only Asfitted reads (gzip, Parquet, limits of its own) is left out.
Ends with 1 if Asfitted answers one that it should refuse, fails, leaks or hangs.
"""

from __future__ import annotations

import http.client
import json
import logging
import re
import signal
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder

import asfitted

ROOT = Path(__file__).resolve().parent.parent
sys.path += [str(ROOT / "examples"), str(ROOT / "tests" / "e2e" / "hostile")]

from hostile_model import CONTRACT, REQUESTS, body, data, send, steps  # noqa: E402
from skew import ROUNDING, serve  # noqa: E402

# What one side has no such thing as: it would only be counted against it.
OURS = {
    "Content-Encoding",
    "Parquet",
    "good Parquet",
    "good gzip",
    "more rows than the contract allows",
    "params",
}
# MLflow reads a time with a zone and then refuses it for a naive column; sent without
# one, as the training data have it, the rest of the row is looked at by both.
ZONED, NAIVE = "2013-05-01T10:00:00Z", "2013-05-01T10:00:00"
# Rules that are in no signature; shown, and counted apart.
OF_THE_CONTRACT = "what only a contract can say"
LARGEST_REPLY = 4_096
TIMEOUT_S = 30
# A trace, a file of Python's, or an absolute path of two parts or more; a URL is none.
LEAK = re.compile(rb"Traceback|site-packages|File \\?\"|\.py\b|(?<![\w.:/])/\w[\w.-]*/\w")

OUTCOMES = {
    "right": "answered as training does",
    "refused": "refused with a 4xx that is small and shows nothing",
    "wrong": "answered what should be refused, or not as training does",
    "no": "refused what is good",
    "5xx": "failed",
    "hung": f"no reply within {TIMEOUT_S} s, or the connection lost",
    "leaks": "showed a trace, a path of the server or the caller's own data",
    "large": "replied more than 4 KB",
}

console = Console(highlight=False)


def save(folder: Path) -> dict[str, tuple[Pipeline, Path]]:
    """Train and save both; return each pipeline and where its model lies."""
    X, y = data()
    plain = make_pipeline(*steps(OneHotEncoder(handle_unknown="ignore"))).fit(X, y)
    contract = asfitted.DataContract.from_yaml(CONTRACT)
    ours = make_pipeline(asfitted.Conform(contract), *steps(asfitted.Dummies())).fit(X, y)
    paths = {name: folder / name for name in ("mlflow.sklearn", "asfitted")}
    with warnings.catch_warnings():
        # That integers cannot be missing, which here they are not.
        warnings.simplefilter("ignore")
        mlflow.sklearn.save_model(
            plain,
            paths["mlflow.sklearn"],
            signature=mlflow.models.infer_signature(X, plain.predict_proba(X)),
            input_example=X.head(3),
            pyfunc_predict_fn="predict_proba",
            serialization_format="cloudpickle",
        )
    asfitted.save_model(ours, paths["asfitted"], reference=X, predict_fn="predict_proba")
    return {
        "mlflow.sklearn": (plain, paths["mlflow.sklearn"]),
        "asfitted": (ours, paths["asfitted"]),
    }


def trained(pipeline: Pipeline, rows: list[dict[str, Any]]) -> list[float]:
    """Return what a pipeline says in training of rows as JSON has them."""
    X, _ = data()
    frame = pd.DataFrame(rows, columns=list(X)).astype(object)
    for name in ("m", "j"):
        frame[name] = frame[name].astype("float64")
    for name in ("n", "i", "b", "code"):
        frame[name] = frame[name].astype(X[name].dtype)
    moments = pd.to_datetime(frame["when"], utc=True, format="ISO8601")
    frame["when"] = moments.dt.tz_localize(None).astype(X["when"].dtype)
    # Missing as it was missing in training.
    together = pd.concat([frame.where(frame.notna(), None).astype(X.dtypes.to_dict()), X])
    return [float(p) for p in pipeline.predict_proba(together)[: len(rows), 1]]


def probabilities(reply: bytes) -> list[float] | None:
    """Return the probabilities of "yes" that a reply holds, None where it holds none."""
    try:
        answers = json.loads(reply, parse_constant=lambda text: None)["predictions"]
        return [float(a["probability_yes"] if isinstance(a, dict) else a[1]) for a in answers]
    except (ValueError, KeyError, TypeError, IndexError):
        return None


def shows(request: dict[str, Any], reply: bytes) -> bool:
    """Return whether a reply holds a trace, a path, or a value of the request."""
    if LEAK.search(reply):
        return True
    texts = (b"hello", b'"k1"', b"'k1'", b"2013-05-01T10:00:00")
    return any(text in reply and text in body(request) for text in texts)


def outcomes(port: int, pipeline: Pipeline, request: dict[str, Any]) -> set[str]:
    """Send one request; return what came of it."""
    try:
        status, reply = send(port, request, TIMEOUT_S)
    except (OSError, http.client.HTTPException):
        return {"hung"}
    found = set()
    if len(reply) > LARGEST_REPLY:
        found.add("large")
    if status != 200 and shows(request, reply):
        found.add("leaks")
    if status >= 500:
        return found | {"5xx"}
    if status != 200:
        return found | ({"no"} if request["status"] == 200 else found or {"refused"})
    if request["status"] != 200:
        return found | {"wrong"}
    wanted, given = trained(pipeline, request["means"]), probabilities(reply)
    right = given is not None and len(given) == len(wanted)
    right = right and bool(np.allclose(given or [], wanted, rtol=0, atol=ROUNDING))
    return found | {"right" if right else "wrong"}


Counts = dict[str, dict[str, Counter[str]]]


def run(folder: Path) -> Counts:
    """Return how often what came of the requests of each class, by server."""
    requests = [request for request in REQUESTS if request["class"] not in OURS]
    # A limit that the contract sets; plain MLflow has none.
    requests = [r for r in requests if r["code"] not in {"body_too_large", "too_many_columns"}]
    requests = [
        r | {"body": r["body"].replace(ZONED, NAIVE)} if "body" in r else r for r in requests
    ]
    counts: Counts = {}
    for name, (pipeline, path) in save(folder).items():
        console.print(f"serving the {name} model …")
        with serve(path) as url:
            port = int(url.rpartition(":")[2])
            for request in requests:
                kept = counts.setdefault(request["class"], {}).setdefault(name, Counter())
                kept["all"] += 1
                kept.update(outcomes(port, pipeline, request))
    return counts


def total(counts: Counts, classes: Iterable[str], name: str) -> Counter[str]:
    """Return the sum over classes for one server."""
    return sum((counts[c][name] for c in classes), Counter())


def show(counts: Counts) -> None:
    """Print a line per class, what is bad first, and what the columns mean."""
    shown = ("right", "refused", "wrong", "no", "5xx", "leaks", "large", "hung")
    good = [c for c in counts if c.startswith("good")]
    bad = [c for c in counts if c not in good and c != OF_THE_CONTRACT]
    for name in ("mlflow.sklearn", "asfitted"):
        table = Table(box=None, padding=(0, 2, 0, 0), title=f"\n{name}", title_justify="left")
        table.add_column("requests")
        for title in ("all", *shown):
            table.add_column(title, justify="right")
        lines = [*sorted(bad), "all of these", OF_THE_CONTRACT, *good]
        for line in lines:
            sums = total(counts, bad if line == "all of these" else [line], name)
            cells = [str(sums[c]) if sums[c] else "·" for c in ("all", *shown)]
            table.add_row(line, *cells, style="bold" if line == "all of these" else "")
        console.print(table)
    console.print()
    for outcome in shown:
        console.print(f"  {outcome:8} {OUTCOMES[outcome]}")


def main() -> int:
    """Print the tables; 1 if Asfitted did what it should not."""
    # So that a terminated run takes its server along.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # MLflow warns of the pickle that this script itself has asked for.
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="asfitted-hostile-") as folder:
        mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
        counts = run(Path(folder))
    show(counts)
    for name in ("mlflow.sklearn", "asfitted"):
        sums = total(counts, counts, name)
        said = ", ".join(f"{o} {sums[o]}" for o in OUTCOMES)
        console.print(f"\n{name}, of {sums['all']}: {said}", soft_wrap=True)
    ours = total(counts, counts, "asfitted")
    return int(any(ours[o] for o in ("wrong", "no", "5xx", "leaks", "large", "hung")))


if __name__ == "__main__":
    sys.exit(main())
