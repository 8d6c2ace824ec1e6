"""`asfitted log ship` and `asfitted log stats`: the log's way to its sink."""

from __future__ import annotations

import json
import math
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any, TypeVar

import click

from asfitted.cli.log_place import Problems, local_folder
from asfitted.config import SINK_VARIABLE, load_config
from asfitted.errors import AsfittedError, ConfigError, StoreUnavailable
from asfitted.prediction_log.reconciling import reconcile as reconcile_log
from asfitted.prediction_log.shipper import DAY_S, Shipper
from asfitted.prediction_log.shipping_follow import follow as follow_log
from asfitted.prediction_log.shipping_stats import LogStats, as_prometheus, log_stats, write_whole
from asfitted.prediction_log.sinks import public_name
from asfitted.prediction_log.whole import Place

_POLL_S = 0.1
# More than the last pass of a follower takes with a sink that answers.
_PATIENCE_S = 10.0
# A rule said no: numbers are nowhere.
_MISSING = 3
_Result = TypeVar("_Result")

_SINK = click.option(
    "--sink",
    metavar="URL",
    help="sqlite:///path, postgresql+psycopg://host/db, s3://bucket/prefix, mlflow+TRACKING_URI, "
    "or a folder for Parquet files.  "
    f"[default: ${SINK_VARIABLE}, else log.sink of the configuration]",
)
_FOLDER = click.option(
    "--folder",
    type=click.Path(),
    help="The log.  [default: $ASFITTED_LOG, else log.folder of the configuration]",
)


@click.command()
@_SINK
@_FOLDER
@click.option("--follow", is_flag=True, help="Go on until SIGTERM or Ctrl-C.")
@click.option("--retry-quarantined", is_flag=True, help="Send what is in quarantine once more.")
def ship(sink: str | None, folder: str | None, follow: bool, retry_quarantined: bool) -> None:
    """Move what is on record to the sink, each record exactly once.

    A journal that is wholly shipped and that nobody writes any more is deleted
    after log.keep_shipped_days (7). Exit code 4: the sink cannot be reached; what
    is not shipped stays in its journal, in order.
    """
    url, home, keep_s = _settings(sink, folder)
    if not home.is_dir():
        # No error: a sidecar may be there before the first prediction is.
        _warn(f"there is no prediction log in {home.absolute()} so far; the folder is made now")
    with Shipper(home, url, keep_shipped_s=keep_s, on_problem=_warn) as shipper:
        sent, error = _until_told(lambda stop: _run(shipper, stop, follow, retry_quarantined))
    if sent or error is None:
        click.echo(f"{sent} rows shipped to {public_name(url)}", err=follow)
    if error is not None:
        raise error


@click.command()
@_SINK
@_FOLDER
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option(
    "--prometheus",
    "file",
    type=click.Path(dir_okay=False),
    help="Write the figures there, for the textfile collector of a node exporter.",
)
@click.option(
    "--reconcile",
    is_flag=True,
    help="Ask the sink too: does every answer's number lie somewhere? Exit 3: one does not.",
)
def stats(
    sink: str | None, folder: str | None, as_json: bool, file: str | None, reconcile: bool
) -> None:
    """Print what is on record and how far it is shipped, by writer; the sink is not asked.

    With --reconcile: answered = on record + pruned + missing + answered without a record.
    """
    if reconcile:
        if file is not None:
            raise click.UsageError("--reconcile and --prometheus: one of the two")
        _reconcile(sink, folder, as_json)
        return
    config = load_config()
    home = Path(folder) if folder else config.log_folder()
    try:
        found = log_stats(local_folder(folder, config), sink or config.log_sink())
        if file is not None:
            write_whole(Path(file), as_prometheus(found))
    except (OSError, sqlite3.Error) as error:
        raise StoreUnavailable(
            f"the state cannot be read or written: {error}", str(home)
        ) from error
    if as_json:
        click.echo(json.dumps(found.as_dict()))
    elif file is None:
        click.echo(_as_text(found))


def _reconcile(sink: str | None, folder: str | None, as_json: bool) -> None:
    config, problems = load_config(), Problems()
    home = local_folder(folder, config)
    place = Place(home, sink or config.log_sink(), config.log.durability == "sink")
    try:
        account = reconcile_log(place, on_problem=problems)
    except sqlite3.Error as error:
        raise StoreUnavailable(f"the state cannot be read: {error}", str(home)) from error
    if as_json:
        click.echo(json.dumps({"stats_version": 1, **account.as_dict()}))
    else:
        for writer in account.writers:
            parts = [f"{writer.answered} answered, {writer.on_record} on record"]
            parts += [f"{writer.removed} pruned"] * bool(writer.removed)
            parts += [f"{writer.unrecorded} answered without a record"] * bool(writer.unrecorded)
            for table, ranges in writer.missing.items():
                shown = ", ".join(f"{first}–{last}" for first, last in ranges)
                parts.append(f"MISSING {table} {shown}")
            click.echo(f"  {writer.writer}: {'; '.join(parts)}")
        whole = account.as_dict()
        click.echo(
            f"  together: {whole['answered']} answered, {whole['on_record']} on record, "
            f"{whole['removed']} pruned, {whole['unrecorded']} without a record, "
            f"{whole['missing']} missing"
        )
    if account.missing:
        sys.exit(_MISSING)


def _settings(sink: str | None, folder: str | None) -> tuple[str, Path, float]:
    config = load_config()
    url = sink or config.log_sink()
    if not url:
        raise ConfigError(
            "no sink is named",
            str(config.path or "there is no configuration"),
            f"say --sink URL, set {SINK_VARIABLE}, or write log.sink into registry_config.yaml",
        )
    home = Path(folder) if folder else config.log_folder()
    return url, home, config.log.keep_shipped_days * DAY_S


def _run(
    shipper: Shipper, stop: threading.Event, follow: bool, retry_quarantined: bool
) -> tuple[int, AsfittedError | None]:
    before = shipper.shipped
    try:
        if retry_quarantined:
            shipper.retry_quarantined()
        error = follow_log(shipper, stop) if follow else None
        if not follow:
            shipper.ship(stop=stop)
    except AsfittedError as failure:
        error = failure
    return shipper.shipped - before, error


def _until_told(work: Callable[[threading.Event], _Result]) -> _Result:
    """Do `work` in a thread and set its event at SIGTERM or Ctrl-C.

    The handler only sets a flag: it may interrupt this thread anywhere, also where
    it holds the lock that setting an event would need.

    Raises
    ------
    StoreUnavailable
        Where it does not end then, since it waits for a sink that does not answer.
    """
    stop, told = threading.Event(), [False]
    done: Future[_Result] = Future()

    def run() -> None:
        try:
            done.set_result(work(stop))
        except BaseException as error:
            done.set_exception(error)

    def tell(_number: int, _frame: Any) -> None:
        told[0] = True

    before = {number: signal.signal(number, tell) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        # A daemon: nobody can interrupt it while it is in a driver, and the process shall end.
        threading.Thread(target=run, name="asfitted-shipper", daemon=True).start()
        end = math.inf
        while not done.done():
            wait([done], _POLL_S)
            if told[0] and not stop.is_set():
                stop.set()
                end = time.monotonic() + _PATIENCE_S
            if time.monotonic() > end:
                raise StoreUnavailable(
                    "the sink does not answer, and is not waited for any longer",
                    mend="what it has not confirmed stays in the journals, for the next shipper",
                )
        return done.result()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _as_text(found: LogStats) -> str:
    whole = found.as_dict()
    shipped = found.sink is not None
    lines = [found.sink or "no sink"]
    for writer in found.writers:
        parts = [f"{writer.recorded} written" + f", {writer.shipped} shipped" * shipped]
        if writer.backlog:
            parts.append(f"{writer.backlog} to ship, the oldest {writer.backlog_s:.0f} s old")
        parts += [f"{writer.quarantined} in quarantine"] * bool(writer.quarantined)
        parts += [f"{writer.missing} missing"] * bool(writer.missing)
        parts += [f"{writer.unrecorded} answered without a record"] * bool(writer.unrecorded)
        parts += ["LOST: its journal is gone"] * writer.lost
        parts += [f"NOT READABLE: {writer.problem}"] * bool(writer.problem)
        lines.append(f"  {writer.writer}: {'; '.join(parts)}")
    together = f"{whole['answered']} answered, {whole['recorded']} written"
    if shipped:
        together += (
            f", {whole['shipped']} shipped, {whole['backlog']} to ship, "
            f"{whole['quarantined']} in quarantine"
        )
    lines.append(f"  together: {together}")
    if found.status.error:
        lines.append(f"  the last {found.status.failures} calls failed: {found.status.error}")
    return "\n".join(lines)


def _warn(problem: str) -> None:
    click.echo(f"warning: {problem}", err=True)
