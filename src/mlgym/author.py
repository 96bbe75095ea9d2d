"""`mlgym tasks init`: a new task's folder from a template and a table, its baseline measured."""

import csv
import hashlib
import json
import math
import shutil
import statistics
import uuid
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from string import Template

from mlgym.cache import SAY, Say
from mlgym.check import anchors, measurements
from mlgym.errors import UsageError
from mlgym.task import load_task

TEMPLATES = Path(__file__).parent / "templates"
METRICS = {
    "r2": ("maximize", "the share of the variance that is explained: 1 is perfect, higher is better", 1.0),
    "rmse": ("minimize", "the root of the mean squared error: 0 is perfect, lower is better", 0.0),
    "accuracy": ("maximize", "the share of rows that are right: 1 is perfect, higher is better", 1.0),
}
FEWEST_ROWS = 50
FEW_CLASSES = 20  # a column with at most so many whole numbers is taken for classes
TEST, VALIDATION = 0.2, 0.1  # shares of the rows
LARGE = 50_000_000  # bytes: more does not belong into a task's folder


def init(
    folder: Path,
    kind: str,
    table: Path | None,
    target: str,
    metric: str,
    sandbox: str = "auto",
    *,
    say: Say = SAY,
) -> None:
    """Write the task `folder`, run its baseline in a sandbox and write down what it scores.

    `kind` is `table` (with a csv `table` and its column `target`) or `game`. Raises UsageError, in one sentence, for
    what cannot be made into a task; nothing is left then.
    """
    if kind not in ("table", "game"):
        raise UsageError(f"--kind is table or game, not '{kind}'; for others copy a shipped task (docs/task.md).")
    if folder.exists():
        raise UsageError(f"{folder} is there already; choose another name.")
    fields = {"title": folder.name.replace("-", " ").capitalize(), "uuid": str(uuid.uuid4())}
    bound = None
    if kind == "table":
        if table is None or not target:
            raise UsageError("A table needs --csv FILE and --target COLUMN.")
        fields |= _about(table, target, metric)
        bound = METRICS[fields["metric"]][2]
    try:
        _write(folder, kind, fields)
        if table is not None:
            shutil.copyfile(table, folder / "table.csv")
        _measure(folder, bound, seeds=1 if kind == "table" else 5, sandbox=sandbox, say=say)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _about(table: Path, target: str, metric: str) -> dict[str, str]:
    """What the templates say of a table."""
    header, rows = _read(table)
    if target not in header:
        raise UsageError(f"{table} has no column '{target}'; it has {', '.join(header)[:200]}.")
    values = [row[header.index(target)] for row in rows]
    if "" in values:
        raise UsageError(
            f"{table}: {values.count('')} rows have no value in the column {target}; leave them out first."
        )
    numbers = all(_is_number(value) for value in values)
    few = len(set(values)) <= FEW_CLASSES and all(value.lstrip("-").isdigit() for value in values)
    metric = metric or ("r2" if numbers and not few else "accuracy")
    if metric not in METRICS:
        raise UsageError(f"--metric is {', '.join(METRICS)}, not '{metric}'; write others into the task's grade().")
    classes = sorted(set(values)) if metric == "accuracy" else []
    if metric != "accuracy" and not numbers:
        bad = next(value for value in values if not _is_number(value))
        raise UsageError(f"{table}: the column {target} has {bad[:40]!r}, which is no number: use --metric accuracy.")
    if metric == "accuracy" and len(classes) > len(rows) // 10:
        raise UsageError(f"{table}: the column {target} has {len(classes)} different values: use --metric r2 or rmse.")
    key = _key(header, rows)
    validation, test = round(len(rows) * VALIDATION), round(len(rows) * TEST)
    names = [key, *header] if key not in header else header
    return {
        "metric": metric,
        "direction": METRICS[metric][0],
        "meaning": METRICS[metric][1],
        "id": key,
        "target": target,
        "columns": ", ".join(names)[:2000],
        "classes": json.dumps(classes),
        "is_classes": str(bool(classes)),
        "train": str(len(rows) - validation - test),
        "pool": str(validation + test),
        "validation": str(validation),
        "test": str(test),
        "seed": "0",
        "sha256": hashlib.sha256(table.read_bytes()).hexdigest(),
    }


def _read(table: Path) -> tuple[list[str], list[list[str]]]:
    try:
        if table.stat().st_size > LARGE:
            raise UsageError(
                f"{table} has more than {LARGE // 1_000_000} MB: name it under [[sources]] (docs/task.md)."
            )
        with table.open(newline="", encoding="utf-8-sig") as file:
            header, *rows = list(csv.reader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise UsageError(f"{table} cannot be read as a csv with a header: {error}.") from error
    rows = [row for row in rows if row]
    odd = next((number for number, row in enumerate(rows, 2) if len(row) != len(header)), None)
    if odd:
        raise UsageError(f"{table}: row {odd} has another number of values than the header.")
    if len(rows) < FEWEST_ROWS:
        raise UsageError(f"{table} has {len(rows)} rows; {FEWEST_ROWS} are the fewest that can be split.")
    plain = all(name and not set(name) & set('"\\$`\n,') for name in header)
    if not plain or len(set(header)) < len(header):
        raise UsageError(f"{table}: give each column a name of its own, without quotes, commas, $ and backslashes.")
    return header, rows


def _key(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The first column that is an id: named so, and different in every row; else `row`, which is added."""
    for name in header:
        column = [row[header.index(name)] for row in rows]
        if (name.lower() in ("id", "key") or name.lower().endswith("id")) and max(Counter(column).values()) == 1:
            return name
    return next(name for name in ("row", "row_id", "row_number_") if name not in header)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _write(folder: Path, kind: str, fields: dict[str, str]) -> None:
    for path in sorted((TEMPLATES / kind).rglob("*")):
        target = folder / path.relative_to(TEMPLATES / kind)
        if path.is_file() and path.suffix in (".py", ".toml"):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(Template(path.read_text()).substitute(fields))


def _measure(folder: Path, bound: float | None, *, seeds: int, sandbox: str, say: Say) -> None:
    """Append [anchors] with the measured baseline; `bound` is the metric's own best."""
    task = load_task(folder.absolute())
    say(f"{task.name}: running the baseline in a sandbox to measure it")
    found = list(measurements(task, seeds, solution=False, backend=sandbox, say=say))
    source = "baseline measured when the task was made"
    if bound is None:
        source += "; no best score is known, so there is no progress: write the best one you know under `best`"
        say(f"{task.name}: no best score is known, so results have scores and no progress until you write one down.")
    else:
        source += f"; best: the bound of {task.metric} itself, which nobody need reach"
        say(f"{task.name}: progress 1 means the bound of {task.metric} itself, {bound:g}; put a better-founded one in.")
    best = "" if bound is None else f"best = {bound}\n"
    with (folder / "task.toml").open("a") as file:
        file.write(f'[anchors]\n{anchors(task, found, [])}\n{best}source = "{source}"\n')
    mean = statistics.fmean(one.scores["test"][task.metric] for one in found)
    say(f"{task.name}: the baseline's {task.metric} is {mean:.5g} on test.")
