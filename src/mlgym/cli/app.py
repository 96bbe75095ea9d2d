"""The application that the verbs belong to, and the options that several of them take."""

import sys
from typing import Annotated, TextIO

import typer

app = typer.Typer(
    help="An environment and a benchmark for agents that do machine-learning research.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

TaskName = Annotated[str, typer.Argument(help="A task's name (see 'mlgym tasks') or a task folder's path.")]
TaskOrSuite = Annotated[str, typer.Argument(help="A task, a task folder's path or a suite (see 'mlgym tasks').")]
TaskNames = Annotated[list[str] | None, typer.Argument(help="Tasks, folders or suites; the suite mini if left out.")]
SandboxName = Annotated[
    str,
    typer.Option(
        "--sandbox", help="auto, bubblewrap, docker, podman, user or landlock (partial), local (no isolation)."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


def tell(line: str, out: TextIO | None = None) -> None:
    """Print a line that may hold somebody else's words, on stderr if nowhere else."""
    from mlgym.report.console import safe

    print(safe(line), file=out or sys.stderr, flush=True)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(version("mlgym-env"))
        raise typer.Exit


Version = Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")]


@app.callback()
def options(debug: Debug = False, version: Version = False) -> None:
    """An environment and a benchmark for agents that do machine-learning research."""
