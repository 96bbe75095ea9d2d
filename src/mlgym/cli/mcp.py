"""`mlgym mcp`: an episode for a client of the Model Context Protocol, such as an agent in an editor."""

import sys
from itertools import count
from pathlib import Path
from typing import Annotated

import typer

from mlgym.cli.app import Debug, SandboxName, TaskName, app


@app.command()
def mcp(
    task: TaskName,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FOLDER", help="The run's folder; else ./runs/mcp."),
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", metavar="N", min=1, help="Steps.")] = None,
    tools: Annotated[str, typer.Option("--tools", metavar="NAME", help="The set: modern or classic.")] = "modern",
    sandbox: SandboxName = "auto",
    debug: Debug = False,
) -> None:
    """Serve one episode of a task over standard input and output to a client of MCP; its tool calls are the steps.

    It is stored and graded like any other; the agent's name is mcp. It ends with `submit`, or when the client leaves.
    """
    from mlgym.episode import run_episode
    from mlgym.protocol import keep, lock
    from mlgym.records import EpisodeSpec
    from mlgym.store import episode_folder
    from mlgym.task import load_task
    from mlgym.versions import keep_run, versions

    found, run = load_task(task), output or Path("runs/mcp")
    limits = found.episode_limits.changed(**({"steps": steps} if steps else {}))
    first = EpisodeSpec(
        task=found.reference,
        version=found.version,
        agent="mcp",
        tools=tools,
        sandbox=sandbox,
        limits=limits,
        unsafe=True,  # the client, on the user's machine, can read what the task hides
    )
    specs = (first.changed(seed=seed) for seed in count())
    spec = next(each for each in specs if not episode_folder(run, each).exists())
    for note in keep(run, lock([spec])):
        print(note, file=sys.stderr)
    keep_run(run, {"tasks": [found.reference], "agent": "mcp"}, versions({found.name: found.version}))
    folder = episode_folder(run, spec)
    result = run_episode(spec, folder, say=lambda note: print(note, file=sys.stderr))
    score = "no score" if result.final is None else f"score on test {result.final[result.metric]:.4g}"
    print(f"{found.name}: {result.ended} after {result.steps} steps, {score}; stored in {folder}.", file=sys.stderr)
