"""The command line: parse, call, print, exit. No logic of its own.

Results go to stdout, logs and progress to stderr, ``--json`` prints one object.
Exit codes are those of `asfitted.errors`.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

from asfitted._version import __version__
from asfitted.cli.output import nobody_reads, whole_stdout
from asfitted.errors import AsfittedError

# MLflow takes seconds to import: a command's module is imported when it is called.
_COMMANDS = {
    "contract": ("asfitted.cli.contract", "Infer, show, compare, export or check a contract."),
    "history": ("asfitted.cli.registry", "Show the decisions about a model's alias."),
    "log": ("asfitted.cli.log", "Read the prediction log."),
    "outcome": ("asfitted.cli.outcome", "Put on record what came true."),
    "promote": ("asfitted.cli.registry", "Move an alias to a version, if its gates pass."),
    "prove": ("asfitted.cli.model", "Load a model and let it prove itself."),
    "rollback": ("asfitted.cli.registry", "Move an alias back to where it was before."),
    "score": ("asfitted.cli.score", "Score files; every row goes on record."),
    "serve": ("asfitted.cli.model", "Verify a model's files, then serve it."),
    "versions": ("asfitted.cli.model", "Print what this environment is made of."),
}


# As a shell says of a process that SIGPIPE ended.
_NOBODY_READS = 141


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(_COMMANDS[cmd_name][0]), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in sorted(_COMMANDS.items())])


@click.group(cls=_LazyGroup)
@click.version_option(__version__, prog_name="asfitted")
def cli() -> None:
    """Take a scikit-learn pipeline to production as it was fitted."""


def main(argv: list[str] | None = None) -> None:
    """Run the command line and exit with the code of the error, if there is one."""
    whole_stdout()
    try:
        code: Any = cli.main(args=argv, prog_name="asfitted", standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
    except AsfittedError as error:
        click.echo(f"{type(error).__name__}: {error}", err=True)
        sys.exit(error.exit_code)
    except click.exceptions.Abort:
        click.echo("Aborted.", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except UnicodeEncodeError as error:
        if sys.stdout.encoding.lower() in {"utf-8", "utf8"}:
            raise
        letter = ascii(error.object[error.start])
        click.echo(f"The output is {sys.stdout.encoding}, which has no {letter}.", err=True)
        click.echo("  mend:  set PYTHONIOENCODING=utf-8, or write --json", err=True)
        sys.exit(2)
    except (BrokenPipeError, SystemExit):
        # click and rich exit with 1, the code of a bug, when nobody reads on: `| head`.
        if not nobody_reads():
            raise
        sys.exit(_NOBODY_READS)
    sys.exit(code if isinstance(code, int) else 0)
