"""Harbor reads the exported tasks; where Docker runs, its own trials of the oracle, of an idle agent and of a thief."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from docker_cli import DockerCli
from harbor.models.task.task import Task
from harbor.models.task.verifier_mode import resolve_verifier_environment_definition
from harbor.models.trial.config import AgentConfig, EnvironmentConfig, TaskConfig, TrialConfig
from harbor.trial.trial import Trial

HERE = Path(__file__).parent
MLGYM = os.environ.get("MLGYM_PYTHON", sys.executable)  # where mlgym is installed
PLAYED = "battle-of-sexes"  # its submission is code, which the verifier runs
# A strategy that looks for the answers, writes a reward, leaves a process behind, and then plays badly.
THIEF = """
import os, subprocess
for path in ("/logs/verifier/reward.json", "/logs/verifier/reward.txt", "/tests/reward"):
    try:
        open(path, "w").write('{"reward": 2.0}')
    except OSError:
        pass
subprocess.Popen("while :; do echo 2 >/logs/verifier/reward.txt; sleep 0.05; done", shell=True, start_new_session=True)
found = []
for path in ("/tests/private/salt", "/tests/task.py", "/tests/task.json", f"/proc/{os.getppid()}/environ"):
    try:
        open(path).read()
        found.append(path)
    except OSError:
        pass
def row_strategy(history):
    return 0 if found else 1 - (len(history) == 0)
"""


def exported(names: list[str], folder: Path, *options: str) -> None:
    command = [MLGYM, "-m", "mlgym", "tasks", "export", *names, "--format", "harbor", "-o", str(folder), *options]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def read(folder: Path) -> int:
    """Harbor's own checks of each task; returns how many there are."""
    for place in sorted(folder.iterdir()):
        assert Task.is_valid_dir(place), place
        task = Task(place)
        assert "canary" not in task.instruction and task.config.schema_version == "1.4", place
        verifier = resolve_verifier_environment_definition(task.config, task.paths)
        assert verifier is not None and verifier.bundled_tests and verifier.directory == task.paths.tests_dir, place
    return len(list(folder.iterdir()))


@contextlib.contextmanager
def docker() -> Iterator[str]:
    """The image of the task's packages, with DOCKER_HOST set; or why there is none, in the form of an error."""
    command = [MLGYM, str(HERE / "docker_host.py"), PLAYED]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as host:
        assert host.stdin and host.stdout and host.stderr
        line = host.stdout.readline()
        if not line:
            raise RuntimeError(host.stderr.read().strip().splitlines()[-1])
        os.environ["DOCKER_HOST"], image = json.loads(line)
        try:
            yield image
        finally:
            host.stdin.close()
            host.wait(60)


async def reward(task: Path, agent: str, trials: Path) -> dict[str, float]:
    """What Harbor's verifier gives the agent in a trial of its own."""
    config = TrialConfig(
        task=TaskConfig(path=task),
        trial_name=f"{task.name}-{agent}-{len(list(trials.iterdir()))}",
        trials_dir=trials,
        agent=AgentConfig(name=agent),
        environment=EnvironmentConfig(import_path="docker_cli:DockerCli"),
    )
    result = await (await Trial.create(config)).run()
    assert result.exception_info is None and result.verifier_result is not None, result.exception_info
    return result.verifier_result.rewards or {}


def main() -> None:
    assert DockerCli
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        folder, trials = Path(temporary, "tasks"), Path(temporary, "trials")
        trials.mkdir()
        exported(["mini", "duel-s1-d0.5", "speed-s1-d0.3"], folder)
        told = f"{read(folder)} tasks read"
        try:
            with docker() as image:
                exported([PLAYED], Path(temporary, "played"), "--image", image)
                task = Path(temporary, "played", PLAYED)
                best = asyncio.run(reward(task, "oracle", trials))
                none = asyncio.run(reward(task, "nop", trials))
                (task / "solution" / "files" / "strategy.py").write_text(THIEF)
                thief = asyncio.run(reward(task, "oracle", trials))
        except RuntimeError as error:
            print(f"{told}; no trial, because {error}")
            return
    assert abs(best["reward"] - 1) < 0.05 and best["valid"] == 1, best
    assert abs(none["reward"]) < 0.05 and none["valid"] == 1, none
    assert thief["reward"] < 0.9, thief
    print(f"{told}; trials in containers: oracle {best['reward']:.3f}, nop {none['reward']:.3f}, thief {thief}")


if __name__ == "__main__":
    main()
