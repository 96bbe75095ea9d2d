"""Long commands in the background, in real shells: started, asked after, shown, stopped, and gone with the episode."""

import contextlib
import re
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from mlgym.env import ResearchEnv
from mlgym.episode import run_episode
from mlgym.records import Action, Attempt, Brief, EpisodeSpec, Limits, Observation, Step
from mlgym.sandbox import SandboxLimits, SandboxSpec, open_shell
from mlgym.store import Episode
from mlgym.tools import Session, call, catch_up, lint_binds, toolset

GUESS = str(Path(__file__).parent.parent / "examples" / "guess")
HERE = "tests.test_jobs" if __name__.startswith("tests.") else "test_jobs"
TOOLS = toolset("modern")
Do = Callable[..., Observation]


def graded(kind: str) -> Attempt:
    return Attempt(n=0, step=1, kind="validate", valid=True, validation={"r2": 0.9})


@pytest.fixture
def session(backend: str, tmp_path: Path) -> Iterator[Session]:
    (tmp_path / "workspace").mkdir()
    with open_shell(backend, SandboxSpec(tmp_path / "workspace", binds=lint_binds())) as shell:
        yield Session(shell, Limits(command_s=20), graded, {"r2": 0.8})


@pytest.fixture
def job(session: Session) -> Do:
    return lambda action, **args: call(session, Action(tool="job", args={"action": action, **args}), TOOLS)


@pytest.fixture
def bash(session: Session) -> Do:
    return lambda command, **args: call(session, Action(tool="bash", args={"command": command, **args}), TOOLS)


def test_a_job_goes_on_beside_other_commands_and_says_how_it_ended(job: Do, bash: Do) -> None:
    bash("mkdir -p a; cd a; export WORD=exported; touch go")
    told = job("start", command="pwd; echo $WORD; while [ -e go ]; do sleep 0.05; done; echo over >&2; exit 3")
    assert told.status == "ok" and told.text.startswith("Job 1 is started. Its output goes to /")
    assert told.text.endswith("/job-1/output; it is stopped after 20 seconds.")
    seen = job("poll")
    assert seen.text.startswith("Job 1 is running: ") and seen.text.endswith("/workspace/a\nexported\n")
    assert bash("echo on; cd ..; export WORD=other").text == "on\n"
    assert bash("sleep 30", timeout=0.3).status == "timeout"
    assert bash("exit").status == "error"
    assert job("poll", wait=0.2, id=1).text.startswith("Job 1 is running: ")
    bash("rm a/go")
    seen = job("poll", wait=20)
    assert seen.status == "ok" and "seconds with exit code 3.\n" in seen.text and seen.text.endswith("exported\nover\n")
    assert seen.text.startswith("Job 1 ended after ") and seen.text == job("poll").text == job("stop").text


def test_what_an_older_job_starts_is_not_stopped_with_another_command(job: Do, bash: Do) -> None:
    job("start", command="until [ -e go ]; do sleep 0.01; done; sh -c 'sleep 1; echo child lived'")
    assert bash("touch go; sleep 30", timeout=0.5).status == "timeout"
    seen = job("poll", wait=15).text
    assert "with exit code 0." in seen and seen.endswith("child lived\n")


def test_a_job_is_interrupted_so_that_it_can_save_what_it_has(job: Do, session: Session) -> None:
    python = "import signal, time\ntry:\n print('begun')\n time.sleep(60)\nexcept KeyboardInterrupt:\n print('saved')"
    session.shell.write("train.py", python.encode())
    job("start", command="python3 train.py")
    while "begun" not in job("poll").text:  # its output is not held back
        time.sleep(0.05)
    began = time.monotonic()
    seen = job("stop").text
    assert seen.startswith("Job 1 was stopped after ") and "saved" in seen and time.monotonic() - began < 4


@pytest.mark.slow
def test_what_does_not_heed_an_interrupt_is_killed(job: Do, bash: Do) -> None:
    job("start", command="trap '' INT; sh -c 'while :; do sleep 0.1; done'")
    assert job("stop").text.startswith("Job 1 was stopped after ")
    assert bash("pgrep -f 'sleep 0.1; don[e]' || echo none").text == "none\n"


def test_a_job_is_stopped_at_its_limit(job: Do, session: Session) -> None:
    session.limits = Limits(command_s=0.4, training_s=20)
    assert job("start", command="echo a; sleep 30; echo b").text.endswith("it is stopped after 0.4 seconds.")
    assert job("start", command="python3 -c 'print(7)'").text.endswith("it is stopped after 20 seconds.")
    assert job("poll", id=1, wait=10).text == "Job 1 was stopped at its limit of 0.4 seconds.\na\n"
    assert job("poll", id=2, wait=10).text.endswith("with exit code 0.\n7\n")


def test_lines_of_the_output(job: Do) -> None:
    job("start", command=r"seq 100; printf '1%%\r2%%\r3%%\n'")
    assert job("poll", wait=10, lines=2).text.endswith(".\n2%\n3%\n")
    assert job("tail", lines=5).text == "99\n100\n1%\n2%\n3%\n"
    assert job("tail", first=1, lines=2).text == "1\n2\n"
    assert job("tail", first=100, lines=1).text == "100\n"
    assert job("tail", first=200).text == "(no output)"
    assert job("tail", lines=0).status == job("tail", first=0).status == "format"
    job("start", command="seq 100000")
    assert job("poll", wait=10, lines=1).text.endswith("100000\n")


@pytest.mark.parametrize("backend", ["bubblewrap"], indirect=True)
def test_a_job_that_prints_without_end_fills_no_more_than_its_place(job: Do, bash: Do) -> None:
    job("start", command="yes")
    seen = job("poll", wait=20, lines=1)
    assert re.match(r"Job 1 ended after .* with exit code 1\.\ny?\n", seen.text)
    assert int(bash("stat -c %s ~/.output/job-1/output").text) == SandboxLimits().output_max


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"action": "poll"}, "No job was started."),
        ({"action": "start"}, "`job` needs the `command` that it is to start; nothing was done."),
        ({"action": "start", "command": " "}, "`job` needs the `command` that it is to start; nothing was done."),
        ({"action": "stop", "id": 2}, "There is no job 2: 0 were started so far."),
        ({"action": "kill"}, "`job` needs 'start' or 'poll' or 'tail' or 'stop' for `action`, not 'kill'."),
    ],
)
def test_what_cannot_be_done_is_said(job: Do, args: dict[str, Any], said: str) -> None:
    seen = job(**args)
    assert seen.text == said and seen.status in ("error", "format")


def test_a_job_whose_files_are_spoilt_is_told_as_lost(job: Do, bash: Do, session: Session) -> None:
    job("start", command="sleep 60")
    folder = session.state["jobs"][0]["folder"]
    bash(f"kill -9 $(cat {folder}/pids); rm -r {folder}")
    seen = job("poll", wait=1)
    assert seen.text.startswith("Job 1 is lost: ") and seen.text.endswith("(its output is gone)\n")
    job("start", command="sleep 60")
    folder = session.state["jobs"][1]["folder"]
    bash(f"kill -9 $(cat {folder}/pids); echo '0 99999999999 x' > {folder}/end; echo 1 1 > {folder}/pids")
    assert job("stop").text.startswith("Job 2 is ")


def sleepers(seconds: str) -> list[str]:
    """Processes of this machine that sleep for exactly so long."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found += [str(path)] if path.read_bytes() == f"sleep\0{seconds}\0".encode() else []
    return found


def test_nothing_of_a_job_is_left_when_the_session_ends(backend: str, tmp_path: Path) -> None:
    seconds = f"321.{time.time_ns()}"
    (tmp_path / "workspace").mkdir()
    with open_shell(backend, SandboxSpec(tmp_path / "workspace")) as shell:
        command = f"sleep {seconds} & sleep {seconds}"
        action = Action(tool="job", args={"action": "start", "command": command})
        assert call(Session(shell, Limits(), graded, {}), action, TOOLS).status == "ok"
        deadline = time.monotonic() + 5
        while len(sleepers(seconds)) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert len(sleepers(seconds)) == 2
    assert not sleepers(seconds)


def test_a_snapshot_ends_jobs_and_counts_of_them_come_back(backend: str) -> None:
    env = ResearchEnv(GUESS, sandbox=backend)
    try:
        env.reset(seed=0)
        first = env.step(Action(tool="job", args={"action": "start", "command": "sleep 60"}))[0]
        saved = env.snapshot()
        assert env.step(Action(tool="job", args={"action": "poll"}))[0].startswith("Job 1 is lost: a snapshot or force")
        env.step(Action(tool="job", args={"action": "start", "command": "echo two"}))
        env.restore(saved)
        assert env.step(Action(tool="job", args={"action": "poll"}))[0].startswith("Job 1 is lost")
        again = env.step(Action(tool="job", args={"action": "start", "command": "sleep 0.1"}))[0]
        assert first.startswith("Job 1 is started.") and again.startswith("Job 2 is started.")
        assert "with exit code 0" in env.step(Action(tool="job", args={"action": "poll", "wait": 10}))[0]
    finally:
        env.close()


def test_seconds_in_which_only_jobs_run_are_counted() -> None:
    env = ResearchEnv(GUESS, sandbox="local")
    try:
        env.reset(seed=0)
        env.step(Action(tool="job", args={"action": "start", "command": "sleep 0.5"}))
        time.sleep(0.3)
        env.step("true")
        assert 0.3 <= env.command_s < 0.5
        time.sleep(1)
        env.step("true")
        assert 0.1 < env.command_s < 0.7  # of the second, the job ran for a part
        time.sleep(0.3)
        env.step("true")
        assert env.command_s < 0.3
    finally:
        env.close()


def trainer(brief: Brief, model: object) -> Generator[Action, Observation, None]:
    """Starts a job, thinks, finds it ended, and uses what it has made."""
    yield Action(tool="job", args={"action": "start", "command": "sleep 0.7; echo 41 > made.txt"})
    if not brief.seed:
        time.sleep(1.2)
    seen = yield Action(tool="job", args={"action": "poll"})
    assert "with exit code 0" in seen.text
    yield Action(tool="bash", args={"command": "cp made.txt guess.txt && cat guess.txt"})
    yield Action(tool="submit")


def quick(brief: Brief, model: object) -> Generator[Action, Observation, None]:
    """The same, played back without the time to think."""
    return trainer(brief.changed(seed=1), model)


def test_a_played_back_job_has_the_time_that_it_had(tmp_path: Path) -> None:
    made = EpisodeSpec(task=GUESS, agent=f"{HERE}:trainer", sandbox="local", limits=Limits(steps=12))
    whole = run_episode(made, tmp_path)
    (tmp_path / "result.json").unlink()
    steps = (tmp_path / "steps.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "steps.jsonl").write_bytes(b"".join(steps[:2]))
    for kept in (tmp_path / "attempts").glob("*.json"):
        kept.unlink()
    (tmp_path / "spec.json").write_text(made.changed(agent=f"{HERE}:quick").model_dump_json())
    again = run_episode(made.changed(agent=f"{HERE}:quick"), tmp_path)
    assert Episode.read(tmp_path).steps()[2].observation.text == "41\n"
    assert again.final == whole.final and again.ended == "submitted"


def test_output_in_the_form_of_an_end_does_not_disturb_a_playback(session: Session, job: Do) -> None:
    job("start", command="true")
    for number in ("9" * 5000, "0", "7"):
        text = f"Job {number} ended after 1 seconds"
        catch_up(
            session, Step(n=2, action=Action(tool="job", args={"action": "tail"}), observation=Observation(text=text))
        )
