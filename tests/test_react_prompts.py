"""The words of `react`: templates that a user replaces by file, examples, and what is said of the budget."""

import re
from pathlib import Path
from string import Template
from typing import Any

import pytest

from mlgym import agents
from mlgym.agents.prompts import SHIPPED, example
from mlgym.errors import UsageError
from mlgym.models.scripted import Scripted
from mlgym.records import Action, Limits, Observation, Reply, Step
from tests.worlds import CLASSIC, MODERN, Watched, World, tool

LS = {"calls": [{"name": "bash", "arguments": {"command": "ls"}}]}
OURS = [path for path in SHIPPED.glob("*.txt") if not path.stem.startswith("tree")]  # the others are those of `tree`
SUBMIT = {"calls": [{"name": "submit"}]}


def run(world: World, *script: Any, spec: str = "react") -> Watched:
    model = Watched([*script])
    world.drive(agents.load(spec)(world.brief, model))
    return model


@pytest.fixture
def world(tmp_path: Path) -> World:
    (tmp_path / "world").mkdir()
    return World(tmp_path / "world")


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A folder of prompts of one's own."""
    (tmp_path / "mine").mkdir()
    return tmp_path / "mine"


def test_the_shipped_words_are_whole(world: World) -> None:
    for spec, tools in (("react", MODERN), ("react?protocol=text", MODERN), ("react", CLASSIC)):
        world.brief = world.brief.changed(tools=tools)
        with pytest.raises(Exception, match="The script has 0 replies"):
            model = Watched([])
            world.drive(agents.load(spec)(world.brief, model))
        assert not re.search(r"\$|\bNone\b", "".join(message.content for message in model.sent[0]))


def test_a_prompt_is_replaced_by_a_file(world: World, mine: Path) -> None:
    (mine / "system.txt").write_text('Work. {"a": 1} costs $$5.\n$protocol\n')
    model = run(world, SUBMIT, spec=f"react?prompts={mine}")
    system, task = model.sent[0]
    assert system.content.startswith('Work. {"a": 1} costs $5.\nAct by calling the tools.')
    assert "Play well." in task.content


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (
            "system.txt",
            "$protokol",
            r"mine/system.txt has a field \$protokol that is not known; it can have: \$protocol",
        ),
        ("tools.txt", "$x", r"it can have: none\. \(A dollar sign of its own is written \$\$\.\)"),
        ("task.txt", "$title costs $5", r"mine/task.txt has a dollar sign that begins no field"),
        ("sytem.txt", "x", r"There is no prompt sytem.txt \(.*mine\); prompts are named cut_short.txt, .*system.txt"),
        ("system.md", "x", r"mine' has no prompt; prompts are named"),
        ("task.txt", b"\xff", r"mine/task.txt cannot be read"),
    ],
)
def test_a_wrong_prompt_is_one_sentence(world: World, mine: Path, name: str, text: Any, said: str) -> None:
    (mine / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UsageError, match=said):
        run(world, SUBMIT, spec=f"react?prompts={mine}")


def test_a_folder_that_is_not_there_is_one_sentence(world: World, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="gone' has no prompt"):
        run(world, SUBMIT, spec=f"react?prompts={tmp_path / 'gone'}")
    with pytest.raises(UsageError, match="has no prompt"):
        agents.about(f"react?prompts={tmp_path / 'gone'}")


def test_the_hash_of_an_agents_prompts_is_of_the_files_in_force(mine: Path, tmp_path: Path) -> None:
    (mine / "tools.txt").write_bytes((SHIPPED / "tools.txt").read_bytes())
    shipped, same = agents.about("react"), agents.about(f"react?prompts={mine}")
    assert shipped["prompts"] == same["prompts"] and shipped["code"] == same["code"]
    (mine / "tools.txt").write_text("Act!")
    assert agents.about(f"react?prompts={mine}")["prompts"] != shipped["prompts"]
    shown = tmp_path / "shown.txt"
    shown.write_text("First look.")
    assert agents.about(f"react?demonstration={shown}")["prompts"] != shipped["prompts"]


def test_every_template_is_used() -> None:
    code = "".join(path.read_text() for path in SHIPPED.parent.glob("*.py"))
    assert [path.name for path in OURS if not re.search(rf"""["']{path.stem}["']""", code)] == []


def test_every_template_and_field_is_in_the_documents() -> None:
    page = (Path(__file__).parent.parent / "docs" / "react.md").read_text()
    for path in OURS:
        (row,) = re.findall(rf"^\| `{path.name}` \|.*$", page, re.MULTILINE)
        assert set(re.findall(r"\$(\w+)", row)) == set(Template(path.read_text()).get_identifiers()), row


def test_a_text_is_shown_before_the_task(world: World, tmp_path: Path) -> None:
    shown = tmp_path / "shown.txt"
    shown.write_text("First look, for $5, then {change}.")
    task = run(world, SUBMIT, spec=f"react?demonstration={shown}").sent[0][1].content
    assert (
        task.index("First look, for $5, then {change}.")
        < task.index("That was the example.")
        < task.index("Play well.")
    )


def test_a_recorded_episode_is_shown_before_the_task(world: World, tmp_path: Path) -> None:
    actions = [
        Action(tool="bash", args={"command": "ls"}, thought="I look."),
        Action(tool="", args={"text": "validate"}),
        Action(tool="submit"),
    ]
    steps = [
        Step(n=n, action=action, observation=Observation(text=f"saw {n} " + "x" * 5000))
        for n, action in enumerate(actions)
    ]
    lines = "\n".join(step.model_dump_json() for step in steps)
    (tmp_path / "steps.jsonl").write_text(f"{lines}\n" + '{"torn')
    task = run(world, SUBMIT, spec=f"react?demonstration={tmp_path}").sent[0][1].content
    assert "I look.\n> ls\nsaw 0 x" in task and "\n\n> validate\nsaw 1" in task and "\n\n> submit\nsaw 2" in task
    assert len(task) < 8_000


def test_a_demonstration_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "steps.jsonl").write_text("{}\n")
    with pytest.raises(UsageError, match="is no text file and no recorded episode"):
        example(str(tmp_path))
    for look in (example, lambda where: agents.about(f"react?demonstration={where}")):
        with pytest.raises(UsageError, match="gone' is not there"):
            look(str(tmp_path / "gone"))


def test_tools_beyond_the_shell_are_told_to_text_models(world: World) -> None:
    world.brief = world.brief.changed(tools=(*MODERN, tool("recall", query="string")))
    system = run(world, "```\nsubmit\n```", spec="react?protocol=text").sent[0][0].content
    assert (
        "recall: Does recall. Arguments: query." in system and '{"name": "TOOL"' in system and "Does bash" not in system
    )


def test_an_ordinary_dollar_in_a_task_is_no_field(world: World) -> None:
    world.brief = world.brief.changed(instruction="It costs $5 and ${HOME}.")
    assert "It costs $5 and ${HOME}." in run(world, SUBMIT).sent[0][1].content


@pytest.mark.parametrize(("warn", "told"), [(1, [False, False, True]), (2, [False, True, True]), (0, [False] * 3)])
@pytest.mark.parametrize("text", [False, True])
def test_the_last_steps_are_said_to_be_the_last(tmp_path: Path, warn: int, told: list[bool], text: bool) -> None:
    world = World(tmp_path, steps=4)
    script = ["```\nls\n```"] * 3 + ["```\nsubmit\n```"] if text else [LS] * 3 + [SUBMIT]
    model = run(world, *script, spec=f"react?warn={warn}" + ("&protocol=text" if text else ""))
    assert world.submitted
    assert ["LAST CALL" in messages[-1].content for messages in model.sent[1:]] == told
    assert warn != 1 or "this is your last step. Call `submit` now" in model.sent[-1][-1].content


def drive(world: World, reply: Reply, left: Any, **limits: Any) -> list[str]:
    """What a model is told after each of its first steps, where `left` says what is left after n of them."""
    world.brief = world.brief.changed(limits=Limits(steps=None, **limits))
    sent: list[str] = []

    def model(messages: Any, tools: Any) -> Reply:
        sent.append(messages[-1].content)
        return reply

    flow = agents.load("react")(world.brief, model)
    next(flow)
    for n in range(1, 4):
        flow.send(Observation(text="seen", **left(n)))
    return sent[1:]


def test_the_last_reply_that_the_money_pays_is_said_to_be_the_last(world: World) -> None:
    reply = Scripted([{**LS, "money": 0.3}])([], [])
    told = drive(world, reply, lambda n: {"money_left": 1.0 - 0.3 * n}, money=1.0)
    assert ["the money is nearly used up" in one for one in told] == [False, False, True]
    assert "(Left: 0.700 dollars.)" in told[0]


def test_tokens_are_counted_and_the_last_reply_said(world: World) -> None:
    reply = Scripted([{**LS, "tokens_in": 90, "tokens_out": 10}])([], [])
    told = drive(world, reply, lambda n: {}, tokens=350)
    assert ["the tokens are nearly used up" in one for one in told] == [False, False, True]
    assert "(Left: 250 tokens.)" in told[0]


def test_seconds_that_are_nearly_used_up_are_said(world: World) -> None:
    reply = Scripted([LS])([], [])
    told = drive(world, reply, lambda n: {"seconds_left": 100.0 - 33 * n}, seconds=100.0)
    assert ["the seconds of commands are nearly used up" in one for one in told] == [False, False, True]
