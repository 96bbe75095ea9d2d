"""Verbs that run agents."""

import tempfile
from pathlib import Path
from typing import Any

import typer

from mlgym.cli import options as given
from mlgym.cli.app import Debug, SandboxName, app


@app.command()
def run(
    tasks: given.Tasks = None,
    config: given.Config = None,
    agents: given.AgentNames = None,
    models: given.ModelNames = None,
    packages: given.Packages = None,
    unsafe: given.Unsafe = False,
    base_url: given.BaseUrl = "",
    sampling: given.Sampling = None,
    source: given.From = "",
    steps: given.Steps = None,
    money: given.Money = None,
    tokens: given.Tokens = None,
    seconds: given.Seconds = None,
    command_s: given.CommandSeconds = None,
    training_s: given.TrainingSeconds = None,
    protocol: given.Preset = None,
    tools: given.Tools = None,
    memory: given.Memory = None,
    papers: given.Papers = None,
    feedback: given.Feedback = None,
    sandbox: given.SandboxName = None,
    python: given.OwnPython = None,
    processors: given.Processors = None,
    gpus: given.Cards = None,
    network: given.Network = None,
    max_validations: given.MaxValidations = None,
    seeds: given.Seeds = None,
    concurrent: given.Concurrent = None,
    launcher: given.LauncherName = None,
    ray_address: given.RayAddress = None,
    budget: given.Budget = None,
    output: given.Output = None,
    redo: given.Redo = None,
    dry_run: given.DryRun = False,
    recorded: given.Recorded = None,
    quiet: given.Quiet = False,
    debug: Debug = False,
) -> None:
    """Run agents on tasks; the same command again goes on where it was stopped.

    All agents and models on all tasks and seeds: mlgym run mini -m A -m B -a tuner -k 4 -n 8, or from a file:
    mlgym run -c run.toml (docs/grid.md).
    """
    from mlgym.cli import running

    limits = {"steps": steps, "money": money, "tokens": tokens, "seconds": seconds}
    limits |= {"command_s": command_s, "training_s": training_s}
    flags: dict[str, Any] = {
        "tasks": tasks or None,
        "seeds": seeds,
        "sandbox": sandbox,
        "feedback": feedback,
        "tools": tools,
        "memory": memory,
        "papers": papers,
        "processors": processors,
        "gpus": gpus,
        "network": network,
        "max_validations": max_validations,
        "python": str(python.expanduser().absolute()) if python else None,
        "money": budget,
        "concurrent": concurrent,
        "launcher": launcher,
        "ray_address": ray_address,
        "protocol": protocol,
        "limits": {key: value for key, value in limits.items() if value is not None} or None,
    }
    flags = {key: value for key, value in flags.items() if value is not None}
    pins = tuple(pin.strip() for each in packages or () for pin in each.split(","))
    ways = running.Ways(
        tuple(agents or ()), tuple(models or ()), given.settings(sampling or []), base_url, pins, unsafe
    )
    how = running.How(output, quiet, tuple(redo or ()), dry_run, tuple(recorded or ()))
    if source:
        _end(running.onward(source, ways, flags, how))
    else:
        _end(running.grid(config, ways, flags, how))


@app.command()
def demo(
    output: given.Output = None, seeds: given.Seeds = 1, sandbox: SandboxName = "auto", debug: Debug = False
) -> None:
    """Run the agent `tuner` (no language model) on battle-of-sexes and house-price and print the table."""
    from mlgym import live
    from mlgym.records import EpisodeSpec
    from mlgym.task import load_task

    specs = [
        EpisodeSpec(
            task=task.name,
            version=task.version,
            agent=f"tuner?trials={trials}",
            seed=seed,
            sandbox=sandbox,
            limits=task.episode_limits,
        )
        for task, trials in ((load_task("battle-of-sexes"), 20), (load_task("house-price"), 5))
        for seed in range(seeds or 1)
    ]
    with tempfile.TemporaryDirectory(prefix="mlgym-demo-") as fresh:
        _end(live.run(specs, output or Path(fresh), 2, "attempts", stored=output is not None))


def _end(code: int) -> None:
    """Exit with the code that a run has told; see `live.run`."""
    if code:
        raise typer.Exit(code)
