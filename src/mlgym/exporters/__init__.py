"""Runs as data to learn from: chats, preferences, labels, prompts, trajectories. Records are read, nothing is run.

`export` reads task by task and writes row by row, so that memory does not grow with the number of tasks.
"""

import dataclasses
import functools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from mlgym.errors import UsageError
from mlgym.exporters import atif, card, chat, labels, tokens
from mlgym.exporters.chat import How, Row, Schemas
from mlgym.exporters.reading import Sample, Source, index, samples
from mlgym.exporters.selection import Filter, Rules, Suspicious, Taken, chosen
from mlgym.exporters.shape import Shape
from mlgym.exporters.similar import HeldOut, hexed, split_of
from mlgym.exporters.words import HOW, SYSTEM
from mlgym.exporters.writing import Writer
from mlgym.records import Record
from mlgym.task import list_tasks

__all__ = ["FORMATS", "Exported", "Filter", "Given", "Options", "export"]

Format = Literal["chat", "sharegpt", "atif", "preferences", "kto", "steps", "prompts", "trajectories"]
FORMATS: dict[Format, dict[str, Shape]] = {
    "chat": chat.CHAT,
    "sharegpt": chat.SHAREGPT,
    "atif": atif.ATIF,
    "preferences": labels.PREFERENCES,
    "kto": chat.KTO,
    "steps": labels.STEPS,
    "prompts": chat.PROMPTS,
    "trajectories": tokens.TRAJECTORIES,
}
NGRAM = 13  # words of a sequence that tells a held-out task, as in Brown et al. 2020, appendix C
CANARY = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
MADE = re.compile(r"((.+)-s\d+)-d[\d.]+")


class Options(Record):
    """What an export is made by. `validation` is the share of tasks in that split; where `hold_out` names tasks and
    families, that split has these instead. `margin` of progress and `pairs` of each task and state are for preferences,
    `threshold` of progress is KTO's.
    """

    format: Format
    to: Literal["jsonl", "parquet"] = "jsonl"
    filter: Filter = Filter()
    protocol: Literal["tools", "text", "plain"] = "tools"
    dialogue: Literal["auto", "steps"] = "auto"
    validation: float = Field(default=0.05, ge=0, le=1)
    hold_out: tuple[str, ...] = ()
    margin: float = Field(default=0.0, ge=0)
    pairs: int = Field(default=10, ge=1)
    threshold: float = 0.0


@dataclass(frozen=True)
class Given:
    """What comes from elsewhere: the tools of an episode, what an audit finds in its folder, and a value scrubbed."""

    schemas: Schemas
    suspicious: Suspicious = lambda _: []
    clean: Callable[[Any], Any] = lambda value: value
    version: str = ""


@dataclass(frozen=True)
class Exported:
    """What came of an export: rows and bytes, episodes taken and left out, the latter by reason."""

    out: Path
    rows: dict[str, int]
    bytes: int
    episodes: int
    left_out: dict[str, int]


def export(
    sources: Sequence[Path], out: Path, options: Options, given: Given, tell: Callable[[str], None] = lambda _: None
) -> Exported:
    """Write what the sources hold into the folder `out`, which appears when it is whole.

    Sources are folders of runs, of bulk runs with their shards, or files of trajectories. The same sources and options
    give the same bytes. Raises UsageError where there is nothing, or where nothing is left to write; StorageError.
    """
    shape = FORMATS[options.format]
    found = index(sources)
    if unknown := set(options.hold_out) - {name for task in found for name in _names(task)}:
        raise UsageError(f"There is no task and no family '{min(unknown)}' among these episodes to be held out.")
    how = How(given.schemas, options.protocol, options.dialogue)
    rules = Rules(options.filter, how, _held_out(options.filter.overlap > 0), _canaries(), given.suspicious)
    taken, made = Taken(), card.Provenance()
    with Writer(out, shape, options.to) as writer:
        for number, (task, source) in enumerate(found.items(), 1):
            split = _split(task, options)
            for sample, rows in _rows(task, source, rules, options, taken):
                whole = True
                for row in rows:
                    clean = given.clean(row)
                    told = any(clean.get(key) != row.get(key) for key in ("messages", "steps"))
                    if told and sample and sample.trajectory and options.format in ("atif", "trajectories"):
                        taken.drop("a secret in its tokens", sample.id)
                        whole = False
                    else:
                        writer.add(split, clean)
                if sample is not None and whole:
                    made.add(sample, split)
            tell(f"{number} of {len(found)} tasks, {sum(writer.rows.values())} rows")
        left = dict(sorted(taken.dropped.items()))
        if not writer.rows:
            raise UsageError(_nothing(options.format, left))
        about = {
            "name": out.resolve().name,
            "format": options.format,
            "rows": dict(sorted(writer.rows.items())),
            "bytes": writer.bytes(),
            "mlgym": given.version,
            "options": options.model_dump(mode="json"),
            "left_out": left,
            "examples": taken.examples,
            "made_from": made.told(),
        }
        about = given.clean(about)
        writer.text("card.json", card.as_json(about))
        writer.text("README.md", card.readme(about, shape, writer.rows, options.to))
    return Exported(out, about["rows"], about["bytes"], about["made_from"]["episodes"], left)


def _rows(
    task: str, source: Source, rules: Rules, options: Options, taken: Taken
) -> Iterator[tuple[Sample | None, Iterable[Row]]]:
    """The samples of a task that are taken, each with its rows; a last one of None has what several make together."""
    ids = set(chosen(task, source, rules, taken))
    how, many = rules.how, list[Sample]()
    seen: set[tuple[str, int]] = set()
    make: dict[str, Callable[[Sample], Iterable[Row]]] = {
        "chat": functools.partial(chat.chats, how=how),
        "sharegpt": functools.partial(chat.sharegpt, how=how),
        "atif": functools.partial(atif.document, how=how),
        "kto": functools.partial(chat.kto, how=how, threshold=options.threshold),
        "steps": functools.partial(labels.steps, how=how),
        "trajectories": tokens.trajectory,
        "preferences": functools.partial(labels.of_forks, how=how, margin=options.margin, most=options.pairs),
    }
    for sample in samples(task, source, rules.filter.families):
        if isinstance(sample, tuple) or sample.id not in ids:
            continue
        if options.format == "prompts":
            new = (sample.task, sample.seed) not in seen
            seen.add((sample.task, sample.seed))
            yield sample, [chat.prompt(sample, how)] if new else []
        else:
            yield sample, make[options.format](sample)
        if options.format == "preferences":
            result = sample.result and sample.result.changed(attempts=())
            many.append(dataclasses.replace(sample, result=result))  # without the steps that it has read
    if options.format == "preferences":
        yield None, labels.of_episodes(many, how, options.margin, options.pairs)


def _names(task: str) -> tuple[str, ...]:
    """A task without the changes of its name; of a made one also without its difficulty, and its family."""
    plain = task.partition("~")[0]
    found = MADE.fullmatch(plain)
    return (plain, *found.groups()) if found else (plain,)


def _split(task: str, options: Options) -> str:
    """Tasks that differ in nothing but their difficulty or in what was changed stay together."""
    names = _names(task)
    if options.hold_out:
        return "train" if set(options.hold_out).isdisjoint(names) else "validation"
    return split_of(names[1] if len(names) > 1 else names[0], options.validation)


@functools.cache
def _held_out(on: bool) -> HeldOut:
    return HeldOut(list_tasks() if on else [], NGRAM, [SYSTEM, *HOW.values()])


@functools.cache
def _canaries() -> dict[bytes, str]:
    """The benchmark's canaries by the digits of their ids."""
    return {
        hexed(CANARY.findall(canary) or [canary]): canary for canary in sorted({task.canary for task in list_tasks()})
    }


def _nothing(format: str, left: dict[str, int]) -> str:
    said = ", ".join(f"{why}: {count}" for why, count in left.items())
    hint = " --include-eval takes episodes on the benchmark's own tasks." if "a task for evaluation" in left else ""
    own = "--own-families runs the code of families that do not ship with mlgym."
    hint += f" {own}" if "task not here" in left else ""
    hint += " Runs hold no tokens: give the engine's files of trajectories." if format == "trajectories" else ""
    return f"Nothing is left to export as {format}{f' (left out: {said})' if said else ''}.{hint}"
