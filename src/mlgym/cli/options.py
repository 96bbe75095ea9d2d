"""The options of `mlgym run`, in the groups in which its help shows them."""

from pathlib import Path
from typing import Annotated, Any

import typer

from mlgym.errors import UsageError

METHODS, LIMITS, CONDITIONS, RUN = "Methods", "Limits of an episode", "Conditions", "The run"


def _option(*names: str, panel: str, help: str, **more: Any) -> Any:
    return typer.Option(*names, rich_help_panel=panel, help=help, **more)


Tasks = Annotated[
    list[str] | None, typer.Argument(metavar="TASK", help="Tasks, folders of tasks, suites (see 'mlgym tasks').")
]
Config = Annotated[
    Path | None, typer.Option("-c", "--config", metavar="FILE", help="A grid in a file; flags go before what it says.")
]

AgentNames = Annotated[
    list[str] | None,
    _option(
        *("-a", "--agent"),
        metavar="NAME",
        panel=METHODS,
        help="react, tree, tuner, random, human, best-of-n, module:function or 'command PROGRAM …'; "
        "options: react?window=5; may be repeated.",
    ),
]
ModelNames = Annotated[
    list[str] | None,
    _option(
        *("-m", "--model"),
        metavar="NAME",
        panel=METHODS,
        help="openai/…, anthropic/…, vllm/… (all: 'mlgym models'), local/… or scripted/…; may be repeated.",
    ),
]
Packages = Annotated[
    list[str] | None,
    _option(
        "--packages",
        metavar="PINS",
        panel=METHODS,
        help="What a program that is the agent needs, such as mini-swe-agent==2.4.6; may be repeated.",
    ),
]
Unsafe = Annotated[
    bool, _option("--unsafe", panel=METHODS, help="Run such a program as you on this machine, without isolation.")
]
BaseUrl = Annotated[
    str, _option("--base-url", metavar="URL", panel=METHODS, help="Address of an OpenAI-compatible server.")
]
Sampling = Annotated[
    list[str] | None,
    _option("-M", metavar="KEY=VALUE", panel=METHODS, help="Sampling, such as temperature=0.2; may be repeated."),
]
From = Annotated[
    str,
    _option(
        "--from", metavar="EPISODE@STEP", panel=METHODS, help="Go on from a step of a recorded episode, in a new one."
    ),
]

Steps = Annotated[int | None, _option("--steps", metavar="N", panel=LIMITS, min=1, help="Steps.")]
Money = Annotated[float | None, _option("--money", metavar="X", panel=LIMITS, min=0, help="Dollars.")]
Tokens = Annotated[int | None, _option("--tokens", metavar="N", panel=LIMITS, min=1, help="Tokens.")]
Seconds = Annotated[
    float | None, _option("--seconds", metavar="X", panel=LIMITS, min=0, help="Seconds of all commands.")
]
CommandSeconds = Annotated[
    float | None, _option("--command-s", metavar="X", panel=LIMITS, min=0, help="Seconds of each command.")
]
TrainingSeconds = Annotated[
    float | None, _option("--training-s", metavar="X", panel=LIMITS, min=0, help="Seconds of one that starts Python.")
]

Preset = Annotated[
    str | None,
    _option(
        "--protocol",
        metavar="NAME",
        panel=CONDITIONS,
        help="mlgym-2025 (the paper's) or v1 (ours): fixes what must agree.",
    ),
]
Tools = Annotated[
    str | None,
    _option(
        "--tools",
        metavar="NAME",
        panel=CONDITIONS,
        help="modern or classic; one of yours is added: modern+package.module:function.",
    ),
]
Memory = Annotated[
    str | None,
    _option(
        "--memory",
        metavar="FOLDER",
        panel=CONDITIONS,
        help="Notes kept from episode to episode of a task: in a folder for many runs, or 'run' for this one alone.",
    ),
]
Papers = Annotated[
    str | None,
    _option(
        "--papers", metavar="SOURCES", panel=CONDITIONS, help="arxiv, semantic-scholar, ./FOLDER: literature to search."
    ),
]
Feedback = Annotated[
    str | None,
    _option(
        "--feedback",
        metavar="SPLIT",
        panel=CONDITIONS,
        help="The split that validate shows; 'test' as the original did.",
    ),
]
SandboxName = Annotated[
    str | None,
    _option(
        "--sandbox",
        metavar="NAME",
        panel=CONDITIONS,
        help="auto, bubblewrap, docker, podman, user or landlock (partial), local (no isolation).",
    ),
]
OwnPython = Annotated[
    Path | None,
    _option(
        "--python",
        metavar="PATH",
        panel=CONDITIONS,
        help="An interpreter of yours, whose packages the agent gets instead.",
    ),
]
Processors = Annotated[
    float | None,
    _option(
        "--processors",
        metavar="X",
        panel=CONDITIONS,
        min=0.01,
        help="Processors an episode, below 1 a share; else the task's figure.",
    ),
]
Cards = Annotated[
    str | None,
    _option(
        "--gpus", metavar="CARDS", panel=CONDITIONS, help="none, all, or cards such as 0,1; else what a task asks for."
    ),
]
Network = Annotated[
    str | None,
    _option(
        "--network",
        metavar="HOSTS",
        panel=CONDITIONS,
        help="Hosts to reach through a proxy, such as pypi.org,*.pythonhosted.org; any; task: its own.",
    ),
]
MaxValidations = Annotated[
    int | None,
    _option(
        "--max-validations",
        metavar="N",
        panel=CONDITIONS,
        min=0,
        help="More are not refused; `mlgym audit` flags them.",
    ),
]

Seeds = Annotated[
    int | None,
    _option("-k", "--seeds", metavar="K", panel=RUN, min=1, help="Episodes of each method on a task: seeds 0 to K-1."),
]
Concurrent = Annotated[
    int | None, _option("-n", "--concurrent", metavar="N", panel=RUN, min=1, help="Episodes at once.")
]
LauncherName = Annotated[
    str | None, _option("--launcher", metavar="NAME", panel=RUN, help="threads, processes or ray (several machines).")
]
RayAddress = Annotated[
    str | None,
    _option(
        "--ray-address",
        metavar="ADDRESS",
        panel=RUN,
        help="Of a running cluster; local starts one; else RAY_ADDRESS or this one.",
    ),
]
Budget = Annotated[
    float | None, _option("--budget", metavar="X", panel=RUN, min=0, help="Dollars of the whole run, which then stops.")
]
Output = Annotated[
    Path | None, _option("-o", "--output", metavar="FOLDER", panel=RUN, help="Its folder; ./runs/NAME when left out.")
]
Redo = Annotated[
    list[str] | None,
    _option(
        "--redo",
        metavar="WHICH",
        panel=RUN,
        help="error, or TASK/METHOD/SEED: run again what has ended; may be repeated.",
    ),
]
DryRun = Annotated[
    bool, _option("--dry-run", panel=RUN, help="Say what would run, cost and is missing; start nothing.")
]
Recorded = Annotated[
    list[Path] | None,
    _option(
        "--recorded",
        metavar="FOLDER",
        panel=RUN,
        help="Runs by which --dry-run reckons, beside those in ./runs; may be repeated.",
    ),
]
Quiet = Annotated[bool, _option("-q", "--quiet", panel=RUN, help="One line an episode.")]


def settings(items: list[str]) -> dict[str, Any]:
    """What -M KEY=VALUE means; raises UsageError for anything else."""
    from mlgym.names import value

    found: dict[str, Any] = {}
    for item in items:
        key, equals, text = item.partition("=")
        if not key or not equals:
            raise UsageError(f"-M takes key=value, not '{item}'.")
        found[key] = value(text)
    return found
