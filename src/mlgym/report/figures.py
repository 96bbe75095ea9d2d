"""The figures: what each shows, in the width of a page and in that of one column. Only here is matplotlib used."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlgym.report import ink
from mlgym.report.estimates import Estimate, Estimates
from mlgym.report.study import Study
from mlgym.report.tables import between

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = np.ndarray[Any, Any]
NAMED = 12  # so many points have their names beside them; more have a legend


@dataclass(frozen=True)
class Picture:
    """A figure's key, title, what it shows in a sentence, what it says to those who cannot see it, and its drawing.

    `draw` takes whether it is to be narrow; `table` is the key of the table with its numbers.
    """

    key: str
    title: str
    caption: str
    alt: str
    table: str
    draw: Callable[[bool], "Figure"]


def canvas(narrow: bool, height: float, rows: int = 1, columns: int = 1, **more: Any) -> "tuple[Figure, list[Axes]]":
    """An empty figure of that height in inches, and its axes row by row."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(ink.NARROW if narrow else ink.WIDE, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **more)
    return figure, [one for row in axes for one in row]


def legend(figure: "Figure", handles: Sequence[Any], labels: Sequence[str], narrow: bool) -> None:
    """A legend under the axes, in as many columns as fit; the figure grows by it."""
    longest = max(map(len, labels), default=1)
    columns = max(1, min(len(labels), int((50 if narrow else 112) / (longest + 7))))
    figure.set_figheight(figure.get_figheight() + 0.155 * -(-len(labels) // columns))
    figure.legend(handles, labels, loc="outside lower left", ncols=columns)


def profile_picture(study: Study, found: Estimates) -> Picture | None:
    """The performance profiles of best attempts and best submissions."""
    aup = found.aup
    if aup is None:
        return None
    looks = looks_of(study, aup.methods)

    def draw(narrow: bool) -> "Figure":
        figure, axes = canvas(narrow, 4.6 if narrow else 2.9, *((2, 1) if narrow else (1, 2)), sharey=True)
        for place, (axis, curves, title) in enumerate(
            zip(axes, (aup.attempt_curves, aup.submission_curves), ("Best attempt", "Best submission"), strict=True)
        ):
            lines = [
                axis.step(aup.tau, curve, where="post", label=name, **look)[0]
                for name, curve, look in zip(aup.methods, curves, looks, strict=True)
            ]
            axis.set_title(title)
            axis.set_xlabel("τ: at most 10$^τ$ times as bad as the best", parse_math=True)
            axis.set_ylim(-0.02, 1.02)
            if narrow or place == 0:
                axis.set_ylabel("share of tasks")
        legend(figure, lines, [study.named(name).short() for name in aup.methods], narrow)
        return figure

    best = max(zip(aup.methods, aup.attempt, strict=True), key=lambda pair: pair[1].value)
    return Picture(
        "profiles",
        "Performance profiles",
        "For each method the share of tasks on which it is at most 10^τ times as bad as the best of this pool. "
        "Further up and to the left is better; the area under a curve is its AUP.",
        f"Two panels of step curves, best attempts and best submissions, τ from 0 to {aup.tau_max:.1f}, "
        f"{len(aup.methods)} methods. The largest area for best attempts has {best[0]} ({best[1].value:.3f}).",
        "aup",
        draw,
    )


def aup_picture(study: Study, found: Estimates) -> Picture | None:
    """Bars of AUP with intervals."""
    aup = found.aup
    if aup is None:
        return None
    names = list(aup.methods)

    def draw(narrow: bool) -> "Figure":
        height = 0.75 + 0.3 * len(names)
        figure, axes = canvas(narrow, height * (2 if narrow else 1), *((2, 1) if narrow else (1, 2)), sharex=True)
        for place, (axis, values, title) in enumerate(
            zip(axes, (aup.attempt, aup.submission), ("Best attempt", "Best submission"), strict=True)
        ):
            _bars(axis, values, looks_of(study, names))
            axis.set_title(title)
            axis.set_yticks(
                range(len(names)), [study.named(name).short() for name in names] if narrow or place == 0 else []
            )
            axis.set_xlabel("AUP")
        return figure

    return Picture(
        "aup",
        "Area under the performance profile",
        f"AUP with {found.percent} bootstrap intervals over the runs of each cell. It depends on the pool: "
        "compare only what stands side by side here.",
        "Bars of AUP for best attempts and best submissions. "
        + "; ".join(
            f"{n} {a.value:.3f} and {s.value:.3f}" for n, a, s in zip(names, aup.attempt, aup.submission, strict=True)
        )
        + ".",
        "aup",
        draw,
    )


def progress_picture(study: Study, found: Estimates) -> Picture | None:
    """The interquartile mean of progress with its interval, a line a method."""
    methods = [method for method in study.methods if not np.isnan(found.iqm[method.name].value)]
    if not methods:
        return None
    values = [found.iqm[method.name] for method in methods]

    def draw(narrow: bool) -> "Figure":
        figure, (axis,) = canvas(narrow, 0.75 + 0.27 * len(methods))
        looks = looks_of(study, [method.name for method in methods])
        for place, (value, look) in enumerate(zip(values, looks, strict=True)):
            axis.plot([value.low, value.high], [place, place], color=look["color"], linewidth=5, alpha=0.3)
            axis.plot([value.value], [place], "o", color=look["color"], markersize=5)
            axis.annotate(
                f"{value.value:.2f}".replace("-", "−"), (value.value, place), (0, 5), textcoords="offset points",
                ha="center", va="bottom", fontsize=7,
                bbox={"facecolor": ink.PAPER, "edgecolor": "none", "pad": 0.6},
            )  # fmt: skip
        axis.set_yticks(range(len(methods)), [method.short() for method in methods])
        axis.set_ylim(len(methods) - 0.4, -0.75)
        for at, text in ((0, "baseline"), (1, "best known")):
            axis.axvline(at, color=ink.MUTED, linewidth=0.8, linestyle=(0, (2, 2)))
            axis.annotate(
                text, (at, 1), (2, 1), xycoords=("data", "axes fraction"), textcoords="offset points", fontsize=7,
                color=ink.MUTED,
            )  # fmt: skip
        axis.margins(x=0.09)
        axis.set_xlabel(
            "progress, interquartile mean" if narrow else "progress of the final submission, interquartile mean"
        )
        axis.grid(axis="y", visible=False)
        return figure

    return Picture(
        "progress",
        "Progress",
        f"Interquartile mean of progress on test over all episodes, with {found.percent} intervals of a bootstrap "
        "stratified by task. 0 is the baseline, 1 the best result known; an episode without a valid score has −1.",
        "Dots with intervals. "
        + "; ".join(
            f"{m.name} {v.value:.2f} {between(v.low, v.high, 2)}".rstrip() for m, v in zip(methods, values, strict=True)
        )
        + ".",
        "methods",
        draw,
    )


def money_picture(study: Study, found: Estimates) -> Picture | None:
    """Mean progress against mean dollars, each method with its name beside it."""
    points = []
    for method in study.methods:
        money = study.all_values(method.name, "money")
        if np.isfinite(money).any() and not np.isnan(found.mean[method.name].value):
            points.append((method, float(np.nanmean(money)), found.mean[method.name]))
    if not points or max(money for _, money, _ in points) <= 0:
        return None
    paid = [money for _, money, _ in points if money > 0]
    wide = max(paid) / min(paid) > 20

    def draw(narrow: bool) -> "Figure":
        figure, (axis,) = canvas(narrow, 2.9 if narrow else 3.3)
        looks = looks_of(study, [method.name for method, _, _ in points])
        labels, handles = [], []
        for place, ((method, money, value), look) in enumerate(zip(points, looks, strict=True)):
            axis.plot([money, money], [value.low, value.high], color=look["color"], linewidth=1, alpha=0.6)
            handles += axis.plot([money], [value.value], ink.marker(place), color=look["color"], markersize=6)
            labels.append((money, value.value, method.short(24), ink.label(look["color"])))
        if wide:
            axis.set_xscale("symlog", linthresh=min(paid), linscale=0.4)
            axis.xaxis.set_major_formatter("{x:g}")
        axis.margins(x=0.12, y=0.12)
        axis.set_xlabel("dollars an episode (mean)" + (", logarithmic" if wide else ""))
        axis.set_ylabel("progress (mean)")
        if len(points) > NAMED:
            legend(figure, handles, [method.short() for method, _, _ in points], narrow)
        else:
            figure.draw_without_rendering()
            _labels(axis, labels)
        return figure

    return Picture(
        "money",
        "Progress against money",
        f"Mean progress of the final submissions and mean cost of an episode, with {found.percent} intervals. "
        "Controls use no language model and cost nothing; what lies above them is what a model adds.",
        "Points. " + "; ".join(f"{m.name}: {p:.3f} dollars, progress {v.value:.2f}" for m, p, v in points) + ".",
        "cost",
        draw,
    )


def _labels(axis: "Axes", labels: list[tuple[float, float, str, object]]) -> None:
    """Names beside their points: right of it where there is room, and moved apart where they would overlap."""
    to_pixels, box = axis.transData.transform, axis.get_window_extent()
    line = axis.figure.dpi * 9 / 72
    taken: list[tuple[float, float, float]] = []
    for x, y, text, colour in sorted(labels, key=lambda label: -label[1]):
        at_x, at_y = to_pixels((x, y))
        width = len(text) * line * 0.52
        left = at_x + width + 8 > box.x1
        start = at_x - width - 8 if left else at_x + 8
        height = at_y
        while any(abs(height - y2) < line and start < x2 + w2 and x2 < start + width for x2, y2, w2 in taken):
            height -= line / 4
        taken.append((start, height, width))
        points = 72 / axis.figure.dpi
        axis.annotate(
            text, (x, y), ((-6 if left else 6), (height - at_y) * points), textcoords="offset points", fontsize=7.5,
            ha="right" if left else "left", va="center", color=colour,
        )  # fmt: skip


def name_lines(axis: "Axes", ends: list[tuple[float, str, Any]]) -> None:
    """The names of lines at their right ends, in their colours, moved apart where they would overlap."""
    figure = axis.figure
    figure.draw_without_rendering()  # type: ignore[union-attr]
    line, lowest = figure.dpi * 9.5 / 72, float("inf")
    edge = axis.get_xlim()[1]
    for value, text, colour in sorted(ends, key=lambda end: -end[0]):
        at = axis.transData.transform((edge, value))[1]
        place = min(at, lowest - line)
        lowest = place
        axis.annotate(
            text, (edge, value), (5, (place - at) * 72 / figure.dpi), textcoords="offset points", fontsize=7.5,
            va="center", color=ink.label(colour), annotation_clip=False,
        )  # fmt: skip


def _bars(axis: "Axes", values: Sequence[Estimate], looks: Sequence[dict[str, Any]]) -> None:
    """Horizontal bars from zero, the first on top, each with its interval and its number."""
    for place, (value, look) in enumerate(zip(values, looks, strict=True)):
        axis.barh(place, value.value, height=0.62, color=look["color"], alpha=0.85)
        end = value.value
        if not np.isnan(value.high):
            axis.plot([value.low, value.high], [place, place], color=ink.INK, linewidth=1.1)
            axis.plot([value.low, value.high], [place, place], "|", color=ink.INK, markersize=5)
            end = max(end, value.high)
        axis.annotate(f"{value.value:.3f}", (end, place), (4, 0), textcoords="offset points", va="center", fontsize=7.5)
    axis.set_ylim(len(values) - 0.4, -0.6)
    axis.set_xlim(0, max((max(v.value, 0 if np.isnan(v.high) else v.high) for v in values), default=1) * 1.22)
    axis.grid(axis="y", visible=False)


def looks_of(study: Study, names: Sequence[str]) -> list[dict[str, Any]]:
    """The looks of these methods: the same in all figures. The baseline is the last of the controls."""
    everyone = [(method.name, method.kind) for method in study.methods]
    everyone += [("baseline", "control")] * study.shown_baseline
    looks = dict(zip((n for n, _ in everyone), ink.line_looks([kind for _, kind in everyone]), strict=True))
    return [looks[name] for name in names]
