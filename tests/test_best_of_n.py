"""The agent `best-of-n`: tries of another agent within one budget, the best of which is submitted."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from mlgym import agents, presets
from mlgym.episode import run_episode
from mlgym.errors import Unanswerable, UsageError
from mlgym.records import Action, Branch, Branches, Brief, Checkpoint, EpisodeSpec, Limits, Observation, Restore
from mlgym.store import Episode
from tests.worlds import World

GUESS = str(Path(__file__).parent.parent / "examples" / "guess")
HERE = "tests.test_best_of_n" if __name__.startswith("tests.") else "test_best_of_n"
VALIDATE, SUBMIT = Action(tool="validate"), Action(tool="submit")


def spec(agent: str, **kw: Any) -> EpisodeSpec:
    limits = Limits(**{"steps": 13, **kw.pop("limits", {})})
    return EpisodeSpec(task=GUESS, agent=agent, sandbox="bubblewrap", limits=limits, **kw)


def guess(value: int) -> Action:
    return Action(tool="bash", args={"command": f"cat guess.txt; echo {value} > guess.txt"})


def guesser(brief: Brief, model: object, *, how: str = ""):  # type: ignore[no-untyped-def]
    """A guess that its seed decides, each time in a workspace as it was at first."""
    seen = yield guess(brief.seed % 60)
    assert seen.text.strip() == "10" and seen.steps_left == brief.limits.steps - 1 >= 2  # type: ignore[operator]
    if how == "broken" or (how == "crash" and brief.limits.steps == 3):
        raise ValueError("odd")
    if how == "loop":
        while True:
            yield guess(brief.seed % 60)
    yield SUBMIT


def values(folder: Path) -> list[int]:
    """What was guessed, in order."""
    commands = [step.action.args.get("command", "") for step in Episode.read(folder).steps()]
    return [int(each.split("echo ")[1].split()[0]) for each in commands if "echo" in each]


def test_each_try_begins_at_the_starter_and_the_best_is_submitted(tmp_path: Path) -> None:
    result = run_episode(spec(f"best-of-n?n=3&agent={HERE}:guesser"), tmp_path)
    assert (result.ended, result.boundary, result.why, result.steps) == ("submitted", "", "", 7)
    tried = values(tmp_path)
    assert len(set(tried)) == 3
    best = min(tried, key=lambda value: abs(value - 39))
    assert result.final == {"closeness": pytest.approx(1 / (1 + abs(best - 42)))}
    steps = Episode.read(tmp_path).steps()
    assert [step.action.tool for step in steps] == [*["bash", "validate"] * 3, "submit"]
    assert steps[-1].action.thought.startswith(f"Try {tried.index(best) + 1} is the best")
    assert sum(step.reward or 0 for step in steps) == pytest.approx(result.progress)


@pytest.mark.parametrize("how", ["crash", "loop"])
def test_a_try_that_fails_or_does_not_end_is_one_of_the_tries(tmp_path: Path, how: str) -> None:
    result = run_episode(spec(f"best-of-n?n=3&agent={HERE}:guesser&how={how}"), tmp_path)
    assert (result.ended, result.boundary) == ("submitted", "")
    assert [attempt.kind for attempt in result.attempts] == ["validate"] * 3 + ["submit"]
    told = [step.action.thought for step in Episode.read(tmp_path).steps()]
    assert ("The agent failed: ValueError: odd" in told) == (how == "crash")
    assert result.steps == (7 if how == "crash" else 13)


def test_an_agent_that_fails_in_each_try_is_one_that_fails(tmp_path: Path) -> None:
    result = run_episode(spec(f"best-of-n?n=2&agent={HERE}:guesser&how=broken"), tmp_path)
    assert (result.ended, result.boundary, result.why) == ("error", "agent", "ValueError: odd")
    best = min(values(tmp_path), key=lambda value: abs(value - 39))
    assert result.final == {"closeness": pytest.approx(1 / (1 + abs(best - 42)))}


def brancher(brief: Brief, model: object):  # type: ignore[no-untyped-def]
    """Saves, branches, and ends its share within a branch."""
    yield guess(30)
    yield Checkpoint(name="start")
    yield Branches(branches=(Branch(at="start", actions=(guess(20), VALIDATE), name="x"),))
    yield Restore(name="x")
    yield guess(31)
    yield Branches(branches=(Branch(at="x", actions=(guess(60), guess(0), guess(1))),))


def test_an_agent_that_branches_is_one_too_and_its_names_are_its_own(tmp_path: Path) -> None:
    result = run_episode(spec(f"best-of-n?n=2&agent={HERE}:brancher"), tmp_path)
    assert (result.ended, result.boundary, result.why) == ("submitted", "", "")
    assert result.final == {"closeness": pytest.approx(1 / 12)}, "what stood before the branch in which it ended"
    marks = [mark for step in Episode.read(tmp_path).steps() for mark in step.marks]
    assert {"+start", "+1/start", "+1/x", "+2/", "+2/x", "-2/", "+"} <= set(marks)


def test_a_limit_within_a_try_leaves_the_best_so_far(tmp_path: Path) -> None:
    """A long command uses up all seconds in the second try."""
    made = spec(f"best-of-n?n=2&agent={HERE}:sleeper", limits={"seconds": 2.0})
    result = run_episode(made, tmp_path)
    assert (result.ended, result.final) == ("time", {"closeness": pytest.approx(1 / 3)})


def sleeper(brief: Brief, model: object):  # type: ignore[no-untyped-def]
    """A good guess at first, and then a bad one that takes long; the first try has half of the seconds."""
    if brief.limits.seconds == 1.0:
        yield guess(40)
    else:
        yield Action(tool="bash", args={"command": "echo 1 > guess.txt; sleep 2"})
    yield SUBMIT


@pytest.mark.slow
def test_cut_anywhere_it_goes_on_as_if_undisturbed(tmp_path: Path) -> None:
    made = spec(f"best-of-n?n=3&agent={HERE}:guesser")
    whole = run_episode(made, tmp_path / "whole")
    lines = (tmp_path / "whole/steps.jsonl").read_bytes().splitlines(keepends=True)
    for cut in (1, 4):
        folder = tmp_path / str(cut)
        shutil.copytree(tmp_path / "whole", folder)
        (folder / "result.json").unlink()
        (folder / "steps.jsonl").write_bytes(b"".join(lines[:cut]))
        for path in sorted((folder / "attempts").glob("*.json"))[cut // 2 :]:
            path.unlink()
        again = run_episode(made, folder)
        assert (again.final, again.steps, again.ended) == (whole.final, whole.steps, whole.ended)
        assert values(folder) == values(tmp_path / "whole")


@pytest.mark.parametrize("protocol", ["tools", "text"])
def test_the_model_of_each_try_has_its_share_of_the_money(tmp_path: Path, protocol: str) -> None:
    act = {"text": "```\necho 41 > guess.txt\n```", "calls": [], "money": 0.1}
    if protocol == "tools":
        act |= {"text": "", "calls": [{"name": "bash", "arguments": {"command": "echo 41 > guess.txt"}}]}
    end = {**act, "text": "```\nsubmit\n```", "calls": [{"name": "submit"}] if protocol == "tools" else []}
    (tmp_path / "script.json").write_text(json.dumps([act, act, end]))
    made = spec(
        f"best-of-n?n=2&protocol={protocol}", model=f"scripted/{tmp_path / 'script.json'}", limits={"money": 0.45}
    )
    result = run_episode(made, tmp_path / "episode")
    assert (result.ended, result.boundary, result.final) == ("submitted", "", {"closeness": pytest.approx(1 / 2)})
    steps = Episode.read(tmp_path / "episode").steps()
    assert [step.action.tool or step.action.args["text"] for step in steps][-2:] == ["validate", "submit"]
    assert result.cost.calls == 5 and result.cost.money == pytest.approx(0.5), "3 calls of 0.225 dollars, 2 of 0.15"


def test_what_cannot_be_tried_is_a_sentence(tmp_path: Path) -> None:
    brief = World(tmp_path, steps=8).brief
    for name, said in (
        ("best-of-n?n=4&agent=tuner", "2 steps for each try and one more"),
        ("best-of-n?n=0&agent=tuner", "n from 1 on"),
        ("best-of-n?agent=oracle", "cannot be one that"),
        ("best-of-n?agent=tuner&window=3", "'tuner' has no option 'window'"),
        ("best-of-n?n=2&agent=react", "needs a language model"),
    ):
        with pytest.raises(UsageError, match=said):
            flow = agents.load(name)(brief, None)
            next(flow)  # saves the starter
            for _ in range(2):
                flow.send(Observation(text="", steps_left=8))


def test_what_it_is_and_what_it_asks_is_what_its_agent_is_and_asks() -> None:
    assert agents.core("best-of-n?n=2&agent=tuner&trials=3") == "tuner?trials=3"
    assert agents.core("best-of-n?agent=react?window=3&strict=true") == "react?window=3&strict=true"
    assert agents.asks("best-of-n") and not agents.asks("best-of-n?agent=tuner") and agents.asks("tree")
    about = agents.about("best-of-n?agent=tuner&trials=3")
    assert about["options"]["n"] == 4 and about["options"]["of"] == agents.about("tuner?trials=3")
    assert presets.agent("mlgym-2025", "best-of-n?n=2") == "best-of-n?n=2&window=5&strict=true"
    assert presets.agent("mlgym-2025", "best-of-n?agent=react?window=3").endswith("?window=3&strict=true")
    assert presets.agent("mlgym-2025", "best-of-n?agent=tuner") == "best-of-n?agent=tuner"


ASKED: list[int] = []


def stubborn(messages: Any, tools: Any) -> Any:
    """A model that does not answer what it is asked first."""
    ASKED.append(1)
    if len(ASKED) == 1:
        raise Unanswerable("It answers, but not this.")
    return {"calls": [{"name": "submit"}]}


def test_a_conversation_that_the_model_cannot_answer_ends_its_try(tmp_path: Path) -> None:
    ASKED.clear()
    result = run_episode(spec("best-of-n?n=2", model=f"scripted/{HERE}:stubborn"), tmp_path)
    assert (result.ended, result.boundary, result.cost.calls) == ("submitted", "", 1)
    assert [attempt.kind for attempt in result.attempts] == ["validate", "validate", "submit"]
    assert Episode.read(tmp_path).steps()[0].action.thought == "It answers, but not this."
