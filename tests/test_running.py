"""`mlgym run` as a user calls it for grids: files and flags, dry runs, what a folder refuses."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from mlgym.allocator import Allocator
from mlgym.cli import app
from mlgym.errors import UsageError
from mlgym.forecast import cells, impossible, lacking, runs_in, unprepared, unpriced
from mlgym.grid import from_flags, plan
from mlgym.records import Cost, EpisodeSpec, Result
from mlgym.store import Episode, episode_folder, episodes
from mlgym.task import load_task
from tests.test_cli import mlgym

GUESS = Path(__file__).parent.parent / "examples" / "guess"
TOML = f"""
tasks = ["{GUESS}"]
seeds = 2
sandbox = "local"
concurrent = 2
[limits]
steps = 9
[[agents]]
agent = "oracle"
[[agents]]
agent = "nop"
"""


def specs(**fields: Any) -> tuple[EpisodeSpec, ...]:
    """The episodes of a grid with these fields."""
    return plan(from_flags({"tasks": [str(GUESS)], "agents": [{"agent": "nop"}], "sandbox": "local", **fields})).specs


def record(run: Path, spec: EpisodeSpec, **fields: Any) -> None:
    """An episode as it lies in a run when it has ended."""
    store = Episode.open(episode_folder(run, spec), spec)
    store.finish(Result(ended="submitted", metric="closeness", steps=1, **fields))
    store.close()


def said_of(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    """What a dry run prints."""
    assert not app(["run", *args, "--dry-run"], standalone_mode=False)
    return capsys.readouterr().out


def test_a_grid_in_a_file_is_run_stored_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.toml").write_text(TOML)
    ran = mlgym("run", "-c", "mine.toml", cwd=tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    run = tmp_path / "runs" / "mine"
    done = [(Path(each).parent.name, Path(each).name) for each in episodes(run)]
    assert done == [("nop", "0"), ("nop", "1"), ("oracle", "0"), ("oracle", "1")]
    about, lock = (json.loads((run / name).read_text()) for name in ("run.json", "protocol.lock"))
    assert about["grid"]["limits"]["steps"] == 9 and about["versions"]["tasks"] == {"guess": 1}
    assert {*lock["method"]["methods"]} == {"nop", "oracle"}

    other = mlgym("run", "-c", "mine.toml", "--steps", 5, cwd=tmp_path)
    assert other.returncode == 2 and len(other.stderr.splitlines()) == 1
    assert "another task protocol (guess: steps of an episode 9 against 5)" in other.stderr

    monkeypatch.chdir(tmp_path)
    before = sorted(path.name for path in run.rglob("*"))
    dry = said_of(capsys, "-c", "mine.toml", "-k", "5")
    assert "1 task x 2 methods x 5 seeds = 10 episodes in runs/mine: 4 done, 6 to run." in dry
    assert lock["task_protocol"]["hash"] in dry and "2 recorded" in dry
    assert "Expected: 0.00 dollars; 0.00" in dry and dry.endswith("Nothing was started.\n")
    assert sorted(path.name for path in run.rglob("*")) == before
    refused = said_of(capsys, "-c", "mine.toml", "--feedback", "test")
    assert "runs/mine holds episodes of another task protocol: guess: feedback validation against test." in refused


def test_a_dry_run_says_what_is_missing_and_makes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLGYM_CACHE", str(tmp_path / "cache"))
    args = ["house-price", "-m", "openai/gpt-5", "-m", "groq/b", "-a", "nop", "--budget", "7"]
    dry = said_of(capsys, *args)
    for said in (
        "openai/gpt-5 needs a key: set OPENAI_API_KEY",
        "groq/b needs a key: set GROQ_API_KEY",
        "house-price is not prepared",
        "`mlgym prepare house-price`",
        "A limit of 7.00 dollars cannot be kept with groq/b, whose price is unknown",
        "Expected: 0.00 dollars and those of 2 more, unknown; hours of episodes unknown, 1 at once.",
        "The run stops at 7.00 dollars.",
    ):
        assert said in dry
    assert [path.name for path in tmp_path.iterdir()] == ["cache"] and not list((tmp_path / "cache").iterdir())
    with pytest.raises(UsageError, match=r"OPENAI_API_KEY.*GROQ_API_KEY"):
        app(["run", *args], standalone_mode=False)
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.setenv("GROQ_API_KEY", "k")
    with pytest.raises(UsageError, match=r"7\.00 dollars cannot be kept with groq/b.*prices\.toml.*--tokens"):
        app(["run", *args], standalone_mode=False)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["-c", "gone.toml"], "gone.toml cannot be read: No such file or directory."),
        (["-c", "bad.toml"], "bad.toml: unknown key 'taks' (did you mean 'tasks'?)."),
        (["-c", "none.toml", "-M", "temperature=0"], "-M and --base-url belong to a model named with -m"),
        (["blotto", "--protocol", "v1", "--steps", "3"], "The protocol v1 fixes limits.steps"),
        (["blotto", "--protocol", "v1", "--sandbox", "local"], "v1 asks for full isolation, and here is none"),
        (["blotto", "-m", "groq/b", "--protocol", "v1"], "A limit of 4.00 dollars cannot be kept with groq/b"),
        (["blotto", "-m", "groq/b", "--money", "3"], "A limit of 3.00 dollars cannot be kept with groq/b"),
        (["blotto", "-a", "nop", "--papers", "arxiv,folder"], "'folder' is no source of papers"),
        (["blotto", "-a", "command"], "An agent `command …` needs a command line."),
        (["blotto", "--protocol", "v2"], "protocol: should be mlgym-2025 or v1, but is 'v2'."),
        (["--from", "x@1", "--protocol", "v1"], "--from keeps task, seed, tools"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.toml").write_text("taks = 1")
    (tmp_path / "none.toml").write_text("tasks = ['blotto']\n[[agents]]\nagent = 'nop'\n")
    with pytest.raises(UsageError) as caught:
        app(["run", *args], standalone_mode=False)
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "runs").exists()


def test_what_recorded_episodes_tell(tmp_path: Path) -> None:
    agents = [{"model": "openai/gpt-5"}, {"agent": "react?window=3", "model": "openai/gpt-5"}, {"model": "vllm/a"}]
    every = specs(agents=[*agents, {"agent": "nop"}], seeds=3)
    old, run = tmp_path / "runs" / "old", tmp_path / "run"
    mine = [spec for spec in every if spec.agent == "react" and spec.model == "openai/gpt-5"]
    record(old, mine[0], cost=Cost(money=0.5, command_s=10, model_s=20, grader_s=6))
    record(old, mine[1], cost=Cost(money=1.5, command_s=36))
    record(old, mine[2], scored=False, boundary="model", cost=Cost(money=99))  # lost: tells of nothing
    record(run, every[3], cost=Cost(command_s=2))
    assert list(runs_in([tmp_path / "runs", old, tmp_path / "nowhere"])) == [old]
    found = {cell.method: cell for cell in cells(every, run, [old])}
    asked = found["openai/gpt-5"]
    assert (asked.done, asked.left, asked.told_by, asked.money, asked.seconds, asked.most) == (0, 3, 2, 1.0, 36.0, 1.0)
    like = found["react?window=3 openai/gpt-5"]
    assert (like.told_by, like.money) == (2, 1.0)  # the same model
    free, none = found["vllm/a"], found["nop"]
    assert (free.told_by, free.money, free.seconds, free.most) == (0, 0.0, None, 0.0)
    assert (none.done, none.left, none.told_by, none.money, none.seconds) == (1, 2, 1, 0.0, 2.0)


def test_what_could_not_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    agents = [{"agent": "nobody"}, {"agent": "tuner?x=1"}, {"agent": "react"}, {"model": "openai/gpt-5"}]
    agents += [{"model": "anthropic/x"}, {"model": "x"}, {"model": "scripted/nowhere"}, {"agent": "oracle"}]
    said = lacking(specs(agents=agents))
    assert [line.split(";")[0].split(":")[0] for line in said] == [
        "There is no agent 'nobody'",
        "The agent 'tuner' has no option 'x'",
        "The agent react needs a language model",
        "anthropic/x needs a key",
        "There is no model 'x'",
        said[-1].split(":")[0],
    ]
    assert "'nowhere' is no source of papers" in lacking(specs(agents=[{"agent": "nop"}], papers="nowhere"))[0]


def test_prices_data_and_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [line] = unpriced(specs(agents=[{"model": "openai/gpt-5"}, {"model": "openai/unheard-of"}, {"model": "vllm/a"}]))
    assert line.startswith("The price of openai/unheard-of is unknown") and "2,000,000 an episode" in line
    monkeypatch.setenv("MLGYM_CACHE", str(tmp_path))
    assert unprepared([load_task("blotto")]) == [
        "blotto is not prepared: `mlgym prepare blotto` does it, or the run itself."
    ]
    [line] = impossible(specs(tasks=["blotto"]), Allocator("7"))
    assert line.startswith("blotto would not be run here: It needs 1 graphics card, and of those that --gpus 7 allows")


def test_a_model_and_two_agents_on_two_tasks(tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    script.write_text(json.dumps([{"text": "Done.", "calls": [{"name": "submit", "arguments": {}}]}]))
    args = [GUESS, "-m", f"scripted/{script}", "-a", "nop", "-k", 2, "-n", 2, "-q", "--sandbox", "local", "-o", "r"]
    ran = mlgym("run", *args, cwd=tmp_path, PYTHONPATH=os.environ.get("PYTHONPATH", ""))
    assert ran.returncode == 0, ran.stderr
    assert len(list(episodes(tmp_path / "r"))) == 4 and len(ran.stdout.splitlines()) == 4
    script.unlink()
    again = mlgym("run", *args, cwd=tmp_path)
    assert (again.returncode, len(again.stdout.splitlines())) == (0, 4), "what is done needs no model"
