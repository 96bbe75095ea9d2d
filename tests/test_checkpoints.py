"""Agents that save the episode, go back and branch: what is sent, recorded and graded, and going on after a stop."""

import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlgym.agents.branches import straight
from mlgym.env import ResearchEnv
from mlgym.episode import run_episode
from mlgym.errors import UsageError
from mlgym.marks import Marks
from mlgym.onward import onward
from mlgym.records import (
    Action,
    Branch,
    Branches,
    Brief,
    Checkpoint,
    EpisodeSpec,
    Limits,
    Observation,
    Restore,
    Result,
    Step,
)
from mlgym.store import Episode
from tests.faults import lose, mine

GUESS = str(Path(__file__).parent.parent / "examples" / "guess")
HERE = "tests.test_checkpoints" if __name__.startswith("tests.") else "test_checkpoints"
ROOT = Path(__file__).parent.parent
VALIDATE, SUBMIT = Action(tool="validate"), Action(tool="submit")


def spec(backend: str, agent: str, steps: int = 20, **kw: object) -> EpisodeSpec:
    return EpisodeSpec.model_validate(
        {"task": GUESS, "agent": f"{HERE}:{agent}", "sandbox": backend, "limits": Limits(steps=steps), **kw}
    )


def bash(command: str) -> Action:
    return Action(tool="bash", args={"command": command})


def guess(value: int) -> Action:
    return bash(f"echo {value} > guess.txt; x={value}")


def brancher(brief: Brief, model: object, *, broken: bool = False):  # type: ignore[no-untyped-def]
    """Two branches from its first guess, one from the better of them, and a look at what stands in between."""
    yield guess(20)
    left = yield Checkpoint(name="start")
    assert (left.text, left.steps_left, left.status) == ("", brief.limits.steps - 1, "ok")  # type: ignore[operator]
    first, second = yield Branches(
        branches=(
            Branch(at="start", actions=(guess(30), VALIDATE), name="30"),
            Branch(at="start", actions=(bash("cat guess.txt; echo $x"), guess(36), VALIDATE), name="36"),
        )
    )
    assert second[0].text == "20\n20\n" and second[-1].validation["closeness"] > first[-1].validation["closeness"]
    seen = yield bash("cat guess.txt; echo $x; touch here")
    assert seen.text == "20\n20\n"
    yield Branches(branches=(Branch(at="36", actions=(guess(50), VALIDATE)),))
    assert (yield bash("ls here")).status == "ok"
    yield Restore(name="36")
    assert (yield bash("ls here")).status == "error"
    yield Checkpoint(name="start")
    yield guess(40)
    if broken:
        yield Restore(name="nothing")
    yield Restore(name="start")
    assert (yield bash("cat guess.txt")).text == "36\n"
    yield SUBMIT


MARKS = [
    *((), ("+start", "+", "-start"), (), ("+30", "-start"), (), (), ("+36", "-"), ("+", "-36"), (), ("-",)),
    *(("-36",), ("+start",), ("-start",), ()),
]


def test_branches_are_steps_and_the_state_is_the_one_before(tmp_path: Path, backend: str) -> None:
    result = run_episode(spec(backend, "brancher"), tmp_path)
    assert (result.ended, result.boundary, result.why, result.steps) == ("submitted", "", "", 14)
    assert result.final == {"closeness": pytest.approx(1 / 7)}
    steps = Episode.read(tmp_path).steps()
    assert [step.marks for step in steps] == MARKS
    assert [step.n for step in steps] == list(range(1, 15))
    assert [step.observation.steps_left for step in steps] == list(range(19, 5, -1))
    assert [attempt.n for attempt in result.attempts] == [0, 1, 2, 3]
    assert sum(step.reward or 0 for step in steps) == pytest.approx(result.progress)


def same(again: Result, whole: Result) -> bool:
    """Whether two episodes came to the same, but for what they took and noted."""
    told = [(each.ended, each.boundary, each.final, each.steps, each.progress) for each in (again, whole)]
    files = [[(a.n, a.step, a.kind, a.files, a.validation, a.test) for a in each.attempts] for each in (again, whole)]
    return told[0] == told[1] and files[0] == files[1]


def acts(folder: Path) -> list[tuple[object, ...]]:
    """What was done and seen in an episode."""
    return [(s.n, s.action, s.observation.text, s.marks, s.attempt, s.reward) for s in Episode.read(folder).steps()]


@pytest.mark.parametrize("agent", ["brancher", pytest.param("wanderer", marks=pytest.mark.slow)])
def test_cut_anywhere_it_goes_on_as_if_undisturbed(tmp_path: Path, agent: str) -> None:
    made = spec("local", agent)
    whole = run_episode(made, tmp_path / "whole")
    steps = (tmp_path / "whole/steps.jsonl").read_bytes().splitlines(keepends=True)
    for cut in range(1, len(steps) + 1, 4):
        folder = tmp_path / str(cut)
        shutil.copytree(tmp_path / "whole", folder)
        (folder / "result.json").unlink()
        (folder / "steps.jsonl").write_bytes(b"".join(steps[:cut]))
        for attempt in whole.attempts:
            if attempt.step > cut:
                (folder / "attempts" / f"{attempt.n:04d}.json").unlink()
        again = run_episode(made, folder)
        assert same(again, whole) and acts(folder) == acts(tmp_path / "whole")
        assert not [note for note in again.notes if "played back" in note]


@pytest.mark.slow
def test_a_lost_sandbox_is_set_up_again_with_what_was_saved(tmp_path: Path) -> None:
    whole = run_episode(spec("bubblewrap", "brancher"), tmp_path / "whole")
    others = mine()

    def kill(step: Step, attempt: object) -> None:
        if step.n in (3, 10, 11):  # before an action, a going back and a save
            lose(others)

    result = run_episode(spec("bubblewrap", "brancher"), tmp_path / "killed", on_step=kill)
    assert same(result, whole) and acts(tmp_path / "killed") == acts(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_killed_at_random_it_ends_as_if_undisturbed(tmp_path: Path, backend: str) -> None:
    began = time.monotonic()
    whole = run_episode(spec(backend, "brancher"), tmp_path / "whole")
    takes, rng, folder = time.monotonic() - began + 1, random.Random(7), tmp_path / "run"
    code = f"from pathlib import Path; from mlgym.episode import run_episode; import {HERE} as here\n"
    code += f"run_episode(here.spec({backend!r}, 'brancher'), Path({str(folder)!r}))"
    for _ in range(8):
        process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.PIPE)
        try:
            process.communicate(timeout=rng.uniform(0.5, takes))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
    result = run_episode(spec(backend, "brancher"), folder)
    assert same(result, whole) and acts(folder) == acts(tmp_path / "whole")


def test_a_limit_within_a_branch_grades_the_state_before(tmp_path: Path) -> None:
    for steps, final in ((3, 20), (10, 20)):
        folder = tmp_path / str(steps)
        result = run_episode(spec("bubblewrap", "brancher", steps), folder)
        assert (result.ended, result.boundary) == ("steps", "")
        assert result.final == {"closeness": pytest.approx(1 / (1 + 42 - final))}
        assert sum(step.reward or 0 for step in Episode.read(folder).steps()) == pytest.approx(result.progress)
        again = run_episode(
            spec("bubblewrap", f"x?folder={steps}", steps).changed(agent=f"replay?episode={folder}"), folder / "r"
        )
        assert same(again, result), "the recorded marks say which state counts"


def submitter(brief: Brief, model: object):  # type: ignore[no-untyped-def]
    """Submits within a branch."""
    yield guess(20)
    yield Checkpoint(name="start")
    yield Branches(branches=(Branch(at="start", actions=(guess(40), SUBMIT, guess(1)), name="x"),))


def test_a_submission_within_a_branch_ends_the_episode(tmp_path: Path, backend: str) -> None:
    result = run_episode(spec(backend, "submitter"), tmp_path)
    assert (result.ended, result.steps, result.final) == ("submitted", 3, {"closeness": pytest.approx(1 / 3)})


def test_an_unknown_name_is_the_agents_error(tmp_path: Path) -> None:
    result = run_episode(spec("bubblewrap", "brancher?broken=true"), tmp_path)
    assert (result.ended, result.boundary, result.scored) == ("error", "agent", True)
    assert "There is no checkpoint 'nothing' of this episode; there are: start, 30, 36." in result.why
    assert result.final == {"closeness": pytest.approx(1 / 3)}, "the state is graded as it stands"
    (tmp_path / "result.json").unlink()
    assert same(run_episode(spec("bubblewrap", "brancher?broken=true"), tmp_path), result)


@pytest.mark.slow
def test_it_is_replayed_and_gone_on_from_with_its_marks(tmp_path: Path) -> None:
    whole = run_episode(spec("bubblewrap", "brancher"), tmp_path / "whole")
    replayed = spec("bubblewrap", "").changed(agent=f"replay?episode={tmp_path / 'whole'}")
    assert same(run_episode(replayed, tmp_path / "replayed"), whole)
    assert acts(tmp_path / "replayed") == acts(tmp_path / "whole")
    assert same(run_episode(onward(f"{tmp_path / 'whole'}@3"), tmp_path / "onward"), whole)
    assert acts(tmp_path / "onward") == acts(tmp_path / "whole")


def forgetful(brief: Brief, model: object):  # type: ignore[no-untyped-def]
    """Does what `brancher` does, but saves nothing."""
    yield guess(20)
    yield guess(30)


def test_other_marks_are_another_choice(tmp_path: Path) -> None:
    run_episode(spec("bubblewrap", "brancher"), tmp_path / "whole")
    with pytest.raises(UsageError, match="does not choose the recorded action of step 2"):
        run_episode(onward(f"{tmp_path / 'whole'}@3", agent=f"{HERE}:forgetful"), tmp_path / "new")
    steps = tmp_path / "whole" / "steps.jsonl"
    (tmp_path / "whole" / "result.json").unlink()
    steps.write_text(steps.read_text().replace('"-start"', '"-never"'))
    with pytest.raises(UsageError, match="has the mark '-never' at step 2"):
        run_episode(spec("bubblewrap", "brancher"), tmp_path / "whole")


def wanderer(brief: Brief, model: object):  # type: ignore[no-untyped-def]
    """Acts, saves, goes back and branches by chance, and knows at each step what stands in the workspace."""
    rng, now, saved = random.Random(brief.seed), 10, dict[str, int]()
    yield guess(now)
    while True:
        what = rng.choice(["guess", "validate", "save", "save", "back", "branch", "look"])
        name = rng.choice(sorted(saved)) if saved else ""
        if what == "guess":
            now = rng.randrange(60)
            yield guess(now)
        elif what == "validate":
            yield VALIDATE
        elif what == "save":
            name = rng.choice("abc")
            saved[name] = now
            yield Checkpoint(name=name)
        elif what == "back" and name:
            now = saved[name]
            yield Restore(name=name)
        elif what == "branch" and name:
            value, other = rng.randrange(60), rng.choice("abc")
            actions = (bash("cat guess.txt"), guess(value), rng.choice([VALIDATE, bash("cat guess.txt")]))
            ((before, *_),) = yield Branches(branches=(Branch(at=name, actions=actions, name=other),))
            assert before.text == f"{saved[name]}\n"
            saved[other] = value
        else:
            assert (yield bash("cat guess.txt; echo $x")).text == f"{now}\n{now}\n"


@pytest.mark.parametrize("seed", range(4))
def test_rewards_sum_to_the_progress_and_every_state_comes_back(tmp_path: Path, seed: int) -> None:
    for backend in ("bubblewrap", "local") if seed < 1 else ("bubblewrap",):
        result = run_episode(spec(backend, "wanderer", 18 + seed, seed=seed), tmp_path / backend)
        steps = Episode.read(tmp_path / backend).steps()
        assert (result.ended, result.boundary, result.why) == ("steps", "", "")
        assert [step.observation.steps_left for step in steps] == list(reversed(range(18 + seed)))
        assert sum(step.reward or 0 for step in steps) == pytest.approx(result.progress)


def test_what_no_name_leads_to_is_let_go(backend: str) -> None:
    env = ResearchEnv(GUESS, sandbox=backend)
    try:
        env.reset(seed=0)
        marks = Marks(env)
        for value in range(6):
            env.step(f"echo {value} > f; head -c 100000 /dev/urandom > big{value}")
            marks.acted()
            marks.do("+a" if value % 2 else "+b")
        assert len(env.snapshots) == 2
        place = env.session.shell.sandbox.spec.folder.parent
        kept = sorted(path.name for path in place.iterdir())
        for name in ("-a", "-b", "-a"):
            marks.do(name)
            marks.settle()
            assert env.step("cat f; ls big* | wc -l")[0] == ("5\n6\n" if name == "-a" else "4\n5\n")
            marks.acted()
        assert len(list(place.iterdir())) <= len(kept) + 1
    finally:
        env.close()


def test_an_agent_without_branches_is_left_as_it_is() -> None:
    def agent():  # type: ignore[no-untyped-def]
        seen = yield guess(1)
        assert seen.text == "one"
        yield Checkpoint(name="a")
        yield SUBMIT

    flow = straight(agent())
    assert next(flow) == guess(1)
    assert flow.send(Observation(text="one")) == Checkpoint(name="a")
    assert flow.send(Observation(text="")) == SUBMIT


def spoiler(brief: Brief, model: object):  # type: ignore[no-untyped-def]
    """Makes folders too deep to be saved, after a poor guess, and then saves."""
    yield guess(20)
    yield VALIDATE
    deep = "import os; os.chdir('/tmp'); [(os.mkdir('d'), os.chdir('d')) for _ in range(5000)]"
    yield bash(f'python3 -c "{deep}"')
    yield Checkpoint(name="start")
    yield guess(40)


def test_what_cannot_be_saved_is_no_way_out_of_a_bad_score(tmp_path: Path) -> None:
    result = run_episode(spec("bubblewrap", "spoiler"), tmp_path)
    assert (result.ended, result.boundary, result.scored) == ("error", "sandbox", True)
    assert "cannot be saved" in result.why and not result.notes  # no playback either, for which it might set a trap
    assert result.final == {"closeness": pytest.approx(1 / 23)}
    (tmp_path / "result.json").unlink()
    assert same(run_episode(spec("bubblewrap", "spoiler"), tmp_path), result)


def trapper(brief: Brief, model: object, *, until: int = 0):  # type: ignore[no-untyped-def]
    """Does what cannot be done again later, and has its sandbox lost when it is later."""
    yield guess(20)
    yield VALIDATE
    deep = "import os; os.chdir('/tmp'); [(os.mkdir('d'), os.chdir('d')) for _ in range(5000)]"
    yield bash(f'test $(date +%s) -lt {until} || python3 -c "{deep}"')
    yield Checkpoint(name="start")
    yield guess(30)
    yield VALIDATE
    yield guess(1)


@pytest.mark.slow
def test_a_trap_for_the_playback_is_no_way_out_of_a_bad_score(tmp_path: Path) -> None:
    until = int(time.time()) + 15
    others = mine()

    def kill(step: Step, attempt: object) -> None:
        if step.n == 5:
            time.sleep(max(0.0, until + 1 - time.time()))
            lose(others)

    result = run_episode(spec("bubblewrap", f"trapper?until={until}"), tmp_path, on_step=kill)
    assert (result.ended, result.boundary, result.scored, result.steps) == ("error", "sandbox", True, 5)
    assert "could not be set up again" in result.notes[-1] and "cannot be saved" in result.why
    assert result.final == {"closeness": pytest.approx(1 / 13)} and result.attempts[-1].fallback
    steps = Episode.read(tmp_path).steps()
    assert [step.n for step in steps] == [1, 2, 3, 4, 5, 6] and result.attempts[-1].step == 6
    assert sum(step.reward or 0 for step in steps) == pytest.approx(result.progress)
