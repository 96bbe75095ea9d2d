"""Verbs that run agents."""

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlgym.cli.app import Debug, SandboxName, TaskOrSuite, app
from mlgym.errors import UsageError

if TYPE_CHECKING:
    from mlgym.records import EpisodeSpec, Split
    from mlgym.task import Task

AgentName = Annotated[
    str,
    typer.Option(
        "-a", "--agent", help="react, tuner, nop, oracle, replay or module:function; options: react?window=5."
    ),
]
ModelName = Annotated[
    str,
    typer.Option("-m", "--model", help="openai/…, anthropic/…, openrouter/…, vllm/…, ollama/… or scripted/…."),
]
Seeds = Annotated[int, typer.Option("-k", "--seeds", min=1, help="Episodes a task, with the seeds 0 to K-1.")]
Concurrent = Annotated[int, typer.Option("-n", "--concurrent", min=1, help="Episodes at once.")]
Output = Annotated[Path | None, typer.Option("-o", "--output", help="The run's folder; ./runs/NAME when left out.")]
BaseUrl = Annotated[str, typer.Option("--base-url", help="Address of an OpenAI-compatible server.")]
Sampling = Annotated[list[str] | None, typer.Option("-M", help="Sampling, such as temperature=0.2; may be repeated.")]
OwnPython = Annotated[
    Path | None, typer.Option("--python", help="An interpreter of yours, whose packages the agent gets instead.")
]
Processors = Annotated[
    float | None,
    typer.Option("--processors", min=0.01, help="Processors an episode, below 1 a share; else the task's figure."),
]
Cards = Annotated[str, typer.Option("--gpus", help="none, all, or cards such as 0,1; else what a task asks for.")]
Network = Annotated[
    str | None,
    typer.Option(
        "--network", help="Hosts to reach through a proxy, such as pypi.org,*.pythonhosted.org; any; task: its own."
    ),
]
Feedback = Annotated[str, typer.Option("--feedback", help="The split that validate shows; 'test' as the original did.")]

From = Annotated[
    str, typer.Option("--from", help="EPISODE@STEP: go on from a step of a recorded episode, in a new one.")
]


@app.command()
def run(
    task: TaskOrSuite = "",
    agent: AgentName = "",
    model: ModelName = "",
    seeds: Seeds = 1,
    concurrent: Concurrent = 1,
    output: Output = None,
    base_url: BaseUrl = "",
    sampling: Sampling = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Steps an episode.")] = None,
    money: Annotated[float | None, typer.Option("--money", min=0, help="Dollars an episode.")] = None,
    tokens: Annotated[int | None, typer.Option("--tokens", min=1, help="Tokens an episode.")] = None,
    seconds: Annotated[float | None, typer.Option("--seconds", min=0, help="Seconds of commands an episode.")] = None,
    tools: Annotated[str, typer.Option("--tools", help="The set of tools: modern or classic.")] = "modern",
    feedback: Feedback = "validation",
    python: OwnPython = None,
    sandbox: SandboxName = "auto",
    processors: Processors = None,
    gpus: Cards = "",
    network: Network = None,
    max_validations: Annotated[
        int | None, typer.Option("--max-validations", min=0, help="More are not refused; `mlgym audit` flags them.")
    ] = None,
    source: From = "",
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="One line an episode.")] = False,
    debug: Debug = False,
) -> None:
    """Run an agent on a task or on all of a suite; the same command again goes on where it was stopped."""
    from mlgym import live
    from mlgym.allocator import Allocator
    from mlgym.models import default_limits
    from mlgym.records import EpisodeSpec
    from mlgym.store import method, slug
    from mlgym.task import load_tasks

    given = {"steps": steps, "money": money, "tokens": tokens, "seconds": seconds}
    set_ = {key: value for key, value in given.items() if value is not None}
    if source:
        if task or seeds > 1 or tools != "modern" or feedback != "validation":
            raise UsageError("--from keeps task, seed, tools and feedback of the episode it goes on from: name none.")
        spec = _onward(
            source,
            set_,
            agent=agent,
            model=model,
            base_url=base_url,
            sampling=_sampling(sampling or []),
            python=_own(python),
            sandbox=sandbox if sandbox != "auto" else "",
            processors=processors,
            network=network,
            max_validations=max_validations,
        )
        target = output or Path("runs") / slug(f"{Path(spec.task).name}-{method(spec)}")
        _end(live.run([spec], target, 1, "none" if quiet else "steps", allocator=Allocator(gpus)))
        return
    if not task:
        raise UsageError("Name a task or a suite (see 'mlgym tasks'), or an episode to go on from with --from.")
    loaded = load_tasks([task])
    limits = {one.name: one.episode_limits.model_copy(update=set_) for one in loaded}
    if model:
        sentence = ""
        for name, bounds in limits.items():
            limits[name], sentence = default_limits(model, base_url, bounds)
        if sentence:
            print(sentence, file=sys.stderr if quiet else sys.stdout)
    settings = _sampling(sampling or [])
    specs = [
        EpisodeSpec(
            task=one.reference,
            version=one.version,
            agent=agent or ("react" if model else "tuner"),
            model=model,
            sampling=settings,
            base_url=base_url,
            tools=tools,
            seed=seed,
            sandbox=sandbox,
            feedback=_split(feedback),
            python=_own(python),
            limits=limits[one.name],
            processors=processors,
            network=_hosts(network, one),
            max_validations=max_validations,
        )
        for seed in range(seeds)
        for one in loaded
    ]
    target = output or Path("runs") / slug(f"{Path(task).name}-{method(specs[0])}")
    detail = "none" if quiet else "steps"
    _end(live.run(specs, target, concurrent, detail, allocator=Allocator(gpus)))


def _onward(source: str, limits: dict[str, Any], **others: Any) -> "EpisodeSpec":
    """The spec of an episode that goes on from EPISODE@STEP, with these limits and values where they are given."""
    from mlgym.models import default_limits
    from mlgym.onward import onward
    from mlgym.task import load_task

    changes = {key: value for key, value in others.items() if value not in ("", None, {})}
    spec = onward(source)
    if "network" in changes:
        changes["network"] = _hosts(changes["network"], load_task(spec.task))
    spec = spec.changed(**changes, limits=spec.limits.changed(**limits))
    if "model" in changes:
        bounds, sentence = default_limits(spec.model, spec.base_url, spec.limits)
        spec = spec.changed(limits=bounds)
        print(sentence, end="\n" * bool(sentence), file=sys.stderr)
    return spec


@app.command()
def demo(output: Output = None, seeds: Seeds = 1, sandbox: SandboxName = "auto", debug: Debug = False) -> None:
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
        for seed in range(seeds)
    ]
    with tempfile.TemporaryDirectory(prefix="mlgym-demo-") as fresh:
        _end(live.run(specs, output or Path(fresh), 2, "attempts", stored=output is not None))


def _hosts(network: str | None, task: "Task") -> tuple[str, ...] | None:
    """The hosts that an episode may reach; empty for all, None for no network."""
    from mlgym.sandbox.proxy import rules

    if network is None:
        if task.network:
            wish = ", ".join(task.network)
            print(f"{task.name} asks for a network ({wish}) and gets none without --network task.", file=sys.stderr)
        return None
    hosts = task.network if network == "task" else () if network == "any" else tuple(network.split(","))
    rules(hosts)
    return hosts or (() if network == "any" else None)


def _end(code: int) -> None:
    """Exit with the code that a run has told; see `live.run`."""
    if code:
        raise typer.Exit(code)


def _own(python: Path | None) -> str:
    return str(python.expanduser().absolute()) if python else ""


def _sampling(items: list[str]) -> dict[str, Any]:
    from mlgym.names import value

    settings: dict[str, Any] = {}
    for item in items:
        key, equals, text = item.partition("=")
        if not key or not equals:
            raise UsageError(f"-M takes key=value, not '{item}'.")
        settings[key] = value(text)
    return settings


def _split(name: str) -> "Split":
    splits: dict[str, Split] = {"validation": "validation", "test": "test"}
    if name not in splits:
        raise UsageError(f"--feedback is validation or test, not '{name}'.")
    return splits[name]
