"""What the agents without a language model share: the baseline's settings read, changed by chance, tried and scored."""

import math
import random
import re
import shlex
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

from mlgym.agents import configs
from mlgym.agents.commands import shell, write
from mlgym.agents.numerals import numerals
from mlgym.agents.places import Place, Value, replaced
from mlgym.agents.settings import settings
from mlgym.records import Action, Brief, Observation

_RESERVE = 3  # steps kept for restoring the best, submitting, and one to spare


@dataclass
class Trials:
    """The baseline's `files`, the `places` in them and in its command that can be tuned, and the last observation.

    `lying` are the values in the workspace's submission, None while it is as it was found; `dearest` are the command
    seconds of the trial that took most. `dropped` are the numbers of places that stay as they are from now on.
    """

    files: dict[str, str]
    places: list[Place]
    seen: Observation
    lying: Sequence[Value] | None = None
    dearest: float = 0.0
    dropped: set[int] = field(default_factory=set)

    @property
    def start(self) -> list[Value]:
        """The starter's own values."""
        return [place.value for place in self.places]

    @property
    def open(self) -> list[int]:
        """The numbers of the places that may change."""
        return [n for n in range(len(self.places)) if n not in self.dropped]

    def time_left(self) -> bool:
        """Whether steps and seconds are left for one more trial and the end."""
        seen = self.seen
        steps = seen.steps_left is None or seen.steps_left >= 2 + _RESERVE
        return steps and (seen.seconds_left is None or seen.seconds_left > 3 * self.dearest)

    def propose(self, values: Sequence[Value], rng: random.Random) -> list[Value]:
        """New values near `values`: at least one moves, mostly about half of them, at most some five."""
        chosen = {rng.choice(self.open)}
        if rng.random() < 0.8:
            chosen |= {n for n in self.open if rng.random() < min(0.5, 5 / len(self.open))}
        return [self.places[n].range.moved(value, rng) if n in chosen else value for n, value in enumerate(values)]

    def command(self, brief: Brief, values: Sequence[Value]) -> str:
        """The command that writes the files that have places, with `values` in them, and runs the baseline."""
        texts = {"": brief.baseline["command"], **self.files}
        changed = {}
        for path in dict.fromkeys(["", *(place.path for place in self.places)]):
            here = [(place, value) for place, value in zip(self.places, values, strict=True) if place.path == path]
            changed[path] = replaced(texts[path], [place for place, _ in here], [value for _, value in here])
        return write({path: text for path, text in changed.items() if path}, changed[""])

    def difference(self, values: Sequence[Value]) -> str:
        """What `values` change, in words."""
        changes = [
            f"{place.title} {place.text(place.value)} -> {place.text(value)}"
            for place, value in zip(self.places, values, strict=True)
            if place.value != value
        ]
        return ", ".join(changes) or "the starter's values"


def read(brief: Brief) -> Generator[Action, Observation, Trials]:
    """Read the baseline's files, and the configuration files that its command names, in one step."""
    command = brief.baseline["command"]
    paths = list(dict.fromkeys([*brief.baseline["files"], *configs.named(command)]))
    if not paths:
        return Trials({}, [], Observation(text=""))
    mark = _mark(brief)
    parts = [f"cat {shlex.quote(path)}; echo {mark} $(wc -c < {shlex.quote(path)})" for path in paths]
    seen = yield shell(brief, "\n".join(parts), "Read the baseline.")
    files = _files(paths, seen.text, mark)
    return Trials(files, _places(files, brief), seen)


def tried(trials: Trials, brief: Brief, values: Sequence[Value], number: int) -> Generator[Action, Observation, float]:
    """Write the files with `values`, run the baseline's command and, if that went well, validate; the score or NaN."""
    before = trials.seen.seconds_left
    thought = f"Trial {number}: {trials.difference(values)}."
    trials.seen = yield shell(brief, trials.command(brief, values), thought)
    if trials.seen.status == "ok":
        trials.seen = yield Action(tool="validate")
    if before is not None and trials.seen.seconds_left is not None:
        trials.dearest = max(trials.dearest, before - trials.seen.seconds_left)
    trials.lying = values
    return (trials.seen.validation or {}).get(brief.metric, math.nan)


def _mark(brief: Brief) -> str:
    """A line that ends a file in the output; no file of the task has it by chance."""
    return f"END-OF-FILE-{random.Random(brief.task).getrandbits(64):016x}"


def _files(paths: Sequence[str], text: str, mark: str) -> dict[str, str]:
    """The files in what was printed; those that are missing, or were cut on their way, are left out."""
    files = {}
    parts = re.split(rf"{mark} *(\d*)\n?", text)
    for path, part, size in zip(paths, parts[::2], parts[1::2], strict=False):
        if size and len(part.encode()) == int(size):
            files[path] = part
    return files


def _places(files: dict[str, str], brief: Brief) -> list[Place]:
    """The settings of all files and of the command or, where they name none, every number of the Python files."""
    command = brief.baseline["command"]
    words = {*re.split(r"\W+", command), *re.split(r"\W+", brief.task)}
    found = configs.options(command)
    for path, text in files.items():
        if path.endswith(configs.SUFFIXES):
            found += configs.entries(text, path)
        else:
            found += settings(text, path, given=configs.given(command), hints=words)
    return found or [place for path, text in files.items() for place in numerals(text, path)]
