"""A grid from a file and from flags: what it says, in which order it runs, and what is refused in one sentence."""

from pathlib import Path

import pytest
from fuzz import fuzz
from hypothesis import strategies as st

from mlgym.errors import UsageError
from mlgym.grid import Grid, Method, expand, folder_name, from_flags, methods, plan, read_grid
from mlgym.presets import OURS, PAPER
from mlgym.task import load_task

ROOT = Path(__file__).parent.parent
TOML = """
tasks = ["blotto", "games"]
seeds = 2
feedback = "test"
money = 100
concurrent = 3
[limits]
steps = 7
money = 0.5
command_s = 9
[[agents]]
agent = "tuner?trials=2"
[[agents]]
model = "openai/gpt-5"
sampling = { temperature = 0.2 }
[[agents]]
agent = "react?window=5"
model = "vllm/small"
base_url = "http://127.0.0.1:8000/v1"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "run.toml"
    path.write_text(TOML)
    return path


def test_a_file_becomes_episodes_seeds_last(file: Path) -> None:
    specs = expand(read_grid(file))
    order = [(spec.seed, spec.task, spec.agent) for spec in specs]
    one = [(task, agent) for task in GAMES for agent in ("tuner?trials=2", "react", "react?window=5")]
    assert order == [(seed, *pair) for seed in (0, 1) for pair in one]
    asks = specs[1]
    assert (asks.model, asks.sampling, asks.feedback) == ("openai/gpt-5", {"temperature": 0.2}, "test")
    assert (asks.limits.steps, asks.limits.money, asks.limits.command_s, asks.limits.tokens) == (7, 0.5, 9, None)
    own = specs[2]
    assert own.base_url.endswith(":8000/v1") and own.limits.tokens == 2_000_000  # it has no price


GAMES = ["blotto", "battle-of-sexes", "prisoners-dilemma"]


def test_flags_go_before_the_file_table_by_table(file: Path) -> None:
    grid = read_grid(file).with_flags({"seeds": [4], "limits": {"steps": 3}, "tasks": ["blotto"]})
    assert (grid.tasks, grid.seeds, grid.limits.steps, grid.limits.money) == (("blotto",), (4,), 3, 0.5)
    assert len(expand(grid)) == 3 and grid.money == 100


def test_what_is_left_out_is_the_tasks_own(tmp_path: Path) -> None:
    spec = expand(from_flags({"tasks": ["blotto"], "agents": [{"agent": "nop"}]}))[0]
    assert spec.limits == load_task("blotto").episode_limits and spec.network is None


def test_folders_in_a_file_are_meant_from_its_own(tmp_path: Path) -> None:
    (tmp_path / "grids").mkdir()
    (tmp_path / "guess").symlink_to(ROOT / "examples" / "guess")
    path = tmp_path / "grids" / "run.toml"
    path.write_text("tasks = ['../guess', 'blotto']\n[[agents]]\nagent = 'nop'\n")
    assert [Path(spec.task).name for spec in expand(read_grid(path))] == ["guess", "blotto"]


@pytest.mark.parametrize(
    ("named", "models", "expected"),
    [
        (["tuner"], [], [("tuner", "")]),
        ([], ["openai/a", "openai/b", "openai/a"], [("react", "openai/a"), ("react", "openai/b")]),
        (["tuner", "nop"], ["openai/a"], [("react", "openai/a"), ("tuner", ""), ("nop", "")]),
        (["react?window=5"], ["openai/a"], [("react?window=5", "openai/a")]),
        (["mine:agent", "tuner"], ["openai/a"], [("mine:agent", "openai/a"), ("tuner", "")]),
        (["mine:agent"], [], [("mine:agent", "")]),
        (["react"], [], [("react", "")]),
    ],
)
def test_agents_and_models_on_a_line_are_methods(
    named: list[str], models: list[str], expected: list[tuple[str, str]]
) -> None:
    made = list(methods(named, models, {"temperature": 0}, ""))
    assert [(one.agent, one.model) for one in made] == expected
    assert all(bool(one.sampling) == (bool(one.model) or not models) for one in made)


def test_the_folder_of_one_method_is_named_as_before() -> None:
    grid = from_flags({"tasks": ["blotto"], "agents": [{"agent": "tuner"}], "seeds": 3})
    assert folder_name(grid, expand(grid)) == "blotto-tuner"
    both = grid.with_flags({"agents": [{"agent": "tuner"}, {"agent": "nop"}]})
    assert folder_name(both, expand(both)) == "blotto-tuner-nop"


def test_the_papers_protocol() -> None:
    agents = [{"model": "openai/gpt-4o"}, {"agent": "react?window=9", "model": "openai/gpt-5"}, {"agent": "tuner"}]
    grid = from_flags({"tasks": ["blotto", "mnli"], "agents": agents, "protocol": PAPER})
    specs = expand(grid)
    assert len(specs) == 4 * 2 * 3 and {(spec.feedback, spec.tools) for spec in specs} == {("test", "classic")}
    assert [spec.agent for spec in specs[:3]] == ["react?window=5&strict=true", "react?window=9&strict=true", "tuner"]
    blotto, mnli = specs[0].limits, specs[3].limits
    assert (blotto.steps, blotto.money, blotto.command_s, blotto.training_s) == (50, 4.0, 25.0, 1800.0)
    assert (mnli.command_s, mnli.training_s) == (25.0, 2400.0)
    assert grid.settled() == grid.settled().settled() and len(grid.with_flags({"seeds": 1}).settled().seeds) == 1


def test_our_protocol_keeps_the_tasks_limits() -> None:
    grid = from_flags({"tasks": ["blotto"], "agents": [{"agent": "tuner"}], "protocol": OURS, "seeds": 1})
    [spec] = expand(grid)
    assert spec.limits == load_task("blotto").episode_limits.changed(money=4.0)
    assert (spec.feedback, spec.tools, spec.network, spec.python) == ("validation", "modern", None, "")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"feedback": "test"}, "The protocol v1 fixes feedback (validation), and test was asked for: leave that out"),
        ({"limits": {"steps": 9}}, "The protocol v1 fixes limits.steps (the task's own), and 9 was asked for"),
        ({"network": "any"}, "The protocol v1 fixes network (none), and any was asked for"),
    ],
)
def test_a_protocol_is_not_changed_under_its_name(flags: dict[str, object], said: str) -> None:
    given = {"tasks": ["blotto"], "agents": [{"agent": "tuner"}], "protocol": OURS, **flags}
    with pytest.raises(UsageError) as caught:
        expand(from_flags(given))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("seeds = 2", "seed = 2", "unknown key 'seed' (did you mean 'seeds'?)."),
        ("steps = 7", "step = 7", "unknown key 'limits.step' (did you mean 'steps'?)."),
        ('model = "openai', 'modle = "openai', "unknown key 'agents[1].modle' (did you mean 'model'?)."),
        ("money = 100", "xyz = 100", "unknown key 'xyz' (known: tasks, agents, seeds, limits, sandbox, feedback, "),
        (
            "seeds = 2",
            "seeds = 0",
            "seeds: should be a number of seeds (1 to 10000), or a list of different ones from 0 on, but is 0.",
        ),
        ("seeds = 2", "seeds = [1, 1]", "seeds: should be a number of seeds (1 to 10000), or a list of different ones"),
        ('"test"', '"train"', "feedback: should be 'validation' or 'test', but is 'train'."),
        ("steps = 7", "steps = 0", "limits.steps: should be greater than or equal to 1, but is 0."),
        ("steps = 7", "steps = 'many'", "limits.steps: should be a valid integer, but is 'many'."),
        ("money = 100", "money = nan", "nan and inf are no values here"),
        ("money = 100", "sandbox = 'chroot'", "sandbox: should be auto, bubblewrap, "),
        ("money = 100", "launcher = 'slurm'", "launcher: should be 'threads', 'processes' or 'ray', but is 'slurm'."),
        ("money = 100", "network = 'a b'", "network: should be any, task, or hosts ("),
        ("money = 100", "protocol = 'v0'", "protocol: should be mlgym-2025 or v1, but is 'v0'."),
        ('agent = "tuner?trials=2"', "sampling = {}", "agents[0]: should have an agent, a model, or both."),
        ("seeds = 2", "seeds = = 2", "Invalid value (at line 3, column 9)."),
    ],
)
def test_what_is_wrong_in_a_file_is_one_sentence(file: Path, old: str, new: str, said: str) -> None:
    file.write_text(TOML.replace(old, new))
    with pytest.raises(UsageError) as caught:
        read_grid(file)
    text = str(caught.value)
    assert text.startswith(f"{file}: ") and said in text and text.endswith(".") and "\n" not in text


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"tasks": []}, "Name a task or a suite"),
        ({"tasks": ["blotta"]}, "did you mean blotto"),
        ({"agents": []}, "The grid has no agents"),
        ({"agents": [{"agent": "nop"}, {"agent": "nop"}]}, "same folder blotto/nop: the grid names them twice"),
        ({"agents": [{"model": "vllm/a", "base_url": "http://x"}, {"model": "vllm/a"}]}, "base URLs differ"),
        ({"agents": [{"agent": "tuner?trials"}]}, "'trials' in 'tuner?trials' is not of the form key=value"),
    ],
)
def test_what_cannot_be_run(fields: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said.replace("?", r"\?")):
        expand(from_flags({"tasks": ["blotto"], "agents": [{"agent": "nop"}], **fields}))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot be read: No such file or directory\.$"):
        read_grid(tmp_path / "run.toml")


def test_the_settled_grid_can_be_stored_and_read(file: Path) -> None:
    made = plan(read_grid(file))
    assert Grid.model_validate_json(made.grid.model_dump_json()) == made.grid
    assert len(made.grid.seeds) == 2 and made.limits["blotto"].tokens is None


LINES = [line for line in TOML.splitlines() if line]
ODD = ["nan", "-1", "0", "1e400", "true", "1979-05-27", "9" * 30, "9" * 5000, "''", "'~x'", "'a/b'", "'\\u0000'"]
ODD += [
    '"\\u0000"',
    "['']",
    "[1]",
    "{}",
    "[[]]",
    "{ a = { b = 1 } }",
    f"'{'x' * 2000}'",
    f"'{'y' * 300}'",
    "['blotto']",
]
NAMES = [*Grid.model_fields, *Method.model_fields, "steps", "command_s", "x", "limits.steps", "agents.model"]
LINE = st.sampled_from(LINES) | st.builds(
    lambda key, value: f"{key} = {value}", st.sampled_from(NAMES), st.sampled_from(ODD) | st.text(max_size=6).map(repr)
)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path


def becomes_episodes_or_says(place: Path, text: bytes) -> None:
    """The property that every text has: specs, or one sentence."""
    path = place / "run.toml"
    path.write_bytes(text)
    try:
        specs = expand(read_grid(path))
    except UsageError as error:
        assert str(error) and "\n" not in str(error), str(error)
        str(error).encode()
    else:
        assert specs and all(spec.limits.steps for spec in specs)


@fuzz(60, lines=st.lists(LINE | st.sampled_from(["[limits]", "[[agents]]", "[x]"]) | st.text(max_size=9), max_size=9))
def test_any_lines(place: Path, lines: list[str]) -> None:
    becomes_episodes_or_says(place, "\n".join(lines).encode(errors="replace"))


@fuzz(80, data=st.data())
def test_lines_changed_in_a_real_one(place: Path, data: st.DataObject) -> None:
    lines = list(LINES)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(lines) - 1))
        if "=" in lines[at] and data.draw(st.booleans()):
            lines[at] = lines[at].partition("=")[0] + "= " + data.draw(st.sampled_from(ODD))
        else:
            lines[at : at + data.draw(st.integers(0, 1))] = [data.draw(LINE)]
    becomes_episodes_or_says(place, "\n".join(lines).encode(errors="replace"))


@fuzz(40, data=st.data())
def test_bytes_changed_in_a_real_one(place: Path, data: st.DataObject) -> None:
    text = bytearray(TOML.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    becomes_episodes_or_says(place, bytes(text))


@pytest.mark.parametrize("form", ["x = {}{}", "agents = [{{ sampling = {{ a = {}{} }}, agent = 'nop' }}]"])
@pytest.mark.parametrize("depth", [50, 5000])
def test_deep_nesting(place: Path, form: str, depth: int) -> None:
    becomes_episodes_or_says(place, b"tasks = ['blotto']\n" + form.format("[" * depth, "]" * depth).encode())
