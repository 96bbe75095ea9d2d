"""Verbs on a run as a whole: how far it is, and stopping it."""

import json
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlgym.cli.app import AsJson, Debug, app
from mlgym.cli.look import shards
from mlgym.errors import UsageError

if TYPE_CHECKING:
    from mlgym.status import Follow, Status

RunFolder = Annotated[Path, typer.Argument(help="A run's folder.")]


@app.command()
def status(
    run: RunFolder,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Keep looking until the run stops.")] = False,
    every: Annotated[float, typer.Option("--every", min=0.1, help="Seconds between two looks.")] = 2.0,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Say how far a run is, from its folder alone: running or not, on this machine or on another."""
    import time

    from mlgym.status import Follow

    watched = Follow(_run(run))
    began = time.monotonic()
    watched.look()
    if follow:
        _followed(watched, max(every, 5 * (time.monotonic() - began)), as_json)
        return
    now = watched.status()
    print(_json(now) if as_json else _text(now))


@app.command()
def cancel(
    run: RunFolder,
    episode: Annotated[str, typer.Argument(help="An episode such as TASK/METHOD/SEED; left out: the whole run.")] = "",
    undo: Annotated[bool, typer.Option("--undo", help="Take it back: the command that began it goes on.")] = False,
    debug: Debug = False,
) -> None:
    """Stop a run, or one of its episodes, wherever it runs: within seconds, and so that it can go on when undone."""
    from mlgym import beside
    from mlgym.status import Follow

    run = _run(run)
    folder, what = run, f"The run in {run}"
    if episode:
        name = episode.strip("/").removeprefix(f"{run}/")
        watched = Follow(run)
        watched.discover()
        if name not in watched.cells:
            raise UsageError(
                f"{run} has no episode {episode}; one is named TASK/METHOD/SEED, see 'mlgym status {run} --json'."
            )
        folder, what = run / name, f"The episode {name}"
    if undo:
        there = beside.undo(folder)
        print(
            f"{what} is no longer cancelled: the command that began it goes on."
            if there
            else f"{what} was not cancelled."
        )
        return
    folder.mkdir(parents=True, exist_ok=True)
    beside.cancel(folder)
    again = f"mlgym cancel {run}{f' {episode}' if episode else ''} --undo"
    print(f"{what} is cancelled: what runs stops within seconds and can go on after '{again}'.")


def _run(run: Path) -> Path:
    from mlgym.status import CELLS

    if not ((run / CELLS).exists() or next(run.glob("*/*/*/spec.json"), None)):
        made = shards(run) or "'mlgym run' makes one"
        raise UsageError(f"There is no run in {run}; {made}.")
    return run


def _followed(watched: "Follow", every: float, as_json: bool) -> None:
    """Show the run again and again until nothing runs any more; a line each where there is no terminal."""
    import time

    from rich.console import Console
    from rich.live import Live

    from mlgym.board import Board, line

    out, last = Console(highlight=False), ""
    table = out.is_terminal and not as_json
    board = Live(Board(watched.status), console=out, auto_refresh=False) if table else None
    with board or nullcontext():
        while True:
            now = watched.status()
            if board:
                board.refresh()
            elif (said := _json(now, indent=None) if as_json else line(now)) != last:
                print(said, flush=True)
                last = said
            if now.state != "running":
                return
            time.sleep(every)
            watched.look()


def _text(status: "Status") -> str:
    from rich.console import Console

    from mlgym.board import line, tasks
    from mlgym.report.console import safe

    out = Console(highlight=False)
    with out.capture() as said:
        out.print(safe(f"{status.run} ({status.state}): {line(status)}"), markup=False, soft_wrap=True)
        out.print(tasks(status))
        for lost in status.lost[:10]:
            tries = f"{lost['tries']} tries" if lost["tries"] > 1 else "not scored"
            out.print(safe(f"missing: {lost['episode']} ({tries}): {lost['why']}"), markup=False, soft_wrap=True)
        if len(status.lost) > 10:
            out.print(f"missing: {len(status.lost) - 10} more", markup=False)
    return said.get().rstrip("\n")


def _json(status: "Status", indent: int | None = 1) -> str:
    return json.dumps(asdict(status), indent=indent)
