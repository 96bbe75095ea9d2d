"""A run in a table: how many episodes run, have ended and are missing, money, time left, each task's best so far."""

from collections import deque
from collections.abc import Callable

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.table import Table
from rich.text import Text

from mlgym.report.console import cell, number, safe
from mlgym.status import Status

NOTES = 3
KINDS = ("running", "done", "failed", "missing", "cancelled", "waiting")


def duration(seconds: float) -> str:
    """Seconds in the two units that matter."""
    minutes, hours, days = seconds / 60, seconds / 3600, seconds / 86400
    if minutes < 1:
        return f"{seconds:.0f} s"
    if hours < 1:
        return f"{minutes:.0f} min"
    return f"{int(hours)} h {int(minutes) % 60} min" if days < 2 else f"{int(days)} d {int(hours) % 24} h"


def line(status: Status) -> str:
    """The run in a line: counts, money, time left."""
    counts = [f"{count} {kind}" for kind in KINDS if (count := getattr(status, kind)) or kind in ("running", "done")]
    left = [] if status.seconds_left is None else [f"about {duration(status.seconds_left)} left"]
    left = left if status.running or status.waiting else []
    return f"{', '.join(counts)} of {status.total}; {', '.join([f'{status.money:.2f} dollars', *left])}"


def tasks(status: Status, most: int = 1000) -> Table:
    """A row for each task: how many of its episodes have ended, its best test score and whose it is."""
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("task", no_wrap=True)
    table.add_column("ended", justify="right", no_wrap=True)
    table.add_column("best, test", justify="right", no_wrap=True)
    table.add_column("by", overflow="ellipsis", no_wrap=True)
    table.add_column("running, val.", justify="right", no_wrap=True)
    for row in status.tasks[:most]:
        seen = number(row.validation) if row.validation is not None else ""
        table.add_row(cell(row.task), f"{row.ended}/{row.total}", number(row.best), cell(row.method), seen)
    if len(status.tasks) > most:
        table.add_row(f"and {len(status.tasks) - most} more", "", "", "", "")
    return table


class Board:
    """The table as it stands whenever it is drawn, with the last notes below."""

    def __init__(self, see: Callable[[], Status | None]) -> None:
        self._see = see
        self.notes: deque[str] = deque(maxlen=NOTES)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        status = self._see()
        if status is not None:
            notes = [Text(safe(note), "yellow", no_wrap=True, overflow="ellipsis") for note in self.notes]
            room = max(3, (options.height or console.height) - NOTES - 4)
            yield Group(Text(line(status), "bold"), tasks(status, room), *notes)
