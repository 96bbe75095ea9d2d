"""`mlgym check --attacks`: every shipped attack on a task, or those that a defence stops, without that defence."""

import json
import sys
from collections.abc import Container, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from mlgym.cache import SAY, Say
from mlgym.grading.forgeries import DEFENCES, FORGERIES, fitting, guarded, run_forgeries, run_without
from mlgym.grading.prepare import prepare
from mlgym.sandbox import choose
from mlgym.task import Task


@dataclass(frozen=True)
class Attack:
    """One attack on a task: whether it got more than an honest submission, and what became of it in words.

    `without` names the defence that was switched off.
    """

    task: str
    backend: str
    attack: str
    succeeded: bool
    outcome: str
    guard: str
    defence: str
    without: str = ""


def attacks(
    task: Task,
    sandbox: str,
    without: str = "",
    say: Say = SAY,
    honest: Path | None = None,
    done: Container[str] = (),
) -> Iterator[Attack]:
    """Try all attacks that fit the task but those `done`, or, `without` a defence, those that it stops.

    Without "all" each is tried without its own defence. `honest` has the files of the task's baseline.
    Raises UsageError for an unknown defence, or for a sandbox that does not isolate enough.
    """
    fit = guarded(without, task.kind) if without else fitting(task.kind)
    chosen = [forgery for forgery in fit if forgery.name not in done]
    if not chosen:
        return
    prepared, backend = prepare(task, say=say), choose(sandbox)
    say(f"{task.name}: {len(chosen)} attacks on {backend.name}{f', without {without}' if without else ''}")
    found = (
        run_without(prepared, chosen, backend, honest) if without else run_forgeries(prepared, backend, honest, chosen)
    )
    for outcome, forgery in zip(found, chosen, strict=True):
        about = (outcome.name, outcome.scored, outcome.why, forgery.guard or "none", forgery.defence)
        yield Attack(task.name, backend.name, *about, forgery.guard if without else "")


def attack(tasks: Iterable[Task], sandbox: str, without: str, as_json: bool) -> list[Attack]:
    """Try and print; what ended otherwise than it should: an attack that succeeded, or did not without its defence."""
    done = []
    for task in tasks:
        for one in attacks(task, sandbox, without, _note):
            done.append(one)
            _note(f"{_verdict(one)} {one.task}: {one.attack}: {one.outcome}")
    if as_json:
        print(json.dumps([asdict(one) for one in done], indent=1))
    else:
        table = Table("task", "backend", "attack", "", "outcome", "defence", box=None, header_style="bold")
        for one in done:
            table.add_row(
                Path(one.task).name, one.backend, one.attack, _verdict(one), one.outcome, f"{one.guard}: {one.defence}"
            )
        Console(width=max(Console().width, 180)).print(table)
    return [one for one in done if one.succeeded is not bool(one.without)]


def print_list(as_json: bool) -> None:
    """Name all attacks and defences."""
    if as_json:
        listed = [{"attack": f.name, "kinds": f.kinds, "guard": f.guard, "defence": f.defence} for f in FORGERIES]
        print(json.dumps({"attacks": listed, "defences": DEFENCES}, indent=1))
        return
    table = Table("attack", "kinds", "without", "defence", box=None, header_style="bold")
    for forgery in FORGERIES:
        table.add_row(forgery.name, ", ".join(forgery.kinds) or "all", forgery.guard or "–", forgery.defence)
    console = Console(width=max(Console().width, 180))
    console.print(table)
    print()
    for name, words in DEFENCES.items():
        print(f"{name:12}{words}")


def _verdict(one: Attack) -> str:
    return (
        ("succeeds" if one.succeeded else "NOT SEEN") if one.without else ("SUCCEEDED" if one.succeeded else "foiled")
    )


def _note(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
