"""Verbs about tasks: list, make, prepare, check and grade them."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from mlgym.cli.app import AsJson, Debug, SandboxName, TaskName, TaskNames, app, tell
from mlgym.errors import UsageError

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

    author.init(Path(name), kind, csv, target, metric, sandbox, say=tell)
    print(f"{name} is a task. Next: read {name}/task.toml, then `mlgym check {name}`, `mlgym run {name} -a tuner`.")


@tasks_app.command()
def generate(
    family: Annotated[str, typer.Argument(help="A family (see 'mlgym tasks') or a family folder's path.")],
    seed: Annotated[int, typer.Option("--seed", min=0, help="The seed of the first task.")] = 0,
    difficulty: Annotated[
        list[float] | None, typer.Option("--difficulty", help="0 (easiest) to 1; may be given again. 0.5 if left out.")
    ] = None,
    count: Annotated[int, typer.Option("-n", min=1, help="So many seeds, one after another.")] = 1,
    output: Annotated[
        Path | None,
        typer.Option("-o", help="Write the tasks out as folders in this one, to be changed.", file_okay=False),
    ] = None,
    debug: Debug = False,
) -> None:
    """Print the ids of tasks of a family, each usable wherever a task's name is."""
    from mlgym.made import find_family, task_id, written
    from mlgym.task import load_task

    find_family(family)
    for number in range(seed, seed + count):
        for each in difficulty or [0.5]:
            name = task_id(family.rstrip("/"), number, each)
            load_task(name)
            print(written(name, output) if output else name)


@tasks_app.command()
def gate(
    names: Annotated[list[str], typer.Argument(help="Tasks, made or changed ones too, suites and folders.")],
    kept: Annotated[
        Path | None, typer.Option("--out", help="Keep the verdicts here, a line of JSON each, and go on from them.")
    ] = None,
    at_once: Annotated[int, typer.Option("-j", min=1, help="So many tasks side by side.")] = 1,
    seconds: Annotated[float, typer.Option("--seconds", min=1, help="The most that a task may take.")] = 60,
    tries: Annotated[int, typer.Option("--tries", min=2, help="Tries by chance, to see that it can be learned.")] = 8,
    whole: Annotated[
        bool, typer.Option("--verbose", "-v", help="Print each answer, of several tasks too; else only the wrong ones.")
    ] = False,
    as_json: AsJson = False,
    sandbox: SandboxName = "auto",
    debug: Debug = False,
) -> None:
    """Ask of tasks whether they may be let in: they build, come out the same again, can be learned, cannot be cheated.

    Exits with 1 where one may not.
    """
    from dataclasses import asdict

    from mlgym.check import Finding
    from mlgym.gate import through
    from mlgym.task import suites

    known = suites()
    chosen = [name for given in names for name in (known[given].tasks if given in known else (given,))]
    out, found = sys.stderr if as_json else sys.stdout, []

    def say(line: str) -> None:
        print(f"{line}\n", end="", file=out, flush=True)

    def note(name: str, one: Finding) -> None:
        if whole or not one.ok or len(chosen) == 1:
            say(f"{'ok  ' if one.ok else 'FAIL'} {name}: {one.what}: {one.seen}")

    for each in through(
        chosen,
        backend=sandbox,
        kept=kept,
        at_once=at_once,
        seconds=seconds,
        tries=tries,
        note=note,
    ):
        found.append(each)
        say(f"     {each.task} " + ("passes" if each.passed else f"does not pass ({each.cause}): {each.why}"))
        if each.anchors:
            say(f"\n# {each.task}\n[anchors]\n{each.anchors}\n")
    if as_json:
        print(json.dumps([asdict(each) for each in found], indent=1))
    kept_out = sum(not each.passed for each in found)
    say(f"{len(found) - kept_out} of {len(found)} tasks pass.")
    if kept_out:
        raise typer.Exit(1)


Own = Annotated[
    Path | None, typer.Option("--data", help="A folder that has the data already.", exists=True, file_okay=False)
]

Images = Annotated[str, typer.Option("--sandbox", help="docker or podman: build the images of the tasks too.")]


@app.command()
def prepare(names: TaskNames = None, data: Own = None, sandbox: Images = "", debug: Debug = False) -> None:
    """Fetch and prepare all that needs a network; afterwards MLGYM_OFFLINE=1 makes no connection."""
    from mlgym.errors import SourceError
    from mlgym.grading.prepare import build_images
    from mlgym.grading.prepare import prepare as make
    from mlgym.sandbox import choose
    from mlgym.task import load_tasks

    backend = choose(sandbox) if sandbox else None
    failed = []
    for task in load_tasks(names or ["mini"]):
        try:
            made = make(task, say=print, own=data, large=True)
            if backend:
                build_images(made, backend)
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


Attacks = Annotated[bool, typer.Option("--attacks", help="Only the attacks, all of them; prints each outcome.")]
Without = Annotated[
    str, typer.Option("--without", help="Switch off this defence (or an attack's own): the attack is seen to succeed.")
]
Listed = Annotated[bool, typer.Option("--list", help="With --attacks: name all attacks and defences.")]


@app.command()
def check(
    names: TaskNames = None,
    seeds: Seeded = 0,
    attacks: Attacks = False,
    without: Without = "",
    listed: Listed = False,
    as_json: AsJson = False,
    sandbox: SandboxName = "auto",
    debug: Debug = False,
) -> None:
    """Check tasks: baseline as recorded, answers out of reach, forgeries score nothing."""
    from mlgym import assault, examine
    from mlgym.task import load_tasks

    if (without or listed or as_json) and not attacks:
        raise UsageError("--without, --list and --json go with --attacks.")
    if listed:
        return assault.print_list(as_json)
    tasks = load_tasks(names or ["mini"])
    if attacks:
        if wrong := assault.attack(tasks, sandbox, without, as_json):
            said = "did not succeed without its defence" if without else "succeeded"
            raise UsageError(f"{len(wrong)} attacks ended otherwise than they should: '{wrong[0].attack}' {said}.")
        return
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

    for split, verdict in grade_folder(task, folder, sandbox, say=tell):
        told = json.dumps(verdict.scores) if verdict.valid else f"no valid score, because {verdict.why}"
        tell(f"{split}: {told}", sys.stdout)
        if not verdict.valid:
            raise typer.Exit(1)


@tasks_app.command()
def export(
    names: TaskNames = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="The folder in which each task gets one.")] = Path(),
    form: Annotated[str, typer.Option("--format", help="harbor: task folders as Harbor reads them.")] = "harbor",
    image: Annotated[
        str, typer.Option("--image", help="What the images are made from; /opt/env in it is taken as it is.")
    ] = "",
    debug: Debug = False,
) -> None:
    """Write tasks, with their data and their graders, for other programs."""
    from mlgym.adapters import harbor
    from mlgym.task import load_tasks

    if form != "harbor":
        raise UsageError(f"Tasks cannot be exported as '{form}': there is harbor.")
    for task in load_tasks(names or ["mini"]):
        print(f"{task.name}: {harbor.export(task, out, image=image or harbor.IMAGE)}")
