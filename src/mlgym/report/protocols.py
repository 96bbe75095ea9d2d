"""What protocol.lock says of task protocols: their conditions as a table, and in what two of them differ."""

from collections.abc import Mapping
from typing import Any

from mlgym.report.pool import Pool
from mlgym.report.study import Study
from mlgym.report.tables import NONE, Table, word

Facts = Mapping[str, Any]
MOST = 8  # differences that are told
# What is shown of a task's conditions: the column, and where it stands in the lock.
SHOWN = {
    "version": "version",
    "steps": "limits.steps",
    "dollars": "limits.money",
    "tokens": "limits.tokens",
    "seconds": "limits.seconds",
    "a command": "limits.command_s",
    "a training": "limits.training_s",
    "feedback": "feedback",
    "tools": "tools.set",
    "isolation": "isolation",
    "network": "network",
    "processors": "processors",
    "cards": "gpus.count",
}


def flat(facts: Any, at: str = "") -> dict[str, str]:
    """Nested tables as one, its keys joined by dots, its values as text; hashes of the whole left out."""
    if not isinstance(facts, Mapping):
        many = isinstance(facts, list | tuple)
        return {at: NONE if facts is None else ", ".join(map(str, facts)) or "none" if many else _plain(facts)}
    out: dict[str, str] = {}
    for key, value in facts.items():
        if key != "hash":
            out |= flat(value, f"{at}.{key}" if at else str(key))
    return out


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def table(study: Study) -> Table:
    """The conditions of each task, as far as the runs have recorded them."""
    tasks = sorted(study.pool.hashes)
    known = {task: flat(study.pool.facts.get(task, {})) for task in tasks}
    used = {name: key for name, key in SHOWN.items() if any(known[task].get(key, NONE) != NONE for task in tasks)}
    rows = tuple(
        (word(task), *(word(known[task].get(key, NONE)) for key in used.values()), word(study.pool.hashes[task]))
        for task in tasks
    )
    notes = (
        "The hash is of all that must agree within a table: beside these the task's texts, data, graders and packages.",
        "Limits are of an episode; seconds are those of commands, a command's and a training's are of each one.",
    )
    return Table("protocol", f"Task protocol {study.pool.letter}", ("task", *used, "hash"), (("", rows),), "", notes, 1)


def difference(one: Pool, other: Pool) -> str:
    """In what two pools' protocols differ on the tasks that both have, in a sentence; empty where that is not known."""
    differs: dict[str, set[str]] = {}
    for task in sorted(set(one.facts) & set(other.facts)):
        a, b = flat(one.facts[task]), flat(other.facts[task])
        for key in sorted(set(a) | set(b)):
            values = a.get(key, NONE), b.get(key, NONE)
            if values[0] != values[1]:
                differs.setdefault(key, set()).add(_both(*values))
    if not differs:
        return ""
    told = [f"{key}{next(iter(values)) if len(values) == 1 else ''}" for key, values in list(differs.items())[:MOST]]
    more = f" and {len(differs) - MOST} more" if len(differs) > MOST else ""
    return f"Protocols {one.letter} and {other.letter} differ in {', '.join(told)}{more}."


def _both(a: str, b: str) -> str:
    return f" ({a} and {b})" if max(len(a), len(b)) <= 20 else ""
