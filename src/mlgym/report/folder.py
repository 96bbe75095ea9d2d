"""A report's folder: report.md, report.tex, index.html, tables/, figures/, data/."""

import csv
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from mlgym.disk import guarded, write_whole
from mlgym.errors import UsageError
from mlgym.report import ink
from mlgym.report.behaviour import actions_picture, by_step_picture, ends_picture, failures_picture
from mlgym.report.compute import compute_picture
from mlgym.report.console import safe
from mlgym.report.curves import progress_over, scores_over
from mlgym.report.estimates import Estimates, estimates
from mlgym.report.figures import Picture, aup_picture, money_picture, profile_picture, progress_picture
from mlgym.report.page import Chapter, Drawn, page
from mlgym.report.pool import Columns, Loaded, Pool, load, pools
from mlgym.report.protocols import difference
from mlgym.report.results import tables
from mlgym.report.study import Study
from mlgym.report.tables import Table, as_csv, latex, markdown

FORMATS = ("svg", "png", "pdf")
ROWS = 20_000  # of data, made into text at once
NO_FIGURES = "Figures are left out, since matplotlib is not installed: pip install 'mlgym-env[report]' brings it."
NO_PARQUET = "The data is in CSV only, since pyarrow is not installed: pip install 'mlgym-env[report]' brings Parquet."


@dataclass(frozen=True)
class Written:
    """What a report's folder got: the page, how many files, and a sentence for each thing left out."""

    page: Path
    files: int
    notes: tuple[str, ...]


def report(
    runs: Sequence[Path],
    out: Path,
    *,
    mixed: bool = False,
    without: Iterable[str] = (),
    formats: Sequence[str] = FORMATS,
    seed: int = 0,
    reference: str = "",
    say: Callable[[str], None] = lambda line: None,
) -> Written:
    """Write the report of these runs into the folder `out`; `reference` is the method whose compute is the measure.

    Raises UsageError where a folder holds no episode, or `out` cannot be written.
    """
    loaded = load(runs, without)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"The folder {out} for the report cannot be written: {error.strerror}.") from error
    folder = _Folder(out)
    notes = [safe(line) for line in loaded.problems]
    drawing = bool(formats) and find_spec("matplotlib") is not None
    if formats and not drawing:
        notes.append(NO_FIGURES)
    chapters, markdowns, texs, studies = [], [], [], []
    found_pools = pools(loaded, mixed)
    if reference and not any(reference in pool.episodes["method"] for pool in found_pools):
        known = ", ".join(sorted({str(name) for pool in found_pools for name in pool.episodes["method"]}))
        raise UsageError(f"There is no method '{reference}' to be the reference; there are: {known}.")
    for pool in found_pools:
        study = Study(pool)
        found = estimates(study, seed=seed)
        say(f"Protocol {pool.letter}: {len(study.methods)} methods on {len(study.tasks)} tasks.")
        made = tables(study, found, reference)
        prefix = f"{pool.letter}-" if len(found_pools) > 1 else ""
        for table in made:
            folder.write(f"tables/{prefix}{table.key}.csv", as_csv(table))
            folder.write(f"tables/{prefix}{table.key}.md", markdown(table))
            folder.write(f"tables/{prefix}{table.key}.tex", latex(table))
        heading = f"Protocol {pool.letter}" if len(found_pools) > 1 else ""
        markdowns.append("\n".join([f"# {heading}\n"] * bool(heading) + [markdown(t) for t in made]))
        texs += [latex(table) for table in made]
        drawn = _draw(study, found, folder, prefix, formats, reference) if drawing else []
        about = "Episodes of another protocol than those of the other chapters: the two are not to be compared."
        chapters.append(Chapter(heading, about, tuple(made), tuple(drawn)))
        studies.append(study)
    notes += _data(loaded, folder)
    title = (
        "Report of "
        + ", ".join(loaded.names[:3])
        + (f" and {len(loaded.names) - 3} more" if len(loaded.names) > 3 else "")
    )
    lead, facts = _summary(loaded, studies)
    apart = [difference(found_pools[0], other) for other in found_pools[1:]]
    warnings = [*_warnings(studies, mixed), *filter(None, apart), *notes]
    folder.write("index.html", page(title, lead, facts, warnings, chapters))
    head = f"# {title}\n\n{lead}\n\n" + "".join(f"> {line}\n>\n" for line in warnings)
    folder.write("report.md", head + "\n" + "\n".join(markdowns))
    folder.write("report.tex", "% needs \\usepackage{booktabs}\n" + "\n".join(texs))
    return Written(out / "index.html", folder.count, tuple(notes))


class _Folder:
    """The folder that is written, and how many files it got."""

    def __init__(self, root: Path) -> None:
        self.root, self.count = root, 0

    def path(self, name: str) -> Path:
        """Where a file of that name is to lie."""
        self.count += 1
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        return self.root / name

    def write(self, name: str, text: str) -> None:
        """A text file."""
        write_whole(self.path(name), text.encode())


def _pictures(study: Study, found: Estimates, reference: str) -> list[Picture]:
    both = (progress_picture, profile_picture, aup_picture, money_picture, progress_over, scores_over)
    alone = (actions_picture, by_step_picture, ends_picture, failures_picture)
    equal = compute_picture(study, found, reference)
    made = [*(make(study, found) for make in both), equal, *(make(study) for make in alone)]
    return [picture for picture in made if picture is not None]


def _draw(
    study: Study, found: Estimates, folder: _Folder, prefix: str, formats: Sequence[str], reference: str
) -> list[Drawn]:
    """Draw all figures for the page, and into files of these formats."""
    out = []
    with ink.drawing():
        for picture in _pictures(study, found, reference):
            both = []
            for size in ("wide", "narrow"):
                figure, key = picture.draw(size == "narrow"), f"{prefix}{picture.key}-{size}"
                text = ink.svg(figure, key)
                figure.set_layout_engine("none")  # as it is now, for the other formats
                both.append(ink.inline(text, picture.title, picture.alt, key))
                for kind in formats if size == "wide" else ():
                    name = f"figures/{prefix}{picture.key}.{kind}"
                    if kind == "svg":
                        folder.write(name, text)
                    else:
                        figure.savefig(
                            folder.path(name), metadata={"Date": None} if kind == "png" else {"CreationDate": None}
                        )
            out.append(Drawn(picture, *both))
    return out


def _summary(loaded: Loaded, studies: list[Study]) -> tuple[str, list[tuple[str, str]]]:
    scored = int(loaded.episodes["scored"].sum())
    missing = sum(gaps for study in studies for *_, gaps, _ in study.missing())
    methods = {method.name.partition(" · ")[0] for study in studies for method in study.methods}
    tasks = {task.name for study in studies for task in study.tasks}
    money = np.asarray(loaded.episodes["money"], dtype=float)
    clocks = sum(
        np.nansum(np.asarray(loaded.episodes[key], dtype=float)) for key in ("command_s", "model_s", "grader_s")
    )
    lead = (
        f"{len(methods)} methods on {len(tasks)} tasks: {scored} episodes have a result"
        + (f", {missing} are missing." if missing else ", none is missing.")
    )  # fmt: skip
    facts = [
        ("methods", str(len(methods))),
        ("tasks", str(len(tasks))),
        ("episodes with a result", str(scored)),
        ("missing", str(missing)),
        ("dollars", f"{np.nansum(money):.2f}"),
        ("hours of episodes", f"{clocks / 3600:.1f}" if clocks >= 360 else f"{clocks / 3600:.2f}"),
    ]
    return lead, facts


def _warnings(studies: list[Study], mixed: bool) -> list[str]:
    out = []
    if len(studies) > 1:
        out.append(
            f"These runs have {len(studies)} task protocols, and each has its own tables: scores of different ones are "
            "not compared. --mixed puts them together, each row marked."
        )
    if mixed and any(study.pool.mixed for study in studies):
        out.append("Several task protocols share these tables (--mixed); the letter after a method names its protocol.")
    if any(not key or key.startswith("unknown") for study in studies for key in study.pool.hashes.values()):
        out.append(
            "Some episodes have no recorded protocol (no protocol.lock): nobody can say that their limits agree."
        )
    marked = sorted({part for study in studies for m in study.methods for part in m.marks.split(", ") if part})
    if marked:
        out.append(f"Some methods are marked, in every table: {', '.join(marked)}.")
    return out


def _data(loaded: Loaded, folder: _Folder) -> list[str]:
    """All episodes, attempts and steps as CSV, and as Parquet where pyarrow is installed."""
    parquet = find_spec("pyarrow") is not None
    for name, columns in (("episodes", loaded.episodes), ("attempts", loaded.attempts), ("steps", loaded.steps)):
        _csv(columns, folder.path(f"data/{name}.csv"))
        if parquet:
            import pyarrow
            import pyarrow.parquet

            table = pyarrow.table({key: pyarrow.array(values) for key, values in columns.items()})
            pyarrow.parquet.write_table(table, folder.path(f"data/{name}.parquet"))
    return [] if parquet else [NO_PARQUET]


def _csv(columns: Columns, path: Path) -> None:
    """The columns as CSV, some rows at a time; nan is an empty field."""
    with guarded(path), path.open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(columns)
        for begin in range(0, len(next(iter(columns.values()))), ROWS):
            rows.writerows(zip(*(_texts(values[begin : begin + ROWS]) for values in columns.values()), strict=True))


def _texts(values: np.ndarray[Any, Any]) -> list[Any]:
    if values.dtype.kind != "f":
        return list(values.tolist())
    return ["" if value != value else repr(value) for value in values.tolist()]


__all__ = ["Pool", "Table", "Written", "report"]
