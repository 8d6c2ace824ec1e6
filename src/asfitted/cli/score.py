"""``asfitted score``."""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console

from asfitted._progress import showing
from asfitted.cli.stdout import kept_for_the_result


@click.command()
@click.argument("model_uri")
@click.option(
    "--input",
    "source",
    required=True,
    help="A CSV or Parquet file, or a folder of them; also s3://bucket/key.",
)
@click.option("--output", "target", required=True, help="NAME.csv or NAME.parquet; also s3://….")
@click.option("--refused", help="Where refused rows go; default NAME.refused.jsonl.")
@click.option(
    "--max-refused",
    default="0",
    show_default=True,
    help="Rows, or a percentage such as 0.5%, that may be refused before the job fails.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1),
    help="Processes that answer.  [default: one per processor from 300,000 rows on]",
)
@click.option("--overwrite", is_flag=True, help="Replace outputs that are there.")
@click.option("--dry-run", is_flag=True, help="Look at the first rows of each file, write nothing.")
@click.option("--config", type=click.Path(path_type=Path), help="registry_config.yaml")
@click.option("--allow-version", multiple=True, help="A package that may differ from its pin.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def score(
    model_uri: str,
    source: str,
    target: str,
    refused: str | None,
    max_refused: str,
    jobs: int | None,
    overwrite: bool,
    dry_run: bool,
    config: Path | None,
    allow_version: tuple[str, ...],
    as_json: bool,
) -> None:
    """Score CSV or Parquet files; every answered row goes on record.

    MODEL_URI is a folder, models:/NAME@ALIAS, models:/NAME/VERSION or runs:/….
    A job that was killed goes on where it was when the same command runs again.
    """
    logging.basicConfig(format="%(levelname)s %(message)s")
    console = Console(stderr=True)
    loading = f"loading {model_uri}, which proves itself first"
    with (
        kept_for_the_result(),
        console.status(loading) if console.is_terminal else contextlib.nullcontext(),
        _kept_from_the_collector(),
    ):
        from asfitted._mlflow import fetch
        from asfitted.batch import score_file
        from asfitted.config import load_config
        from asfitted.scoring.loading import open_artifact

        model = open_artifact(
            fetch(model_uri), load_config(config), source="batch", allow_versions=allow_version
        )
    # What Python starts beside processes of a job frees what they share when the job is
    # killed, and then warns of it as a leak.
    quiet = "ignore:resource_tracker:UserWarning"
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, [os.environ.get("PYTHONWARNINGS"), quiet]))
    try:
        with kept_for_the_result(), showing(console) as progress:
            said = score_file(
                model,
                source,
                target,
                refused=refused,
                max_refused=max_refused,
                overwrite=overwrite,
                dry_run=dry_run,
                jobs=jobs,
                progress=progress,
            )
    except KeyboardInterrupt:
        click.echo("run again, the same command goes on from what is done", err=True)
        raise
    identity = model.identity
    called = identity.name or "the model"
    if as_json:
        click.echo(json.dumps({"schema_version": 1, **asdict(said), "model": vars(identity)}))
        return
    version = f" version {identity.version}" if identity.version else ""
    counts = f"{said.rows:,} rows = {said.answered:,} answered + {said.refused:,} refused"
    if said.dry_run:
        click.echo(f"dry run, nothing written: {counts} by {called}{version}")
        return
    click.echo(f"{counts}, by {called}{version} into {said.output}")
    if said.refused_file is not None:
        click.echo(f"refused rows: {said.refused_file}")


@contextlib.contextmanager
def _kept_from_the_collector() -> Iterator[None]:
    """Let the collector pass over all that comes to be inside: modules and the model stay.

    Looking through them takes a tenth of a start, and then some of each chunk.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
