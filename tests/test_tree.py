"""The agent `tree`: what it tries next, how a reply is read, whole searches with a scripted model and without one."""

import json
import random
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mlgym import agents
from mlgym.agents.branches import straight
from mlgym.agents.nodes import Choice, Idea, Next, Node
from mlgym.agents.solutions import NotWritten, solution
from mlgym.episode import run_episode
from mlgym.errors import UsageError
from mlgym.records import Action, Brief, Checkpoint, EpisodeSpec, Limits, Message, Observation, Restore
from mlgym.store import Episode
from tests.worlds import World

GUESS = str(Path(__file__).parent.parent / "examples" / "guess")
HERE = "tests.test_tree" if __name__.startswith("tests.") else "test_tree"


def spec(agent: str, *, task: str = GUESS, steps: int = 12, **kw: Any) -> EpisodeSpec:
    limits = Limits(steps=steps, money=kw.pop("money", None), tokens=kw.pop("tokens", None))
    return EpisodeSpec(task=task, agent=agent, sandbox="bubblewrap", limits=limits, **kw)


def written(code: str) -> dict[str, Any]:
    return {
        "text": f"<think>Hm.</think>Plan: {code}.\n```python guess.py\n{code}\n```\n",
        "money": 0.1,
        "tokens_in": 50,
    }


def script(messages: Sequence[Message], tools: Sequence[Any]) -> dict[str, Any]:
    """A draft that breaks, the same mended, and then a better guess each time but the last."""
    asked = messages[1].content
    tried = len(re.findall(r"(?m)^\d+\. from ", asked))
    if "This solution failed" in asked:
        assert "NameError: name 'oops'" in asked and "open(oops)" in asked
        return written("open('guess.txt', 'w').write('20')")
    return written("open(oops)" if not tried else f"open('guess.txt', 'w').write('{50 - 5 * abs(4 - tried)}')")


def test_a_draft_is_debugged_and_improved_and_the_best_submitted(tmp_path: Path) -> None:
    made = spec("tree?drafts=1&debug=1", model=f"scripted/{HERE}:script")
    result = run_episode(made, tmp_path)
    assert (result.ended, result.boundary, result.why) == ("submitted", "", "")
    store = Episode.read(tmp_path)
    steps = store.steps()
    thoughts = [step.action.thought.split(":")[0] for step in steps if step.action.thought]
    assert thoughts[1:-1] == [
        "Solution 1, draft from 0",
        "Solution 2, debug from 1",
        "Solution 3, improve from 2",
        "Solution 4, improve from 3",
        "Solution 5, improve from 3",
    ]
    assert [step.action.tool for step in steps] == ["bash", "bash", *["bash", "validate"] * 4, "submit"]
    assert thoughts[-1].startswith("Submit solution 3, closeness") and steps[-1].marks[-1:] == ("-",)
    assert result.attempts[-1].validation == {"closeness": 1 / 2} and result.final == {
        "closeness": pytest.approx(1 / 3)
    }
    assert steps[2].marks == ("+1", "-", "+", "-1")
    calls = [json.loads(line) for line in (tmp_path / "calls.jsonl").read_text().splitlines()]
    assert len(calls) == 5
    told = calls[-1]["messages"][-1]["content"]
    assert "1. from the starter, failed: Plan: open(oops)" in told and "# Solution 3, closeness 0.5" in told
    assert "<think>" not in told and "steps" in told


@pytest.mark.slow
def test_cut_anywhere_the_search_goes_on_as_if_undisturbed(tmp_path: Path) -> None:
    made = spec("tree?drafts=1&debug=1", model=f"scripted/{HERE}:script", steps=9)
    whole = run_episode(made, tmp_path / "whole")
    lines = (tmp_path / "whole/steps.jsonl").read_bytes().splitlines(keepends=True)
    for cut in (2, 3, 6):
        folder = tmp_path / str(cut)
        shutil.copytree(tmp_path / "whole", folder)
        (folder / "result.json").unlink()
        (folder / "steps.jsonl").write_bytes(b"".join(lines[:cut]))
        calls = (folder / "calls.jsonl").read_bytes().splitlines(keepends=True)
        (folder / "calls.jsonl").write_bytes(b"".join(calls[: json.loads(lines[cut - 1])["calls"]]))
        for path in sorted((folder / "attempts").glob("*.json"))[cut // 2 - 1 :]:
            path.unlink()
        again = run_episode(made, folder)
        assert (again.final, again.steps, again.cost.calls) == (whole.final, whole.steps, whole.cost.calls)
        assert [(s.action, s.marks) for s in Episode.read(folder).steps()] == [
            (s.action, s.marks) for s in Episode.read(tmp_path / "whole").steps()
        ]
        assert not [note for note in again.notes if "played back" in note]


def mute(messages: Sequence[Message], tools: Sequence[Any]) -> str:
    """Never writes a solution."""
    return "I would rather not."


def test_a_model_without_solutions_and_one_without_money_end_in_a_submission(tmp_path: Path) -> None:
    result = run_episode(spec("tree", model=f"scripted/{HERE}:mute"), tmp_path / "mute")
    assert (result.ended, result.cost.calls, result.final) == ("submitted", 3, {"closeness": pytest.approx(1 / 33)})
    assert "the model's last 3 replies had no solution" in Episode.read(tmp_path / "mute").steps()[-1].action.thought
    made = spec("tree?drafts=1&debug=1", model=f"scripted/{HERE}:script", money=0.25)
    result = run_episode(made, tmp_path / "poor")
    assert (result.ended, result.boundary, result.cost.calls) == ("submitted", "", 3)
    assert result.final == {"closeness": pytest.approx(1 / 3)}


@pytest.mark.parametrize("search", ["best", pytest.param("evolve", marks=pytest.mark.slow)])
def test_without_a_model_it_beats_the_baseline_of_a_game(tmp_path: Path, search: str) -> None:
    made = spec(f"tree?search={search}&drafts=2", task="battle-of-sexes", steps=14, seed=0)
    result = run_episode(made, tmp_path)
    assert (result.ended, result.boundary) == ("submitted", "")
    assert result.progress is not None and result.progress > 0.1 and result.steps >= 12
    steps = Episode.read(tmp_path).steps()
    assert sum(step.reward or 0 for step in steps) == pytest.approx(result.progress)
    best = max(a.validation["score"] for a in result.attempts if a.validation)
    assert result.attempts[-1].validation == {"score": pytest.approx(best)}


def test_nothing_to_change_and_no_model_is_the_starter(tmp_path: Path) -> None:
    world = World(tmp_path)
    brief = world.brief.changed(baseline={"scores": {"Score": 1.0}, "command": "", "files": []})
    assert [move.tool for move in _moves(brief, "tree") if isinstance(move, Action)] == ["submit"]
    assert next(agents.load("tree")(brief, None)) == Checkpoint(name="0")
    brief = brief.changed(baseline={"scores": {}, "command": "python run.py", "files": []})
    done = [move for move in _moves(brief, "tree") if isinstance(move, Action)]
    assert [move.args.get("command") for move in done] == ["python run.py", None, None]
    assert [move.tool for move in done] == ["bash", "validate", "submit"]


def _moves(brief: Brief, agent: str) -> list[Action | Checkpoint | Restore]:
    """What an agent does where every step goes well and says nothing."""
    flow = straight(agents.load(agent)(brief, None))
    done = [next(flow)]
    while (left := next(_sent(flow), None)) is not None:
        done.append(left)
    return done


def _sent(flow: Any) -> Any:
    try:
        yield flow.send(Observation(text="", steps_left=50))
    except StopIteration:
        return


def test_wrong_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="search of tree is best or evolve, not 'wide'"):
        next(agents.load("tree?search=wide")(World(tmp_path).brief, None))


def _tree(*scores: float) -> list[Node]:
    """A starter and its children with these scores; NaN failed."""
    root = Node(0, "starter", Idea("", ""), score=scores[0])
    root.children = len(scores) - 1
    return [root, *(Node(n, "draft", Idea("", ""), root, score) for n, score in enumerate(scores[1:], 1))]


NAN = float("nan")


def choice(**kw: Any) -> Choice:
    usual = {"search": "best", "direction": "maximize", "drafts": 2, "debug": 0.5, "depth": 2}
    return Choice(**{**usual, "width": 2, "population": 3, "cross": 0.5, **kw})


def test_what_is_tried_next() -> None:
    rng = random.Random(0)
    assert choice().next(_tree(1.0, 2.0), rng).kind == "draft"
    nodes = _tree(1.0, 2.0, 3.0)
    assert choice().next(nodes, rng) == Next("improve", nodes[2])
    assert choice(direction="minimize", width=9).next(nodes, rng) == Next("improve", nodes[0])
    nodes[2].children = 2
    assert choice().next(nodes, rng) == Next("improve", nodes[1]), "the best has had its tries for now"
    nodes[1].children = 2
    assert choice().next(nodes, rng) == Next("improve", nodes[2])
    nodes = _tree(NAN, 2.0, NAN)
    assert choice(debug=1.0).next(nodes, rng) == Next("debug", nodes[2])
    assert choice(debug=0.0).next(nodes, rng) == Next("improve", nodes[1])
    nodes[2].debugs = 2
    assert choice(debug=1.0).next(nodes, rng) == Next("improve", nodes[1]), "it was debugged often enough"
    assert choice(debug=0.0).next(_tree(NAN, NAN, NAN), rng).kind == "draft"


def test_a_population_is_drawn_from_with_a_leaning_to_the_best() -> None:
    nodes, rng = _tree(1.0, 2.0, 3.0, 4.0, 0.5), random.Random(0)
    drawn = [choice(search="evolve").next(nodes, rng) for _ in range(300)]
    counts = [sum(each.parent is node for each in drawn) for node in nodes]
    assert counts[3] > counts[2] > counts[1] > 0 == counts[0] == counts[4]
    crossed = [each for each in drawn if each.kind == "cross"]
    assert 100 < len(crossed) < 200 and all(each.other not in (None, each.parent, nodes[0]) for each in crossed)


@pytest.mark.parametrize(
    ("text", "files", "command"),
    [
        ("Plan.\n```python a/b.py\nx = 1\n```\nEnd.", {"a/b.py": "x = 1\n"}, ""),
        ("Plan.\n```python\nx = 1\n```\nEnd.", {"base.py": "x = 1\n"}, ""),
        ("```python:new.py\nx\n```\n```sh\npython new.py\n```", {"new.py": "x\n"}, "python new.py"),
        ('```python title="new.py"\nx\n```', {"new.py": "x\n"}, ""),
        ("```python\n# new.py\nx\n```", {"new.py": "# new.py\nx\n"}, ""),
        ("**new.py**\n\n```python\nx\n```", {"new.py": "x\n"}, ""),
        ("I change `base.py`:\n```python\nx\n```", {"base.py": "x\n"}, ""),
        ("````base.py\ns = '''\n```\n'''\n````", {"base.py": "s = '''\n```\n'''\n"}, ""),
        ("```base.py\nold\n```\n```base.py\nnew\n```", {"base.py": "new\n"}, ""),
        ("```bash run.sh\nls\n```", {"run.sh": "ls\n"}, ""),
        ("```bash\nsed -i s/1/2/ base.py\n```", {}, "sed -i s/1/2/ base.py"),
    ],
)
def test_a_solution_is_read_from_a_reply(text: str, files: dict[str, str], command: str) -> None:
    found = solution(text, ["base.py"])
    assert (found.files, found.command) == (files, command)
    assert "```" not in found.plan and ("Plan" in found.plan) == ("Plan" in text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no block"),
        ("Only words.", "no block"),
        ("```python a.py\nx = 1", "does not end"),
        ("```python\nx = 1\n```", "does not say which file"),
    ],
)
def test_a_reply_without_a_solution_says_why(text: str, why: str) -> None:
    with pytest.raises(NotWritten, match=why):
        solution(text, ["a.py", "b.py"])
