"""The gate for tasks: whether one that was made, changed or written by hand may be let in, and for what cause not.

A task passes when every question below is answered yes; the first no is its cause and ends its examination, since
most of what follows would say the same.

| cause | question |
|---|---|
| builds | can it be loaded and its data be made? |
| duplicate | is it another one than all that are known, and not nearly one of the benchmark's? |
| deterministic | are its data the same bytes when made again, and the starter's score the same when graded again? |
| baseline | does the starter run, and score what is recorded? |
| ceiling | does the hidden solution reach the best score, within the noise or `CLOSE`? |
| margin | is the solution better than the starter by `GAP` times the noise of a score? |
| learnable | do cheap tries beat the starter sometimes, but not all of them reach the best? |
| time | do making the data, the starter and a grading take at most so many seconds together? |
| answers | are the answers nowhere within reach? |
| forgeries | does no shipped fraud score? |

A cheap try is the starter with its settings changed by chance, as the agent `random` does, or, where those tries do
not tell, the solution with one place broken by chance.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from json import dumps, loads
from pathlib import Path

from mlgym.check import Finding, Measured, anchors
from mlgym.disk import append_line, write_whole
from mlgym.errors import MlgymError
from mlgym.gate.questions import CLOSE, GAP, SECONDS, TRIES, Examined, questions
from mlgym.grading.forgeries import Forgery
from mlgym.sandbox import Sandbox, choose
from mlgym.store import lines
from mlgym.task import load_task

__all__ = ["CLOSE", "GAP", "SECONDS", "TRIES", "Passage", "gate", "recorded", "through"]

Note = Callable[[str, Finding], None]


@dataclass(frozen=True)
class Passage:
    """What the gate found of a task: `cause` is empty where it was let in.

    `mark` is the same for equal tasks. `anchors` has the lines of the table [anchors] for a changed task, as measured.
    """

    task: str
    cause: str = ""
    why: str = ""
    findings: tuple[Finding, ...] = ()
    seconds: float = 0.0
    mark: str = ""
    anchors: str = ""

    @property
    def passed(self) -> bool:
        """Whether it was let in."""
        return not self.cause


def through(
    names: Iterable[str],
    *,
    backend: str = "auto",
    known: Mapping[str, str] | None = None,
    kept: Path | None = None,
    at_once: int = 1,
    seconds: float = SECONDS,
    tries: int = TRIES,
    chosen: Sequence[Forgery] | None = None,
    note: Note = lambda name, finding: None,
) -> Iterator[Passage]:
    """Each task through the gate, `at_once` side by side, as they come out; `note` is told each finding.

    `chosen` are the forgeries that are tried, all that fit if left out.
    `known` maps the marks of tasks that no other may equal to their names; those that pass are added, so that of two
    equal tasks one passes. What the file `kept` has, a line of JSON for each task, is not examined again, and what is
    new is added to it.
    """
    names = list(dict.fromkeys(names))
    done = {each.task: each for each in recorded(kept)} if kept else {}
    marks = {**(known or {}), **{each.mark: each.task for each in done.values() if each.passed}}
    yield from (done[name] for name in names if name in done)
    sandbox = choose(backend)
    if kept and kept.exists():  # what a killed run has left torn would spoil the next line
        write_whole(kept, b"".join(line + b"\n" for line in lines(kept)))
    with ThreadPoolExecutor(at_once) as pool:
        about = (sandbox, marks, seconds, tries, chosen, note)
        left = [pool.submit(gate, name, *about) for name in names if name not in done]
        try:
            for future in as_completed(left):
                passage = future.result()
                if kept:
                    append_line(kept, dumps(asdict(passage)).encode())
                yield passage
        finally:  # an interrupt, or a caller that has seen enough
            for future in left:
                future.cancel()


def recorded(kept: Path) -> list[Passage]:
    """What an earlier run has written; a torn last line is left out."""
    rows = map(loads, lines(kept)) if kept.exists() else ()
    return [Passage(**{**row, "findings": tuple(Finding(**each) for each in row["findings"])}) for row in rows]


def gate(
    name: str,
    backend: type[Sandbox],
    marks: dict[str, str],
    seconds: float = SECONDS,
    tries: int = TRIES,
    chosen: Sequence[Forgery] | None = None,
    note: Note = lambda name, finding: None,
) -> Passage:
    """One task through the gate; its mark is added to `marks` where it passes."""
    began, findings = time.monotonic(), list[Finding]()
    cause, why, examined = "builds", "", None
    try:
        examined = Examined(name, load_task(name), backend, marks, seconds, tries, chosen)
        for asked, finding in questions(examined):
            cause = asked
            findings.append(finding)
            note(name, finding)
            if not finding.ok:
                why = f"{finding.what}: {finding.seen}"
                break
        else:
            cause = ""
    except MlgymError as error:
        why = str(error)
        findings.append(Finding("it can be examined", False, why))
        note(name, findings[-1])
    mark = examined.mark if examined else ""
    if not cause and marks.setdefault(mark, name) != name:  # one beside it was first
        cause, why = "duplicate", f"it is {marks[mark]}"
    found = _anchors(examined.task.name, examined) if examined and examined.task.changes else ""
    return Passage(name, cause, why, tuple(findings), time.monotonic() - began, mark, found)


def _anchors(name: str, examined: Examined) -> str:
    """The table [anchors] of a changed task by its own starter and solution, where both have scores."""
    both = [examined.measured.get(solution) for solution in (False, True)]
    scored: list[list[Measured]] = [[each] for each in both if each and not each.why]
    return anchors(examined.task, *scored) if len(scored) == 2 else ""
