"""What the figures show, before they are drawn: the best so far, actions, ends, failures; and LaTeX that is whole."""

import re
from pathlib import Path

import numpy as np
import pytest

from mlgym.report.behaviour import KIND_COLOURS, actions, by_step, ends, failures, kind
from mlgym.report.curves import Course
from mlgym.report.estimates import estimates
from mlgym.report.figures import Picture, aup_picture, money_picture, profile_picture, progress_picture
from mlgym.report.pool import load, pools
from mlgym.report.results import tables
from mlgym.report.study import Study
from mlgym.report.tables import latex
from tests.recorded import at, episode, lock

TASK = "blotto"


def study(run: Path) -> Study:
    [pool] = pools(load([run]))
    return Study(pool)


def test_the_best_so_far_is_chosen_by_validation(tmp_path: Path) -> None:
    lock(tmp_path, [TASK], "one")
    folder = episode(tmp_path, TASK, "tuner", 0, [0.1, 0.3, 0.2])
    path = folder / "result.json"
    tested = iter(("0.7", "0.5", "0.9"))  # the tests of the three attempts: the best validation has the least
    text = re.sub(r'("test":\{"score":)0\.[123](?=\})', lambda found: found[1] + next(tested), path.read_text())
    path.write_text(text)
    course = Course(study(tmp_path))
    steps, values = course.steps(0, "test", "step")
    assert (steps.tolist(), values.tolist()) == ([2, 4], [0.7, 0.5])
    mean = course.mean(np.array([0]), "test", "step", np.arange(0, 7), np.array([-0.25]))
    assert mean.tolist() == [-0.25, -0.25, 0.7, 0.7, 0.5, 0.5, 0.5]


def test_an_invalid_attempt_changes_nothing(tmp_path: Path) -> None:
    lock(tmp_path, [TASK], "one")
    episode(tmp_path, TASK, "tuner", 0, [None, 0.1, None])
    course = Course(study(tmp_path))
    assert course.steps(0, "test", "step")[0].tolist() == [4]
    assert course.last("step") == 6


@pytest.mark.parametrize(
    ("tool", "expected"), [("view", "look"), ("edit", "edit"), ("bash", "shell"), ("job", "jobs"), ("mine", "other")]
)
def test_kinds_of_actions(tool: str, expected: str) -> None:
    assert kind(tool) == expected


def test_every_step_and_end_is_counted(tmp_path: Path) -> None:
    lock(tmp_path, [TASK], "one")
    for seed, how in enumerate(("submitted", "gave_up", "steps", "strange")):
        episode(tmp_path, TASK, "tuner", seed, [0.1], ended=how)
    episode(tmp_path, TASK, "tuner", 4, [None], boundary="agent", ended="error")
    episode(tmp_path, TASK, "tuner", 5, [None])
    one = study(tmp_path)
    assert actions(one).counts.sum() == len(one.pool.steps["n"]) == 12
    assert sum(row.sum() for row in by_step(one)["tuner"].values()) == 12
    ways = ends(one)
    assert {ways.parts[place] for place in ways.used()} == {"submitted", "gave_up", "steps", "strange", "error"}
    assert ways.counts.sum() == 6
    for by in ("task", "method"):
        failed = failures(one, by)
        counts = {failed.parts[place]: failed.counts[0, place] for place in failed.used()}
        assert counts == {"agent": 1, "no valid submission": 1}
    assert set(KIND_COLOURS) > {"look", "edit", "shell", "validate", "submit"}


def pictures(one: Study) -> dict[str, Picture | None]:
    found = estimates(one, n=100)
    made = (aup_picture, money_picture, profile_picture, progress_picture)
    return {make.__name__: make(one, found) for make in made}


def test_what_there_is_nothing_of_is_not_drawn(tmp_path: Path) -> None:
    lock(tmp_path, [TASK], "one")
    lost = {"scored": False, "ended": "error", "boundary": "model", "progress": None}
    episode(tmp_path, TASK, "react", 0, [], model="openai/x", **lost)
    assert set(pictures(study(tmp_path)).values()) == {None}


def test_the_alt_text_has_the_numbers(tmp_path: Path) -> None:
    lock(tmp_path, [TASK], "one")
    episode(tmp_path, TASK, "react", 0, [at(TASK, 0.5)], model="openai/x")
    episode(tmp_path, TASK, "nop", 0, [at(TASK, 0.0)])
    made = pictures(study(tmp_path))
    for name, said in (
        ("progress_picture", "openai/x 0.50; nop"),
        ("money_picture", "openai/x: 0.100 dollars, progress 0.50"),
        ("aup_picture", "openai/x"),
        ("profile_picture", "openai/x"),
    ):
        picture = made[name]
        assert picture is not None and said in picture.alt, name


def test_latex_rows_are_whole(tmp_path: Path) -> None:
    lock(tmp_path, [TASK], "one")
    for seed in range(3):
        episode(tmp_path, TASK, "react", seed, [at(TASK, 0.5 + seed / 10)], model="openai/a_b&c%")
        episode(tmp_path, TASK, "nop", seed, [at(TASK, 0.0)])
    one = study(tmp_path)
    for made in tables(one, estimates(one, n=100)):
        text = latex(made)
        body = [line for line in text.splitlines() if line.endswith("\\\\") and "multicolumn" not in line]
        assert {len(re.findall(r"(?<!\\)&", line)) + 1 for line in body} == {len(made.columns)}, made.key
        assert text.count("{") == text.count("}") and not re.search(r"[τ↑−<>“”Δ≥]", text), made.key
