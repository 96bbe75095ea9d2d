"""What a forgery is, the defences that foil forgeries, and what several of them write."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from mlgym.records import Split

VERDICT = '{"op": "verdict", "valid": true, "why": "", "scores": {"score": 99.0}, "sizes": []}'
SCORE, MOST, LEAST = '"score": 99.0', 99.0, 0.001  # what stands in a verdict, and what is put there for a task's metric

DEFENCES: dict[str, str] = {
    "pipe": "the verdict comes by the grader's own pipe: nothing that is printed, and no file, is one",
    "apart": "what is submitted runs in a player, another process in another sandbox than the grader and the answers",
    "hidden": "answers and evaluator are in no place that the agent's processes see",
    "shell": "the host starts the grader, with a path, an environment and a Python that the agent cannot touch",
    "frozen": "what is graded is a frozen copy, in sandboxes in which none of the workspace's processes are",
    "regular": "a submission is made of regular files, packed by a process inside; the host opens no path there",
    "bounded": "bytes, lines and files of a submission are capped, and the host holds the clocks",
    "inert": "the grader loads nothing of a submission as an object or as a model",
    "checked": "the grader computes the score itself, from values of which each one is checked",
    "split": "what counts is the test split, whose answers nothing tells",
    "commitment": "a language model must give the same answers where it has not seen the targets",
    "order": "the questions come in an order that is drawn anew for each grading",
    "clock": "the host measures the time, from outside, of all processes of a player",
}


@dataclass(frozen=True)
class Forgery:
    """A fraud: `files` planted in the workspace, then `command` run there, with $SUBMISSION naming the graded file.

    `kinds` are the kinds of task that it fits, all where there are none. `defence` says what foils it here, `guard` is
    the name of the defence (see DEFENCES; empty: an honest file, which needs none). `start` is how an evaluator without
    that defence is started in the agent's own shell; `harm` what the fraud does to that evaluator: raises the score, or
    breaks it, so that there is no verdict. `tries`: the submission is frozen so many times, each a new race. `split` is
    the one that is looked at. `known`: the workspace has the answers of the validation split in known.csv.
    """

    name: str
    kinds: tuple[str, ...]
    command: str
    defence: str
    files: Mapping[str, str] = field(default_factory=dict)
    guard: str = "apart"
    start: str = ""
    harm: Literal["raises", "breaks"] = "raises"
    tries: int = 1
    split: Split = "validation"
    known: bool = False

    def aimed(self, metric: str, direction: str) -> "Forgery":
        """The same, its verdicts made to give the task's metric a score that no honest one has."""
        best = f'"{metric}": {MOST if direction == "maximize" else LEAST}'
        files = {path: text.replace(SCORE, best) for path, text in self.files.items()}
        return dataclasses.replace(self, files=files, command=self.command.replace(SCORE, best))


def on_every_descriptor(head: str, verdict: str) -> str:
    """The text of a function, which `head` begins, that writes a verdict wherever it can and ends its process."""
    return f"""
{head}
    for fd in range(1, 256):
        try:
            os.write(fd, b'\\n' + {verdict!r}.encode() + b'\\n')
        except OSError:
            pass
    os._exit(0)
"""
