"""The tasks, families and suites as `mlgym tasks` lists them."""

import json

from rich.console import Console
from rich.table import Table

from mlgym.made import list_families
from mlgym.report.console import number
from mlgym.task import Task, list_tasks, suites


def as_json() -> str:
    """Every task with its metric and anchors."""
    return json.dumps(
        [
            {"name": t.name, "version": t.version, "title": t.title, "kind": t.kind, "metric": t.metric,
             "direction": t.direction, "data": t.data, "anchors": t.anchors and t.anchors.model_dump()}
            for t in list_tasks()
        ],
        indent=1,
    )  # fmt: skip


def print_table() -> None:
    """A line a task: what it is, its metric, the baseline's test score and the best known; then families and suites."""
    found = list_tasks()
    table = Table(box=None, header_style="bold", pad_edge=False, expand=True)
    table.add_column("task", min_width=max(len(t.name) for t in found))
    table.add_column("what", ratio=1, no_wrap=True, overflow="ellipsis")
    table.add_column("metric", no_wrap=True)
    for name in ("baseline", "best"):
        table.add_column(name, justify="right", no_wrap=True)
    for t in found:
        table.add_row(t.name, t.title, f"{t.metric} {'↑' if t.direction == 'maximize' else '↓'}", *_anchors(t))
    Console().print(table)
    print_families()
    lists = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("suite", "tasks", "what for"):
        lists.add_column(name)
    for name, suite in suites().items():
        lists.add_row(name, str(len(suite.tasks)), suite.about)
    Console().print("\n", lists, sep="")


def print_families() -> None:
    """A line a family: what its tasks are."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("family", "what (a task is FAMILY-sSEED-dDIFFICULTY)"):
        table.add_column(name)
    for family in list_families():
        table.add_row(family.name, family.about)
    Console().print("\n", table, sep="")


def _anchors(task: Task) -> tuple[str, str]:
    base, best = (task.anchors.baseline["test"], task.anchors.best) if task.anchors else (None, None)
    return number(base), number(best)
