"""Verbs that bring recorded runs in, and runs out for others to check."""

from pathlib import Path
from typing import Annotated

import typer

from mlgym.cli.app import Debug, SandboxName, app, tell

Out = Annotated[Path, typer.Option("-o", "--out", help="The run's folder that the episodes go to.", file_okay=False)]


def _line(text: str) -> str:
    """Somebody else's words on one line."""
    from mlgym.report.console import safe

    return safe(text).replace("\n", " ")


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

    counts: Counter[str] = Counter()
    for one in import_runs(folder, out, leave_out_forged=leave_out_forged):
        counts[one.status] += 1
        about = f"{one.steps} steps, {one.scores} scores" if one.status == "imported" else ""
        said = "; ".join(filter(None, (about, one.why)))
        name = "/".join(one.folder.parts[-3:]) if one.folder else one.source.name
        if one.status != "there":
            print(_line(f"{one.status}: {name}{': ' * bool(said)}{said}"), flush=True)
    print(f"{', '.join(f'{n} {status}' for status, n in counts.items())}. Look at them with: mlgym view {out}")
    if counts["unreadable"] or counts["refused"]:
        raise typer.Exit(1)


@app.command()
def pack(
    run: Annotated[Path, typer.Argument(help="A run's folder.", exists=True, file_okay=False)],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="The file; RUN.mlgym.tar.gz here if left out.", dir_okay=False)
    ] = None,
    debug: Debug = False,
) -> None:
    """Put a run into one file to publish: scrubbed of keys, folders and names, with the tables that it comes to."""
    from mlgym import pack as packing

    packed = packing.pack(run, out or Path(f"{run.resolve().name}.mlgym.tar.gz"))
    for kind, count in sorted(packed.replaced.items()):
        print(f"Replaced: {kind}, {count} times.")
    for name, why in packed.left_out.items():
        print(_line(f"Left out: {name} ({why})."))
    for note in packed.notes:
        print(_line(f"Note: {note}."))
    print(
        f"{packed.file}: {packed.episodes} episodes in {packed.files} files, {packed.bytes / 1e6:.2f} MB. "
        f"Look through it before you publish it; check it with: mlgym verify {packed.file}"
    )


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(help="A file that mlgym pack has made.", exists=True, dir_okay=False)],
    grade: Annotated[
        bool, typer.Option("--grade/--no-grade", help="Whether the files of attempts are graded again.")
    ] = True,
    sandbox: SandboxName = "auto",
    debug: Debug = False,
) -> None:
    """Compute a packed run's scores and tables again: prints MATCH, or the first difference with exit code 1."""
    from mlgym import verify as verifying

    done = verifying.verify(file, grade=grade, backend=sandbox, say=tell)
    for note in done.notes:
        print(_line(f"Note: {note}."))
    for why, count in sorted(done.not_regraded.items()):
        print(_line(f"Not compared with a new grading: {count} ({why})."))
    if done.difference:
        print(_line(f"DIFFERENCE: {done.difference}"))
        raise typer.Exit(1)
    print(
        f"MATCH: {done.results} results from {done.attempts} attempts of {done.episodes} episodes, "
        f"{done.regraded} scores graded again, the tables."
    )
