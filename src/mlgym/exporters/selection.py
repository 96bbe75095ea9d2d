"""Which samples are taken, and why the others are not."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field

from mlgym.exporters.chat import How, episode
from mlgym.exporters.dialogue import NoText
from mlgym.exporters.reading import Sample, Source, samples
from mlgym.exporters.similar import HeldOut, Seen, doing, hexed, signature
from mlgym.records import Isolation, Record
from mlgym.trajectory import Trajectory

ORDER: tuple[Isolation, ...] = ("none", "partial", "full")
Suspicious = Callable[[Path], list[str]]


class Filter(Record):
    """What is taken: `best` of each task by progress (0: all), from `min_progress` on, each the best of those whose
    actions are at least `alike` the same (1: all), with less than `overlap` sequences of words of a held-out task (0:
    all). The rest is left out unless told. `families` lets the code of families run that do not ship with mlgym.
    """

    best: int = Field(default=0, ge=0)
    min_progress: float | None = None
    alike: float = Field(default=0.9, ge=0.7, le=1)  # below, its bands of hashes miss too many pairs
    overlap: int = Field(default=20, ge=0)
    isolation: Isolation = "full"
    evaluation: bool = False
    canary: bool = False
    suspicious: bool = False
    agents: tuple[str, ...] = ()
    families: bool = False


@dataclass
class Taken:
    """How many samples were left out for which reason, and one of each."""

    dropped: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def drop(self, why: str, example: str) -> None:
        """Count a sample that is left out, and keep the first as an example."""
        self.dropped[why] += 1
        self.examples.setdefault(why, example)


@dataclass(frozen=True)
class Rules:
    """The filter with what it looks things up by: held-out tasks, canaries by the hexadecimal digits of their ids, and
    what an audit finds.
    """

    filter: Filter
    how: How
    held_out: HeldOut
    canaries: Mapping[bytes, str]
    suspicious: Suspicious

    def wrong(self, sample: Sample) -> tuple[str, str]:
        """Why a sample is left out, with the case in point; empty where it is not."""
        for check in (self._scored, self._made, self._words):
            if why := check(sample):
                return why
        if sample.folder and not self.filter.suspicious and (found := self.suspicious(sample.folder)):
            return "suspicious by audit", found[0]
        return "", ""

    def _scored(self, sample: Sample) -> tuple[str, str] | None:
        result, least = sample.result, self.filter.min_progress
        if not sample.scored or sample.progress is None:
            return "not scored", "it has no result, or none on a scale"
        if least is not None and sample.progress < least:
            return "below the least progress", f"{sample.progress:.3g}"
        if self.filter.agents and sample.agent.partition("?")[0] not in self.filter.agents:
            return "another agent", sample.agent
        if result and result.oracle:
            return "oracle", "it was given the solution"
        if sample.trajectory and sample.trajectory.status == "tampered":
            return "tampered", sample.trajectory.why
        return None

    def _made(self, sample: Sample) -> tuple[str, str] | None:
        spec, result = sample.spec, sample.result
        if sample.home is not None and sample.home.evaluation and not self.filter.evaluation:
            return "a task for evaluation", sample.home.name
        if spec is None or result is None:
            return None
        isolation = "none" if spec.unsafe else result.isolation
        if ORDER.index(isolation) < ORDER.index(self.filter.isolation):
            return "isolation", f"{isolation} where {self.filter.isolation} is asked for"
        if sample.home is None:
            return "task not here", f"version {spec.version} of {spec.task}"
        if result.feedback == "test":
            return "saw test scores", "feedback=test"
        return None

    def _words(self, sample: Sample) -> tuple[str, str] | None:
        try:
            texts = list(said(sample, self.how))
        except NoText as error:
            return f"no form as {self.how.protocol}", str(error)
        digits = b"" if self.filter.canary else hexed(texts)
        if found := next((canary for id, canary in self.canaries.items() if id in digits), ""):
            return "carries a canary", found
        own = sample.home is not None and sample.home.evaluation
        if self.filter.overlap and not own and (name := self.held_out.found(texts, self.filter.overlap)):
            return "overlaps a held-out task", name
        return None


def said(sample: Sample, how: How) -> Iterator[str]:
    """All texts that an export of a sample can hold."""
    found = episode(sample, how)
    yield from (each.content for each in found.messages)
    yield from (call.arguments for each in found.messages for call in each.calls)
    for step in sample.steps:
        yield step.observation.text
        yield step.action.thought
        yield from (text for text in step.action.args.values() if isinstance(text, str))
    for call in sample.calls:
        yield from (each.content for each in call.messages)
        yield call.reply.text


def chosen(task: str, source: Source, rules: Rules, taken: Taken) -> list[str]:
    """The ids of a task's samples that are taken, in the order of their records."""
    fine: list[tuple[float, int, str, Any]] = []
    for place, sample in enumerate(samples(task, source, rules.filter.families)):
        if isinstance(sample, tuple):
            taken.drop("cannot be read", f"{sample[0]}: {sample[1]}")
            continue
        why, case = rules.wrong(sample)
        if why:
            taken.drop(why, f"{sample.id}: {case}")
            continue
        shape = signature(doing_of(sample)) if rules.filter.alike < 1 else None
        fine.append((-(sample.progress or 0.0), place, sample.id, shape))
    fine.sort(key=lambda each: each[:2])
    seen, kept = Seen(rules.filter.alike), list[tuple[int, str]]()
    for _, place, id, shape in fine:
        if shape is not None and not seen.take(shape):
            taken.drop("near-duplicate", id)
        elif rules.filter.best and len(kept) >= rules.filter.best:
            taken.drop("not among the best", id)
        else:
            kept.append((place, id))
    return [id for _, id in sorted(kept)]


def doing_of(sample: Sample) -> str:
    """What the agent or policy of a sample did."""
    if sample.trajectory:
        return _replies(sample.trajectory)
    return doing(step.action for step in sample.steps)


def _replies(found: Trajectory) -> str:
    own = [each for each in found.messages if each.role == "assistant"]
    return "\n".join([each.content + "".join(call.name + call.arguments for call in each.calls) for each in own])
