"""The workspace of an episode whose files were not recorded: from the starter, what was written and seen, and attempts.

What a command may have changed in another way stays as it was last known, and is said.
"""

import hashlib
import re

from mlgym.records import Action, Attempt, Observation, Step
from mlgym.viewer.folder import LARGEST, Folder
from mlgym.viewer.known import Known, Lines
from mlgym.viewer.lines import Fact
from mlgym.viewer.states import GONE, History, State, Version, starter, stored
from mlgym.viewer.visible import visible

LOOKS = ("view", "open", "goto", "scroll_up", "scroll_down")
NOTE = "The files were not recorded at each step: they are worked out from what the agent wrote and saw."
ATTEMPTS = " What a graded attempt had is exact."
SHOWN = 3
ALL, DEEP = 50, 3  # an attempt has so many sources at most, of so many levels of folders
MOST = 60_000_000  # bytes of steps that are read
_CAT = re.compile(r"\s*cat\s+([\w./-]+)\s*")
Unsure = dict[str, int]


def retraced(of: Folder) -> History:
    """The history as far as it can be told."""
    start = _start(of)
    told = History(start, exact=False)
    attempts = {one.step: one for one in of.attempts if one.files and not one.fallback}
    retracer = _Retracer(of, start)
    told.add(0, start, start, retracer.note())
    whole = of.size <= MOST
    for first in range(1, len(of.facts) + 1, 500):
        for step in of.steps(first, 500) if whole else map(_bare, of.facts[first - 1 : first + 499]):
            before, after = retracer.take(step, attempts.get(step.n))
            told.add(step.n, before, after, retracer.note())
    return told


def _bare(fact: Fact) -> Step:
    """A step of an episode that is too long to be read for this: only its attempt counts."""
    return Step(n=fact.n, action=Action(tool="view"), observation=Observation(text=""))


def _start(of: Folder) -> State:
    found: State = {}
    for name, path in starter(of).items():
        if path.stat().st_size <= LARGEST:
            data = path.read_bytes()
            found[name] = Version(0, "starter", hashlib.sha256(data).hexdigest(), data)
    return found


class _Retracer:
    """The state so far; `start` gets what the agent saw of a file before it changed it."""

    def __init__(self, of: Folder, start: State) -> None:
        self.of, self.start, self.state = of, start, start
        self.known = Known(of.starter)
        self.seen: dict[str, Lines | None] = {}
        self.unsure: Unsure = {}
        self.swept = 0
        self.attempts = False
        self.saved: dict[str, tuple[State, dict[str, Lines | None], Unsure, int]] = {}

    def take(self, step: Step, attempt: Attempt | None) -> tuple[State, State]:
        """The states before and after a step."""
        self._follow(step)
        before, was_swept = self.state, self.known.swept
        self.known.take(step)
        if step.action.tool in ("bash", ""):
            self._catted(step)
        if self.known.swept and (not was_swept or not self.known.files):
            self.swept = self.swept or step.n
        for name, found in self.known.files.items():
            if name not in self.seen or self.seen[name] is not found:
                self._learn(step, name, found)
        self.seen = dict(self.known.files)
        if attempt:
            self._graded(step.n, attempt)
        return before, self.state

    def note(self) -> str:
        """What is not sure of the state."""
        told = [NOTE + ATTEMPTS * self.attempts]
        if self.swept:
            told.append(f"Step {self.swept} ran a command that may have changed any of them.")
        for name, n in list(self.unsure.items())[:SHOWN]:
            told.append(f"Step {n} ran a command that may have changed {visible(name)}.")
        return " ".join(told)

    def _follow(self, step: Step) -> None:
        self.known.enter(step)
        for mark in step.marks:
            if mark[:1] == "+":
                self.saved[mark[1:]] = self.state, self.seen, dict(self.unsure), self.swept
            elif found := self.saved.get(mark[1:]):
                self.state, self.seen, unsure, self.swept = found
                self.unsure = dict(unsure)

    def _catted(self, step: Step) -> None:
        """A file that was printed whole, and nothing else."""
        command = _CAT.fullmatch(str(step.action.args.get("command", step.action.args.get("text", "")))[:1000])
        text = step.observation.text
        if command and step.observation.status == "ok" and len(text) < LARGEST and "bytes left out" not in text:
            self.known.learn(command[1], text)

    def _learn(self, step: Step, name: str, found: Lines | None) -> None:
        """A file that the step wrote or showed, or, with nothing found, may have changed."""
        if found is None or not found.whole:
            if found is None and name in self.state:
                self.unsure[name] = step.n
            return
        self.unsure.pop(name, None)
        data = "\n".join([*found.lines, ""]).encode(errors="surrogatepass")
        version = Version(step.n, "edit", hashlib.sha256(data).hexdigest(), data)
        known = self.state.get(name)
        if known and (known.key == version.key or known.read() in (data, data[:-1])):
            return
        looked = step.action.tool in LOOKS or _CAT.fullmatch(str(step.action.args.get("command", ""))[:1000])
        if looked and known is None:
            version = Version(0, "starter", version.key, data)
            self.start.setdefault(name, version)
        self.state = {**self.state, name: version}

    def _graded(self, n: int, attempt: Attempt) -> None:
        """The files that an attempt had."""
        self.attempts, self.unsure, self.swept = True, {}, 0
        self.known.settle()
        new = dict(self.state)
        for name, digest in {**attempt.code, **attempt.files}.items():
            known, version = self.state.get(name), Version(n, "attempt", digest, stored(self.of, digest))
            data = version.read()
            if known and (known.key == digest or (data is not None and known.read() == data)):
                continue
            new[name] = version
            if data is not None and b"\0" not in data:
                self.known.learn(name, data.decode(errors="replace"))
        if 0 < len(attempt.code) < ALL:
            had = {**attempt.code, **attempt.files}
            for name in {name for name in self.state if name.endswith(".py") and name.count("/") < DEEP} - set(had):
                new[name] = Version(n, "attempt", GONE)
        self.state, self.seen = new, dict(self.known.files)
