"""Verbs that only look: at an episode, at this machine."""

from pathlib import Path
from typing import Annotated

import typer

from mlgym.cli.app import AsJson, Debug, app
from mlgym.errors import UsageError


@app.command()
def show(
    episode: Annotated[str, typer.Argument(help="'last', an episode's folder or a run's folder.")] = "last",
    diff: Annotated[
        bool, typer.Option("--diff", help="The best attempt against the starter; with --step what that step changed.")
    ] = False,
    step: Annotated[int | None, typer.Option("--step", help="One step, and what it changed.")] = None,
    files: Annotated[
        Path | None, typer.Option("--files", help="Lay the best attempt's files into a new folder.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Show an episode: its steps, attempts and result."""
    from mlgym.report import show as text
    from mlgym.store import episodes

    found = list(episodes(last() if episode == "last" else Path(episode)))
    if not found:
        made = shards(Path(episode)) or "'mlgym run' makes one"
        raise UsageError(f"There is no episode in {episode}; {made}.")
    for name in [name for name, given in (("--files", files), ("--step", step is not None)) if given]:
        if len(found) > 1:
            raise UsageError(f"{episode} holds {len(found)} episodes; {name} takes one of their folders.")
    for folder in found:
        if step is not None:
            text.step(folder, step, diff=diff)
        elif files:
            text.files(folder, files)
        elif diff:
            text.difference(folder)
        else:
            text.episode(folder, steps_too=len(found) == 1)


def shards(folder: Path) -> str:
    """Where the runs of a bulk run are, in words; empty where `folder` is none."""
    found = sorted(folder.glob("shard-*/run.json")) if (folder / "plan.json").exists() else []
    return f"its runs are its shards, such as {found[0].parent}" if found else ""


def last() -> Path:
    """The folder of the episode in ./runs that was last written to."""
    found = sorted(Path("runs").glob("*/*/*/*/steps.jsonl"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise UsageError("There is no run in ./runs yet; 'mlgym run TASK' makes one.")
    return found[-1].parent


@app.command()
def doctor(as_json: AsJson = False, debug: Debug = False) -> None:
    """Say what works on this machine, and what to do about the rest."""
    from mlgym import doctor as machine

    findings = machine.report()
    print(machine.as_json(findings) if as_json else machine.as_text(findings))
