"""The card of an export: what the data was made from, by whom, how it was chosen, and what was left out."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mlgym.exporters.reading import Sample
from mlgym.exporters.shape import Shape, yaml
from mlgym.task import Task

SPLITS = ("train", "validation")
MOST = 200  # kinds of tasks that are listed in README.md; card.json has all


@dataclass
class Provenance:
    """Counts over the samples that were taken, which come task by task; made tasks are told by their family."""

    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)
    methods: Counter[str] = field(default_factory=Counter)
    seeds: tuple[int, int] | None = None
    _last: str = ""
    _count: int = 0
    _total: float = 0.0
    _range: tuple[float, float] = (float("inf"), float("-inf"))

    def add(self, sample: Sample, split: str) -> None:
        """Count a sample."""
        made = sample.home.made if sample.home else None
        about = self.tasks.setdefault(f"{made.family}-s…-d…" if made else sample.task, _task(sample.home))
        about["episodes"] += 1
        if sample.task != self._last:
            self._last = sample.task
            about[split] += 1
        self.methods[" ".join(filter(None, (sample.agent, sample.model)))] += 1
        value = sample.progress or 0.0
        self._count, self._total = self._count + 1, self._total + value
        self._range = min(self._range[0], value), max(self._range[1], value)
        low, high = self.seeds or (sample.seed, sample.seed)
        self.seeds = min(low, sample.seed), max(high, sample.seed)

    def told(self) -> dict[str, Any]:
        """As JSON."""
        low, high = self._range
        return {
            "episodes": self._count,
            "progress": {"mean": self._total / self._count, "least": low, "most": high} if self._count else None,
            "reward": "progress of the final test score: 0 is the baseline, 1 the best result known",
            "seeds": list(self.seeds or ()),
            "methods": dict(sorted(self.methods.items())),
            "tasks": dict(sorted(self.tasks.items())),
        }


def _task(task: Task | None) -> dict[str, Any]:
    counts = {"train": 0, "validation": 0, "episodes": 0}
    if task is None:
        return counts
    return {
        "version": task.version,
        **counts,
        "metric": task.metric,
        "evaluation": task.evaluation,
        "sources": [source.package or source.url for source in task.sources],
        "licence": "that of its sources, which stays theirs" if task.sources else "made by mlgym (MIT)",
    }


def readme(card: Mapping[str, Any], shape: dict[str, Shape], splits: Mapping[str, int], kind: str) -> str:
    """The README.md: its head is what `datasets` reads."""
    return "\n".join([*_head(shape, splits, kind), "", *_words(card), ""])


def _head(shape: dict[str, Shape], splits: Mapping[str, int], kind: str) -> Iterator[str]:
    yield from ("---", "dataset_info:", "  features:")
    yield from yaml(shape)
    yield from ("configs:", "- config_name: default", "  data_files:")
    for split in SPLITS:
        if splits.get(split):
            yield from (f"  - split: {split}", f"    path: data/{split}-*.{kind}")
    yield "---"


def _words(card: Mapping[str, Any]) -> Iterator[str]:
    made, options = card["made_from"], card["options"]
    rows = ", ".join(f"{count} of {split}" for split, count in card["rows"].items()) or "none"
    yield from (f"# {card['name']}", "")
    yield f"Format `{card['format']}`, rows: {rows}. Made by mlgym {card['mlgym']} from {made['episodes']} episodes."
    if any(task.get("evaluation") for task in made["tasks"].values()):
        yield "\n**It holds the benchmark's own tasks: what is trained on it cannot be compared on them.**"
    yield from ("", "## How it was chosen", "")
    if options["hold_out"]:
        yield f"Split by task: validation has what is made from {', '.join(options['hold_out'])}, and nothing else."
    else:
        yield f"Split by task: the hash of a task's name decides, {options['validation']:g} of all are validation."
    yield f"Reward: {made['reward']}. {_progress(made)}"
    yield "Secrets, home folders, user and host names are replaced where they were found."
    yield from ("", "| left out because | samples | such as |", "|---|---|---|")
    for why, count in card["left_out"].items():
        yield f"| {why} | {count} | {_cell(card['examples'][why])} |"
    yield from ("", "Options:", "", "```json", json.dumps(options, indent=1), "```", "", "## What it was made from", "")
    yield from ("| method | episodes |", "|---|---|")
    yield from (f"| {_cell(name)} | {count} |" for name, count in made["methods"].items())
    yield from ("", f"Seeds {made['seeds'][0]} to {made['seeds'][-1]}." if made["seeds"] else "", "")
    yield from ("| tasks | version | train | validation | episodes | data |", "|---|---|---|---|---|---|")
    for name, task in list(made["tasks"].items())[:MOST]:
        data = ", ".join(task.get("sources", [])) or task.get("licence", "")
        counts = [task.get("version", ""), task["train"], task["validation"], task["episodes"]]
        yield f"| {_cell(name)} | {' | '.join(map(str, counts))} | {_cell(data)} |"
    if len(made["tasks"]) > MOST:
        yield f"\nAnd {len(made['tasks']) - MOST} more; card.json has all of them."
    yield "\nTexts that a model wrote are under the terms of its provider; they are named above."


def _progress(made: Mapping[str, Any]) -> str:
    found = made["progress"]
    if not found:
        return ""
    return f"Mean {found['mean']:.3f}, from {found['least']:.3f} to {found['most']:.3f}."


def _cell(text: str) -> str:
    """A stranger's text as one cell: no sign of it is Markdown or HTML."""
    plain = "".join(sign if sign.isprintable() else " " for sign in str(text)[:120])
    return re.sub(r"[\\`*\[\]<>|!]", lambda sign: f"\\{sign[0]}", plain)


def as_json(card: Mapping[str, Any]) -> str:
    """The card for programs."""
    return json.dumps(card, indent=1, ensure_ascii=False) + "\n"
