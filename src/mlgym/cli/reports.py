"""Verbs that say what came of runs: the report, and whether one method is better than another."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from mlgym.cli.app import AsJson, Debug, app, tell
from mlgym.errors import UsageError

Runs = Annotated[list[Path], typer.Argument(help="Folders of runs; several are reported together.")]
Mixed = Annotated[
    bool, typer.Option("--mixed", help="Several task protocols in one table, each row marked with its own.")
]
Without = Annotated[list[str] | None, typer.Option("--without", help="A method to leave out; may be repeated.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of the bootstrap and the tests.")]


@app.command()
def report(
    runs: Runs,
    output: Annotated[Path, typer.Option("-o", "--output", help="The folder to write.")] = Path("report"),
    mixed: Mixed = False,
    without: Without = None,
    figures: Annotated[str, typer.Option("--figures", help="Formats of the figures' files, or none.")] = "svg,png,pdf",
    reference: Annotated[
        str, typer.Option("--reference", help="The method whose compute is the measure; the tuner if left out.")
    ] = "",
    seed: Seed = 0,
    debug: Debug = False,
) -> None:
    """Write tables, figures, data and a page of what runs came to."""
    from mlgym.report.folder import report as write

    written = write(
        runs,
        output,
        mixed=mixed,
        without=without or (),
        formats=_formats(figures),
        seed=seed,
        reference=reference,
        say=print,
    )
    for note in written.notes:
        tell(note, sys.stdout)
    print(f"{written.files} files are in {output}; the page is {written.page}.")


@app.command()
def compare(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    a: Annotated[str, typer.Argument(metavar="[A]", help="A method, by its name or a part of it.")] = "",
    b: Annotated[str, typer.Argument(metavar="[B]", help="The method to compare it with.")] = "",
    mixed: Mixed = False,
    seed: Seed = 0,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Say whether method A is better than B, on which tasks and how sure; without them, compare all pairs."""
    from mlgym.report.versus import as_json as in_json
    from mlgym.report.versus import as_text, compared

    if a and not b:
        raise UsageError("Name two methods, or none to compare all pairs.")
    found = compared([run], a, b, mixed=mixed, seed=seed)
    print(in_json(found) if as_json else as_text(found))


def _formats(text: str) -> list[str]:
    from mlgym.report.folder import FORMATS

    chosen = [] if text == "none" else text.split(",")
    if wrong := [one for one in chosen if one not in FORMATS]:
        raise UsageError(f"Figures come as {', '.join(FORMATS)}, or none; not as '{wrong[0]}'.")
    return chosen
