"""What the agents without a language model share: the baseline's settings read, changed by chance, tried and scored."""

import math
import random
import re
import shlex
from collections.abc import Collection, Generator, Sequence
from dataclasses import dataclass, field

from mlgym.agents import configs
from mlgym.agents.commands import shell, write
from mlgym.agents.numerals import numerals
from mlgym.agents.places import LONGER, Place, Value, replaced
from mlgym.agents.scores import score
from mlgym.agents.settings import settings
from mlgym.agents.watch import Run, Watch
from mlgym.records import Action, Brief, Checkpoint, Observation, Restore

_RESERVE = 3  # steps kept for restoring the best, submitting, and one to spare
_BEST = "best"  # the state that is saved
_MARGIN = 5.0  # seconds that may pass until a run that is stopped has ended
_SHORTEST = 10.0  # seconds that a trial may always take
_SETTINGS = 40  # a file with more numbers under keys is data, and no configuration
_MOVED = 5  # places that a change by chance moves, about, where there are many


@dataclass
class Trials:
    """The baseline's `files`, the `places` in them and in its command that can be tuned, and the last observation.

    `lying` are the values in the workspace's submission, None while it is as it was found; `dearest` are the command
    seconds of the trial that took most. `watch` knows of the baseline's runs, of which `run` was the last. A trial may
    take `longest` times as long as the starter's own run. `saved` are the values whose state is saved, if there is one.
    """

    files: dict[str, str]
    places: list[Place]
    seen: Observation
    lying: Sequence[Value] | None = None
    dearest: float = 0.0
    watch: Watch = field(default_factory=Watch)
    run: Run = field(default_factory=Run)
    longest: float = math.inf
    saved: Sequence[Value] | None = None

    @property
    def start(self) -> list[Value]:
        """The starter's own values."""
        return [place.value for place in self.places]

    def time_left(self) -> bool:
        """Whether steps and seconds are left for one more trial and the end."""
        seen = self.seen
        steps = seen.steps_left is None or seen.steps_left >= 2 + _RESERVE
        needed = _MARGIN + (self.watch.seconds or 0.0) if self.saved else 3 * self.dearest
        return steps and (seen.seconds_left is None or seen.seconds_left > needed)

    def propose(self, values: Sequence[Value], rng: random.Random, fixed: Collection[int] = ()) -> list[Value]:
        """New values near `values`, but for the places `fixed`: at least one moves, mostly about half of them."""
        free = [n for n in range(len(self.places)) if n not in fixed]
        chosen = {rng.choice(free)}
        if rng.random() < 0.8:
            chosen |= {n for n in free if rng.random() < min(0.5, _MOVED / len(free))}
        return [self.places[n].range.moved(value, rng) if n in chosen else value for n, value in enumerate(values)]

    def command(self, brief: Brief, values: Sequence[Value]) -> str:
        """The command that writes the files that have places, with `values` in them, and runs the baseline."""
        texts = {"": brief.baseline["command"], **self.files}
        changed = {}
        for path in dict.fromkeys(["", *(place.path for place in self.places)]):
            here = [(place, value) for place, value in zip(self.places, values, strict=True) if place.path == path]
            changed[path] = replaced(texts[path], [place for place, _ in here], [value for _, value in here])
        return write(
            {path: text for path, text in changed.items() if path}, self.watch.command(changed[""], self._within(brief))
        )

    def _within(self, brief: Brief) -> float:
        """The seconds that the next run may take, so that it ends before a limit, and the best can be restored."""
        limit = 0.95 * (brief.limits.training_s or brief.limits.command_s)
        bounds = [limit]
        if self.watch.seconds is not None and math.isfinite(self.longest):
            bounds.append(max(_SHORTEST, self.longest * self.watch.seconds))
        if self.seen.seconds_left is not None:
            kept = _MARGIN if self.saved else 1.5 * self.dearest
            bounds.append(max(1.0, self.seen.seconds_left - kept))
        return round(min(bounds), 1)

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
    paths = list(dict.fromkeys([*brief.baseline["files"], *configs.named(brief.baseline["command"])]))
    if not paths:
        return Trials({}, [], Observation(text=""))
    mark = f"END-OF-FILE-{random.Random(brief.task).getrandbits(64):016x}"  # no file has it by chance
    parts = [f"cat {shlex.quote(path)}; echo {mark} $(wc -c < {shlex.quote(path)})" for path in paths]
    seen = yield shell(brief, "\n".join(parts), "Read the baseline.")
    files = _files(paths, seen.text, mark)
    return Trials(files, _places(files, brief), seen)


def measured(trials: Trials, brief: Brief, longest: float) -> Generator[Action, Observation, None]:
    """Run the starter as it is, where it is to be run: how long it takes, and what it reports on its way. Trials may
    then take `longest` times as long.
    """
    if not brief.baseline["command"]:
        return
    yield from _run(
        trials, brief, trials.start, "Run the starter as it is, to see how long it takes and what it prints."
    )
    trials.longest, trials.watch.seconds = longest, trials.run.seconds


def tried(
    trials: Trials, brief: Brief, values: Sequence[Value], number: int, how: str = "by chance"
) -> Generator[Action, Observation, float]:
    """Write the files with `values`, run the baseline's command and, if that went well, validate; the score or NaN."""
    yield from _run(trials, brief, values, f"Trial {number}, {how}: {trials.difference(values)}.")
    if trials.seen.status == "ok":
        trials.seen = yield Action(tool="validate")
    return score(brief, trials.seen)


def saved(trials: Trials, brief: Brief) -> Generator[Checkpoint, Observation, None]:
    """Save what lies there, where it took a run to make."""
    if brief.baseline["command"]:
        trials.seen = yield Checkpoint(name=_BEST)
        trials.saved = trials.lying


def restored(trials: Trials, brief: Brief, values: Sequence[Value]) -> Generator[Action | Restore, Observation, None]:
    """Have the submission of `values` again, unless it lies there: from what was saved, else by writing and running."""
    if trials.lying == values:
        return
    if trials.saved == values:
        trials.seen = yield Restore(name=_BEST)
    elif trials.lying is not None or brief.baseline["command"]:
        trials.watch.blind()
        trials.longest = math.inf
        yield from _run(trials, brief, values, f"Restore the best: {trials.difference(values)}.")


def _run(trials: Trials, brief: Brief, values: Sequence[Value], thought: str) -> Generator[Action, Observation, None]:
    before = trials.seen.seconds_left
    trials.seen = yield shell(brief, trials.command(brief, values), thought)
    trials.lying = values
    trials.run = trials.watch.took(trials.seen.text, trials.seen.status == "ok", brief)
    if before is not None and trials.seen.seconds_left is not None:
        trials.dearest = max(trials.dearest, before - trials.seen.seconds_left)


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
            there = configs.entries(text, path)
            found += there if len(there) <= _SETTINGS else []
        else:
            found += settings(text, path, given=configs.given(command), hints=words)
    kept = [place for place in found if not _asked(place, brief.instruction)]
    return kept or [place for path, text in files.items() for place in numerals(text, path)]


def _asked(place: Place, instruction: str) -> bool:
    """Whether the task names a value with the setting's name, as in "120 soldiers": then it is a rule of the task."""
    name = place.name.rpartition(".")[2].lower()
    said = rf"\b{re.escape(str(place.value))} (\w+ )?{re.escape(name.rstrip('s'))}s?\b"
    return not LONGER.search(name) and bool(re.search(said, instruction.lower()))
