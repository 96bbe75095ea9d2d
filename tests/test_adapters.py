"""Adapters, as far as they go without the libraries; `tests/adapters/run.py` tries them with the real ones."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from mlgym.adapters import harbor
from mlgym.adapters.trl import MARK, MlgymSpec, columns, mlgym_reward, rows
from mlgym.adapters.trl_environment import DDP_TIMEOUT_S, SHARE, environment_class
from mlgym.errors import UsageError
from mlgym.grading.prepare import prepare
from mlgym.rl import Row, ScriptedPolicy
from mlgym.task import load_task
from mlgym.trajectory import Trajectory

BETTER = r"printf 'def row_strategy(history):\n    return 0\n' > strategy.py"
GAME = "battle-of-sexes"
LIBRARIES = {"datasets", "harbor", "openai", "torch", "torchrl", "transformers", "trl", "verifiers"}


def test_an_adapter_imports_its_library_where_it_is_used() -> None:
    code = f"""
import sys
import mlgym, mlgym.adapters.harbor, mlgym.adapters.torchrl, mlgym.adapters.trl
assert not {LIBRARIES!r} & set(sys.modules), sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_tasks_of_the_benchmark_are_not_trained_on_unasked() -> None:
    with pytest.raises(UsageError, match="for evaluation"):
        MlgymSpec(GAME)
    assert MlgymSpec(GAME, split="eval").tasks and MlgymSpec(GAME, include_eval=True).tasks


def test_an_environment_is_a_class_whose_public_methods_are_tools() -> None:
    made = environment_class("classic")
    public = {name for name in dir(made) if not name.startswith("_")} - {"reset", "get_reward"}
    assert {"open", "edit", "validate", "submit"} <= public and "bash" not in public
    modern = environment_class()
    assert "Args:\n    command: what bash is to run" in modern.bash.__doc__  # type: ignore[attr-defined]
    assert modern._limit == 0.8 * 1800 == SHARE * DDP_TIMEOUT_S


def test_an_episode_by_tools() -> None:
    environment: Any = environment_class()()
    assert environment.bash("ls") == "There is no episode yet." and environment.get_reward() is None
    assert "strategy.py" in environment.reset(task=GAME, seed=3, prompt=[])
    environment.bash(command=BETTER)
    assert "over" in environment.submit()
    earned = environment.get_reward()
    assert earned == pytest.approx(1, abs=0.05)
    assert "ended" in environment.bash(command="rm strategy.py") and environment.get_reward() == earned
    environment.reset(task=GAME)
    assert environment.get_reward() == pytest.approx(0, abs=0.05)  # not one call: graded as it stands
    environment._drop()


def test_after_its_deadline_an_episode_is_graded_as_it_stands() -> None:
    environment: Any = environment_class(deadline=0.0)()
    environment.reset(task=GAME)
    assert "ended: time" in environment.bash(command=BETTER)
    assert environment.get_reward() == pytest.approx(0, abs=0.05)
    environment._drop()


def test_an_episode_that_cannot_begin_is_not_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLGYM_CACHE", "/proc/nowhere")
    environment: Any = environment_class()()
    assert "could not begin" in environment.reset(task=GAME) and environment.get_reward() is None
    assert "could not begin" in environment.bash("ls")


def test_rows_are_recovered_from_prompts() -> None:
    names = ["duel-s17-d0.4", "/with blanks/b"]
    first, second, none = ([{"role": "user", "content": MARK.format(number, 7)}] for number in range(3))
    found = [Row(names[0], 7, "0-0"), Row(names[0], 7, "0-0"), Row(names[1], 7, "0-1")]
    assert rows([first, first, second], names) == found
    for wrong in ([{"role": "user", "content": "Hello"}], none):
        with pytest.raises(UsageError, match="names no task"):
            rows([wrong], names)


def test_an_episode_that_is_not_scored_has_no_reward_and_no_tokens_that_count() -> None:
    scored = Trajectory(
        task="a", prompt=(1,), ids=(2, 3), mask=(1, 0), logprobs=(-1.0, 0.0), reward=0.5, parts={"x": 0.5}
    )
    found = columns([scored, Trajectory(task="a")], end=9)
    assert found["completion_ids"] == [[2, 3], [9]] and found["env_mask"] == [[1, 0], [0]]
    assert found["prompt_ids"] == [[1], [9]] and found["logprobs"] == [[-1.0, 0.0], [0.0]]
    logged: dict[str, float] = {}
    assert mlgym_reward(["", ""], episode=found["episode"], log_metric=logged.__setitem__) == [0.5, None]
    assert logged == {"mlgym/x": 0.5}


class Trainer:
    """What `rollout_func` reads of a trainer."""

    class args:
        ddp_timeout, max_completion_length, seed = 1800, 4096, 1

    class accelerator:
        process_index = 0

    class processing_class:
        eos_token_id = 257


def test_rollouts_by_the_engine() -> None:
    policy = ScriptedPolicy([f"```bash\n{BETTER}\n```", "```bash\nsubmit\n```"])
    spec = MlgymSpec(GAME, split="eval", policy=policy)
    prompt = [{"role": "user", "content": MARK.format(0, 0)}]
    found = spec.rollout_func([prompt, prompt], Trainer)
    assert [each["reward"] for each in found["episode"]] == [pytest.approx(1, abs=0.05)] * 2
    assert [len(ids) for ids in found["completion_ids"]] == [len(mask) for mask in found["env_mask"]]


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("harbor")
    for name in ("titanic", GAME):
        harbor.export(load_task(name), folder)
    return folder


def test_the_answers_are_nowhere_but_in_the_verifiers_folder(exported: Path) -> None:
    for name in ("titanic", GAME):
        prepared = prepare(load_task(name))
        secret = {path.read_bytes() for path in prepared.private.rglob("*") if path.is_file()}
        secret.add(prepared.task.code.read_bytes())
        outside = {path: data for path, data in files(exported / name).items() if not path.startswith("tests/")}
        assert secret <= set(files(exported / name).values()) and not secret & set(outside.values())
        assert not [path for path in outside if path.startswith("environment/") and "solution" in path]
        assert "COPY . " not in outside["environment/Dockerfile"].decode()


def test_an_exported_task_says_what_harbor_asks_for(exported: Path) -> None:
    about = tomllib.loads((exported / "titanic" / "task.toml").read_text())
    assert about["schema_version"] == "1.4" and about["verifier"]["environment_mode"] == "separate"
    assert about["artifacts"] == ["/home/agent/workspace/submission.csv"]
    assert {about[part]["network_mode"] for part in ("environment",)} == {"no-network"}
    assert os.access(exported / "titanic" / "tests" / "test.sh", os.X_OK)


def test_what_is_there_already_is_not_written_over(exported: Path) -> None:
    with pytest.raises(UsageError, match="is there already"):
        harbor.export(load_task(GAME), exported)


@pytest.mark.root
def test_an_exported_task_is_graded_without_mlgym(exported: Path, tmp_path: Path) -> None:
    prepared, tests = prepare(load_task("titanic")), exported / "titanic" / "tests"
    sample = (prepared.public / "sample_submission.csv").read_text()
    for number, text in enumerate([sample, "nonsense", None]):
        workspace, reward = tmp_path / f"{number}", tmp_path / f"logs-{number}" / "reward.json"
        workspace.mkdir(), reward.parent.mkdir()
        about = json.loads((tests / "task.json").read_text())
        (tests / "task.json").write_text(json.dumps({**about, "workspace": str(workspace)}))
        if text is None:
            (workspace / "submission.csv").symlink_to(prepared.private / "answers.csv")
        else:
            (workspace / "submission.csv").write_text(text)
        command = [str(prepared.grader_env / "bin" / "python"), "-m", "mlgym.grading.bundled", str(tests), str(reward)]
        clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        ran = subprocess.run(command, cwd=tests, env=clean, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        said = json.loads(reward.read_text())
        if text == sample:
            assert said["valid"] == 1 and 0.3 < said["accuracy"] < 0.9 and -1 <= said["reward"] < 0.5
        else:
            assert said == {"reward": -1.0, "valid": 0}
            assert ("must be PassengerId,Survived" if text else "no file submission.csv") in ran.stdout
