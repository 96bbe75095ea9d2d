"""The report: what shares a table, what is missing, marked or escaped; that it is the same each time."""

import csv
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from mlgym.errors import UsageError
from mlgym.report import protocols
from mlgym.report.estimates import Estimates, estimates
from mlgym.report.folder import NO_FIGURES, NO_PARQUET, report
from mlgym.report.pool import load, pools
from mlgym.report.results import tables
from mlgym.report.study import Study
from mlgym.report.tables import MISSING, Cell, Table, as_csv, as_html, fixed, latex, markdown, short, word
from mlgym.totals import totals
from tests.recorded import at, episode, lock

GAMES = ("battle-of-sexes", "prisoners-dilemma")
MODEL = {"model": "openai/good"}


def play(run: Path, tasks: tuple[str, ...] = GAMES, seeds: int = 3, hash_of: str = "one") -> Path:
    """A run of a model that is good, one that is not, and two controls."""
    lock(run, tasks, hash_of)
    for task in tasks:
        for seed in range(seeds):
            luck = seed / 100
            episode(run, task, "react", seed, [at(task, 0.6 + luck), at(task, 0.8 + luck)], **MODEL)
            episode(run, task, "react", seed, [at(task, 0.2 + luck), None], model="openai/hasty")
            episode(run, task, "tuner", seed, [at(task, 0.4 + luck)])
            episode(run, task, "oracle", seed, [at(task, 1.0)], oracle=True)
    return run


def studied(*runs: Path, mixed: bool = False) -> list[tuple[Study, Estimates]]:
    studies = [Study(pool) for pool in pools(load(runs), mixed)]
    return [(study, estimates(study, n=200)) for study in studies]


def table(study: Study, found: Estimates, key: str) -> Table:
    return next(table for table in tables(study, found) if table.key == key)


def row(of: Table, method: str) -> dict[str, Cell]:
    [cells] = [cells for cells in of.rows if cells[0].text == method]
    return dict(zip(of.columns, cells, strict=True))


def test_models_come_first_and_controls_stand_apart(tmp_path: Path) -> None:
    [(study, found)] = studied(play(tmp_path / "run"))
    methods = table(study, found, "methods")
    assert [heading for heading, _ in methods.blocks] == ["Language models", "Controls, without a language model"]
    names = [cells[0].text for cells in methods.rows]
    assert names == ["openai/good", "openai/hasty", "oracle", "tuner", "baseline"]
    assert row(methods, "oracle")["marks"].text == "oracle"
    assert row(methods, "openai/good")["progress IQM"].look == "best"
    adds = row(table(study, found, "controls"), "openai/good")
    assert adds["over tuner"].text.startswith("+") and adds["over oracle"].text.startswith("−")


def test_scores_are_the_best_of_the_seeds(tmp_path: Path) -> None:
    [(study, found)] = studied(play(tmp_path / "run"))
    column = study.tasks[0].heading
    attempts, final = table(study, found, "best-attempt"), table(study, found, "best-submission")
    assert row(attempts, "openai/hasty")[column].value == pytest.approx(at(GAMES[0], 0.22))
    assert row(final, "openai/hasty")[column].text == "none"
    assert row(final, "openai/good")[column].value == pytest.approx(at(GAMES[0], 0.82))
    assert row(final, "baseline")[column].value == pytest.approx(study.tasks[0].baseline)
    assert row(final, "oracle")[column].look == "" and row(final, "openai/good")[column].look == "best"


def test_a_missing_cell_counts_nowhere(tmp_path: Path) -> None:
    whole, less = play(tmp_path / "whole"), tmp_path / "less"
    shutil.copytree(whole, less)
    unscored = {"scored": False, "ended": "error", "boundary": "model", "progress": None}
    for task in GAMES:
        episode(less, task, "react", 3, [], **MODEL, **unscored)
    [(study, found)], [(other, before)] = studied(less), studied(whole)
    assert found.iqm == before.iqm and found.aup is not None and before.aup is not None
    assert found.aup.attempt == before.aup.attempt
    assert [(m.name, gaps, why) for m, _, gaps, why in study.missing()] == [("openai/good", 1, "1 model failed")] * 2
    column = study.tasks[0].heading
    assert row(table(study, found, "best-submission"), "openai/good")[column].text == "1.365 (3 of 4)"
    assert row(table(study, found, "methods"), "openai/good")["episodes"].text == "6 of 8"
    assert list(other.missing()) == []


def test_a_cell_without_any_result_is_missing_and_leaves_its_task_out_of_aup(tmp_path: Path) -> None:
    run = play(tmp_path / "run")
    lost = {"scored": False, "ended": "error", "boundary": "sandbox", "progress": None}
    episode(run, GAMES[0], "nop", 0, [], **lost)
    episode(run, GAMES[1], "nop", 0, [2.3])
    [(study, found)] = studied(run)
    shown = row(table(study, found, "best-attempt"), "nop")[study.tasks[0].heading]
    assert (shown.text, shown.value, shown.look) == (MISSING, None, "missing")
    assert found.aup is not None and found.aup.left_out == (GAMES[0],) and found.aup.tasks == (GAMES[1],)
    assert found.ranked == (GAMES[1],)


def test_an_episode_that_has_not_ended_is_missing(tmp_path: Path) -> None:
    run = play(tmp_path / "run", seeds=2)
    next(run.glob("battle-of-sexes/tuner/1/result.json")).unlink()
    [(study, _)] = studied(run)
    assert [(m.name, gaps, why) for m, _, gaps, why in study.missing()] == [("tuner", 1, "1 not ended")]


def test_seeds_that_were_asked_for_and_not_begun_are_missing(tmp_path: Path) -> None:
    run = play(tmp_path / "run", seeds=2)
    shutil.rmtree(next(run.glob("battle-of-sexes/tuner/1")))
    [(study, _)] = studied(run)
    assert list(study.missing()) == []  # nobody knows that there should be one
    grid = {"seeds": [0, 1], "agents": [{"agent": "tuner", "model": "", "sampling": {}}]}
    (run / "run.json").write_text(json.dumps({"grid": grid, "earlier": []}))
    [(study, _)] = studied(run)
    assert [(m.name, gaps, why) for m, _, gaps, why in study.missing()] == [("tuner", 1, "1 not begun or not readable")]
    (run / "run.json").write_text('{"grid": {"agents": [3], "seeds": "x"}}')
    assert list(studied(run)[0][0].missing()) == []


def test_two_protocols_never_share_a_table(tmp_path: Path) -> None:
    runs = [play(tmp_path / name, hash_of=name) for name in ("one", "two")]
    apart = studied(*runs)
    assert [study.pool.letter for study, _ in apart] == ["A", "B"]
    assert all("protocol" not in table(study, found, "methods").columns for study, found in apart)
    assert {len(study.columns["task"]) for study, _ in apart} == {24}
    [(both, found)] = studied(*runs, mixed=True)
    for made in tables(both, found):
        if made.columns[0] == "method" and made.key != "pairs":
            marked = [cells[1].text for cells in made.rows if cells[0].text not in ("baseline", "best known")]
            assert made.columns[1] in ("protocol", "task") and all(marked)
    assert row(table(both, found, "methods"), "tuner · B")["protocol"].text == "B"


def test_the_page_says_in_what_protocols_differ(tmp_path: Path) -> None:
    runs = [play(tmp_path / name, hash_of=name, seeds=1) for name in ("one", "two")]
    for run, steps in zip(runs, (20, 50), strict=True):
        lock(run, GAMES, run.name, limits={"steps": steps, "money": None}, tools={"names": ["bash"]}, isolation="full")
    text = report(runs, tmp_path / "out", formats=()).page.read_text()
    assert "Protocols A and B differ in limits.steps (20 and 50)." in text
    [(study, _), _] = studied(*runs)
    made = protocols.table(study)
    assert made.columns == ("task", "steps", "isolation", "hash")
    assert [cell.text for cell in made.rows[0]] == [GAMES[0], "20", "full", "one-battle-of-sexes"]


@pytest.mark.parametrize("content", ["[]", '{"task_protocol": 3}', '{"task_protocol": {"tasks": {"blotto": [1]}}}'])
def test_a_lock_of_another_form_says_nothing(tmp_path: Path, content: str) -> None:
    run = play(tmp_path / "run", seeds=1)
    (run / "protocol.lock").write_text(content)
    assert report([run], tmp_path / "out", formats=()).page.exists()


def test_one_protocol_in_two_runs_is_one_table(tmp_path: Path) -> None:
    runs = [play(tmp_path / "one", (GAMES[0],), hash_of="x"), play(tmp_path / "two", (GAMES[1],), hash_of="y")]
    [(study, _)] = studied(*runs)
    assert [task.name for task in study.tasks] == list(GAMES)
    again = studied(*[play(tmp_path / name, hash_of="same") for name in ("three", "four")])
    assert len(again) == 1 and len(again[0][0].columns["task"]) == 48


def test_what_is_known_keeps_unrecorded_protocols_apart(tmp_path: Path) -> None:
    run = tmp_path / "run"
    for name, fields in (("tuner", {}), ("nop", {"feedback": "test"}), ("oracle", {"isolation": "none"})):
        episode(run, GAMES[0], name, 0, [1.2], **fields)
    assert len(studied(run)) == 3


def test_less_isolation_is_marked(tmp_path: Path) -> None:
    run = tmp_path / "run"
    lock(run, GAMES, "one")
    episode(run, GAMES[0], "tuner", 0, [1.2], isolation="partial", network=())
    episode(run, GAMES[0], "nop", 0, [1.0], backend="imported")
    [(study, found)] = studied(run)
    for key in ("methods", "best-attempt", "best-submission", "mean", "progress-by-task", "aup", "cost"):
        made = table(study, found, key)
        assert row(made, "tuner")["marks"].text == "isolation partial, network", key
        assert row(made, "nop")["marks"].text == "imported", key


def test_tables_page_and_data_are_the_same_again(tmp_path: Path) -> None:
    same_again(play(tmp_path / "run", seeds=2), tmp_path, ())


@pytest.mark.slow
def test_figures_are_the_same_again(tmp_path: Path) -> None:
    names = same_again(play(tmp_path / "run", seeds=2), tmp_path, ("svg", "png", "pdf"))
    assert {f"figures/{key}.pdf" for key in ("profiles", "aup", "money", "progress-over", "actions", "ended")} <= names


def same_again(run: Path, tmp_path: Path, formats: tuple[str, ...]) -> set[str]:
    """Report twice; the names of the files, which are equal."""
    first = report([run], tmp_path / "a", formats=formats)
    report([run], tmp_path / "b", formats=formats)
    names = {path.relative_to(tmp_path / "a").as_posix() for path in (tmp_path / "a").rglob("*") if path.is_file()}
    assert len(names) == first.files and not first.notes
    assert {"index.html", "report.md", "report.tex", "data/steps.csv", "data/episodes.parquet"} <= names
    for name in names - {name for name in names if name.endswith("parquet")}:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    return names


def test_the_data_is_all_there(tmp_path: Path) -> None:
    from pyarrow.parquet import read_table

    run = play(tmp_path / "run", seeds=1)
    report([run], tmp_path / "out", formats=())
    for name, rows in (("episodes", 8), ("attempts", 12), ("steps", 24)):
        with (tmp_path / "out" / "data" / f"{name}.csv").open() as file:
            written = list(csv.DictReader(file))
        parquet = read_table(tmp_path / "out" / "data" / f"{name}.parquet")
        assert len(written) == parquet.num_rows == rows
        assert list(written[0]) == parquet.column_names


def test_figures_and_parquet_are_left_out_with_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("matplotlib", "pyarrow"):
        monkeypatch.setitem(sys.modules, name, None)
    written = report([play(tmp_path / "run", seeds=1)], tmp_path / "out")
    assert written.notes == (NO_FIGURES, NO_PARQUET)
    page = written.page.read_text()
    assert "matplotlib is not installed" in page and "<svg" not in page and "Best attempt" in page
    assert not (tmp_path / "out" / "figures").exists()


def test_methods_are_left_out_by_name(tmp_path: Path) -> None:
    run = play(tmp_path / "run", seeds=1)
    assert "oracle" not in set(load([run], ["oracle"]).episodes["method"])
    with pytest.raises(UsageError, match="no method 'orakel'"):
        load([run], ["orakel"])


def test_one_broken_episode_does_not_stop_the_rest(tmp_path: Path) -> None:
    run = play(tmp_path / "run", seeds=1)
    next(run.glob("*/tuner/0/result.json")).write_text('{"ended": ')
    written = report([run], tmp_path / "out", formats=())
    assert len(written.notes) == 1 and "tuner" in written.notes[0]
    assert "tuner" in written.page.read_text()


def test_names_are_escaped_everywhere(tmp_path: Path) -> None:
    run = tmp_path / "run"
    lock(run, GAMES, "one")
    name = "openai/<b>a_b&100%|x</b>"
    episode(run, GAMES[0], "react", 0, [1.2], model=name)
    report([run], tmp_path / "out", formats=())
    assert "<b>" not in (tmp_path / "out" / "index.html").read_text()
    assert "\\_b\\&100\\%" in (tmp_path / "out" / "report.tex").read_text()
    assert "a\\_b&100%\\|x" in (tmp_path / "out" / "report.md").read_text()


def test_a_table_in_every_form() -> None:
    made = Table("k", "A title", ("method", "x"), (("", ((word("m"), fixed(-0.5, 2, "best")),)),), notes=("A note.",))
    assert "| m | **−0.50** |" in markdown(made)
    assert "m & \\textbf{$-$0.50} \\\\" in latex(made)
    assert as_csv(made) == "method,x\nm,-0.5\n"


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.0, "0.000"), (0.94382, "0.9438"), (-1.5, "−1.500"), (12345.6, "12346"), (1e7, "1.000e7"), (2e-5, "2.000e−5")],
)
def test_four_digits(value: float, said: str) -> None:
    assert short(value) == said
    assert short(np.nan) == "–"


def test_only_failures_are_results_and_counts_sort_as_numbers(tmp_path: Path) -> None:
    lock(tmp_path / "run", GAMES[:1], "one")
    episode(tmp_path / "run", GAMES[0], "react", 0, [None, None], model="openai/x", ended="error", boundary="agent")
    page = report([tmp_path / "run"], tmp_path / "out", formats=()).page.read_text()
    assert "1 episodes have a result, none is missing" in page
    found = pools(load([tmp_path / "run"]))[0]
    [steps] = [table for table in tables(Study(found), estimates(Study(found))) if table.key == "actions-by-step"]
    assert 'class="n" data-v="' in as_html(steps) and '<td class="n">' not in as_html(steps)


def test_what_is_packed_has_the_areas_of_the_report(tmp_path: Path) -> None:
    lock(tmp_path, GAMES, "one")
    for task, agent in ((GAMES[0], "tuner"), (GAMES[1], "tuner"), (GAMES[0], "random")):
        for seed in range(2):
            episode(tmp_path, task, agent, seed, [at(task, 0.2 + 0.3 * (agent == "tuner")), at(task, 0.1 * seed)])
    found = estimates(Study(pools(load([tmp_path]))[0])).aup
    assert found is not None and found.left_out == (GAMES[1],)
    sides = zip(found.methods, found.attempt, found.submission, strict=True)
    expected = {method: pytest.approx([attempt.value, submission.value]) for method, attempt, submission in sides}
    packed = totals(tmp_path)["aup"]
    assert packed["methods"] == expected and packed["tau_max"] == found.tau_max


def test_a_run_named_twice_counts_once(tmp_path: Path) -> None:
    lock(tmp_path / "run", GAMES[:1], "one")
    episode(tmp_path / "run", GAMES[0], "tuner", 0, [0.1])
    assert len(load([tmp_path / "run", tmp_path / "run" / ".." / "run"]).episodes["task"]) == 1


def test_no_episode_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no episode"):
        report([tmp_path], tmp_path / "out")


def test_json_of_the_lock_that_is_no_json_is_said(tmp_path: Path) -> None:
    run = play(tmp_path / "run", seeds=1)
    (run / "protocol.lock").write_text("{")
    written = report([run], tmp_path / "out", formats=())
    assert any("protocol.lock" in note for note in written.notes)
    assert json.dumps("unknown")[1:-1] in (tmp_path / "out" / "report.md").read_text()
