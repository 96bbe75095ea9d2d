"""Runs of the baseline under watch: how long they take, what they report on the way, and when one is not worth its end.

A run is stopped where the best of its reports so far is worse than the median of the other runs' reports by then (the
median rule of Golovin et al. 2017, with the best report as in Optuna's MedianPruner; runs that were stopped count too,
as far as they came, for else the bar would rise with each).
"""

import inspect
import json
import math
import re
import shlex
from dataclasses import dataclass, field
from statistics import median

from mlgym.agents import watcher
from mlgym.records import Brief

_PYTHON = re.compile(r"(?<![\w./-])((?:[\w./-]*/)?python[\d.]*)(?=\s)")
_UP = r"acc|score|reward|return|auc|\bf1|\br2|bleu|precision|recall"
_DOWN = r"loss|error|perplexity|ppl|mse|mae|\bnll"
_HELD = r"held|val|eval|\bdev\b|test"
_RUNS = 4  # it takes so many to judge another
_REPORTS = 3  # it takes so many to make a run's output progressive


@dataclass(frozen=True)
class Reports:
    """Which lines of the output report (their `shape`), the `slot` of the number, and -1 where less of it is better."""

    shape: str
    slot: int
    sign: int


@dataclass(frozen=True)
class Run:
    """How a run went: its seconds, its reports (more is better), and why it was stopped: behind, late or nothing."""

    seconds: float = 0.0
    reports: tuple[float, ...] = ()
    stopped: str = ""


@dataclass
class Watch:
    """What is known of the runs of one baseline: the starter's seconds (None: it was not run), the kind of its reports
    (None: nothing is stopped for lagging), and the reports of all runs. While it is `looking`, the next run that goes
    well shows that kind.
    """

    seconds: float | None = None
    kind: Reports | None = None
    looking: bool = True
    runs: list[tuple[float, ...]] = field(default_factory=list)

    def command(self, command: str, within: float) -> str:
        """The command under watch, stopped after so many seconds; as it is where no Python is started by it."""
        python = _PYTHON.search(command)
        if not python:
            return command
        options: dict[str, object] = {"command": command, "seconds": within}
        if self.kind:
            options |= {**vars(self.kind), "least": self.least()}
        script = f"<<'END_OF_WATCHER'\n{inspect.getsource(watcher)}END_OF_WATCHER"
        return f"{python[1]} - {shlex.quote(json.dumps(options))} {script}"

    def least(self) -> list[float | None]:
        """The bar at each report; none in the first quarter, nor where too few runs came so far."""
        longest = max(map(len, self.runs), default=0)
        bars: list[float | None] = []
        for n in range(longest):
            there = [reports[n] for reports in self.runs if len(reports) > n and math.isfinite(reports[n])]
            bars.append(median(there) if len(there) >= _RUNS and 4 * (n + 1) > longest else None)
        return bars

    def took(self, text: str, ok: bool, brief: Brief) -> Run:
        """How a run went, by all that it printed; remembered."""
        run = self.read(text)
        if self.looking and ok:
            self.looking, self.kind = False, reports_of(text, brief.metric, brief.direction)
            if kind := self.kind:
                found = (watcher.numbers(line) for line in text.splitlines())
                reports = (kind.sign * values[kind.slot] for shape, values in found if shape == kind.shape)
                run = Run(run.seconds, tuple(reports), run.stopped)
        if run.reports:
            self.runs.append(run.reports)
        return run

    def blind(self) -> None:
        """Stop nothing for lagging from now on."""
        self.looking, self.kind = False, None

    def read(self, text: str) -> Run:
        """How a run went, by the last line that the watcher printed; nothing where it could print none."""
        told = re.findall(rf"^{re.escape(watcher.MARK)}(\{{.*\}})$", text, re.MULTILINE)
        try:
            run = json.loads(told[-1])
            return Run(float(run["seconds"]), tuple(map(float, run["reports"])), str(run["stopped"]))
        except (LookupError, TypeError, ValueError):
            return Run()


def reports_of(text: str, metric: str, direction: str) -> Reports | None:
    """The lines that report progress, if there are some: of one shape, with a number named like a loss or a score.

    One on held-out data is preferred, then the task's own metric, then what is reported most often.
    """
    seen: dict[str, int] = {}
    for line in text.splitlines():
        shape, _ = watcher.numbers(line)
        seen[shape] = seen.get(shape, 0) + 1
    found = []
    for shape, times in seen.items():
        names = shape.lower().split("#")[:-1] if times >= _REPORTS else []
        for slot, name in enumerate(names):
            own = metric.lower() in name
            sign = (1 if direction == "maximize" else -1) if own else _sign(name)
            if sign:
                found.append((bool(re.search(_HELD, name)), own, times, Reports(shape, slot, sign)))
    return max(found, key=lambda each: each[:3])[3] if found else None


def _sign(name: str) -> int:
    """Whether more (1) or less (-1) of what has that name is better; 0 where the name does not tell."""
    return -1 if re.search(_DOWN, name) else 1 if re.search(_UP, name) else 0
