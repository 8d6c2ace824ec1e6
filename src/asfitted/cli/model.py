"""``asfitted score``, ``serve``, ``prove`` and ``versions``."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


@click.command()
@click.argument("model_uri")
@click.option("--input", "source", type=click.Path(path_type=Path), required=True)
@click.option("--output", "target", type=click.Path(path_type=Path), required=True)
@click.option("--config", type=click.Path(path_type=Path), help="registry_config.yaml")
@click.option("--allow-version", multiple=True, help="A package that may differ from its pin.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def score(
    model_uri: str,
    source: Path,
    target: Path,
    config: Path | None,
    allow_version: tuple[str, ...],
    as_json: bool,
) -> None:
    """Score a CSV or Parquet file; every row goes on record.

    MODEL_URI is a folder, models:/NAME@ALIAS, models:/NAME/VERSION or runs:/….
    """
    logging.basicConfig(format="%(levelname)s %(message)s")
    console = Console(stderr=True)
    with console.status(f"loading {model_uri}, which proves itself first"):
        from asfitted._mlflow import fetch
        from asfitted.batch.files import score_file
        from asfitted.config import load_config
        from asfitted.scoring.loading import open_artifact

        settings = load_config(config)
        model = open_artifact(
            fetch(model_uri), settings, source="batch", allow_versions=allow_version
        )
    bars = Progress(
        TextColumn("{task.description:>9}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("rows"),
        TimeElapsedColumn(),
        console=console,
    )
    with bars:
        tasks = {phase: bars.add_task(phase, total=None) for phase in ("checking", "scoring")}

        def advance(phase: str, rows: int) -> None:
            bars.advance(tasks[phase], rows)
            if phase == "checking":
                bars.update(tasks["scoring"], total=bars.tasks[0].completed)

        rows = score_file(model, source, target, progress=advance)
    identity = model.identity
    if as_json:
        said = {"schema_version": 1, "rows": rows, "output": str(target), "model": vars(identity)}
        click.echo(json.dumps(said))
        return
    version = f" version {identity.version}" if identity.version else ""
    click.echo(f"{rows:,} rows scored by {identity.name}{version} into {target}")


@click.command()
@click.argument("model_uri")
@click.option("--config", type=click.Path(path_type=Path), help="registry_config.yaml")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def prove(model_uri: str, config: Path | None, as_json: bool) -> int:
    """Load a model and let it prove itself: files, environment, golden examples."""
    from asfitted._mlflow import fetch
    from asfitted.config import load_config
    from asfitted.scoring.proof import prove as prove_artifact

    said = prove_artifact(fetch(model_uri), load_config(config))
    if as_json:
        click.echo(json.dumps(said))
    elif said["proved"]:
        click.echo(f"proved: files, environment and golden examples of {said['digest'][:12]}")
    else:
        click.echo(f"refused: {said['what']}\n  where: {said['where']}\n  mend:  {said['mend']}")
    return 0 if said["proved"] else 3


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("model_uri")
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def serve(model_uri: str, options: tuple[str, ...]) -> None:
    """Verify a model's files, then serve it as mlflow models serve does.

    OPTIONS are those of mlflow models serve: --port, --host, --workers,
    --timeout, --env-manager.
    """
    from asfitted.serving.run import serve as run

    run(model_uri, options)


@click.command()
@click.argument("packages", nargs=-1)
def versions(packages: tuple[str, ...]) -> None:
    """Print what this environment is made of; PACKAGES add their closure."""
    from asfitted.artifact.versions import show_versions

    show_versions(*packages)
