"""Verbs that make data to learn from, and hand it to those who learn."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from mlgym.cli import options as given
from mlgym.cli.app import Debug, app, tell

data = typer.Typer(help="Make data to learn from.", no_args_is_help=True, pretty_exceptions_enable=False)
app.add_typer(data, name="data")

Sources = Annotated[
    list[Path],
    typer.Argument(metavar="RUN", help="Folders of runs and of bulk runs, or files of trajectories.", exists=True),
]
IncludeEval = Annotated[bool, typer.Option("--include-eval", help="Take the benchmark's own tasks too.")]
FormatName = Annotated[
    str,
    typer.Option(
        "--format", help="chat, sharegpt, atif, preferences, kto, steps, prompts or trajectories (docs/data.md)."
    ),
]


@data.command("generate")
def generate_(
    tasks: given.Tasks = None,
    config: given.Config = None,
    agents: given.AgentNames = None,
    models: given.ModelNames = None,
    base_url: given.BaseUrl = "",
    sampling: given.Sampling = None,
    steps: given.Steps = None,
    money: given.Money = None,
    tokens: given.Tokens = None,
    seconds: given.Seconds = None,
    tools: given.Tools = None,
    sandbox: given.SandboxName = None,
    processors: given.Processors = None,
    seeds: given.Seeds = None,
    concurrent: given.Concurrent = None,
    launcher: given.LauncherName = None,
    ray_address: given.RayAddress = None,
    budget: given.Budget = None,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FOLDER", help="Its folder.")] = Path("data"),
    cells: Annotated[int, typer.Option("--cells", metavar="N", min=1, help="Episodes of a shard.")] = 500,
    shard: Annotated[
        str, typer.Option("--shard", metavar="I/N", help="Only every N-th shard from I on: for arrays of jobs.")
    ] = "0/1",
    compact: Annotated[
        bool, typer.Option("--compact", help="Keep only the files of each episode's best and last attempt.")
    ] = False,
    include_eval: IncludeEval = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say how many there are; start nothing.")] = False,
    debug: Debug = False,
) -> None:
    """Run agents on very many tasks; the same command again goes on, also after a kill.

    mlgym data generate tabular-s0..99-d0.1..0.9 -a tuner -a random -k 4 -o DATA

    makes 900 tasks x 2 agents x 4 seeds, in shards that are runs: DATA/shard-0000 and so on (docs/data.md).
    """
    from mlgym.cli import generating
    from mlgym.cli.running import Ways

    limits = {"steps": steps, "money": money, "tokens": tokens, "seconds": seconds}
    flags: dict[str, Any] = {
        "tasks": tasks or None,
        "seeds": seeds,
        "sandbox": sandbox,
        "tools": tools,
        "processors": processors,
        "money": budget,
        "concurrent": concurrent,
        "launcher": launcher,
        "ray_address": ray_address,
        "limits": {key: value for key, value in limits.items() if value is not None} or None,
    }
    flags = {key: value for key, value in flags.items() if value is not None}
    ways = Ways(tuple(agents or ()), tuple(models or ()), given.settings(sampling or []), base_url)
    how = generating.How(output, cells, shard, compact, include_eval, dry_run)
    if code := generating.run(config, ways, flags, how):
        raise typer.Exit(code)


@data.command("export")
def export_(
    sources: Sources,
    out: Annotated[Path, typer.Option("-o", "--out", help="The folder of the data, which must not be there yet.")],
    format: FormatName = "chat",
    to: Annotated[str, typer.Option("--to", help="jsonl or parquet.")] = "jsonl",
    best: Annotated[int, typer.Option("--best", metavar="K", help="The K best of each task by progress; 0: all.")] = 0,
    min_progress: Annotated[
        float | None, typer.Option("--min-progress", metavar="X", help="Only episodes with at least this progress.")
    ] = None,
    agents: Annotated[
        list[str] | None, typer.Option("-a", "--agent", help="Only those of this agent; may be repeated.")
    ] = None,
    alike: Annotated[
        float,
        typer.Option(
            "--alike", metavar="X", help="Leave out what does the same by this share, 0.7 or more; 1 keeps everything."
        ),
    ] = 0.9,
    overlap: Annotated[
        int,
        typer.Option(
            "--overlap", metavar="N", help="Leave out what shares N sequences of 13 words with a held-out task; 0: off."
        ),
    ] = 20,
    isolation: Annotated[str, typer.Option("--isolation", help="The least isolation: full, partial or none.")] = "full",
    include_eval: IncludeEval = False,
    canaries: Annotated[bool, typer.Option("--canaries", help="Take what carries the benchmark's canary too.")] = False,
    suspicious: Annotated[
        bool, typer.Option("--suspicious", help="Take what an audit finds suspicious too, and do not look.")
    ] = False,
    families: Annotated[
        bool,
        typer.Option("--own-families", help="Run the code of families that the runs name and that are your own."),
    ] = False,
    protocol: Annotated[
        str, typer.Option("--protocol", help="How actions are written: tools, text, or plain commands.")
    ] = "tools",
    dialogue: Annotated[
        str, typer.Option("--dialogue", help="auto: a model's own conversations; steps: the episode as it went.")
    ] = "auto",
    validation: Annotated[
        float, typer.Option("--validation", metavar="X", help="The share of tasks that go to the validation split.")
    ] = 0.05,
    hold_out: Annotated[
        list[str] | None,
        typer.Option(
            "--hold-out", metavar="NAME", help="A family or task that is the validation split instead; may be repeated."
        ),
    ] = None,
    margin: Annotated[
        float, typer.Option("--margin", metavar="X", help="Progress by which a preference must differ at least.")
    ] = 0.0,
    pairs: Annotated[
        int, typer.Option("--pairs", metavar="N", help="Preferences of one task, and of one state of a search.")
    ] = 10,
    threshold: Annotated[
        float, typer.Option("--threshold", metavar="X", help="Progress above which KTO calls an episode good.")
    ] = 0.0,
    debug: Debug = False,
) -> None:
    """Write runs as data for trainers: mlgym data export RUN --format chat --best 4 -o DATA."""
    from mlgym.cli.exporting import run

    asked: dict[str, Any] = {
        "format": format,
        "to": to,
        "filter": {
            "best": best,
            "min_progress": min_progress,
            "alike": alike,
            "overlap": overlap,
            "isolation": isolation,
            "evaluation": include_eval,
            "canary": canaries,
            "suspicious": suspicious,
            "agents": agents or [],
            "families": families,
        },
        "protocol": protocol,
        "dialogue": dialogue,
        "validation": validation,
        "hold_out": hold_out or [],
        "margin": margin,
        "pairs": pairs,
        "threshold": threshold,
    }
    done = run(sources, out, asked, tell)
    for why, count in done.left_out.items():
        tell(f"Left out: {count} ({why}).", sys.stdout)
    rows = " and ".join(f"{count} rows of {split}" for split, count in done.rows.items())
    print(f"{rows} from {done.episodes} episodes, {done.bytes / 1e6:.2f} MB, in {out}. Its card: {out / 'README.md'}")
