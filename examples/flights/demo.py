"""Train, promote, serve and log on real flights; the whole way in one go.

::

    make demo        # or: python examples/flights/demo.py, in the project's environment

Everything that it does is a command that you can give yourself; the last lines
say which. It ends by itself, and can be run again: each run makes a new version.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import requests
from commands import (
    OUTPUT,
    ROOT,
    StepFailed,
    console,
    free_port,
    log_folder,
    run,
    shown,
    start,
    stop,
    tail,
    tracking_uri,
    wait,
)
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

import asfitted

HOLDOUT = ROOT / "examples" / "flights" / "data" / "holdout.parquet"
MODEL = "flights"
SERVER_STARTS_WITHIN_S = 180

started = time.monotonic()


def main() -> int:
    """Run the five steps; 0 if each did what it says."""
    # So that a terminated demo takes its server along.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    OUTPUT.mkdir(exist_ok=True)
    try:
        version = train()
        promote(version)
        with serve() as url:
            asked = ask(url)
            compare(asked, version)
        done("stopped the server")
        say_how_to_go_on(asked[0])
    except StepFailed as failure:
        what = escape(str(failure))
        console.print(f"[bold red]failed[/] after {elapsed()}: {what}", soft_wrap=True)
        return 1
    return 0


def train() -> str:
    """Run the MLflow project; return the new version of the model."""
    with step(1, "train on January to September 2013, prove the model and register it"):
        output = run("train", "mlflow", "run", ".", "-e", "train", "--env-manager", "local")
    found = re.search(rf"models:/{MODEL}/(\d+)", output)
    if found is None:
        raise StepFailed(f"no new version of {MODEL} in {OUTPUT / 'train.txt'}")
    report = output[output.index("\nlogistic:") : found.end()].strip().splitlines()
    done(f"models:/{MODEL}/{found[1]}; on flights of October to December, never trained on:")
    for line in report:
        if line.lstrip().startswith(("model", "roc_auc", "log_loss", "late:")):
            dim(line.removeprefix("  "))
    return found[1]


def promote(version: str) -> None:
    """Let the gates of registry_config.yaml decide on the alias."""
    with step(2, "promote it through the gates of registry_config.yaml"):
        output = run("promote", "asfitted", "promote", MODEL, version, "--to", "champion", "--json")
    said = next(line for line in reversed(output.splitlines()) if line.startswith("{"))
    done(f"{MODEL}@champion is version {version}; its gates:")
    for verdict in json.loads(said)["verdicts"]:
        dim(f"{verdict['gate']}: {verdict['reason'].partition(' [')[0]}")


@contextlib.contextmanager
def serve() -> Iterator[str]:
    """Run ``mlflow models serve`` while the block does; give its address."""
    port = free_port()
    command = serve_command(port)
    url = f"http://127.0.0.1:{port}"
    log = OUTPUT / "serve.txt"
    with step(3, f"serve: mlflow {' '.join(command)}"), log.open("w") as file:
        server = start(["mlflow", *command], file)

        def answers() -> bool:
            if server.poll() is not None:
                raise StepFailed(f"the server ended with {server.returncode}\n{tail(log)}")
            with contextlib.suppress(requests.RequestException):
                return requests.get(f"{url}/ping", timeout=5).ok
            return False

        try:
            wait(answers, SERVER_STARTS_WITHIN_S, log)
        except BaseException:
            stop(server)
            raise
    done(f"the model has proved itself and answers at {url}")
    try:
        yield url
    finally:
        stop(server)


def ask(url: str) -> list[dict[str, Any]]:
    """Send flights over HTTP; return each row with its answer."""
    rows = flights(8)
    asked = []
    with step(4, "ask for flights of October to December, and for nonsense"):
        cases = [
            ("one record", {"dataframe_records": rows[:1]}),
            ("a table of five", {"dataframe_split": as_split(rows[1:6])}),
            ("no plane known", {"dataframe_records": [rows[6] | {"tailnum": None}]}),
            (
                "new carrier, place",
                {"dataframe_records": [rows[7] | {"carrier": "ZZ", "dest": "LEX"}]},
            ),
        ]
        for title, body in cases:
            response = post(url, body)
            if response.status_code != 200:
                raise StepFailed(f"{title}: {response.status_code} {response.text[:500]}")
            sent = body.get("dataframe_records") or records(body["dataframe_split"])
            answers = response.json()["predictions"]
            asked += [
                {
                    "title": title,
                    "row": row,
                    "answer": answer,
                    "request_id": response.headers["x-request-id"],
                }
                for row, answer in zip(sent, answers, strict=True)
            ]
        nonsense = rows[0] | {"origin": "LHR", "distance": 1.5, "temp": "mild"}
        refused = post(url, {"dataframe_records": [nonsense]})
        if not 400 <= refused.status_code < 500:
            raise StepFailed(f"nonsense was answered with {refused.status_code}")
    done(f"{len(asked)} answers, and nonsense refused with {refused.status_code}:")
    for violation in refused.json()["violations"]:
        column = violation["column"]
        dim(f"{column} = {nonsense[column]!r}: {violation['what']}")
    (OUTPUT / "request.json").write_text(json.dumps({"dataframe_records": rows[:1]}, indent=1))
    return asked


def compare(asked: list[dict[str, Any]], version: str) -> None:
    """Show each answer beside what the log holds of it; they must be the same bits."""
    with step(5, "read the prediction log"):
        logs = {
            request: asfitted.read_log(log_folder(), request_id=request)
            for request in dict.fromkeys(each["request_id"] for each in asked)
        }
    late = pd.read_parquet(HOLDOUT, columns=["flight_id", "late"]).set_index("flight_id")["late"]
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for name in ("asked", "flight", "answer", "log", "late", "id"):
        table.add_column(name, no_wrap=True)
    notes = []
    before = None
    for each in asked:
        flight = each["row"]["flight_id"]
        record = find(logs[each["request_id"]], flight)
        if record["outputs"] != each["answer"] or record["model_version"] != version:
            raise StepFailed(f"the log differs from the answer for {flight}")
        table.add_row(
            each["title"] if each["title"] != before else "",
            flight,
            f"{each['answer']['probability_1']:.1%}",
            f"{record['outputs']['probability_1']:.1%}",
            "yes" if late[flight] else "no",
            record["prediction_id"][-12:],
        )
        notes += [f"{flight}: {f['column']} {f['rule']}" for f in record["findings"]]
        before = each["title"]
    done(f"each answer was on record before it left, to the last bit; in {shown(log_folder())}")
    console.print(Padding(table, (0, 0, 0, 4)))
    dim("beside them on record: " + "; ".join(notes))


def find(log: pd.DataFrame, flight_id: str) -> dict[str, Any]:
    """Return the one record of a flight."""
    found = log[[keys["flight_id"] == flight_id for keys in log["keys"]]]
    if len(found) != 1:
        raise StepFailed(f"{len(found)} records of {flight_id} in the log, where 1 was asked for")
    return found.iloc[0].to_dict()


def say_how_to_go_on(first: dict[str, Any]) -> None:
    """Leave the reader the commands."""
    key = first["row"]["flight_id"]
    exports = [
        f"PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH",
        f"MLFLOW_TRACKING_URI={shlex.quote(tracking_uri())}",
    ]
    if os.environ.get("ASFITTED_LOG"):
        exports.append(f"ASFITTED_LOG={shlex.quote(str(log_folder()))}")
    commands = [
        f"cd {shlex.quote(str(ROOT))}; export {' '.join(exports)}",
        f"mlflow {' '.join(serve_command(5001))}    # and in another terminal:",
        "curl -s http://127.0.0.1:5001/invocations -H 'Content-Type: application/json' "
        "-d @demo_output/request.json",
        f"asfitted log query --key flight_id={key}",
        f"asfitted history {MODEL}",
    ]
    console.print(f"\n[bold]done in {elapsed()}.[/] To serve it again, ask, and read the log:")
    for command in commands:
        console.print(f"  {command}", markup=False, soft_wrap=True)


def flights(count: int) -> list[dict[str, Any]]:
    """Return raw rows as a caller writes them: JSON values, local time with its offset."""
    known = pd.read_parquet(HOLDOUT).drop(columns="late")
    chosen = known[known["wind_gust"].notna() & known["dest_name"].notna()]
    chosen = chosen.sample(count, random_state=5)
    chosen["scheduled_departure"] = [t.isoformat() for t in chosen["scheduled_departure"]]
    return json.loads(chosen.to_json(orient="records", double_precision=15))


def as_split(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return rows as MLflow's ``dataframe_split`` has them."""
    return {"columns": list(rows[0]), "data": [list(row.values()) for row in rows]}


def records(split: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of a ``dataframe_split``."""
    return [dict(zip(split["columns"], values, strict=True)) for values in split["data"]]


def post(url: str, body: dict[str, Any]) -> requests.Response:
    """Ask the server."""
    try:
        return requests.post(f"{url}/invocations", json=body, timeout=60)
    except requests.RequestException as error:
        log = OUTPUT / "serve.txt"
        raise StepFailed(f"no answer from the server: {error}\n{tail(log)}") from error


def serve_command(port: int) -> list[str]:
    """Return what comes after ``mlflow``."""
    uri = f"models:/{MODEL}@champion"
    where = ["--host", "127.0.0.1", "--port", str(port)]
    return ["models", "serve", "-m", uri, "--env-manager", "local", *where]


@contextlib.contextmanager
def step(number: int, title: str) -> Iterator[None]:
    """Announce a step; name it where it fails."""
    console.print(f"[bold]{number}/5[/] {escape(title)}", soft_wrap=True)
    try:
        yield
    except StepFailed as failure:
        raise StepFailed(f"step {number}, {title}\n{failure}") from failure


def done(what: str) -> None:
    """Say what a step has led to, and when."""
    console.print(f"    [green]✓[/] {elapsed():>5}  {what}", soft_wrap=True)


def elapsed() -> str:
    """Return the seconds since the start."""
    return f"{time.monotonic() - started:.0f} s"


def dim(what: str) -> None:
    """Say a detail of the step above."""
    console.print(f"      {escape(what)}", style="dim", soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
