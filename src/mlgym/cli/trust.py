"""Verbs that ask whether a run's scores can be trusted; they change none of its records."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlgym.cli.app import AsJson, Debug, SandboxName, app, tell

if TYPE_CHECKING:
    from mlgym.regrade import Regraded

Run = Annotated[Path, typer.Argument(help="A run's or an episode's folder.", exists=True, file_okay=False)]


@app.command()
def regrade(
    run: Run,
    as_json: AsJson = False,
    write: Annotated[bool, typer.Option("--write", help="Write regrade.json into RUN.")] = False,
    sandbox: SandboxName = "auto",
    debug: Debug = False,
) -> None:
    """Compute all scores of a run again from its stored files; the exit code is 1 where one differs."""
    from mlgym import regrade as again

    rows: list[again.Regraded] = []
    try:
        for row in again.regrade(run, sandbox, say=tell):
            rows.append(row)
    finally:  # an interrupt leaves what was found by then
        if as_json:
            print(json.dumps([asdict(row) for row in rows], indent=1))
        else:
            _table(rows)
    if write:
        print(f"Written to {again.write(run, rows)}.", file=sys.stderr)
    if any(row.status == "differs" for row in rows):
        raise typer.Exit(1)


def _table(rows: "list[Regraded]") -> None:
    """What is not simply equal in a table, then how many there are of each kind."""
    from collections import Counter

    from rich.console import Console
    from rich.table import Table

    from mlgym.report.console import cell, number

    out = Console(highlight=False)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("episode", "attempt", "split", "recorded", "again", "difference", "verdict"):
        figures = name in ("recorded", "again", "difference")
        table.add_column(name, justify="right" if figures else "left", no_wrap=figures, overflow="fold")
    for row in rows:
        if row.status == "equal":
            continue
        both = row.recorded is not None and row.again is not None
        difference = f"{row.again - row.recorded:+.2g}" if both else "–"  # type: ignore[operator]
        verdict = f"{row.status}: {row.why}" if row.why else row.status
        cells = (row.episode, str(row.attempt), row.split, number(row.recorded), number(row.again), difference, verdict)
        table.add_row(*map(cell, cells))
    if table.row_count:
        out.print(table)
    counts = Counter(row.status for row in rows)
    said = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    out.print(f"{len(rows)} scores graded again: {said or 'none'}.", markup=False)


@app.command()
def audit(run: Run, as_json: AsJson = False, debug: Debug = False) -> None:
    """Flag what is suspicious in a run's records, with the reasons; the exit code is 1 where anything is."""
    from rich.console import Console

    from mlgym.audit import audit as flagged
    from mlgym.report.console import safe

    flags, notes = flagged(run)
    if as_json:
        print(json.dumps({"flags": [asdict(flag) for flag in flags], "notes": notes}, indent=1))
    else:
        out = Console(highlight=False)
        at = ""
        for flag in flags:
            if flag.episode != at:
                out.print(safe(flag.episode), style="bold", markup=False)
            at = flag.episode
            out.print(safe(f"  {flag.what}: {flag.why}"), markup=False, soft_wrap=True)
        for note in notes:
            out.print(f"Note: {safe(note)}", style="yellow", markup=False, soft_wrap=True)
        said = f"{len(flags)} flag{'s' * (len(flags) != 1)}." if flags else "Nothing suspicious in these records."
        out.print(said, markup=False)
    if flags:
        raise typer.Exit(1)
