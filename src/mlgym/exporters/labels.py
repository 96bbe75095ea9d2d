"""What can be learned from scores: pairs of which one is better, and the worth of each step."""

import itertools
from collections.abc import Iterator, Sequence

from mlgym.exporters.chat import How, Row, common, episode, halves, message, tools
from mlgym.exporters.dialogue import END, NOTHING, NoText, line, of_steps, parents
from mlgym.exporters.reading import Sample
from mlgym.exporters.shape import COMMON, MESSAGE, Shape
from mlgym.metrics import ties
from mlgym.records import Step

PREFERENCES: dict[str, Shape] = {
    "task": "string",
    "kind": "string",
    "chosen_id": "string",
    "rejected_id": "string",
    "chosen_progress": "float64",
    "rejected_progress": "float64",
    "noise": "float64",
    "prompt": [MESSAGE],
    "chosen": [MESSAGE],
    "rejected": [MESSAGE],
    "tools": "string",
}
STEPS: dict[str, Shape] = {
    **COMMON,
    "prompt": "string",
    "completions": ["string"],
    "labels": ["bool"],
    "observations": ["string"],
    "rewards": ["float64"],
    "returns": ["float64"],
    "values": ["float64"],
    "parents": ["int64"],
}
FORK, EPISODE = "fork", "episode"


def apart(better: float, worse: float, noise: float, margin: float) -> bool:
    """Whether two scores differ by more than the margin, and than their noise explains."""
    return better - worse > margin and not ties(better, worse, noise)


def of_episodes(samples: Sequence[Sample], how: How, margin: float, most: int) -> Iterator[Row]:
    """Pairs of episodes of one task with the same prompt: the best with the worst, the next best with the next worst,
    at most `most`, as long as they are apart.
    """
    groups: dict[str, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(_same_prompt(sample, how), []).append(sample)
    for group in groups.values():
        ranked = sorted(group, key=lambda sample: (-_progress(sample), sample.id))
        for better, worse in itertools.islice(zip(ranked, reversed(ranked), strict=True), min(most, len(ranked) // 2)):
            noise = max(better.noise, worse.noise)
            if apart(_progress(better), _progress(worse), noise, margin):
                try:
                    chosen, rejected = (halves(episode(one, how), "half") for one in (better, worse))
                except NoText:
                    continue
                yield {
                    "task": better.task,
                    "kind": EPISODE,
                    "chosen_id": better.id,
                    "rejected_id": worse.id,
                    "chosen_progress": better.progress,
                    "rejected_progress": worse.progress,
                    "noise": noise,
                    "prompt": chosen["prompt"],
                    "chosen": chosen["half"],
                    "rejected": rejected["half"],
                    "tools": chosen["tools"],
                }


def of_forks(sample: Sample, how: How, margin: float, most: int) -> Iterator[Row]:
    """Pairs of actions from the same state of one episode, where a search went back to it: each is worth the first
    validation score after it. The best with the worst, as above; `most` for each state.
    """
    steps, before = sample.steps, parents(sample.steps)
    worth = _worth(sample)
    children: dict[int, list[int]] = {}
    for place, parent in enumerate(before):
        if worth[place] is not None and steps[place].action.tool not in (END, NOTHING, "validate", "submit"):
            children.setdefault(parent, []).append(place)
    for parent, places in sorted(children.items()):
        ranked = sorted(places, key=lambda place: (-(worth[place] or 0.0), place))
        for better, worse in itertools.islice(zip(ranked, reversed(ranked), strict=True), min(most, len(ranked) // 2)):
            high, low = worth[better], worth[worse]
            assert high is not None and low is not None
            if not apart(high, low, sample.noise, margin) or steps[better].action.args == steps[worse].action.args:
                continue
            found = episode(sample, how, line(steps, parent) if parent >= 0 else [])
            try:
                chosen, rejected = (
                    of_steps((), [steps[place]], (), how.protocol).messages[0] for place in (better, worse)
                )
            except NoText:
                continue
            yield {
                "task": sample.task,
                "kind": FORK,
                "chosen_id": f"{sample.id}@{steps[better].n}",
                "rejected_id": f"{sample.id}@{steps[worse].n}",
                "chosen_progress": high,
                "rejected_progress": low,
                "noise": sample.noise,
                "prompt": [message(each) for each in found.messages],
                "chosen": [message(chosen)],
                "rejected": [message(rejected)],
                "tools": tools(found),
            }


def steps(sample: Sample, how: How) -> Iterator[Row]:
    """All steps of an episode in order, those gone back from too: each with its reward, the sum of the rewards from it
    on, the best validation progress after it, and the place of the step in whose state it began (-1: the start).
    `labels` says whether its reward is above 0.
    """
    taken = [step for step in sample.steps if step.action.tool != END]
    if not taken:
        return
    begin = episode(sample, how, [])
    rewards = [step.reward or 0.0 for step in sample.steps]
    ends = rewards[len(taken) :]  # what the driver's own last step paid belongs to the agent's last one
    rewards = [*rewards[: len(taken) - 1], rewards[len(taken) - 1] + sum(ends)]
    yield {
        **common(sample),
        "prompt": "\n\n".join(each.content for each in begin.messages),
        "completions": [_said(step) for step in taken],
        "labels": [reward > 0 for reward in rewards],
        "observations": [step.observation.text for step in taken],
        "rewards": rewards,
        "returns": list(itertools.accumulate(reversed(rewards)))[::-1],
        "values": list(_best(sample, taken)),
        "parents": parents(sample.steps)[: len(taken)],
    }


def _said(step: Step) -> str:
    found = of_steps((), [step], ()).messages[0]
    calls = "".join(f"\n{call.name} {call.arguments}" for call in found.calls)
    return (found.content + calls).strip("\n")


def _validated(sample: Sample, step: Step) -> float | None:
    assert sample.home and sample.spec
    scores = step.observation.validation
    return None if scores is None else sample.home.progress(scores, sample.spec.feedback)


def _best(sample: Sample, taken: Sequence[Step]) -> Iterator[float]:
    best = 0.0
    for step in taken:
        best = max(best, _validated(sample, step) or 0.0)
        yield best


def _worth(sample: Sample) -> list[float | None]:
    """For each step the progress that the first `validate` of its state, or of one that came of it, has shown."""
    before = parents(sample.steps)
    worth: list[float | None] = [None] * len(before)
    for place, step in enumerate(sample.steps):
        shown = _validated(sample, step)
        at = place
        while shown is not None and at >= 0 and worth[at] is None:
            worth[at] = shown
            at = before[at]
    return worth


def _same_prompt(sample: Sample, how: How) -> str:
    """What only samples with the same prompt share."""
    found = episode(sample, how, [])
    return repr(found.messages[: found.head])


def _progress(sample: Sample) -> float:
    return sample.progress if sample.progress is not None else -1.0
