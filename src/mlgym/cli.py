"""The command line: thin verbs over the library. Errors are one sentence and an exit code; `--debug` shows the rest."""

import json
import os
import sys
import tempfile
import threading
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlgym.errors import MlgymError, UsageError

if TYPE_CHECKING:
    from mlgym.records import Split

app = typer.Typer(
    help="An environment and a benchmark for agents that do machine-learning research.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

TaskName = Annotated[str, typer.Argument(help="A task's name (see 'mlgym tasks') or a task folder's path.")]
TaskOrSuite = Annotated[str, typer.Argument(help="A task, a task folder's path or a suite (see 'mlgym tasks').")]
TaskNames = Annotated[list[str] | None, typer.Argument(help="Tasks, folders or suites; the suite mini if left out.")]
SandboxName = Annotated[str, typer.Option("--sandbox", help="auto, bubblewrap or local (no isolation).")]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(version("mlgym-env"))
        raise typer.Exit


Version = Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")]


@app.callback()
def options(debug: Debug = False, version: Version = False) -> None:
    """An environment and a benchmark for agents that do machine-learning research."""


tasks_app = typer.Typer(invoke_without_command=True)
app.add_typer(tasks_app, name="tasks")


@tasks_app.callback()
def tasks(context: typer.Context, as_json: AsJson = False, debug: Debug = False) -> None:
    """List the tasks and the suites; `tasks init` writes a new one."""
    if context.invoked_subcommand is None:
        from mlgym.report import tasks as text

        print(text.as_json()) if as_json else text.print_table()


@tasks_app.command()
def init(
    name: Annotated[str, typer.Argument(help="The new task's folder.")],
    kind: Annotated[str, typer.Option("--kind", help="table (predictions for a csv) or game (a strategy).")] = "table",
    csv: Annotated[Path | None, typer.Option("--csv", help="The table, with a header.", dir_okay=False)] = None,
    target: Annotated[str, typer.Option("--target", help="The column to predict.")] = "",
    metric: Annotated[
        str, typer.Option("--metric", help="r2, rmse or accuracy; what fits the column if left out.")
    ] = "",
    sandbox: SandboxName = "auto",
    debug: Debug = False,
) -> None:
    """Write a task that passes `mlgym check` at once: its data split, its baseline made and measured."""
    from mlgym import author

    author.init(Path(name), kind, csv, target, metric, sandbox, say=lambda line: print(line, file=sys.stderr))
    print(f"{name} is a task. Next: read {name}/task.toml, then `mlgym check {name}`, `mlgym run {name} -a tuner`.")


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
Feedback = Annotated[str, typer.Option("--feedback", help="The split that validate shows; 'test' as the original did.")]


@app.command()
def run(
    task: TaskOrSuite,
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
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="One line an episode.")] = False,
    debug: Debug = False,
) -> None:
    """Run an agent on a task or on all of a suite; the same command again goes on where it was stopped."""
    from mlgym import live
    from mlgym.models import default_limits
    from mlgym.records import EpisodeSpec
    from mlgym.store import method, slug
    from mlgym.task import load_tasks

    loaded = load_tasks([task])
    given = {"steps": steps, "money": money, "tokens": tokens, "seconds": seconds}
    set_ = {key: value for key, value in given.items() if value is not None}
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
            python=str(python.expanduser().absolute()) if python else "",
            limits=limits[one.name],
        )
        for seed in range(seeds)
        for one in loaded
    ]
    target = output or Path("runs") / slug(f"{Path(task).name}-{method(specs[0])}")
    _end(live.run(specs, target, concurrent, "none" if quiet else "steps"))


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


def _end(broken: int) -> None:
    """Exit with 1 when episodes broke: at the agent, the model, the sandbox or the grader."""
    if broken:
        raise typer.Exit(1)


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


Own = Annotated[
    Path | None, typer.Option("--data", help="A folder that has the data already.", exists=True, file_okay=False)
]


@app.command()
def prepare(names: TaskNames = None, data: Own = None, debug: Debug = False) -> None:
    """Fetch and prepare all that needs a network; afterwards MLGYM_OFFLINE=1 makes no connection."""
    from mlgym.errors import SourceError
    from mlgym.grading.prepare import prepare as make
    from mlgym.task import load_tasks

    failed = []
    for task in load_tasks(names or ["mini"]):
        try:
            made = make(task, say=print, own=data, large=True)
        except SourceError as error:
            print(error, file=sys.stderr)
            failed.append(task.name)
            continue
        print(f"{task.name}: ready{', data: ' + made.data if made.data else ''}")
    if failed:
        raise SourceError(f"Not prepared: {', '.join(failed)}.")


Seeded = Annotated[
    int, typer.Option("--measure", min=0, help="Measure baseline and solution with so many seeds; prints [anchors].")
]


@app.command()
def check(names: TaskNames = None, seeds: Seeded = 0, sandbox: SandboxName = "auto", debug: Debug = False) -> None:
    """Check tasks: baseline as recorded, answers out of reach, forgeries score nothing."""
    from mlgym import examine
    from mlgym.task import load_tasks

    tasks = load_tasks(names or ["mini"])
    if seeds:
        examine.measure(tasks, seeds, sandbox)
    elif failed := [finding for one, _ in examine.check(tasks, sandbox) for finding in one.findings if not finding.ok]:
        raise UsageError(f"{len(failed)} checks failed: see the lines that begin with FAIL.")


@app.command()
def grade(
    task: TaskName,
    folder: Annotated[Path, typer.Argument(help="A folder with the submission's files.", exists=True, file_okay=False)],
    sandbox: SandboxName = "auto",
    debug: Debug = False,
) -> None:
    """Grade a folder as a submission, on both splits."""
    from mlgym.check import grade_folder

    for split, verdict in grade_folder(task, folder, sandbox, say=lambda line: print(line, file=sys.stderr)):
        print(f"{split}: {json.dumps(verdict.scores) if verdict.valid else 'no valid score, because ' + verdict.why}")
        if not verdict.valid:
            raise typer.Exit(1)


@app.command()
def show(
    episode: Annotated[str, typer.Argument(help="'last', an episode's folder or a run's folder.")] = "last",
    diff: Annotated[bool, typer.Option("--diff", help="The best attempt against the starter.")] = False,
    files: Annotated[
        Path | None, typer.Option("--files", help="Lay the best attempt's files into a new folder.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Show an episode: its steps, attempts and result."""
    from mlgym.report import show as text
    from mlgym.store import episodes

    found = list(episodes(_last() if episode == "last" else Path(episode)))
    if not found:
        raise UsageError(f"There is no episode in {episode}; 'mlgym run' makes one.")
    if files and len(found) > 1:
        raise UsageError(f"{episode} holds {len(found)} episodes; --files takes one of their folders.")
    for folder in found:
        if files:
            text.files(folder, files)
        elif diff:
            text.difference(folder)
        else:
            text.episode(folder, steps_too=len(found) == 1)


def _last() -> Path:
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


def main() -> None:
    """The entry point: reads `.env`, maps every failure to one sentence and an exit code."""
    debug = "--debug" in sys.argv
    try:
        from dotenv import load_dotenv

        load_dotenv(Path(".env"))
        code = app(prog_name="mlgym", standalone_mode=False)  # the code of a typer.Exit, 130 after an interrupt
    except MlgymError as error:
        _fail(str(error), error.exit_code, debug)
    except Exception as error:
        _unexpected(error, debug)
    else:
        if code == 130:
            _fail("Interrupted; the same command goes on.", 130, debug)
        _leave(code or 0)


def _unexpected(error: Exception, debug: bool) -> None:
    """Typer's own usage errors in a sentence; anything else with its traceback in a log file."""
    if hasattr(error, "format_message") and hasattr(error, "exit_code"):
        _fail(str(error.format_message()), int(error.exit_code), debug)
    with tempfile.NamedTemporaryFile("w", prefix="mlgym-error-", suffix=".log", delete=False) as log:
        log.write(traceback.format_exc())
    _fail(f"mlgym failed ({type(error).__name__}: {error}); the traceback is in {log.name}.", 1, debug)


def _fail(sentence: str, code: int, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    print(sentence, file=sys.stderr)
    _leave(code)


def _leave(code: int) -> None:
    """Exit, at once where episodes still run in threads: their sandboxes end with this process, and they can go on."""
    sys.stdout.flush()
    sys.stderr.flush()
    if any(not thread.daemon and thread is not threading.main_thread() for thread in threading.enumerate()):
        os._exit(code)
    sys.exit(code)
