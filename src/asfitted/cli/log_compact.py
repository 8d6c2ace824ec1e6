"""`asfitted log compact`: merge the small files of a sink."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import datetime, timezone

import click
from rich.console import Console

from asfitted.config import SINK_VARIABLE, load_config
from asfitted.errors import ConfigError
from asfitted.prediction_log.sinks import open_sink, public_name
from asfitted.prediction_log.whole import existing_sink

COMPACT_VERSION = 1


@click.command()
@click.option(
    "--sink",
    metavar="URL",
    help=f"s3://bucket/prefix or a folder.  [default: ${SINK_VARIABLE}, else log.sink of the "
    "configuration]",
)
@click.option(
    "--since",
    type=click.DateTime(["%Y-%m-%d"]),
    help="Only days from this one on, UTC.  [default: all]",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def compact(sink: str | None, since: datetime | None, as_json: bool) -> None:
    """Merge small Parquet files of the days before today (UTC) into big ones.

    No record is changed, and whoever reads through Asfitted meanwhile finds each
    once. `log ship --follow` does it by itself for the last week.
    """
    config = load_config()
    url = sink or config.log_sink()
    if not url:
        raise ConfigError(
            "no sink is named",
            mend=f"say --sink URL, set {SINK_VARIABLE}, or write log.sink into "
            "registry_config.yaml",
        )
    fewer = partitions = 0
    with closing(open_sink(url)) as opened:
        merge = getattr(opened, "compact", None)
        if merge is None:
            raise ConfigError(
                "this sink has no files to merge", public_name(url),
                "it is for Parquet files: s3://bucket/prefix or a folder",
            )  # fmt: skip
        existing_sink(url)
        first = f"date={since.date()}" if since else ""
        today = f"date={datetime.now(timezone.utc).date()}"
        with Console(stderr=True).status("merging") as status:
            for less in merge(since=first, before=today):
                fewer, partitions = fewer + less, partitions + 1
                status.update(f"{partitions} partitions, {fewer} files fewer")
    if as_json:
        said = {"compact_version": COMPACT_VERSION, "partitions": partitions, "fewer_files": fewer}
        click.echo(json.dumps({**said, "sink": public_name(url)}))
    else:
        click.echo(f"{fewer} files fewer in {partitions} partitions of {public_name(url)}")
