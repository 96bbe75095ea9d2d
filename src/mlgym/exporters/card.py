"""The card of an export: what the data was made from, by whom, how it was chosen, and what was left out."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mlgym.exporters.reading import Sample
from mlgym.exporters.shape import Shape, yaml
from mlgym.task import Task

SPLITS = ("train", "validation")
MOST = 200  # tasks that are listed one by one in README.md; card.json has all


@dataclass
class Provenance:
    """Counts over the samples that were taken."""

    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)
    methods: Counter[str] = field(default_factory=Counter)
    made_with: Counter[str] = field(default_factory=Counter)
    progress: list[float] = field(default_factory=lambda: [0, 0.0, float("inf"), float("-inf")])
    seeds: list[int] = field(default_factory=list)

    def add(self, sample: Sample, split: str) -> None:
        """Count a sample."""
        about = self.tasks.setdefault(sample.task, _task(sample.home, split))
        about["episodes"] += 1
        self.methods[" ".join(filter(None, (sample.agent, sample.model)))] += 1
        value = sample.progress or 0.0
        count, total, low, high = self.progress
        self.progress = [count + 1, total + value, min(low, value), max(high, value)]
        self.seeds = [min([*self.seeds[:1], sample.seed]), max([*self.seeds[1:], sample.seed])]

    def told(self) -> dict[str, Any]:
        """As JSON."""
        count, total, low, high = self.progress
        return {
            "episodes": int(count),
            "progress": {"mean": total / count, "least": low, "most": high} if count else None,
            "reward": "progress of the final test score: 0 is the baseline, 1 the best result known",
            "seeds": self.seeds,
            "methods": dict(sorted(self.methods.items())),
            "tasks": dict(sorted(self.tasks.items())),
        }


def _task(task: Task | None, split: str) -> dict[str, Any]:
    if task is None:
        return {"split": split, "episodes": 0}
    return {
        "version": task.version,
        "split": split,
        "episodes": 0,
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
    yield f"Split by task: the hash of a task's name decides, {options['validation']:g} of the tasks are validation."
    yield f"Reward: {made['reward']}. {_progress(made)}"
    yield "Secrets, home folders, user and host names are replaced where they were found."
    yield from ("", "| left out because | samples | such as |", "|---|---|---|")
    for why, count in card["left_out"].items():
        yield f"| {why} | {count} | {_cell(card['examples'][why])} |"
    yield from ("", "Options:", "", "```json", json.dumps(options, indent=1), "```", "", "## What it was made from", "")
    yield from ("| method | episodes |", "|---|---|")
    yield from (f"| {_cell(name)} | {count} |" for name, count in made["methods"].items())
    yield from ("", f"Seeds {made['seeds'][0]} to {made['seeds'][-1]}." if made["seeds"] else "", "")
    yield from ("| task | version | split | episodes | data |", "|---|---|---|---|---|")
    for name, task in list(made["tasks"].items())[:MOST]:
        data = ", ".join(task.get("sources", [])) or task.get("licence", "")
        yield f"| {_cell(name)} | {task.get('version', '')} | {task['split']} | {task['episodes']} | {_cell(data)} |"
    if len(made["tasks"]) > MOST:
        yield f"\nAnd {len(made['tasks']) - MOST} more; card.json has all of them."
    yield "\nTexts that a model wrote are under the terms of its provider; they are named above."


def _progress(made: Mapping[str, Any]) -> str:
    found = made["progress"]
    if not found:
        return ""
    return f"Mean {found['mean']:.3f}, from {found['least']:.3f} to {found['most']:.3f}."


def _cell(text: str) -> str:
    return str(text).replace("|", "\\|").replace("\n", " ")[:120]


def as_json(card: Mapping[str, Any]) -> str:
    """The card for programs."""
    return json.dumps(card, indent=1, ensure_ascii=False) + "\n"
