"""Verbs that bring recorded runs in, and runs out for others to check."""

from pathlib import Path
from typing import Annotated

import typer

from mlgym.cli.app import Debug, app

Out = Annotated[Path, typer.Option("-o", "--out", help="The run's folder that the episodes go to.", file_okay=False)]


@app.command("import")
def import_(
    folder: Annotated[
        Path, typer.Argument(help="A recorded run of the original, or a folder of many.", exists=True, file_okay=False)
    ],
    out: Out,
    leave_out_forged: Annotated[
        bool, typer.Option("--leave-out-forged", help="Leave out runs whose scores were forged, and say why.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Read recorded runs of the original into a run's folder; the exit code is 1 where one cannot be read."""
    from collections import Counter

    from mlgym.importers import import_runs
    from mlgym.report.console import safe

    counts: Counter[str] = Counter()
    for one in import_runs(folder, out, leave_out_forged=leave_out_forged):
        counts[one.status] += 1
        about = f"{one.steps} steps, {one.scores} scores" if one.status == "imported" else ""
        said = "; ".join(filter(None, (about, one.why)))
        name = "/".join(one.folder.parts[-3:]) if one.folder else one.source.name
        if one.status != "there":
            print(safe(f"{one.status}: {name}{': ' * bool(said)}{said}").replace("\n", " "), flush=True)
    print(f"{', '.join(f'{n} {status}' for status, n in counts.items())}. Look at them with: mlgym show {out}")
    if counts["unreadable"] or counts["refused"]:
        raise typer.Exit(1)
