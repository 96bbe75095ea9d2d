"""Training: `mlgym train`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from mlgym.cli.app import Debug, app, tell


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="A file recipe.toml, or the name of a shipped recipe (duel).")],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="The folder; runs/train-RECIPE if left out.", file_okay=False)
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Another value: key=value, such as lr=0.001 or options.clip=0.1.")
    ] = None,
    include_eval: Annotated[
        bool, typer.Option("--include-eval", help="Allow the benchmark's own tasks; nothing compares on them then.")
    ] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print nothing on the way.")] = False,
    debug: Debug = False,
) -> None:
    """Train a policy by a recipe; the same command goes on where it was stopped or killed."""
    from importlib.util import find_spec

    from mlgym.errors import UsageError
    from mlgym.rl.recipe import changes, read_recipe

    read = read_recipe(recipe, changes(set_ or ()))
    if missing := [name for name in ("torch", "transformers", "jinja2") if find_spec(name) is None]:
        raise UsageError(f"Training needs the library {missing[0]}: pip install 'mlgym-env[train]'.")
    from mlgym.rl.train import train as run

    folder = out or Path("runs") / f"train-{Path(recipe).stem}"
    code = run(read, folder, include_eval=include_eval, say=(lambda line: None) if quiet else _say)
    if code:
        raise typer.Exit(code)


def _say(line: str) -> None:
    tell(line, sys.stdout)
