"""``asfitted serve``, ``prove`` and ``versions``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from asfitted.cli.stdout import kept_for_the_result


@click.command()
@click.argument("model_uri")
@click.option("--config", type=click.Path(path_type=Path), help="registry_config.yaml")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def prove(model_uri: str, config: Path | None, as_json: bool) -> int:
    """Load a model and let it prove itself: files, environment, golden examples."""
    from asfitted._mlflow import fetch
    from asfitted.config import load_config
    from asfitted.scoring.proof import prove as prove_artifact

    with kept_for_the_result():
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
