"""Recorded runs of the original become episodes; broken and hostile ones a line each."""

import csv
import json
import math
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from mlgym.audit import audit
from mlgym.cli import app
from mlgym.errors import UsageError
from mlgym.importers import Imported, import_runs
from mlgym.importers.recorded import named
from mlgym.importers.tasks import TASKS
from mlgym.onward import onward
from mlgym.records import EpisodeSpec
from mlgym.regrade import regrade
from mlgym.runs import open_run
from mlgym.store import Episode, episodes
from mlgym.totals import totals
from tests.originals import recorded_run

REFERENCE = os.environ.get("MLGYM_REFERENCE", "")
needs_reference = pytest.mark.skipif(not REFERENCE, reason="MLGYM_REFERENCE names no folder with recorded episodes")
EDIT = "File updated. Please review the changes."


def imported(source: Path, run: Path, **options: bool) -> list[Imported]:
    return list(import_runs(source, run, **options))


def only(run: Path) -> Episode:
    (folder,) = episodes(run)
    return Episode.read(folder)


def tree(run: Path) -> dict[str, bytes]:
    return {str(path.relative_to(run)): path.read_bytes() for path in run.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with the 14 recorded episodes."""
    run = tmp_path_factory.mktemp("reference") / "run"
    assert [one.status for one in import_runs(Path(REFERENCE) / "episodes", run)] == ["imported"] * 14
    return run


@needs_reference
def test_the_recorded_scores_are_those_of_the_attempts(reference: Path) -> None:
    for folder in episodes(reference):
        store = Episode.read(folder)
        spec, result = store.spec, store.result
        assert result is not None and result.imported == spec.imported and result.isolation == "none"
        source = Path(REFERENCE) / "episodes" / spec.imported
        name = named(spec.imported)
        assert name is not None
        theirs, recorded = TASKS[name.task], json.loads((source / "results.json").read_bytes())
        valid = [attempt.test for attempt in store.attempts() if attempt.valid]
        metric = theirs.task.metric
        key = next((key for key in theirs.scores if key in recorded["baseline"]), "")
        assert [test[metric] for test in valid if test] == [each[key] * theirs.factor for each in recorded["agent"]]
        assert (result.final or {}).get(metric) == (recorded["agent"][-1][key] * theirs.factor if valid else None)
        told = json.loads((source / f"{name.task}.traj").read_bytes())
        assert len(store.steps()) == min(50, len(told["trajectory"]))
        assert result.cost.money == told["info"]["model_stats"]["total_cost"]


@needs_reference
def test_none_of_the_recorded_scores_is_forged_and_three_tried(reference: Path) -> None:
    notes: Counter[str] = Counter()
    for folder in episodes(reference):
        result = Episode.read(folder).result
        assert result is not None and not any(note.startswith("Forged") for note in result.notes)
        notes[Episode.read(folder).spec.task] += sum(note.startswith("Tried") for note in result.notes)
    assert +notes == {"3sat": 3, "language-modeling": 1, "image-captioning": 2}


@needs_reference
def test_the_recorded_episodes_are_shown_and_read(reference: Path) -> None:
    for verb in (["show", str(reference)], ["regrade", str(reference)]):
        assert CliRunner().invoke(app, verb).exit_code == 0
    for folder in episodes(reference):
        assert CliRunner().invoke(app, ["show", str(folder)]).exit_code == 0
    run = open_run(reference)
    columns = run.columns()
    assert not run.problems and len(columns["task"]) == 14 and {*columns["feedback"]} == {"test"}
    assert all("imported" in marks for marks in columns["marks"]) and "" not in columns["protocol"]
    for progress, best in zip(columns["progress"], columns["best_progress"], strict=True):
        assert best >= progress
    assert len(run.columns("steps")["n"]) == sum(columns["steps"]) + 4  # the framework's own ends
    flags = {flag.what for flag in audit(reference)[0]}
    assert flags == {"isolation", "feedback", "fallback", "found by the import"}
    assert [row.status for row in regrade(reference)] == ["not comparable"] * 14


def test_an_episode_is_what_was_recorded(tmp_path: Path) -> None:
    steps = [("open a.py\n", "window"), ("validate\n", "1.1"), ("validate\n", "no score"), ("submit\n", "")]
    recorded_run(tmp_path / "in", steps, [1.1, 1.2], run=3)
    (one,) = imported(tmp_path / "in", tmp_path / "run")
    store = only(tmp_path / "run")
    result = store.result
    assert one == Imported(one.source, "imported", "", store.folder, steps=4, scores=2) and result is not None
    assert store.spec.seed == 3 and store.spec.model == "some-model" and store.spec.feedback == "test"
    assert [(a.n, a.step, a.kind, a.valid, a.test) for a in store.attempts()] == [
        (0, 2, "validate", True, {"score": 1.1, "Score": 1.1}),
        (1, 3, "validate", False, None),
        (2, 4, "submit", True, {"score": 1.2, "Score": 1.2}),
    ]
    assert result.final == result.best == {"score": 1.2, "Score": 1.2} and result.ended == "submitted"
    assert math.fsum(step.reward or 0.0 for step in store.steps()) == pytest.approx(result.progress)
    assert [step.action.tool for step in store.steps()] == ["open", "validate", "validate", "submit"]
    assert [step.calls for step in store.steps()] == [1, 2, 3, 4] and len(store.replies()) == 4
    assert result.cost.money == 0.25 and result.cost.tokens_in == 1000
    assert {flag.what for flag in audit(tmp_path / "run")[0]} == {"isolation", "feedback"}


@pytest.mark.parametrize(
    ("exit", "ended", "boundary"),
    [
        ("submitted", "submitted", ""),
        ("autosubmission (max_steps)", "steps", ""),
        ("autosubmission (exit_context)", "context", "budget"),
        ("autosubmission (exit_cost)", "money", "budget"),
        ("autosubmission (exit_format)", "error", "agent"),
        ("evaluation_format_error (submit)", "submitted", ""),
        ("submission_not_found (exit_format)", "error", "agent"),
        ("unknown_error (validate)", "error", "agent"),
        ("", "error", ""),
        ("something new", "error", ""),
    ],
)
def test_exit_states(tmp_path: Path, exit: str, ended: str, boundary: str) -> None:
    recorded_run(tmp_path / "in", [("validate\n", "1.1")], [1.1], exit=exit)
    imported(tmp_path / "in", tmp_path / "run")
    result = only(tmp_path / "run").result
    assert result is not None and (result.ended, result.boundary, result.scored) == (ended, boundary, True)
    assert result.final == result.best and result.attempts[-1].fallback  # its last valid attempt stands in


def test_what_ends_without_a_word_and_a_score_is_missing(tmp_path: Path) -> None:
    recorded_run(tmp_path / "in", exit="")
    imported(tmp_path / "in", tmp_path / "run")
    result = only(tmp_path / "run").result
    assert result is not None and not result.scored and result.progress is None
    assert not open_run(tmp_path / "run").columns()["scored"][0]


def test_a_51st_action_was_not_executed(tmp_path: Path) -> None:
    steps = [("ls\n", "")] * 50 + [("submit\n", "")]
    recorded_run(tmp_path / "in", steps, [1.2], exit="autosubmission (max_steps)")
    imported(tmp_path / "in", tmp_path / "run")
    store = only(tmp_path / "run")
    result = store.result
    assert result is not None and result.steps == len(store.steps()) == 50 and result.final is not None
    assert any("beyond step 50" in note for note in result.notes) and len(store.replies()) == 51


def test_scores_that_are_no_numbers(tmp_path: Path) -> None:
    steps = [("validate\n", "nan"), ("validate\n", "-1e300"), ("submit\n", "")]
    recorded_run(tmp_path / "in", steps, [math.nan, -1e300, math.inf])
    imported(tmp_path / "in", tmp_path / "run")
    attempts = only(tmp_path / "run").attempts()
    assert [attempt.valid for attempt in attempts] == [False, True, False] and "nan" in attempts[0].why
    assert attempts[2].fallback and attempts[2].test == {"score": -1e300, "Score": -1e300}
    assert "result does not follow" not in {flag.what for flag in audit(tmp_path / "run")[0]}


@pytest.mark.parametrize("missing", ["battleOfSexes.traj", "results.json"])
def test_either_file_may_be_missing(tmp_path: Path, missing: str) -> None:
    folder = recorded_run(tmp_path / "in", [("validate\n", "1.1"), ("submit\n", "")], [1.1, 1.2])
    (folder / missing).unlink()
    assert [one.status for one in imported(tmp_path / "in", tmp_path / "run")] == ["imported"]
    result = only(tmp_path / "run").result
    assert result is not None and result.final == {"score": 1.2, "Score": 1.2} == result.best
    assert CliRunner().invoke(app, ["show", str(tmp_path / "run")]).exit_code == 0


def broken(place: Path) -> dict[str, str]:
    """Runs that cannot be read, by model, with what must be said of each."""
    said = {}
    for number, (name, (data, words)) in enumerate(
        {
            "truncated": (
                b'{"trajectory": [{"action": "ls\\n", "obser',
                "battleOfSexes.traj is cut off after 41 bytes",
            ),
            "empty": (b"", "battleOfSexes.traj is empty"),
            "corrupt": (b'{"trajectory": [1, 2}', "battleOfSexes.traj is not JSON"),
            "binary": (b"\x80\x04\x95\xff\xfe}", "battleOfSexes.traj is not text"),
            "deep": (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deep"),
            "list": (b"[1]", "battleOfSexes.traj"),
            "digits": (b'{"info": {"model_stats": {"total_cost": ' + b"9" * 5000 + b"}}}", "is not JSON"),
            "steps": (b'{"trajectory": [1]}', "has a step that is no JSON object"),
            "scores": (b'{"info": {"score": [{"Score": "x"}]}}', "has the score 'Score', which is no number"),
        }.items()
    ):
        folder = recorded_run(place, model=name, run=number)
        (folder / "battleOfSexes.traj").write_bytes(data)
        said[folder.name] = words
    folder = recorded_run(place, model="link")
    (folder / "battleOfSexes.traj").unlink()
    (folder / "battleOfSexes.traj").symlink_to("/etc/passwd")
    said[folder.name] = "is a link, and links are not followed"
    folder = recorded_run(place, model="fifo")
    (folder / "results.json").unlink()
    os.mkfifo(folder / "results.json")
    said[folder.name] = "results.json is not a regular file"
    folder = recorded_run(place, model="nothing")
    for path in folder.iterdir():
        path.unlink()
    said[folder.name] = "has neither"
    return said


def test_broken_ones_are_a_line_each_and_stop_nothing(tmp_path: Path) -> None:
    said = broken(tmp_path / "in")
    recorded_run(tmp_path / "in", model="zz-good")
    done = {one.source.name: one for one in imported(tmp_path / "in", tmp_path / "run")}
    for name, words in said.items():
        assert done[name].status == "unreadable" and words in done[name].why, name
    assert Counter(one.status for one in done.values()) == {"unreadable": len(said), "imported": 1}
    ran = CliRunner().invoke(app, ["import", str(tmp_path / "in"), "-o", str(tmp_path / "again")])
    assert ran.exit_code == 1 and len(ran.output.splitlines()) == len(said) + 2


def test_odd_names(tmp_path: Path) -> None:
    recorded_run(tmp_path / "in", model="a..b 'c' $(x)")
    recorded_run(tmp_path / "in", model="\udcff\x1b[31m")
    (tmp_path / "in" / "metagen-x__noSuchTask__default__t-0.00__p-0.95__c-4.00__install-0__p_run_0").mkdir()
    ran = CliRunner().invoke(app, ["import", str(tmp_path / "in"), "-o", str(tmp_path / "run")])
    assert ran.exit_code == 1 and "\x1b" not in ran.output and "which has no match here" in ran.output
    assert {path.name for path in tmp_path.iterdir()} == {"in", "run"}
    assert only(tmp_path / "run").spec.model == "a..b 'c' $(x)"


def test_nothing_to_import_and_a_run_of_ours_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no recorded run"):
        imported(tmp_path, tmp_path / "run")
    recorded_run(tmp_path / "in")
    Episode.open(tmp_path / "ours" / "t" / "m" / "0", EpisodeSpec(task="blotto", agent="nop")).close()
    with pytest.raises(UsageError, match="run here"):
        imported(tmp_path / "in", tmp_path / "ours")


def test_two_imports_at_once(tmp_path: Path) -> None:
    recorded_run(tmp_path / "in")
    first = import_runs(tmp_path / "in", tmp_path / "run")
    next(first)
    with pytest.raises(UsageError, match="Another process is importing"):
        imported(tmp_path / "in", tmp_path / "run")
    first.close()


def test_an_imported_episode_cannot_be_gone_on_from(tmp_path: Path) -> None:
    recorded_run(tmp_path / "in", [("validate\n", "1.1"), ("submit\n", "")], [1.1, 1.2])
    imported(tmp_path / "in", tmp_path / "run")
    with pytest.raises(UsageError, match="was imported"):
        onward(f"{tmp_path / 'run'}@1")
    for option in ("--diff", "--files=x"):
        ran = CliRunner().invoke(app, ["show", str(tmp_path / "run"), option])
        assert isinstance(ran.exception, UsageError) and "kept no files" in str(ran.exception)


def test_again_does_only_what_is_missing(tmp_path: Path) -> None:
    recorded_run(tmp_path / "in", run=0)
    imported(tmp_path / "in", tmp_path / "run")
    before = tree(tmp_path / "run")
    recorded_run(tmp_path / "in", run=1)
    assert [one.status for one in imported(tmp_path / "in", tmp_path / "run")] == ["there", "imported"]
    after = tree(tmp_path / "run")
    assert {name: after[name] for name in before} == before and len(list(episodes(tmp_path / "run"))) == 2
    other = recorded_run(tmp_path / "other", run=0)
    other.rename(other.with_name(other.name.replace("metagen", "someone")))
    assert [one.status for one in imported(tmp_path / "other", tmp_path / "run")] == ["refused"]


def test_a_kill_leaves_nothing_half(tmp_path: Path) -> None:
    for run in range(140):
        recorded_run(tmp_path / "in", [("ls\n", "x" * 1000)] * 10, [1.1], run=run)
    command = [sys.executable, "-m", "mlgym", "import", str(tmp_path / "in"), "-o", str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        program.stdout.readline()  # the first batch is in its place, the second is being made
        program.send_signal(signal.SIGKILL)
    assert program.returncode in (-signal.SIGKILL, 0)  # where this test was slow, it has ended
    made = list(episodes(tmp_path / "run"))
    assert len(made) > 0 and all(Episode.read(folder).result is not None for folder in made)
    statuses = Counter(one.status for one in imported(tmp_path / "in", tmp_path / "run"))
    assert statuses == Counter(there=len(made), imported=140 - len(made))
    imported(tmp_path / "in", tmp_path / "undisturbed")
    assert tree(tmp_path / "run") == tree(tmp_path / "undisturbed")


FORGERIES: list[tuple[str, str, str, str]] = [
    ("blotto", "edit 1:9\ndef f(): return [0]*6\nend_of_edit\n", EDIT, "target.py edited"),
    ("blotto", "cat > target.py <<E\ndef f(h): return [0]*6\nE\n", "", "target.py written"),
    ("blotto", "echo 'x' >> ./target.py\n", "", "target.py written"),
    ("blotto", "sed -i 's/120/0/' target.py && ls\n", "", "target.py written"),
    ("blotto", "cp strategy.py target.py\n", "", "target.py written"),
    ("blotto", "rm -f target.py\n", "", "target.py written"),
    ("blotto", "python -c \"open('target.py', 'w').write('x')\"\n", "", "target.py written"),
    ("battleOfSexes", "tee evaluate.py < mine.py\n", "", "evaluate.py written"),
    ("3SATTime", "mv fast.py solver.py\n", "", "solver.py written"),
    ("imageCaptioningCOCO", "python -c \"df['bleu_score'] = 1.0\"\n", "", "the column bleu_score"),
    ("regressionKaggleHousePrice", "cp data/answer.csv submission.csv\n", "", "the answers in answer.csv read"),
]
HONEST: list[tuple[str, str, str]] = [
    ("blotto", "cat target.py\n", "def f"),
    ("blotto", "cp target.py /tmp/opponent.py\n", ""),
    ("blotto", "python evaluate.py > out.txt\n", ""),
    ("blotto", "grep x target.py 2>&1 | head\n", ""),
    ("blotto", "echo x > my_target.py\n", ""),
    ("blotto", "echo x > target.pyc\n", ""),
    ("regressionKaggleHousePrice", "ls data/answer.csv\n", "data/answer.csv"),
    ("imageCaptioningCOCO", "grep bleu_score baseline.py\n", "bleu_score"),
]


@pytest.mark.parametrize(("task", "action", "answer", "what"), FORGERIES, ids=lambda value: str(value)[:30])
def test_forged(tmp_path: Path, task: str, action: str, answer: str, what: str) -> None:
    steps = [("validate\n", "0.1"), (action, answer), ("submit\n", "")]
    opened = "/home/agent/workspace/target.py" if action.startswith("edit") else "n/a"
    recorded_run(tmp_path / "in", steps, [0.1, 0.9], task=task, opened=opened)
    (left,) = imported(tmp_path / "in", tmp_path / "run", leave_out_forged=True)
    assert left.status == "left out" and left.why.startswith(f"step 2: {what}")
    (taken,) = imported(tmp_path / "in", tmp_path / "run")
    result = only(tmp_path / "run").result
    assert taken.status == "imported" and result is not None
    assert [note for note in result.notes if note.startswith("Forged: step 2")]
    assert "found by the import" in {flag.what for flag in audit(tmp_path / "run")[0]}


@pytest.mark.parametrize("word", ["mv ", "sed -i ", "echo "])
def test_a_long_action_is_looked_through_in_time(tmp_path: Path, word: str) -> None:
    action = f"# target.py, bleu_score\n{word * 90_000}\n"  # took the hours that are the square of its length
    for task in ("blotto", "imageCaptioningCOCO"):
        recorded_run(tmp_path / "in", [(action, ""), ("submit\n", "")], [0.9], task=task)
    assert [(one.status, one.why) for one in imported(tmp_path / "in", tmp_path / "run")] == [("imported", "")] * 2


@pytest.mark.parametrize(("task", "action", "answer"), HONEST, ids=lambda value: str(value)[:30])
def test_not_forged(tmp_path: Path, task: str, action: str, answer: str) -> None:
    recorded_run(tmp_path / "in", [(action, answer), ("submit\n", "")], [0.9], task=task)
    (one,) = imported(tmp_path / "in", tmp_path / "run", leave_out_forged=True)
    assert (one.status, one.why) == ("imported", "")


@pytest.mark.parametrize(
    ("action", "answer", "scores"),
    [
        ("edit 1:9\nx\nend_of_edit\n", "target.py: Permission denied\nFile updated.", [0.1, 0.9]),
        ("edit 1:9\nx\nend_of_edit\n", "Error: You cannot edit read-only file target.py", [0.1, 0.9]),
        ("echo x > target.py\n", "bash: target.py: Permission denied", [0.1, 0.9]),
        ("edit 1:9\nx\nend_of_edit\n", EDIT, [0.1]),  # no score came after it
    ],
)
def test_tried_in_vain(tmp_path: Path, action: str, answer: str, scores: list[float]) -> None:
    steps = [("validate\n", "0.1"), (action, answer), ("submit\n", "")]
    opened = "/home/agent/workspace/target.py"
    recorded_run(tmp_path / "in", steps, scores, task="blotto", opened=opened, exit="submission_not_found (submit)")
    (one,) = imported(tmp_path / "in", tmp_path / "run", leave_out_forged=True)
    assert one.status == "imported" and "target.py" in one.why


def test_a_record_that_was_changed_afterwards(tmp_path: Path) -> None:
    folder = recorded_run(tmp_path / "in", [("validate\n", "1.1"), ("submit\n", "")], [1.1, 1.2])
    path = folder / "results.json"
    path.write_text(path.read_text().replace("1.1", "1.4"))
    (one,) = imported(tmp_path / "in", tmp_path / "run", leave_out_forged=True)
    assert one.status == "left out" and "other scores than the trajectory" in one.why
    assert "`validate` showed Score 1.1" in one.why


JSONS: Any = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["trajectory", "info", "score", "action", "state", "exit_status", "Score", "content", "x"]),
            inner,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=30)
@given(told=st.dictionaries(st.sampled_from(["trajectory", "history", "info"]), JSONS), results=JSONS)
def test_any_json_is_an_episode_or_a_line(
    tmp_path_factory: pytest.TempPathFactory, told: dict[str, Any], results: Any
) -> None:
    place = tmp_path_factory.mktemp("any")
    folder = recorded_run(place / "in")
    (folder / "battleOfSexes.traj").write_text(json.dumps(told))
    (folder / "results.json").write_text(json.dumps({"agent": results}))
    (one,) = imported(place / "in", place / "run")
    assert one.status in ("imported", "unreadable")
    if one.status == "imported":
        assert only(place / "run").result is not None and len(open_run(place / "run").columns()["task"]) == 1
        audit(place / "run")


@needs_reference
def test_the_published_scores_and_areas_come_out_of_imports(tmp_path: Path) -> None:
    published = Path(REFERENCE) / "published"
    for line in (published / "pool5_runs.jsonl").read_text().splitlines():
        told = json.loads(line)
        name = (
            f"metagen-{told['model']}__{told['task']}__default__t-0.00__p-0.95__c-4.00__install-0__p_run_{told['run']}"
        )
        folder = tmp_path / "in" / name
        folder.mkdir(parents=True)
        (folder / "results.json").write_text(json.dumps({"agent": told["attempts"], "baseline": told["baseline"]}))
        (folder / f"{told['task']}.traj").write_text(json.dumps({"info": {"exit_status": "not told"}}))
    assert {one.status for one in imported(tmp_path / "in", tmp_path / "run")} == {"imported"}
    made = totals(tmp_path / "run")
    cells = {(cell["task"], cell["method"]): cell for cell in made["cells"]}
    for row in csv.DictReader((published / "pool5_scores.csv").read_text().splitlines()):
        theirs = TASKS[row["task"]]
        if row["method"] == "baseline":
            assert float(row["best_attempt"]) == theirs.baseline
            continue
        cell = cells[theirs.ours, f"original {row['method']}"]
        for column in ("best_attempt", "best_submission"):
            assert cell[column] == (pytest.approx(float(row[column]) * theirs.factor) if row[column] else None)
    for row in csv.DictReader((published / "pool5_expected.csv").read_text().splitlines()):
        method = row["method"] if row["method"] == "baseline" else f"original {row['method']}"
        expected = [float(row["aup_best_attempt"]), float(row["aup_best_submission"])]
        assert made["aup"]["methods"][method] == pytest.approx(expected, abs=1e-9)
