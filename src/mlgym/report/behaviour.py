"""Figures of what agents do: actions by kind and by step, how episodes end, where they fail."""

from typing import TYPE_CHECKING, Any

import numpy as np

from mlgym.report import ink
from mlgym.report.figures import Picture, canvas, legend
from mlgym.report.study import Study

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = np.ndarray[Any, Any]
KINDS = {
    "look": "view open goto scroll_up scroll_down search_dir search_file find_file search",
    "edit": "create edit insert str_replace",
    "shell": "bash shell run",
    "jobs": "job",
    "validate": "validate",
    "submit": "submit",
    "end": "end",
}
_KIND = {tool: kind for kind, tools in KINDS.items() for tool in tools.split()}
OTHER = "other"
KIND_COLOURS = {name: number for number, name in enumerate((*KINDS, OTHER))}
ENDS = {"submitted": 0, "gave_up": 1, "steps": 2, "time": 3, "money": 4, "tokens": 5, "context": 7, "error": 6}
FAILURES = {"agent": 0, "no valid submission": 1, "budget": 3, "grader": 4, "sandbox": 5, "model": 6, "not ended": 8}
NOT_ENDED = "not ended"
STEPS_SHOWN = 60
PANELS = 9


def kind(tool: str) -> str:
    """What kind of action a tool is: look, edit, shell, jobs, validate, submit, end (the driver's own) or other."""
    return _KIND.get(tool, OTHER)


class Shares:
    """Counts in a table of rows and named parts, each part in a colour of its own; those that occur are shown."""

    def __init__(self, rows: list[str], parts: dict[str, int]) -> None:
        self.rows, self.parts = rows, tuple(parts)
        self.colours = [ink.part(number) for number in parts.values()]
        self.counts = np.zeros((len(rows), len(parts)))

    def used(self) -> list[int]:
        """The parts that occur at all."""
        return [place for place in range(len(self.parts)) if self.counts[:, place].any()]


def actions(study: Study) -> Shares:
    """How many actions of each kind each method took."""
    out = Shares([method.name for method in study.methods], KIND_COLOURS)
    _tally(out, study.pool.steps["method"], [kind(tool) for tool in study.pool.steps["tool"]])
    return out


def ends(study: Study) -> Shares:
    """How many episodes of each method ended in which way."""
    how = [str(end) or NOT_ENDED for end in study.columns["ended"]]
    known = {**ENDS, **dict.fromkeys(sorted(set(how) - {*ENDS, NOT_ENDED}), 7), NOT_ENDED: 8}
    out = Shares([method.name for method in study.methods], known)
    _tally(out, study.columns["method"], how)
    return out


def failed(study: Study) -> list[str]:
    """What failed in each episode: a boundary, "no valid submission", "not ended", or "" where nothing did."""
    out = []
    columns = (study.columns[key] for key in ("ended", "boundary", "best_submission", "scored"))
    for end, boundary, final, scored in zip(*columns, strict=True):
        if not end:
            out.append(NOT_ENDED)
        elif boundary:
            out.append(str(boundary))
        else:
            out.append("no valid submission" if scored and np.isnan(final) else "")
    return out


def failures(study: Study, by: str) -> Shares:
    """How many episodes failed at what, by `method` or by `task`."""
    what = failed(study)
    known = {**FAILURES, **dict.fromkeys(sorted(set(what) - {*FAILURES, ""}), 7)}
    rows = [m.name for m in study.methods] if by == "method" else [task.name for task in study.tasks]
    out = Shares(rows, known)
    _tally(out, study.columns[by], what)
    return out


def _tally(out: Shares, rows: Any, parts: list[str]) -> None:
    row_of = {name: place for place, name in enumerate(out.rows)}
    part_of = {name: place for place, name in enumerate(out.parts)}
    pairs = [(row_of[row], part_of[part]) for row, part in zip(rows, parts, strict=True) if part in part_of]
    if pairs:
        np.add.at(out.counts, tuple(np.array(pairs).T), 1)


def actions_picture(study: Study) -> Picture | None:
    """Shares of the kinds of actions, a bar a method."""
    return _stacked(
        study,
        actions(study),
        "actions",
        "Actions by kind",
        "Share of each kind among all actions of a method; the number of actions an episode stands beside the bar. "
        "“end” is the driver's own, where an agent did not submit.",
    )


def ends_picture(study: Study) -> Picture | None:
    """Shares of the ways in which episodes ended, a bar a method."""
    about = "Share of the episodes of each method that ended in each way; beside the bar, how many episodes there are."
    return _stacked(study, ends(study), "ended", "How episodes ended", about)


def _stacked(study: Study, shares: Shares, key: str, title: str, caption: str) -> Picture | None:
    used = shares.used()
    rows = [place for place in range(len(shares.rows)) if shares.counts[place].any()]
    if not rows or not used:
        return None
    episodes = {name: int((study.columns["method"] == name).sum()) for name in shares.rows}

    def draw(narrow: bool) -> "Figure":
        figure, (axis,) = canvas(narrow, 0.9 + 0.27 * len(rows))
        left = np.zeros(len(rows))
        totals = shares.counts[rows].sum(axis=1)
        handles = []
        for place in used:
            part, colour = shares.counts[rows, place] / totals, shares.colours[place]
            handles.append(axis.barh(range(len(rows)), part, 0.66, left, color=colour, edgecolor=ink.PAPER))
            left += part
        for y, (row, total) in enumerate(zip(rows, totals, strict=True)):
            each = total / episodes[shares.rows[row]] if key == "actions" else total
            text = f"{each:.1f}" if key == "actions" else f"{each:.0f}"
            axis.annotate(text, (1, y), (4, 0), textcoords="offset points", va="center", fontsize=7, color=ink.MUTED)
        axis.set_yticks(range(len(rows)), [study.named(shares.rows[row]).short() for row in rows])
        axis.set_ylim(len(rows) - 0.4, -0.6)
        axis.set_xlim(0, 1.06)
        axis.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25%", "50%", "75%", "100%"])
        axis.grid(visible=False)
        legend(figure, handles, [shares.parts[place].replace("_", " ") for place in used], narrow)
        return figure

    said = "; ".join(f"{shares.rows[row]}: {_said(shares, row)}" for row in rows)
    return Picture(key, title, caption, f"Stacked bars. {said}.", key, draw)


def _said(shares: Shares, row: int) -> str:
    total = shares.counts[row].sum()
    parts = [(shares.counts[row, place] / total, shares.parts[place]) for place in shares.used()]
    return ", ".join(f"{part.replace('_', ' ')} {share:.0%}" for share, part in sorted(parts, reverse=True) if share)


def by_step(study: Study) -> dict[str, dict[str, Array]]:
    """For each method and kind of action, how many episodes took one at each step from 0 on; the kinds that occur."""
    steps = study.pool.steps
    if not len(steps["n"]):
        return {}
    kinds = np.array([kind(tool) for tool in steps["tool"]], dtype=object)
    used = [one for one in KIND_COLOURS if (kinds == one).any()]
    numbers = np.asarray(steps["n"], dtype=int)
    last = min(STEPS_SHOWN, int(numbers.max()))
    out = {}
    for method in study.methods:
        mine = (steps["method"] == method.name) & (numbers <= last)
        if mine.any():
            out[method.name] = {one: np.bincount(numbers[mine & (kinds == one)], minlength=last + 1) for one in used}
    return out


def by_step_picture(study: Study) -> Picture | None:
    """Shares of the kinds of actions at each step, a panel a method."""
    tables = dict(list(by_step(study).items())[:PANELS])
    if not tables:
        return None
    names, used = list(tables), list(next(iter(tables.values())))
    last = len(next(iter(tables[names[0]].values()))) - 1

    def draw(narrow: bool) -> "Figure":
        across = min(len(names), 1 if narrow else 3)
        down = -(-len(names) // across)
        figure, axes = canvas(narrow, 0.6 + 1.25 * down, down, across, sharey=True)
        handles: list[Any] = []
        for axis, name in zip(axes, names, strict=False):
            handles = _columns(axis, tables[name])
            axis.set_title(study.named(name).short(), fontsize=8)
            axis.set_ylabel("episodes", fontsize=7)
        for axis in axes[len(names) :]:
            axis.set_visible(False)
        for axis in axes[(down - 1) * across : len(names)]:
            axis.set_xlabel("step")
        legend(figure, handles, used, narrow)
        return figure

    return Picture(
        "actions-steps",
        "Actions by step",
        f"How many episodes took an action of each kind at each step{_cut(study, last)}. A column that is shorter than "
        "the one before it: episodes had ended.",
        f"{len(names)} panels of stacked columns, one a method, over {last} steps, by kind: {', '.join(used)}.",
        "actions-by-step",
        draw,
    )


def _columns(axis: "Axes", table: dict[str, Array]) -> list[Any]:
    bottom: Any = 0
    handles = []
    for name, row in table.items():
        width = 1.0 if len(row) > 30 else 0.85
        handles.append(axis.bar(np.arange(len(row)), row, width, bottom, color=ink.part(KIND_COLOURS[name])))
        bottom = bottom + row
    axis.set_xlim(0.3, max(len(row) for row in table.values()) - 0.3)
    axis.locator_params(axis="x", integer=True)
    axis.grid(axis="x", visible=False)
    return handles


def _cut(study: Study, last: int) -> str:
    longest = int(np.asarray(study.pool.steps["n"], dtype=int).max())
    return f" (the first {last} of {longest})" if longest > last else ""


def failures_picture(study: Study) -> Picture | None:
    """How many episodes failed at what: a panel by task, a panel by method."""
    both = [failures(study, "task"), failures(study, "method")]
    used = both[0].used()
    if not used:
        return None
    sizes = [len(shares.rows) for shares in both]

    def draw(narrow: bool) -> "Figure":
        tall = 0.9 + 0.24 * (sum(sizes) + 2 if narrow else max(sizes))
        ratios: dict[str, Any] = {"height_ratios": sizes} if narrow else {}
        figure, axes = canvas(narrow, max(1.5, tall), 2 if narrow else 1, 1 if narrow else 2, **ratios)
        handles = []
        for axis, shares, title in zip(axes, both, ("By task", "By method"), strict=True):
            handles = _counted(axis, shares, used)
            names = shares.rows if title == "By task" else [study.named(name).short(22) for name in shares.rows]
            axis.set_yticks(range(len(names)), names)
            axis.set_title(title)
            axis.set_xlabel("episodes")
            axis.locator_params(axis="x", integer=True)
        legend(figure, handles, [both[0].parts[place] for place in used], narrow)
        return figure

    total = int(both[0].counts.sum())
    said = ", ".join(f"{both[0].parts[place]} {both[0].counts[:, place].sum():.0f}" for place in used)
    return Picture(
        "failures",
        "Failures by task and by method",
        "Episodes that failed, by the boundary that they crossed, or because no submission was valid. Failures of the "
        "sandbox, the model's provider or the grader that left an episode unscored are missing cells, not results.",
        f"Two panels of bars; {total} of {len(study.columns['task'])} episodes failed: {said}.",
        "failures",
        draw,
    )


def _counted(axis: "Axes", shares: Shares, used: list[int]) -> list[Any]:
    left = np.zeros(len(shares.rows))
    handles = []
    for place in used:
        row, colour = shares.counts[:, place], shares.colours[place]
        handles.append(axis.barh(range(len(row)), row, 0.66, left, color=colour, edgecolor=ink.PAPER))
        left += row
    axis.set_ylim(len(shares.rows) - 0.4, -0.6)
    axis.set_xlim(0, max(1.0, float(left.max()) * 1.05))
    axis.grid(axis="y", visible=False)
    return handles
